//! Which call or timer of the new code is which one of the old code.
//!
//! **Architecture Invariant:** no id of the one is that of two of the other.

use std::collections::BTreeMap;

use ambrosia_core::CallId;

/// Pairs of ids.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Twins {
    to_new: BTreeMap<CallId, CallId>,
    to_old: BTreeMap<CallId, CallId>,
}

impl Twins {
    /// The two stand for the same.
    pub(super) fn pair(&mut self, old: CallId, new: CallId) {
        self.forget_old(old);
        self.forget_new(new);
        self.to_new.insert(old, new);
        self.to_old.insert(new, old);
    }

    pub(super) fn new_of(&self, old: CallId) -> Option<CallId> {
        self.to_new.get(&old).copied()
    }

    pub(super) fn old_of(&self, new: CallId) -> Option<CallId> {
        self.to_old.get(&new).copied()
    }

    /// The one of the old code has ended. Returns its twin.
    pub(super) fn forget_old(&mut self, old: CallId) -> Option<CallId> {
        let new = self.to_new.remove(&old)?;
        self.to_old.remove(&new);
        Some(new)
    }

    /// The one of the new code has ended.
    pub(super) fn forget_new(&mut self, new: CallId) {
        if let Some(old) = self.to_old.remove(&new) {
            self.to_new.remove(&old);
        }
    }
}
