//! Members as tasks: a few threads drive all of them, each when something has happened to it.
//!
//! **Architecture Invariant:** a driver owns its member and its guest; whichever thread drives it, nobody else does.

use std::sync::{Arc, mpsc::Sender};

use ambrosia_storage::{Task, Turn};

use crate::{
    driver::Driver,
    host::{Ended, Happening},
    member_driver::{Drive, MemberDriver},
    run::{Ending, RunError},
};

/// A member that lives.
pub(crate) struct Living {
    driver: Arc<Driver>,
    member: MemberDriver,
    has_begun: bool,
    ending: Result<Ending, RunError>,
    ended: Sender<Happening>,
}

impl Living {
    /// How it ends is sent to `ended`.
    pub(crate) fn new(driver: Driver, ended: Sender<Happening>) -> Living {
        let driver = Arc::new(driver);
        let member = MemberDriver::new(Arc::clone(&driver));
        Living { driver, member, has_begun: false, ending: Err(RunError::Defect), ended }
    }
}

impl Task for Living {
    fn go_on(&mut self) -> Turn {
        let _in_span = self.driver.span.enter();
        if !std::mem::replace(&mut self.has_begun, true) {
            self.member.begin();
        }
        match self.member.go_on() {
            Drive::Again => Turn::Again,
            Drive::Wait(time) => Turn::Wait(time),
            Drive::Ended(ending) => {
                self.ending = ending;
                Turn::Ended
            }
        }
    }

    fn rest(&mut self) {
        self.member.rest();
    }

    fn end(self: Box<Self>) {
        let Living { driver, member, has_begun: _, ending, ended } = *self;
        let span = driver.span.clone();
        let in_span = span.enter();
        drop(member);
        driver.printer.end();
        let (instance, replica, mailbox) = (driver.name.clone(), driver.replica, Arc::clone(&driver.mailbox));
        // Nobody waits for an answer of a member that has ended.
        mailbox.close();
        drop((driver, in_span));
        // Nobody listens if another member could not be started: the process ends then.
        let _nobody = ended.send(Happening::Ended(Ended { instance, replica, ending, mailbox }));
    }

    fn fail(mut self: Box<Self>) {
        self.ending = Err(RunError::Defect);
        self.end();
    }
}
