//! As of when something was read from a registry.

use std::time::{Duration, Instant};

use ambrosia_storage::Store;

/// Who can't know of changes of the registry looks again after this.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The number of the registry's last change, if this process may know it, and when that was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AsOf {
    changes: Option<u64>,
    when: Instant,
}

impl AsOf {
    /// To be taken before the registry is read.
    pub(crate) fn now(store: &dyn Store) -> AsOf {
        AsOf { changes: store.registry().changes(), when: Instant::now() }
    }

    /// Whether what was read then counts still. The count of changes is looked at itself: whoever waits to be told of them hears of a token
    /// that was revoked when its thread comes to it, and lets its bearer in until then.
    pub(crate) fn is_fresh(&self, store: &dyn Store) -> bool {
        (self.changes.is_some() || self.when.elapsed() < LOOK_INTERVAL) && store.registry().changes() == self.changes
    }
}
