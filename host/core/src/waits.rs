//! What an instance waits for at its peers, for operators.
//!
//! **Architecture Invariant:** it is read from the state and changes nothing.

use std::collections::BTreeMap;

use crate::{
    CallId, Guest, InstanceName, Lsn, PeerIndex, Replica, Timestamp, acknowledged::Acknowledged, state::State,
    stream::Stream,
};

/// What waits for one peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerWaits {
    /// The peer.
    pub peer: PeerIndex,
    /// Its name.
    pub name: InstanceName,
    /// Messages that it has not acknowledged.
    pub messages: u64,
    /// Bytes that are kept for them.
    pub bytes: usize,
    /// The record that brought about the oldest of them.
    pub oldest: Option<Lsn>,
    /// Calls that it has not answered.
    pub calls: u64,
    /// The one of them with the lowest id: the oldest, as ids rise.
    pub oldest_call: Option<CallId>,
}

impl PeerWaits {
    /// Whether anything waits.
    pub fn any(&self) -> bool {
        self.messages > 0 || self.calls > 0
    }
}

impl<G: Guest> Replica<G> {
    /// The timers that the guest has set, each with its id, in the order in which they are due.
    pub fn timers(&self) -> impl Iterator<Item = (Timestamp, CallId)> {
        self.state().timers.all()
    }

    /// The calls that have no answer yet, each with the peer called, in the order of their ids.
    pub fn open_calls(&self) -> impl ExactSizeIterator<Item = (CallId, PeerIndex)> {
        self.state().calls.waiting()
    }
}

impl State {
    /// What waits for each peer but the instance itself, in the order of the peers, if they have acknowledged that much.
    pub(crate) fn waits(&self, acknowledged: &Acknowledged) -> Vec<PeerWaits> {
        let me = self.me();
        let mut calls: BTreeMap<PeerIndex, (u64, CallId)> = BTreeMap::new();
        for (call, peer) in self.calls.waiting() {
            // In the order of their ids, so the first one of a peer is its lowest.
            calls.entry(peer).or_insert((0, call)).0 += 1;
        }
        let others = self.streams().filter(|(peer, _)| Some(*peer) != me);
        others.map(|(peer, stream)| self.waits_of(peer, stream, acknowledged, calls.get(&peer).copied())).collect()
    }

    /// Whether anything waits for a peer.
    pub(crate) fn waits_for(&self, peer: PeerIndex, acknowledged: &Acknowledged) -> bool {
        let outbox = &self.stream(peer).outbox;
        outbox.last_seq() > acknowledged.seq(peer, outbox) || self.called_peers().any(|called| called == peer)
    }

    fn waits_of(
        &self,
        peer: PeerIndex,
        stream: &Stream,
        acknowledged: &Acknowledged,
        calls: Option<(u64, CallId)>,
    ) -> PeerWaits {
        let outbox = &stream.outbox;
        let (freed_bytes, freed_chunks) = acknowledged.of(peer);
        assert!(outbox.acknowledged() <= outbox.last_seq(), "nothing is acknowledged that was never sent");
        PeerWaits {
            peer,
            name: self.world.peers.name(peer).expect("streams are as many as names").clone(),
            messages: outbox.last_seq().0 - acknowledged.seq(peer, outbox).0,
            bytes: outbox.bytes() - freed_bytes,
            oldest: outbox.chunk(freed_chunks).map(|chunk| chunk.after),
            calls: calls.map_or(0, |(count, _)| count),
            oldest_call: calls.map(|(_, oldest)| oldest),
        }
    }
}
