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
    waiting: Mutex<Waiting<T>>,
    arrived: Condvar,
}

struct Waiting<T> {
    events: Vec<T>,
    /// Called at each arrival while the receiver waits for something else.
    alarm: Option<Box<dyn Fn() + Send>>,
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Self {
        Mailbox { waiting: Mutex::new(Waiting { events: Vec::new(), alarm: None }), arrived: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, event: T) {
        let mut waiting = self.lock();
        waiting.events.push(event);
        if let Some(alarm) = &waiting.alarm {
            alarm();
        }
        if waiting.events.len() == 1 {
            drop(waiting);
            self.arrived.notify_one();
        }
    }

    /// Sets what is called at each arrival, and at once if something is there.
    pub(crate) fn set_alarm(&self, alarm: Option<Box<dyn Fn() + Send>>) {
        let mut waiting = self.lock();
        if let (false, Some(alarm)) = (waiting.events.is_empty(), &alarm) {
            alarm();
        }
        waiting.alarm = alarm;
    }

    /// Moves all that is there to the end of `events`.
    pub(crate) fn take(&self, events: &mut VecDeque<T>) {
        events.extend(self.lock().events.drain(..));
    }

    /// The same, waiting for at least one event or until `wait` has passed; `None` waits as long as it takes.
    pub(crate) fn wait(&self, wait: Option<Duration>, events: &mut VecDeque<T>) {
        let deadline = wait.map(|wait| Instant::now() + wait);
        let mut waiting = self.lock();
        while waiting.events.is_empty() {
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
        events.extend(waiting.events.drain(..));
    }
}
