//! Waits for a vacancy in a thread of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use ambrosia_storage::LogStore;

use crate::{event::Event, mailbox::Mailbox, run::RunError};

/// Waits for a vacancy in a thread of its own, until dropped.
pub(crate) struct VacancyWatch {
    log: Arc<dyn LogStore>,
    end: Arc<AtomicBool>,
    go_on: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl VacancyWatch {
    pub(crate) fn start(log: &Arc<dyn LogStore>, mailbox: &Arc<Mailbox<Event>>) -> Result<Self, RunError> {
        let (go_on, gone_on) = sync_channel(1);
        let end = Arc::new(AtomicBool::new(false));
        let (log_there, mailbox, end_there) = (Arc::clone(log), Arc::clone(mailbox), Arc::clone(&end));
        let watch = move || {
            while !end_there.load(Ordering::Acquire) {
                match log_there.wait_for_vacancy(Duration::from_secs(1)) {
                    Ok(Some(vacancy)) => {
                        mailbox.push(Event::Vacancy(vacancy));
                        if gone_on.recv().is_err() {
                            return;
                        }
                    }
                    Ok(None) => {}
                    Err(error) => return mailbox.push(Event::WatchFailed(error)),
                }
            }
        };
        let thread = std::thread::Builder::new().name("vacancy".to_owned()).spawn(watch).map_err(RunError::Thread)?;
        Ok(VacancyWatch { log: Arc::clone(log), end, go_on: Some(go_on), thread: Some(thread) })
    }

    /// The vacancy was somebody else's: wait for the next one.
    pub(crate) fn go_on(&self) {
        let sender = self.go_on.as_ref().expect("taken when it is dropped only");
        // It fails only if the thread has ended, which it has then reported, or has been told so already.
        let _told_already = sender.try_send(());
    }
}

impl Drop for VacancyWatch {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
        drop(self.go_on.take());
        self.log.interrupt();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that waits for a vacancy failed");
        }
    }
}
