//! What takes a disk, or others, their time: done elsewhere, while the driver thread drives other members.
//!
//! **Architecture Invariant:** an errand is answered before anything else that has come in: to its member it is done at once.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
};

use ambrosia_storage::LogTail;
use tracing::Instrument;

use super::MemberDriver;
use crate::{event::Event, run::RunError, vitals::Phase};

/// What a driver does when an errand was done.
type Back = Box<dyn FnOnce(&mut MemberDriver) -> Result<(), RunError> + Send>;

/// An errand that is under way, or done.
#[derive(Clone, Default)]
pub(super) struct Errand(Arc<Mutex<Option<Back>>>);

impl Errand {
    fn take(&self) -> Option<Back> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl MemberDriver {
    /// Has a thread do `work`, which may block, and then `back`. Until then nothing is to be done with this driver.
    pub(super) fn send_out<T: Send + 'static>(
        &mut self,
        phase: Phase,
        work: impl FnOnce() -> T + Send + 'static,
        back: impl FnOnce(&mut MemberDriver, T) -> Result<(), RunError> + Send + 'static,
    ) {
        let (finish, span) = (self.begin_errand(phase), self.driver.span.clone());
        self.driver.runtime.spawn_blocking(move || {
            let _in_span = span.enter();
            finish(match catch_unwind(AssertUnwindSafe(work)) {
                Ok(done) => Box::new(|driver| back(driver, done)),
                Err(_) => Box::new(|_| Err(RunError::Defect)),
            });
        });
    }

    /// The same for something that waits for others and takes no thread.
    pub(super) fn wait_for(
        &mut self,
        others: impl Future<Output = ()> + Send + 'static,
        back: impl FnOnce(&mut MemberDriver) -> Result<(), RunError> + Send + 'static,
    ) {
        let (finish, span) = (self.begin_errand(Phase::Waiting), self.driver.span.clone());
        let wait = async move {
            others.await;
            finish(Box::new(back));
        };
        self.driver.runtime.spawn(wait.instrument(span));
    }

    /// The same for records of the log.
    pub(super) fn begin_to_read(&mut self, tail: Box<dyn LogTail>) {
        let (finish, span) = (self.begin_errand(Phase::Waiting), self.driver.span.clone());
        tail.begin_read(Box::new(move |tail, records| {
            let _in_span = span.enter();
            finish(Box::new(|driver| driver.on_tail(tail, records)));
        }));
    }

    fn begin_errand(&mut self, phase: Phase) -> impl FnOnce(Back) + Send + use<> {
        assert!(self.errand.is_none(), "one errand is done at a time");
        self.enter(phase);
        let (errand, mailbox) = (Errand::default(), Arc::clone(&self.driver.mailbox));
        self.errand = Some(errand.clone());
        move |back| {
            *errand.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(back);
            mailbox.push(Event::ErrandDone);
        }
    }

    /// Takes what has come of an errand; false if it is still under way.
    pub(super) fn come_back(&mut self) -> Result<bool, RunError> {
        let Some(errand) = &self.errand else { return Ok(true) };
        let Some(back) = errand.take() else { return Ok(false) };
        self.errand = None;
        self.enter(Phase::Working);
        back(self)?;
        Ok(true)
    }
}
