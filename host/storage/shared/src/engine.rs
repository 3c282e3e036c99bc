//! What is asked of an engine: a database, or something like it, that several machines share.
//!
//! An engine keeps of each log a *head row* and its records in groups. The head row is the fence: whoever raises its epoch has
//! deposed all that wrote before, and a group is appended by one conditional statement that also moves the head. A place that is
//! free is no fence, since trimming frees places.
//!
//! What an engine must promise:
//!
//! * A request is one statement: it happens as a whole, at one moment, or not at all. It may happen after its answer was given
//!   up, and more than once if the way there repeats it.
//! * [`Answered::Appended`] and [`Answered::Raised`] with `Ok` are given once the change would survive the loss of any one node,
//!   and so would all changes that it was built on.
//! * What is *read* need not be durable: a node shows what it has committed by itself, and may lose it with its office. It may
//!   also be a node that has lost its office and does not know. So whatever is read is believed only when
//!   [`Request::Barrier`] has returned, in the same [`Session`].
//! * Requests of several logs in one statement lock them in one order, or two hosts could wait for each other.
//!
//! **Architecture Invariant:** nothing here knows what engine it is, and how it is reached.

use ambrosia_core::{Epoch, Lsn, Record, RecordHeader, ReplicaIndex};
use ambrosia_storage::LogId;
use bytes::Bytes;

use crate::keys::{KeysAnswer, KeysRequest};

/// A place in a log: a record, and the link by which the next one names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Position {
    /// The record; 0 before genesis.
    pub lsn: Lsn,
    /// What the next record carries as `previous`. Equal links mean that all up to here is equal.
    pub link: u64,
}

impl Position {
    /// Of a record.
    pub fn of(header: &RecordHeader) -> Position {
        Position { lsn: header.lsn, link: header.link() }
    }
}

/// Names one life of a host, among all there ever were. To be random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct HostId(pub [u8; 16]);

/// Names one try to become the writer of a log, among all there ever were.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Claim {
    /// Whose it is.
    pub host: HostId,
    /// Another number for each try of the host.
    pub attempt: u64,
}

/// A conversation with one node in one term of its office. Another number for each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Session(pub u64);

/// Which way a request takes. None waits for one of another lane.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lane {
    /// Groups are appended. The next request of the lane comes when this one is answered, so one connection is enough for it.
    Groups(u8),
    /// All else. Several requests may be on their way.
    Other,
}

/// Records of one log that are appended together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// The log.
    pub log: LogId,
    /// The reign that appends it.
    pub epoch: Epoch,
    /// What it follows.
    pub after: Position,
    /// Its last record.
    pub last: Position,
    /// Its records, as they are stored, one behind the other.
    pub bytes: Bytes,
}

impl Group {
    /// The first group of a log.
    pub fn genesis(log: LogId, genesis: &Record) -> Group {
        let header = genesis.header();
        let after = Position { lsn: Lsn(header.lsn.0 - 1), link: header.previous };
        Group { log, epoch: header.epoch, after, last: Position::of(header), bytes: genesis.stored().clone() }
    }

    /// Its first record.
    pub fn first(&self) -> Lsn {
        self.after.lsn.next()
    }
}

/// The head row of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EngineHead {
    /// The log.
    pub log: LogId,
    /// The newest reign.
    pub epoch: Epoch,
    /// Whose it is.
    pub claim: Claim,
    /// Which replica its writer is.
    pub replica: ReplicaIndex,
    /// Whether its writer has not said that it ended.
    pub is_reigned: bool,
    /// Whether its writer has said that it answers.
    pub is_announced: bool,
    /// The newest checkpoint that was told of; 0 before the first.
    pub checkpoint: Lsn,
    /// The first record that the log still has.
    pub first: Lsn,
    /// Its last record.
    pub last: Position,
    /// Bytes of the records that the log has.
    pub bytes: u64,
}

/// What somebody knows of a head row: it is told only of others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The log.
    pub log: LogId,
    /// What is no news; `None` if everything is.
    pub known: Option<Known>,
}

/// The part of a head row that changes. What had vanished may come again with the same numbers, and be another reign's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// The newest reign.
    pub epoch: Epoch,
    /// Whose it is.
    pub claim: Claim,
    /// Whether its writer has not said that it ended.
    pub is_reigned: bool,
    /// Whether its writer has said that it answers.
    pub is_announced: bool,
    /// The newest checkpoint that was told of.
    pub checkpoint: Lsn,
    /// The last record.
    pub last: Position,
}

impl EngineHead {
    /// What whoever has seen it knows.
    pub fn known(&self) -> Known {
        let EngineHead { epoch, claim, is_reigned, is_announced, checkpoint, last, .. } = *self;
        Known { epoch, claim, is_reigned, is_announced, checkpoint, last }
    }
}

/// Somebody wants to read a log from a record on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadFrom {
    /// The log.
    pub log: LogId,
    /// The first record wanted: of the group that holds it, all is returned.
    pub from: Lsn,
    /// Behind so many bytes of groups of this log no further one of it begins; at least 1, which brings one group.
    pub bytes: usize,
}

/// What a log has from a record on, as it was at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogRead {
    /// The head row; `None` if there is no such log.
    pub head: Option<EngineHead>,
    /// Groups in order; not all of them, if they are many or large.
    pub groups: Vec<Group>,
}

/// Somebody wants to depose a reign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Raise {
    /// The log.
    pub log: LogId,
    /// The reign to be deposed. The new one is the next.
    pub over: Epoch,
    /// Who wants it.
    pub claim: Claim,
    /// Which replica that is.
    pub replica: ReplicaIndex,
}

/// What those who follow a log are to be told by its head row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// The writer of a reign answers, if it is still the newest.
    Announced {
        /// The log.
        log: LogId,
        /// Its epoch.
        epoch: Epoch,
        /// Whose it is.
        host: HostId,
    },
    /// A checkpoint counts.
    Checkpoint {
        /// The log.
        log: LogId,
        /// The last record that it holds.
        lsn: Lsn,
    },
}

impl News {
    /// The log.
    pub fn log(&self) -> LogId {
        match self {
            News::Announced { log, .. } | News::Checkpoint { log, .. } => *log,
        }
    }
}

/// What is asked of an engine. No request names a log twice, unless it says so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Append each group, on the condition that the head row shows its epoch, and `after` as the last record; and move the head.
    /// One group that is refused does not keep the others from being appended.
    Append {
        /// One group a log.
        groups: Vec<Group>,
    },
    /// Read head rows.
    Heads {
        /// Of which logs.
        logs: Vec<Seen>,
    },
    /// Raise epochs, each on the condition that the head row shows `over`, or that this same claim has raised it already:
    /// asked again it succeeds again, and does not begin anew what was released.
    Raise {
        /// One a log.
        wanted: Vec<Raise>,
    },
    /// Do something durable that changes nothing. It returns when all that was read before in this session is durable, and
    /// fails if the session is over.
    Barrier {
        /// Where it was read.
        session: Session,
    },
    /// Read groups and head rows. It may name a log twice.
    Read {
        /// Of which logs, at least one.
        wanted: Vec<ReadFrom>,
        /// Behind so many bytes of groups no further group begins, and no further log; at least 1.
        bytes: usize,
    },
    /// The reign has ended in order, if it is still the newest.
    Release {
        /// The log.
        log: LogId,
        /// Its epoch.
        epoch: Epoch,
        /// Whose it is.
        claim: Claim,
    },
    /// Tell those who follow logs something. It names a log as often as there is something to tell.
    Tell {
        /// In any order.
        news: Vec<News>,
    },
    /// Make a log whose head row shows the one group, unless there is one of its name.
    Create {
        /// Its genesis record.
        genesis: Group,
    },
    /// Remove a log with all its records.
    Remove {
        /// The log.
        log: LogId,
    },
    /// Read which logs there are.
    Logs,
    /// Read how often hosts have said that they are alive.
    Lives {
        /// Of whom that is wanted.
        of: Vec<HostId>,
    },
    /// Something about keys.
    Keys(KeysRequest),
    /// Say that a host is alive, and read of others how often they have said so. That need not be durable.
    Beat {
        /// Who is alive.
        host: HostId,
        /// How often it has said so, with this time.
        beats: u64,
        /// Of whom that is wanted.
        of: Vec<HostId>,
    },
    /// Remove groups that end before a record. The last group stays.
    Trim {
        /// The log.
        log: LogId,
        /// The first record to stay.
        before: Lsn,
    },
}

/// What an engine answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answered {
    /// One answer for each group, in their order.
    Appended(Vec<Result<(), AppendFault>>),
    /// Those heads that are news.
    Heads {
        /// Where that was read.
        session: Session,
        /// In any order.
        heads: Vec<EngineHead>,
        /// Logs that there are not.
        gone: Vec<LogId>,
    },
    /// One answer for each that was wanted, in their order.
    Raised(Vec<Result<EngineHead, RaiseFault>>),
    /// All that was read in the session is durable.
    Barred,
    /// What the first of those that were wanted have, in their order: of one at least. The others are to be asked for again.
    Read {
        /// Where that was read.
        session: Session,
        /// Of each log.
        logs: Vec<LogRead>,
    },
    /// The reign counts as ended, or is not the newest.
    Released,
    /// Lives of hosts.
    Beats {
        /// Where that was read.
        session: Session,
        /// How often those that were asked for have said that they are alive; nothing of those that never have.
        beats: Vec<(HostId, u64)>,
    },
    /// It is trimmed.
    Trimmed,
    /// The head rows show it, where it is still true.
    Told,
    /// Whether there was no such log.
    Created(bool),
    /// Whether there was such a log.
    Removed(bool),
    /// Logs.
    Logs {
        /// Where that was read.
        session: Session,
        /// In any order.
        logs: Vec<LogId>,
    },
    /// What was asked about keys.
    Keys(KeysAnswer),
}

/// A request, or one group of it, was not answered with success.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// It may have happened, and may still happen.
    #[error("it is not known whether it was done: {0}")]
    Unknown(String),
    /// It has not happened, and will not.
    #[error("the engine can't be reached: {0}")]
    Unavailable(String),
    /// It has not happened, and whoever asks may not have it happen: asked again, it is refused again.
    #[error("it is refused: {0}")]
    Refused(String),
}

/// A group was not appended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AppendFault {
    /// The condition does not hold. `None` if there is no such log.
    Refused(Option<EngineHead>),
    /// It may have been appended, or the engine can't be reached.
    Failed(Fault),
    /// The engine takes no groups of that size.
    TooLarge {
        /// Bytes that it takes.
        max: usize,
    },
}

/// An epoch was not raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RaiseFault {
    /// Another reign has begun.
    Contended(EngineHead),
    /// There is no such log.
    Gone,
}

/// The answer to a request.
pub type Answer = Result<Answered, Fault>;

/// Told the answer to a request, from any thread. Dropped, it counts as no answer.
pub type Answering = Box<dyn FnOnce(Answer) + Send>;

/// What an engine is like.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EngineFacts {
    /// Bytes of a group that it takes.
    pub group_bytes_max: usize,
    /// Requests with groups that it can do at a time: there are so many lanes for them.
    pub lanes: u8,
    /// What and where it is, for people; without secrets.
    pub place: String,
    /// What whoever begins to use it should know, if there is something.
    pub caution: Option<String>,
}

/// An engine.
///
/// It has a deadline of its own for each request, [`crate::ANSWER_TIME`]: then it gives up the connection, since a node that stands
/// still keeps its connections alive, and answers [`Fault::Unknown`]. After any fault the next request goes to whichever node is in office by
/// then, which is found anew.
pub trait Engine: Send + Sync {
    /// Begins a request and returns at once. It is answered once.
    fn ask(&self, lane: Lane, request: Request, answer: Answering);

    /// What it is like.
    fn facts(&self) -> EngineFacts;
}
