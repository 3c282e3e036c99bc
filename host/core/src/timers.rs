//! Timers that the guest has set.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    CallId, Timestamp,
    digest::Digested,
    limits::TIMERS_MAX,
    part::{Beside, Broken, Part, StateReader, holds, rises},
    shared_state::SharedState,
};

/// Timers by due time and by id. Both views always hold the same timers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Timers {
    by_time: BTreeSet<(Timestamp, CallId)>,
    by_id: BTreeMap<CallId, Timestamp>,
    /// Sum of the digests of all timers, of which there may be many.
    digest: u64,
}

impl Timers {
    /// Sets the timer `id`, in place of an earlier one of that id. False when there are too many.
    pub(crate) fn set(&mut self, id: CallId, due: Timestamp) -> bool {
        self.cancel(id);
        if self.by_id.len() >= TIMERS_MAX {
            return false;
        }
        self.by_time.insert((due, id));
        self.by_id.insert(id, due);
        self.digest = self.digest.wrapping_add(digest(id, due));
        assert_eq!(self.by_time.len(), self.by_id.len(), "both views hold the same timers");
        true
    }

    /// Forgets the timer `id`, if it is set.
    pub(crate) fn cancel(&mut self, id: CallId) {
        if let Some(due) = self.by_id.remove(&id) {
            let was_set = self.by_time.remove(&(due, id));
            assert!(was_set, "both views hold the timer {id}");
            self.digest = self.digest.wrapping_sub(digest(id, due));
        }
    }

    /// When the next one is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(due, _)| *due)
    }

    /// Those that are due at `now`, in order.
    pub(crate) fn due(&self, now: Timestamp) -> impl Iterator<Item = CallId> {
        self.by_time.iter().take_while(move |(due, _)| *due <= now).map(|(_, id)| *id)
    }

    /// All of them, in the order in which they are due.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Timestamp, CallId)> {
        self.by_time.iter().copied()
    }

    pub(crate) fn check(&self) -> Result<(), Broken> {
        let Timers { by_time, by_id, digest } = self;
        holds!(by_time.len() == by_id.len(), "both views hold the same timers");
        holds!(by_id.len() <= TIMERS_MAX, "there are no more timers than the limit");
        holds!(!by_id.is_empty() || *digest == 0, "without timers their sum is zero");
        Ok(())
    }
}

impl Part for Timers {
    fn encode(&self, _: Beside<'_>, out: &mut SharedState) {
        let Timers { by_time, by_id: _, digest: _ } = self; // the others follow from the first
        out.put_count(by_time.len());
        for (due, id) in by_time {
            out.put_u64(due.0);
            out.put_u64(id.0);
        }
    }

    fn decode(reader: &mut StateReader<'_>) -> Option<Timers> {
        let mut timers = Timers::default();
        let (count, mut before) = (reader.u32()?, None);
        for _ in 0..count {
            let due = Timestamp(reader.u64()?);
            let id = CallId(reader.u64()?);
            rises(&mut before, (due, id))?;
            timers.set(id, due).then_some(())?;
        }
        // One id twice would have replaced the earlier timer.
        (timers.by_id.len() == count as usize).then_some(timers)
    }

    fn digest(&self, _: Beside<'_>, digested: &mut Digested) {
        let Timers { by_time: _, by_id: _, digest } = self;
        digested.number(*digest);
    }

    fn validate(&self, _: Beside<'_>) -> Result<(), Broken> {
        self.check()
    }
}

fn digest(id: CallId, due: Timestamp) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&id.0.to_le_bytes());
    bytes[8..].copy_from_slice(&due.0.to_le_bytes());
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

#[cfg(test)]
mod tests;
