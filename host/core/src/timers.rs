//! Timers that the guest has set.

use std::collections::{BTreeMap, BTreeSet};

use crate::{CallId, Timestamp, limits::TIMERS_MAX};

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
        true
    }

    /// Forgets the timer `id`, if it is set.
    pub(crate) fn cancel(&mut self, id: CallId) {
        if let Some(due) = self.by_id.remove(&id) {
            self.by_time.remove(&(due, id));
            self.digest = self.digest.wrapping_sub(digest(id, due));
        }
    }

    /// Differs if any timer does.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// When the next one is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(due, _)| *due)
    }

    /// Those that are due at `now`, in order.
    pub(crate) fn due(&self, now: Timestamp) -> impl Iterator<Item = CallId> {
        self.by_time.iter().take_while(move |(due, _)| *due <= now).map(|(_, id)| *id)
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &(Timestamp, CallId)> {
        self.by_time.iter()
    }

    pub(crate) fn validate(&self) {
        assert_eq!(self.by_time.len(), self.by_id.len());
        assert!(self.by_id.len() <= TIMERS_MAX);
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
