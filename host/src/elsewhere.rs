//! Tells those who come to a replica that does not reign who does.
//!
//! That is read from the store, which may take its time if others share it. So nobody who drives members waits for it, and whoever comes
//! while it is read is told by what is read next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ambrosia_wire::ConnectionHandle;

use crate::{connections::refuse, driver::Driver};

/// Those who wait to be told.
#[derive(Default)]
pub(crate) struct Elsewhere(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    handles: Vec<ConnectionHandle>,
    is_reading: bool,
}

impl Elsewhere {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses somebody, once it is read who reigns.
    pub(crate) fn refuse(&self, handle: ConnectionHandle, driver: &Arc<Driver>) {
        let mut waiting = self.lock();
        waiting.handles.push(handle);
        if !std::mem::replace(&mut waiting.is_reading, true) {
            let there = Arc::clone(driver);
            driver.runtime.spawn_blocking(move || there.elsewhere.read(&there));
        }
    }

    fn read(&self, driver: &Driver) {
        while let Some(handles) = self.take() {
            let primary = driver.span.in_scope(|| driver.primary_elsewhere());
            handles.iter().for_each(|handle| refuse(handle, primary.clone()));
        }
    }

    /// All that have come since; `None` if nobody has, and nothing is read any more.
    fn take(&self) -> Option<Vec<ConnectionHandle>> {
        let mut waiting = self.lock();
        waiting.is_reading = !waiting.handles.is_empty();
        waiting.is_reading.then(|| std::mem::take(&mut waiting.handles))
    }
}
