//! The mailboxes of all members of this process, for what concerns each of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{event::Event, mailbox::Mailbox};

/// All who live in this process. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Everyone(Arc<Mutex<Members>>);

#[derive(Default)]
struct Members {
    mailboxes: Vec<Arc<Mailbox<Event>>>,
    /// Called when all are to end.
    on_end: Vec<Box<dyn Fn() + Send>>,
    is_shutting_down: bool,
}

impl Everyone {
    fn lock(&self) -> MutexGuard<'_, Members> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells a member too from now on, and at once if all are to end.
    pub(crate) fn add(&self, mailbox: Arc<Mailbox<Event>>) {
        let mut members = self.lock();
        if members.is_shutting_down {
            mailbox.push(Event::Shutdown);
        }
        members.mailboxes.push(mailbox);
    }

    /// A member has ended.
    pub(crate) fn remove(&self, mailbox: &Arc<Mailbox<Event>>) {
        self.lock().mailboxes.retain(|other| !Arc::ptr_eq(other, mailbox));
    }

    /// The output has room again.
    pub(crate) fn tell_of_room(&self) {
        self.lock().mailboxes.iter().for_each(|mailbox| mailbox.push(Event::RoomToPrint));
    }

    /// Calls when all are to end, and at once if they are already. It must not block.
    pub(crate) fn on_end(&self, call: impl Fn() + Send + 'static) {
        let mut members = self.lock();
        if members.is_shutting_down {
            call();
        }
        members.on_end.push(Box::new(call));
    }

    /// All members end as if the process was killed.
    pub(crate) fn abandon(&self) {
        let mut members = self.lock();
        members.is_shutting_down = true;
        members.mailboxes.iter().for_each(|mailbox| mailbox.push(Event::Abandoned));
        members.on_end.iter().for_each(|call| call());
    }

    /// The operator wants the process to end.
    pub(crate) fn shut_down(&self) {
        let mut members = self.lock();
        members.is_shutting_down = true;
        members.mailboxes.iter().for_each(|mailbox| mailbox.push(Event::Shutdown));
        members.on_end.iter().for_each(|call| call());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    #[test]
    fn whoever_comes_after_the_wish_to_end_hears_of_it_too() {
        let everyone = Everyone::default();
        let (early, late, gone) = (Arc::new(Mailbox::new()), Arc::new(Mailbox::new()), Arc::new(Mailbox::new()));
        everyone.add(Arc::clone(&early));
        everyone.add(Arc::clone(&gone));
        everyone.remove(&gone);
        everyone.shut_down();
        everyone.add(Arc::clone(&late));
        let count = |mailbox: &Mailbox<Event>| {
            let mut events = VecDeque::new();
            mailbox.take(&mut events);
            events.iter().filter(|event| matches!(event, Event::Shutdown)).count()
        };
        assert_eq!([count(&early), count(&late), count(&gone)], [1, 1, 0]);
    }
}
