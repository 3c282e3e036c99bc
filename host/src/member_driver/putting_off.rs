//! What can't be done while the store, which is elsewhere, can't be reached: it is done again until it is, and all else that is to be done waits.
//!
//! **Architecture Invariant:** nothing that has been done is done again, and events are heard meanwhile: an operator may have it end.

use std::{fmt::Display, sync::Arc, time::Duration};

use ambrosia_core::member::Command;

use super::MemberDriver;
use crate::{event::Event, run::RunError};

/// It is tried again after so long; whoever asks a store waits for a while, too.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What is to be done again.
pub(super) enum PutOff {
    Command(Command),
    /// To follow the module that runs.
    Module,
    /// To find out which methods are due.
    Calendar,
}

/// Whether a command that has failed has done nothing.
fn may_be_repeated(command: &Command) -> bool {
    matches!(
        command,
        Command::ListCheckpoints
            | Command::Load(_)
            | Command::MakeGuest(_)
            | Command::LookAtOutcome
            | Command::LookForMend { .. }
            | Command::WriteDown(_)
    )
}

impl MemberDriver {
    /// Carries a command out, or puts it off.
    pub(super) fn carry_or_put_off(&mut self, command: Command) -> Result<(), RunError> {
        let again = may_be_repeated(&command).then(|| command.clone());
        let carried = self.carry(command);
        match again {
            Some(command) => self.or_put_off(carried, PutOff::Command(command)),
            None => carried,
        }
    }

    /// Puts something off of which that has come, if the store can't be reached.
    fn or_put_off(&mut self, done: Result<(), RunError>, what: PutOff) -> Result<(), RunError> {
        match done {
            Err(error) if self.driver.is_away(&error) => {
                self.put_off(what, &error);
                Ok(())
            }
            done => done,
        }
    }

    /// Has something done again, unless this replica is to end: then nobody waits for it.
    pub(super) fn put_off(&mut self, what: PutOff, why: &dyn Display) {
        if !std::mem::replace(&mut self.is_away, true) {
            tracing::warn!("this replica stands while the store can't be reached, and goes on once it can: {why}");
        }
        if self.is_to_end {
            return;
        }
        self.put_off = Some(what);
        let mailbox = Arc::clone(&self.driver.mailbox);
        self.driver.runtime.spawn(async move {
            tokio::time::sleep(AGAIN_AFTER).await;
            mailbox.push(Event::Again);
        });
    }

    /// Does what was put off.
    pub(super) fn do_again(&mut self) -> Result<(), RunError> {
        match self.put_off.take() {
            Some(PutOff::Command(command)) => self.carry_or_put_off(command)?,
            Some(PutOff::Calendar) if self.member.reign().is_some() => self.begin_calendar_or_put_off()?,
            // The module is followed before the next command is carried out.
            Some(PutOff::Module | PutOff::Calendar) | None => {}
        }
        self.is_away = self.put_off.is_some();
        Ok(())
    }

    /// This replica is to end, whatever the store is like.
    pub(super) fn put_nothing_off(&mut self) {
        self.is_to_end = true;
        self.put_off = None;
    }

    /// The schedules of a reign that has just begun, for which its log may have to be looked at.
    pub(super) fn begin_calendar_or_put_off(&mut self) -> Result<(), RunError> {
        let begun = self.begin_calendar();
        self.or_put_off(begun, PutOff::Calendar)
    }

    /// What comes in is for the methods of the module that the replica runs, since it was made or since an upgrade.
    pub(super) fn follow_module_or_put_off(&mut self) -> Result<(), RunError> {
        if self.put_off.is_some() {
            return Ok(());
        }
        let followed = self.follow_module();
        if followed.is_err() {
            self.module = None;
        }
        self.or_put_off(followed, PutOff::Module)
    }
}
