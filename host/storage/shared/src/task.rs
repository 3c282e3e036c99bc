//! One thing that a host wants of a log: to become its writer and to write, to read on, or to know whether a reign is the newest.
//!
//! **Architecture Invariant:** a task says what it wants to be asked, and the committer asks it together with what others want.

use core::time::Duration;

use ambrosia_core::Epoch;
use ambrosia_storage::LogId;

use crate::{
    engine::{EngineHead, Group, Session},
    event::{Event, FenceFault},
    fault::LogFault,
    reader::{Found, Reader},
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
    Fence(FenceLook),
}

impl Task {
    pub(crate) fn log(&self) -> LogId {
        match self {
            Task::Takeover(takeover) => takeover.log(),
            Task::Writer(writer) => writer.log,
            Task::Read(read) => read.reader.log,
            Task::Fence(look) => look.log,
        }
    }

    pub(crate) fn want(&self) -> Want {
        match self {
            Task::Takeover(takeover) => takeover.want(),
            Task::Writer(writer) => writer.want(),
            Task::Read(read) => read.want(),
            Task::Fence(look) => look.want(),
        }
    }

    pub(crate) fn on_barring(&mut self) {
        match self {
            Task::Takeover(takeover) => takeover.on_barring(),
            Task::Writer(writer) => writer.on_barring(),
            Task::Read(read) => read.is_asked = true,
            Task::Fence(look) => look.is_asked = true,
        }
    }

    pub(crate) fn on_barred(&mut self, result: Result<(), String>, now: Duration, events: &mut Vec<Event>) {
        match self {
            Task::Takeover(takeover) => takeover.on_barred(result, now, events),
            Task::Writer(writer) => writer.on_barred(result, now, events),
            Task::Read(read) => read.on_barred(result, events),
            Task::Fence(look) => look.on_barred(result, events),
        }
    }
}

/// Reads once: what does not succeed is for whoever wants it to repeat.
#[derive(Debug)]
pub(crate) struct ReadOnce {
    reader: Reader,
    seen: Option<Found>,
    /// What it wants next was asked.
    is_asked: bool,
    is_over: bool,
}

impl ReadOnce {
    pub(crate) fn new(reader: Reader) -> ReadOnce {
        ReadOnce { reader, seen: None, is_asked: false, is_over: false }
    }

    fn want(&self) -> Want {
        match &self.seen {
            _ if self.is_over => Want::Ended,
            _ if self.is_asked => Want::Nothing,
            None => Want::Read(Duration::ZERO),
            Some(Found::Seen(session, _)) => Want::Barrier(*session),
            Some(Found::Nothing) => unreachable!("then it is over"),
        }
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
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
        match read.map(|(session, head, groups)| self.reader.judge(session, head, &groups)) {
            Ok(Found::Nothing) => self.end(Ok(Vec::new()), events),
            Ok(seen) => self.seen = Some(seen),
            Err(reason) => self.end(Err(LogFault::Unavailable(reason)), events),
        }
    }

    fn on_barred(&mut self, result: Result<(), String>, events: &mut Vec<Event>) {
        let Some(Found::Seen(_, seen)) = self.seen.take() else { panic!("a barrier is for what was seen") };
        self.end(result.map_err(LogFault::Unavailable).and(seen), events);
    }

    fn end(&mut self, result: Result<Vec<ambrosia_core::Record>, LogFault>, events: &mut Vec<Event>) {
        self.is_over = true;
        events.push(Event::Read(result));
    }
}

/// Looks once whether a reign is the newest.
#[derive(Debug)]
pub(crate) struct FenceLook {
    log: LogId,
    epoch: Epoch,
    seen: Option<(Session, Result<(), FenceFault>)>,
    is_asked: bool,
    is_over: bool,
}

impl FenceLook {
    pub(crate) fn log(&self) -> LogId {
        self.log
    }

    pub(crate) fn new(log: LogId, epoch: Epoch) -> FenceLook {
        FenceLook { log, epoch, seen: None, is_asked: false, is_over: false }
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
        let result = match head {
            None => Err(FenceFault::Log(LogFault::Gone { log: self.log })),
            Some(head) if head.epoch == self.epoch => Ok(()),
            Some(head) => Err(FenceFault::Fenced { by: head.epoch }),
        };
        self.seen = Some((session, result));
    }

    pub(crate) fn on_look_failed(&mut self, reason: String, events: &mut Vec<Event>) {
        self.end(Err(FenceFault::Log(LogFault::Unavailable(reason))), events);
    }

    fn on_barred(&mut self, result: Result<(), String>, events: &mut Vec<Event>) {
        let (_, seen) = self.seen.take().expect("a barrier is for what was seen");
        self.end(result.map_err(|reason| FenceFault::Log(LogFault::Unavailable(reason))).and(seen), events);
    }

    fn end(&mut self, result: Result<(), FenceFault>, events: &mut Vec<Event>) {
        self.is_over = true;
        events.push(Event::Fence(result));
    }
}
