//! Sees a head row once.
//!
//! **Architecture Invariant:** each try is a look that begins after the task was begun.

use core::time::Duration;

use ambrosia_storage::LogId;

use crate::{
    engine::{EngineHead, Session},
    event::Event,
    fault::LogFault,
    limits::retry_after,
    sight::Sight,
    task::Want,
};

/// Sees a head row once.
#[derive(Debug)]
pub(crate) struct HeadOnce {
    pub(crate) log: LogId,
    sight: Sight<Option<EngineHead>>,
    /// How often it has failed, if it is tried until it is seen.
    tries: Option<u32>,
    is_over: bool,
}

impl HeadOnce {
    pub(crate) fn new(log: LogId) -> HeadOnce {
        HeadOnce { log, sight: Sight::Wanted(Duration::ZERO), tries: None, is_over: false }
    }

    /// One that is tried until it is seen.
    pub(crate) fn insisting(log: LogId) -> HeadOnce {
        HeadOnce { tries: Some(0), ..HeadOnce::new(log) }
    }

    pub(crate) fn want(&self) -> Want {
        if self.is_over { Want::Ended } else { self.sight.want(Want::Look) }
    }

    pub(crate) fn on_looking(&mut self) {
        self.sight.on_asking();
    }

    pub(crate) fn on_head(&mut self, session: Session, head: Option<EngineHead>) {
        self.sight.see(session, head);
    }

    pub(crate) fn on_look_failed(&mut self, reason: String, now: Duration, events: &mut Vec<Event>) {
        match &mut self.tries {
            Some(tries) => {
                *tries += 1;
                self.sight = Sight::Wanted(now + retry_after(*tries));
            }
            None => self.end(Err(LogFault::Unavailable(reason)), events),
        }
    }

    pub(crate) fn on_barring(&mut self) {
        self.sight.on_barring();
    }

    pub(crate) fn on_barred(&mut self, result: Result<(), String>, now: Duration, events: &mut Vec<Event>) {
        match self.sight.on_barred(result) {
            Ok(head) => self.end(head.ok_or(LogFault::Gone { log: self.log }), events),
            Err(reason) => self.on_look_failed(reason, now, events),
        }
    }

    fn end(&mut self, result: Result<EngineHead, LogFault>, events: &mut Vec<Event>) {
        self.is_over = true;
        events.push(Event::Head(result));
    }
}
