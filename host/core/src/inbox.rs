//! What waits to be delivered on the primary. Not part of the replicated state: it becomes that by being logged.

mod waiting_sessions;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::{
    CallId, MethodId, PeerIndex, RequestId, Seq, Timestamp, TraceContext, outbox::Chunk, requests::content_hash,
};

pub(crate) use self::waiting_sessions::{WaitingSessionRequest, WaitingSessions};

/// An input from outside the deterministic world that waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct WaitingImpulse {
    pub(crate) method: MethodId,
    pub(crate) arguments: Bytes,
    pub(crate) request: Option<RequestId>,
    /// The trace that the request belongs to.
    pub(crate) trace: Option<TraceContext>,
}

/// What was told of the world outside, and waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum WaitingNews {
    /// What came of an outgoing request.
    Outcome { id: CallId, outcome: Bytes },
    /// Somebody has fulfilled a promise.
    Resolved { promise: CallId, value: Bytes },
}

impl WaitingNews {
    /// The request or the promise.
    pub(crate) fn id(&self) -> CallId {
        match self {
            WaitingNews::Outcome { id, .. } => *id,
            WaitingNews::Resolved { promise, .. } => *promise,
        }
    }
}

/// Messages of peers and impulses, each source in order.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    impulses: VecDeque<WaitingImpulse>,
    /// Requests among the impulses, each with the hash of what it asks for, so that one that is repeated while it waits is
    /// not queued again.
    requests: BTreeMap<RequestId, u64>,
    news: VecDeque<WaitingNews>,
    /// Those in `news`, so that each is told once.
    told: BTreeSet<CallId>,
    /// Methods whose time has come, each once.
    crons: BTreeMap<MethodId, BTreeSet<Timestamp>>,
    /// Requests of sessions.
    pub(crate) sessions: WaitingSessions,
    peers: BTreeMap<PeerIndex, VecDeque<Chunk>>,
    /// Whose turn it is to be first.
    turn: PeerIndex,
}

impl Inbox {
    /// Hash of what a request that waits asks for, if it waits.
    pub(crate) fn content_of(&self, request: &RequestId) -> Option<u64> {
        self.requests.get(request).copied()
    }

    pub(crate) fn push_impulse(&mut self, impulse: WaitingImpulse) {
        if let Some(request) = &impulse.request {
            let content = content_hash(impulse.method, &impulse.arguments);
            if self.requests.insert(request.clone(), content).is_some() {
                return;
            }
        }
        self.impulses.push_back(impulse);
        assert!(self.requests.len() <= self.impulses.len(), "each request that waits has its impulse");
    }

    pub(crate) fn pop_impulse(&mut self) -> Option<WaitingImpulse> {
        let impulse = self.impulses.pop_front()?;
        if let Some(request) = &impulse.request {
            let waited = self.requests.remove(request);
            assert!(waited.is_some(), "a request that waits is known to wait");
        }
        Some(impulse)
    }

    pub(crate) fn has_impulses(&self) -> bool {
        !self.impulses.is_empty()
    }

    /// What has come of a request, or that a promise was fulfilled; what was told before stands.
    pub(crate) fn push_news(&mut self, news: WaitingNews) {
        if self.told.insert(news.id()) {
            self.news.push_back(news);
        }
        assert_eq!(self.told.len(), self.news.len(), "each is told once");
    }

    pub(crate) fn pop_news(&mut self) -> Option<WaitingNews> {
        let news = self.news.pop_front()?;
        let was_told = self.told.remove(&news.id());
        assert!(was_told, "each that waits is known to wait");
        Some(news)
    }

    pub(crate) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// The time of a method has come.
    pub(crate) fn push_cron(&mut self, method: MethodId, due: Timestamp) {
        self.crons.entry(method).or_default().insert(due);
    }

    /// A method whose time has come, the earlier time first.
    pub(crate) fn pop_cron(&mut self) -> Option<(MethodId, Timestamp)> {
        let mut entry = self.crons.first_entry()?;
        let (method, due) = (*entry.key(), entry.get_mut().pop_first().expect("a method waits for a time"));
        if entry.get().is_empty() {
            entry.remove();
        }
        Some((method, due))
    }

    pub(crate) fn has_crons(&self) -> bool {
        !self.crons.is_empty()
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
