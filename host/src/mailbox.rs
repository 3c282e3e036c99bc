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
    /// `None` once nobody takes them any more.
    events: Mutex<Option<Vec<T>>>,
    /// Wakes the receiver.
    receiver: OnceLock<Waker>,
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Self {
        Mailbox { events: Mutex::new(Some(Vec::new())), receiver: OnceLock::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<T>>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever receives is woken by that from now on. What came before it finds by itself.
    pub(crate) fn set_receiver(&self, waker: Waker) {
        assert!(self.receiver.set(waker).is_ok(), "a mailbox has one receiver");
    }

    pub(crate) fn push(&self, event: T) {
        let mut events = self.lock();
        let Some(waiting) = &mut *events else {
            drop(events);
            return drop(event); // which may tell somebody else
        };
        waiting.push(event);
        let is_first = waiting.len() == 1;
        drop(events);
        if is_first && let Some(receiver) = self.receiver.get() {
            receiver.wake();
        }
    }

    /// Moves all that is there to the end of `events`.
    pub(crate) fn take(&self, events: &mut VecDeque<T>) {
        events.extend(self.lock().iter_mut().flat_map(|waiting| waiting.drain(..)));
    }

    /// Whether nobody takes anything any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_none()
    }

    /// Nobody takes anything any more: what is there is dropped, and what comes. Whoever waits for an answer learns by that.
    pub(crate) fn close(&self) {
        let dropped = self.lock().take();
        drop(dropped);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_nobody_takes_any_more_is_dropped() {
        let (mailbox, event) = (Mailbox::new(), Arc::new(()));
        mailbox.push(Arc::clone(&event));
        let mut taken = VecDeque::new();
        mailbox.take(&mut taken);
        assert_eq!(taken.len(), 1);
        mailbox.push(Arc::clone(&event));
        mailbox.close();
        assert_eq!(Arc::strong_count(&event), 2, "what waited was dropped");
        mailbox.push(Arc::clone(&event));
        mailbox.take(&mut taken);
        assert_eq!((Arc::strong_count(&event), taken.len()), (2, 1), "and so is what comes");
    }
}
