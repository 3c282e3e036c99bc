//! Calls of the guest that have no answer yet.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    CallId, PeerIndex,
    digest::Digested,
    part::{Beside, Broken, Part, StateReader, holds, rises},
    shared_state::SharedState,
};

/// Each call is in one of the two, or the guest has its answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Calls {
    /// Those that wait for their answer, with the peer called.
    waiting: BTreeMap<CallId, PeerIndex>,
    /// Those that fail because their peer was registered anew; the guest is told in the next record.
    failed: BTreeSet<CallId>,
}

impl Calls {
    /// The guest calls `peer`. False if another call has that id.
    pub(crate) fn begin(&mut self, call: CallId, peer: PeerIndex) -> bool {
        assert_ne!(call, CallId(0), "a call has an id");
        assert_ne!(peer, PeerIndex::OUTSIDE, "the outside world is not called");
        !self.failed.contains(&call) && self.waiting.insert(call, peer).is_none()
    }

    /// A message of `peer` answers `call`, if it was that peer that was called.
    pub(crate) fn settle(&mut self, call: CallId, peer: PeerIndex) {
        if self.waiting.get(&call) == Some(&peer) {
            self.waiting.remove(&call);
        }
    }

    /// Nobody will answer the calls to `peer` any more. Returns how many there were.
    pub(crate) fn fail(&mut self, peer: PeerIndex) -> u64 {
        let lost: Vec<_> = self.waiting.iter().filter(|(_, called)| **called == peer).map(|(call, _)| *call).collect();
        for call in &lost {
            self.waiting.remove(call);
            self.failed.insert(*call);
        }
        lost.len() as u64
    }

    /// The guest was told that `call` has failed.
    pub(crate) fn forget_failed(&mut self, call: CallId) {
        self.failed.remove(&call);
    }

    /// Those that wait for their answer, in the order of their ids.
    pub(crate) fn waiting(&self) -> impl ExactSizeIterator<Item = (CallId, PeerIndex)> {
        self.waiting.iter().map(|(call, peer)| (*call, *peer))
    }

    /// Those of whose failure the guest is still to be told, in the order of their ids.
    pub(crate) fn failed(&self) -> impl ExactSizeIterator<Item = CallId> {
        self.failed.iter().copied()
    }
}

impl Part for Calls {
    fn encode(&self, _: Beside<'_>, out: &mut SharedState) {
        let Calls { waiting, failed } = self;
        out.put_count(waiting.len());
        for (call, peer) in waiting {
            out.put_u64(call.0);
            out.put_count(peer.0 as usize);
        }
        out.put_count(failed.len());
        for call in failed {
            out.put_u64(call.0);
        }
    }

    fn decode(reader: &mut StateReader<'_>) -> Option<Calls> {
        let (mut waiting, mut before) = (BTreeMap::new(), None);
        for _ in 0..reader.u32()? {
            let call = CallId(reader.u64()?);
            rises(&mut before, call)?;
            waiting.insert(call, PeerIndex(reader.u32()?));
        }
        let (mut failed, mut before) = (BTreeSet::new(), None);
        for _ in 0..reader.u32()? {
            let call = CallId(reader.u64()?);
            rises(&mut before, call)?;
            failed.insert(call);
        }
        Some(Calls { waiting, failed })
    }

    fn digest(&self, _: Beside<'_>, digested: &mut Digested) {
        let Calls { waiting, failed } = self;
        for (call, peer) in waiting {
            digested.number(call.0);
            digested.number(u64::from(peer.0));
        }
        for call in failed {
            digested.number(call.0);
        }
    }

    fn validate(&self, beside: Beside<'_>) -> Result<(), Broken> {
        let Calls { waiting, failed } = self;
        for (call, peer) in waiting {
            holds!(*call != CallId(0), "a call has an id");
            holds!(*peer != PeerIndex::OUTSIDE, "the outside world is not called");
            holds!(peer.0 <= beside.peers.count(), "a peer that is called was attached");
            holds!(!failed.contains(call), "a call either waits or has failed");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
