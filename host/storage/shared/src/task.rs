//! One thing that a host wants of a log: to become its writer and to write, to read on, or to know where it ends.
//!
//! **Architecture Invariant:** a task says what it wants to be asked, and the committer asks it together with what others want.

use core::time::Duration;

use ambrosia_storage::LogId;

use crate::{
    engine::{EngineHead, LogRead, ReadFrom, Session},
    event::Event,
    head_once::HeadOnce,
    read_once::ReadOnce,
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

    /// What it wants is read.
    pub(crate) fn on_reading(&mut self) -> ReadFrom {
        match self {
            Task::Takeover(takeover) => takeover.on_reading(),
            Task::Read(read) => read.on_reading(),
            Task::Writer(_) | Task::Head(_) | Task::Follow(_) => unreachable!("they look at heads"),
        }
    }

    /// It was read, or there is a reason why not.
    pub(crate) fn on_read(&mut self, read: Result<(Session, LogRead), String>, now: Duration, events: &mut Vec<Event>) {
        match self {
            Task::Takeover(takeover) => takeover.on_read(read, now, events),
            Task::Read(once) => once.on_read(read, events),
            Task::Writer(_) | Task::Head(_) | Task::Follow(_) => unreachable!("they look at heads"),
        }
    }

    /// Others were read, and it was not: it is to be read next.
    pub(crate) fn on_not_read(&mut self) {
        match self {
            Task::Takeover(takeover) => takeover.on_not_read(),
            Task::Read(read) => read.on_not_read(),
            Task::Writer(_) | Task::Head(_) | Task::Follow(_) => unreachable!("they look at heads"),
        }
    }

    pub(crate) fn on_barring(&mut self) {
        match self {
            Task::Takeover(takeover) => takeover.on_barring(),
            Task::Writer(writer) => writer.on_barring(),
            Task::Read(read) => read.on_barring(),
            Task::Head(head) => head.on_barring(),
            Task::Follow(_) => unreachable!("what is followed is a hint"),
        }
    }

    pub(crate) fn on_barred(&mut self, result: Result<(), String>, now: Duration, events: &mut Vec<Event>) {
        match self {
            Task::Takeover(takeover) => takeover.on_barred(result, now, events),
            Task::Writer(writer) => writer.on_barred(result, now, events),
            Task::Read(read) => read.on_barred(result, events),
            Task::Head(head) => head.on_barred(result, now, events),
            Task::Follow(_) => unreachable!("what is followed is a hint"),
        }
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
