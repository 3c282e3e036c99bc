//! Reads records, or where a reader stands, once.
//!
//! **Architecture Invariant:** what does not succeed is for whoever wants it to repeat.

use core::time::Duration;

use ambrosia_core::{Lsn, Record};
use ambrosia_storage::LogId;

use crate::{
    engine::{LogRead, ReadFrom, Session},
    event::Event,
    fault::LogFault,
    reader::{Found, Reader, Standing, find},
    sight::Sight,
    task::Want,
};

/// Reads once: what does not succeed is for whoever wants it to repeat.
#[derive(Debug)]
pub(crate) struct ReadOnce {
    pub(crate) log: LogId,
    aim: Aim,
    sight: Sight<Result<Read, LogFault>>,
    is_over: bool,
}

/// What is read.
#[derive(Clone, Debug)]
enum Aim {
    /// Records behind others.
    On(Reader),
    /// Where a reader stands who begins with that record.
    Find(Lsn),
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Read {
    Records(Vec<Record>),
    Standing(Standing),
}

impl ReadOnce {
    /// Reads on.
    pub(crate) fn new(reader: Reader) -> ReadOnce {
        ReadOnce::with(reader.log, Aim::On(reader))
    }

    /// Finds what a record follows.
    pub(crate) fn find(log: LogId, from: Lsn) -> ReadOnce {
        ReadOnce::with(log, Aim::Find(from))
    }

    fn with(log: LogId, aim: Aim) -> ReadOnce {
        ReadOnce { log, aim, sight: Sight::Wanted(Duration::ZERO), is_over: false }
    }

    pub(crate) fn want(&self) -> Want {
        if self.is_over { Want::Ended } else { self.sight.want(Want::Read) }
    }

    pub(crate) fn on_reading(&mut self) -> ReadFrom {
        self.sight.on_asking();
        match &self.aim {
            Aim::On(reader) => reader.wanted(),
            // One group has the record before it, or shows that there is none.
            Aim::Find(from) => ReadFrom { log: self.log, from: Lsn(from.0.saturating_sub(1).max(1)), bytes: 1 },
        }
    }

    pub(crate) fn on_not_read(&mut self) {
        self.sight.on_left_out();
    }

    pub(crate) fn on_read(&mut self, read: Result<(Session, LogRead), String>, events: &mut Vec<Event>) {
        let (session, read) = match read {
            Ok(read) => read,
            Err(reason) => return self.end(Err(LogFault::Unavailable(reason)), events),
        };
        match &self.aim {
            Aim::On(reader) => match reader.judge(session, &read) {
                Found::Nothing => self.end(Ok(Read::Records(Vec::new())), events),
                Found::Seen(session, result) => self.sight.see(session, result.map(Read::Records)),
            },
            Aim::Find(from) => {
                let found = find(self.log, *from, &read);
                self.sight.see(session, found.map(Read::Standing));
            }
        }
    }

    pub(crate) fn on_barring(&mut self) {
        self.sight.on_barring();
    }

    pub(crate) fn on_barred(&mut self, result: Result<(), String>, events: &mut Vec<Event>) {
        let seen = self.sight.on_barred(result).map_err(LogFault::Unavailable);
        self.end(seen.flatten(), events);
    }

    fn end(&mut self, result: Result<Read, LogFault>, events: &mut Vec<Event>) {
        self.is_over = true;
        events.push(match (&self.aim, result) {
            (_, Ok(Read::Records(records))) => Event::Read(Ok(records)),
            (_, Ok(Read::Standing(standing))) => Event::Found(Ok(standing)),
            (Aim::On(_), Err(fault)) => Event::Read(Err(fault)),
            (Aim::Find(_), Err(fault)) => Event::Found(Err(fault)),
        });
    }
}
