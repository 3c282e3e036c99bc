//! Where everything that happens to a replica waits for its driver.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use ambrosia_storage::Waker;

/// Many senders, one receiver that takes all there is at once: while it is busy, events gather.
///
/// It has no bound of its own: what is large in an event carries a permit of its connection, and a connection that
/// has used up its permits is not read.
pub(crate) struct Mailbox<T> {
    events: Mutex<Vec<T>>,
    /// Wakes the receiver.
    receiver: OnceLock<Waker>,
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Self {
        Mailbox { events: Mutex::default(), receiver: OnceLock::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever receives is woken by that from now on. What came before it finds by itself.
    pub(crate) fn set_receiver(&self, waker: Waker) {
        assert!(self.receiver.set(waker).is_ok(), "a mailbox has one receiver");
    }

    pub(crate) fn push(&self, event: T) {
        let mut waiting = self.lock();
        waiting.push(event);
        let is_first = waiting.len() == 1;
        drop(waiting);
        if is_first && let Some(receiver) = self.receiver.get() {
            receiver.wake();
        }
    }

    /// Moves all that is there to the end of `events`.
    pub(crate) fn take(&self, events: &mut VecDeque<T>) {
        events.extend(self.lock().drain(..));
    }
}
