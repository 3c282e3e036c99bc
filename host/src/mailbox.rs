//! Where everything that happens to a replica waits for its driver thread.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Many senders, one receiver that takes all there is at once: while it is busy, events gather.
///
/// It has no bound of its own: what is large in an event carries a permit of its connection, and a connection that
/// has used up its permits is not read.
pub(crate) struct Mailbox<T> {
    events: Mutex<Vec<T>>,
    arrived: Condvar,
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Self {
        Mailbox { events: Mutex::default(), arrived: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, event: T) {
        let mut waiting = self.lock();
        waiting.push(event);
        if waiting.len() == 1 {
            drop(waiting);
            self.arrived.notify_one();
        }
    }

    /// Moves all that is there to the end of `events`.
    pub(crate) fn take(&self, events: &mut VecDeque<T>) {
        events.extend(self.lock().drain(..));
    }

    /// The same, waiting for at least one event or until `wait` has passed; `None` waits as long as it takes.
    pub(crate) fn wait(&self, wait: Option<Duration>, events: &mut VecDeque<T>) {
        let deadline = wait.map(|wait| Instant::now() + wait);
        let mut waiting = self.lock();
        while waiting.is_empty() {
            let Some(deadline) = deadline else {
                waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            waiting = self.arrived.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        events.extend(waiting.drain(..));
    }
}
