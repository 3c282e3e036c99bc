//! What peers have acknowledged and no record holds yet.
//!
//! **Architecture Invariant:** the replicated state changes by records alone. What a primary hears of its peers is kept here
//! until the next record carries it, and whoever asks what waits is told of both.

use std::collections::BTreeMap;

use crate::{
    PeerIndex, Seq, Watermark,
    outbox::Outbox,
    streams::{Waiting, is_full},
};

/// Acknowledgements that no record holds yet, and what they free of the outboxes.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    by_peer: BTreeMap<PeerIndex, Freed>,
    /// The sum over all peers.
    freed: Waiting,
}

/// What an acknowledgement frees of an outbox, which stays as it is until then.
#[derive(Clone, Copy, Debug)]
struct Freed {
    seq: Seq,
    /// Whole chunks that it covers.
    chunks: usize,
    waiting: Waiting,
}

impl Acknowledged {
    /// The peer has everything up to `seq`, of what is in its outbox.
    pub(crate) fn note(&mut self, peer: PeerIndex, seq: Seq, outbox: &Outbox) {
        assert!(seq <= outbox.last_seq(), "a peer can't acknowledge what was never sent");
        if seq <= self.seq(peer, outbox) {
            return;
        }
        let none = Freed { seq: outbox.acknowledged(), chunks: 0, waiting: Waiting::default() };
        let freed = self.by_peer.entry(peer).or_insert(none);
        self.freed.subtract(freed.waiting);
        // Chunks go from the front and none comes before the next record, so it is gone on from where the last note ended.
        while let Some(chunk) = outbox.chunk(freed.chunks).filter(|chunk| chunk.last_seq() <= seq) {
            freed.waiting.bytes += chunk.messages.len();
            freed.chunks += 1;
        }
        freed.seq = seq;
        freed.waiting.messages = seq.0 - outbox.acknowledged().0;
        let is_full_after = is_full(outbox.bytes() - freed.waiting.bytes);
        freed.waiting.full = usize::from(is_full(outbox.bytes()) && !is_full_after);
        self.freed.add(freed.waiting);
    }

    /// The last message that a peer is known to have.
    pub(crate) fn seq(&self, peer: PeerIndex, outbox: &Outbox) -> Seq {
        self.by_peer.get(&peer).map_or(outbox.acknowledged(), |freed| freed.seq)
    }

    /// What of an outbox is freed: bytes, and whole chunks.
    pub(crate) fn of(&self, peer: PeerIndex) -> (usize, usize) {
        self.by_peer.get(&peer).map_or((0, 0), |freed| (freed.waiting.bytes, freed.chunks))
    }

    /// What is freed of all outboxes.
    pub(crate) fn freed(&self) -> Waiting {
        self.freed
    }

    /// The stream with the peer starts afresh. Returns how many of its messages were acknowledged.
    pub(crate) fn forget(&mut self, peer: PeerIndex) -> u64 {
        let Some(freed) = self.by_peer.remove(&peer) else { return 0 };
        self.freed.subtract(freed.waiting);
        freed.waiting.messages
    }

    /// Hands over all of it, to a record.
    pub(crate) fn take(&mut self) -> Vec<Watermark> {
        self.freed = Waiting::default();
        let all = std::mem::take(&mut self.by_peer).into_iter();
        all.map(|(peer, freed)| Watermark { peer, seq: freed.seq }).collect()
    }
}
