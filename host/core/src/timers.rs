//! Timers that the guest has set.

use std::collections::{BTreeMap, BTreeSet};

use crate::{CallId, Timestamp, limits::TIMERS_MAX};

/// Timers by due time and by id. Both views always hold the same timers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Timers {
    by_time: BTreeSet<(Timestamp, CallId)>,
    by_id: BTreeMap<CallId, Timestamp>,
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
        true
    }

    /// Forgets the timer `id`, if it is set.
    pub(crate) fn cancel(&mut self, id: CallId) {
        if let Some(due) = self.by_id.remove(&id) {
            self.by_time.remove(&(due, id));
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

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Timestamp, CallId)> {
        self.by_time.iter()
    }

    pub(crate) fn validate(&self) {
        assert_eq!(self.by_time.len(), self.by_id.len());
        assert!(self.by_id.len() <= TIMERS_MAX);
    }
}

#[cfg(test)]
mod tests;
