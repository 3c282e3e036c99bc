//! What waits to be delivered on the primary. Not part of the replicated state: it becomes that by being logged.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::{CallId, MethodId, PeerIndex, RequestId, Seq, outbox::Chunk};

/// An input from outside the deterministic world that waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct WaitingImpulse {
    pub(crate) method: MethodId,
    pub(crate) arguments: Bytes,
    pub(crate) request: Option<RequestId>,
}

/// Messages of peers and impulses, each source in order.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    impulses: VecDeque<WaitingImpulse>,
    /// Requests among the impulses, so that one that is repeated while it waits is not queued again.
    requests: BTreeSet<RequestId>,
    peers: BTreeMap<PeerIndex, VecDeque<Chunk>>,
    /// Whose turn it is to be first.
    turn: PeerIndex,
}

impl Inbox {
    pub(crate) fn push_impulse(&mut self, impulse: WaitingImpulse) {
        if let Some(request) = &impulse.request
            && !self.requests.insert(request.clone())
        {
            return;
        }
        self.impulses.push_back(impulse);
        assert!(self.requests.len() <= self.impulses.len(), "each request that waits has its impulse");
    }

    pub(crate) fn pop_impulse(&mut self) -> Option<WaitingImpulse> {
        let impulse = self.impulses.pop_front()?;
        if let Some(request) = &impulse.request {
            let waited = self.requests.remove(request);
            assert!(waited, "a request that waits is known to wait");
        }
        Some(impulse)
    }

    pub(crate) fn has_impulses(&self) -> bool {
        !self.impulses.is_empty()
    }

    /// Number of the last message of `peer` that waits; `received` if none does.
    pub(crate) fn last_seq(&self, peer: PeerIndex, received: Seq) -> Seq {
        self.peers.get(&peer).and_then(|queue| queue.back()).map_or(received, Chunk::last_seq)
    }

    pub(crate) fn push_messages(&mut self, peer: PeerIndex, chunk: Chunk) {
        assert!(chunk.count > 0, "there is something to wait for");
        let queue = self.peers.entry(peer).or_default();
        let follows = queue.back().is_none_or(|last| last.last_seq().next() == chunk.first_seq);
        assert!(follows, "messages of peer {peer} wait without a gap or a repetition");
        queue.push_back(chunk);
    }

    /// Puts back what did not fit, to come first the next time.
    pub(crate) fn put_back(&mut self, peer: PeerIndex, chunk: Chunk) {
        let queue = self.peers.entry(peer).or_default();
        let precedes = queue.front().is_none_or(|first| chunk.last_seq().next() == first.first_seq);
        assert!(precedes, "what is put back comes just before what waits");
        queue.push_front(chunk);
    }

    /// Forgets what waits of `peer`: it connected anew and sends it again.
    pub(crate) fn forget(&mut self, peer: PeerIndex) {
        self.peers.remove(&peer);
    }

    pub(crate) fn has_messages(&self) -> bool {
        !self.peers.is_empty()
    }

    /// Peers with waiting messages, each once, beginning with another one each time so that none starves.
    pub(crate) fn next_round(&mut self) -> Vec<PeerIndex> {
        // By index and not by who came first: a peer that sends much can't push itself forward.
        let later = self.peers.range(self.turn..).map(|(peer, _)| *peer);
        let earlier = self.peers.range(..self.turn).map(|(peer, _)| *peer);
        let round: Vec<_> = later.chain(earlier).collect();
        debug_assert_eq!(round.len(), self.peers.len(), "each peer has its turn once");
        self.turn = round.first().map_or(PeerIndex(0), |first| PeerIndex(first.0 + 1));
        round
    }

    pub(crate) fn pop_messages(&mut self, peer: PeerIndex) -> Option<Chunk> {
        let queue = self.peers.get_mut(&peer)?;
        let chunk = queue.pop_front();
        assert!(chunk.is_some(), "a peer of which nothing waits is not kept");
        if queue.is_empty() {
            self.peers.remove(&peer);
        }
        chunk
    }
}

/// An impulse's number, or none if no answer is wanted.
pub(crate) const NO_ANSWER: CallId = CallId(0);

#[cfg(test)]
mod tests;
