//! What a standby wants to be told of its log: that there may be more to read, and that nobody seems to be primary.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use ambrosia_storage::{LogStore, Subscription, Vacancy};

use crate::{driver::Driver, event::Event, mailbox::Mailbox, process_watch::ProcessWatch, run::RunError};

/// Has the mailbox told, until dropped.
pub(crate) struct LogWatch {
    log: Arc<dyn LogStore>,
    mailbox: Arc<Mailbox<Event>>,
    /// The mailbox was told that there may be more, and nothing was read since.
    is_told: Arc<AtomicBool>,
    _more: Subscription,
    vacancy: Subscription,
    /// Where the store does not see processes.
    _process: Option<ProcessWatch>,
}

impl LogWatch {
    pub(crate) fn start(driver: &Driver) -> Result<Self, RunError> {
        let (log, mailbox) = (&driver.log, &driver.mailbox);
        let is_told = Arc::new(AtomicBool::new(false));
        let (told, there) = (Arc::clone(&is_told), Arc::clone(mailbox));
        let tell = move || {
            if !told.swap(true, Ordering::SeqCst) {
                there.push(Event::MoreRecords);
            }
        };
        let more = log.subscribe(Box::new(tell)).map_err(RunError::Thread)?;
        let vacancy = watch_vacancy(&**log, mailbox)?;
        let process = (!driver.store.sees_processes()).then(|| {
            let there = Arc::clone(mailbox);
            let tell = move |epoch| there.push(Event::Vacancy(Vacancy::Released(epoch)));
            let primaries = driver.directory.follow(&driver.name);
            ProcessWatch::start(&driver.runtime, Arc::clone(&driver.trunks), primaries, tell)
        });
        let (log, mailbox) = (Arc::clone(log), Arc::clone(mailbox));
        Ok(LogWatch { log, mailbox, is_told, _more: more, vacancy, _process: process })
    }

    /// The vacancy was somebody else's: tell of the next one.
    pub(crate) fn go_on(&mut self) -> Result<(), RunError> {
        self.vacancy = watch_vacancy(&*self.log, &self.mailbox)?;
        Ok(())
    }

    /// What becomes durable after this is told anew.
    pub(crate) fn begin_to_read(&self) {
        self.is_told.store(false, Ordering::SeqCst);
    }
}

fn watch_vacancy(log: &dyn LogStore, mailbox: &Arc<Mailbox<Event>>) -> Result<Subscription, RunError> {
    let there = Arc::clone(mailbox);
    let tell = move |found| there.push(Result::map_or_else(found, Event::WatchFailed, Event::Vacancy));
    log.watch(Box::new(tell)).map_err(RunError::Thread)
}
