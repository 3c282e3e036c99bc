//! One thing that a host wants of a log: to become its writer and to write, to read on, or to know where it ends.
//!
//! **Architecture Invariant:** a task says what it wants to be asked, and the committer asks it together with what others want.

use core::time::Duration;

use ambrosia_core::{Lsn, Record};
use ambrosia_storage::LogId;

use crate::{
    engine::{EngineHead, Group, Request, Session},
    event::Event,
    fault::LogFault,
    reader::{Found, Reader, Standing, find},
    takeover::Takeover,
    writer::Writer,
};

/// Names a task of a committer. No two have the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TaskId(pub u64);

/// What a task wants next: not before the time, if there is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Want {
    /// What it has asked for is on its way, or it has nothing to do.
    Nothing,
    /// To append its group.
    Append(Duration),
    /// To see its head row.
    Look(Duration),
    /// To be told when all that was read in a session is durable.
    Barrier(Session),
    /// To raise an epoch.
    Raise(Duration),
    /// To read on.
    Read(Duration),
    /// To say that its reign has ended.
    Release(Duration),
    /// To be a writer from now on.
    Reign,
    /// Nothing any more.
    Ended,
}

impl Want {
    /// When that may be.
    pub(crate) fn time(self) -> Option<Duration> {
        match self {
            Want::Append(at) | Want::Look(at) | Want::Raise(at) | Want::Read(at) | Want::Release(at) => Some(at),
            Want::Nothing | Want::Barrier(_) | Want::Reign | Want::Ended => None,
        }
    }
}

#[derive(Debug)]
pub(crate) enum Task {
    Takeover(Box<Takeover>),
    Writer(Box<Writer>),
    Read(ReadOnce),
    Head(HeadOnce),
    Follow(Follow),
}

impl Task {
    pub(crate) fn log(&self) -> LogId {
        match self {
            Task::Takeover(takeover) => takeover.log(),
            Task::Writer(writer) => writer.log,
            Task::Read(read) => read.log,
            Task::Head(head) => head.log,
            Task::Follow(follow) => follow.log,
        }
    }

    pub(crate) fn want(&self) -> Want {
        match self {
            Task::Takeover(takeover) => takeover.want(),
            Task::Writer(writer) => writer.want(),
            Task::Read(read) => read.want(),
            Task::Head(head) => head.want(),
            Task::Follow(_) => Want::Nothing,
        }
    }

    pub(crate) fn on_barring(&mut self) {
        match self {
            Task::Takeover(takeover) => takeover.on_barring(),
            Task::Writer(writer) => writer.on_barring(),
            Task::Read(read) => read.is_asked = true,
            Task::Head(head) => head.is_asked = true,
            Task::Follow(_) => unreachable!("what is followed is a hint"),
        }
    }

    pub(crate) fn on_barred(&mut self, result: Result<(), String>, now: Duration, events: &mut Vec<Event>) {
        match self {
            Task::Takeover(takeover) => takeover.on_barred(result, now, events),
            Task::Writer(writer) => writer.on_barred(result, now, events),
            Task::Read(read) => read.on_barred(result, events),
            Task::Head(head) => head.on_barred(result, events),
            Task::Follow(_) => unreachable!("what is followed is a hint"),
        }
    }
}

/// Reads once: what does not succeed is for whoever wants it to repeat.
#[derive(Debug)]
pub(crate) struct ReadOnce {
    log: LogId,
    aim: Aim,
    seen: Option<(Session, Result<Read, LogFault>)>,
    /// What it wants next was asked.
    is_asked: bool,
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
        ReadOnce { log, aim, seen: None, is_asked: false, is_over: false }
    }

    fn want(&self) -> Want {
        match &self.seen {
            _ if self.is_over => Want::Ended,
            _ if self.is_asked => Want::Nothing,
            None => Want::Read(Duration::ZERO),
            Some((session, _)) => Want::Barrier(*session),
        }
    }

    pub(crate) fn request(&self) -> Request {
        match &self.aim {
            Aim::On(reader) => reader.request(),
            Aim::Find(from) => Request::Read { log: self.log, from: Lsn(from.0.saturating_sub(1).max(1)), bytes: 1 },
        }
    }

    pub(crate) fn on_reading(&mut self) {
        self.is_asked = true;
    }

    pub(crate) fn on_read(
        &mut self,
        read: Result<(Session, Option<EngineHead>, Vec<Group>), String>,
        events: &mut Vec<Event>,
    ) {
        self.is_asked = false;
        let (session, head, groups) = match read {
            Ok(read) => read,
            Err(reason) => return self.end(Err(LogFault::Unavailable(reason)), events),
        };
        match &self.aim {
            Aim::On(reader) => match reader.judge(session, head, &groups) {
                Found::Nothing => self.end(Ok(Read::Records(Vec::new())), events),
                Found::Seen(session, result) => self.seen = Some((session, result.map(Read::Records))),
            },
            Aim::Find(from) => {
                let found = find(self.log, *from, head, &groups);
                self.seen = Some((session, found.map(Read::Standing)));
            }
        }
    }

    fn on_barred(&mut self, result: Result<(), String>, events: &mut Vec<Event>) {
        let (_, seen) = self.seen.take().expect("a barrier is for what was seen");
        self.end(result.map_err(LogFault::Unavailable).and(seen), events);
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

/// Sees a head row once.
#[derive(Debug)]
pub(crate) struct HeadOnce {
    log: LogId,
    seen: Option<(Session, Option<EngineHead>)>,
    is_asked: bool,
    is_over: bool,
}

impl HeadOnce {
    pub(crate) fn new(log: LogId) -> HeadOnce {
        HeadOnce { log, seen: None, is_asked: false, is_over: false }
    }

    pub(crate) fn log(&self) -> LogId {
        self.log
    }

    fn want(&self) -> Want {
        match &self.seen {
            _ if self.is_over => Want::Ended,
            _ if self.is_asked => Want::Nothing,
            None => Want::Look(Duration::ZERO),
            Some((session, _)) => Want::Barrier(*session),
        }
    }

    pub(crate) fn on_looking(&mut self) {
        self.is_asked = true;
    }

    pub(crate) fn on_head(&mut self, session: Session, head: Option<EngineHead>) {
        self.is_asked = false;
        self.seen = Some((session, head));
    }

    pub(crate) fn on_look_failed(&mut self, reason: String, events: &mut Vec<Event>) {
        self.end(Err(LogFault::Unavailable(reason)), events);
    }

    fn on_barred(&mut self, result: Result<(), String>, events: &mut Vec<Event>) {
        let (_, head) = self.seen.take().expect("a barrier is for what was seen");
        let head = head.ok_or(LogFault::Gone { log: self.log });
        self.end(result.map_err(LogFault::Unavailable).and(head), events);
    }

    fn end(&mut self, result: Result<EngineHead, LogFault>, events: &mut Vec<Event>) {
        self.is_over = true;
        events.push(Event::Head(result));
    }
}

/// Follows the head row of a log, or watches it for a vacancy.
#[derive(Debug)]
pub(crate) struct Follow {
    pub(crate) log: LogId,
    /// What was seen last.
    pub(crate) head: Option<EngineHead>,
    /// It is over once nobody seems to be primary.
    pub(crate) is_watch: bool,
    /// There seemed to be no such log.
    pub(crate) is_gone: bool,
}
