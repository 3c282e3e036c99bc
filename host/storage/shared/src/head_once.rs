//! Sees a head row once.
//!
//! **Architecture Invariant:** what does not succeed is for whoever wants it to repeat.

use core::time::Duration;

use ambrosia_storage::LogId;

use crate::{
    engine::{EngineHead, Session},
    event::Event,
    fault::LogFault,
    sight::Sight,
    task::Want,
};

/// Sees a head row once.
#[derive(Debug)]
pub(crate) struct HeadOnce {
    pub(crate) log: LogId,
    sight: Sight<Option<EngineHead>>,
    is_over: bool,
}

impl HeadOnce {
    pub(crate) fn new(log: LogId) -> HeadOnce {
        HeadOnce { log, sight: Sight::Wanted(Duration::ZERO), is_over: false }
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

    pub(crate) fn on_look_failed(&mut self, reason: String, events: &mut Vec<Event>) {
        self.end(Err(LogFault::Unavailable(reason)), events);
    }

    pub(crate) fn on_barring(&mut self) {
        self.sight.on_barring();
    }

    pub(crate) fn on_barred(&mut self, result: Result<(), String>, events: &mut Vec<Event>) {
        let seen = self.sight.on_barred(result).map_err(LogFault::Unavailable);
        self.end(seen.and_then(|head| head.ok_or(LogFault::Gone { log: self.log })), events);
    }

    fn end(&mut self, result: Result<EngineHead, LogFault>, events: &mut Vec<Event>) {
        self.is_over = true;
        events.push(Event::Head(result));
    }
}
