//! What happens to a member.

use core::time::Duration;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::{CheckpointHead, Other, Wish};
use crate::{CheckpointState, ConnectionId, Epoch, Inquiry, InstanceUuid, Lsn, Query, Record, Timestamp, Traffic};

/// Something that happened.
#[derive(Debug)]
pub enum MemberInput<G> {
    /// Answers [`super::Command::ListCheckpoints`].
    Listed {
        /// The checkpoints that are complete, oldest first.
        checkpoints: Vec<Lsn>,
        /// The newest that is known to have been published; 0 if none is.
        published: Lsn,
    },
    /// Answers [`super::Command::Load`].
    Loaded {
        /// What it is of.
        head: CheckpointHead,
        /// The replicated state.
        state: Box<CheckpointState>,
    },
    /// Answers [`super::Command::Load`], [`super::Command::Restore`] and [`super::Command::Open`]: the checkpoint is of no
    /// use.
    Unusable {
        /// Why.
        reason: String,
        /// Whether it was removed just now, perhaps since another one took its place.
        vanished: bool,
    },
    /// Answers [`super::Command::Restore`] and [`super::Command::MakeGuest`]: the guest.
    Made(G),
    /// Answers [`super::Command::Open`]: chain value of the record before the one to be read next, 0 before genesis.
    Opened(u64),
    /// Answers [`super::Command::Open`], [`super::Command::Read`] and [`super::Command::Acquire`]: that part of the log was
    /// removed.
    Trimmed {
        /// The first record that there is.
        first: Lsn,
        /// The newest checkpoint that is known to have been published.
        published: Lsn,
    },
    /// Answers [`super::Command::Read`].
    Read {
        /// The next records; none if there are none now.
        records: Vec<Record>,
        /// What is durable, as far as is known.
        durable: Lsn,
        /// The newest checkpoint that is known to have been published.
        published: Lsn,
    },
    /// Nobody seems to be primary.
    Vacant {
        /// The reign to be ended.
        over: Epoch,
        /// Whether the output of this replica takes nothing.
        is_stuck: bool,
    },
    /// Answers [`super::Command::Acquire`]: this replica is primary.
    Acquired {
        /// Its reign.
        epoch: Epoch,
        /// The records up to the one that begins the reign, which is the last of them.
        records: Vec<Record>,
        /// What the wall clock shows.
        wall: Timestamp,
    },
    /// Answers [`super::Command::Acquire`]: another replica was faster.
    Contended,
    /// Answers [`super::Command::Acquire`], and [`super::Command::Open`] behind that: the log can't be reached just now.
    Away,
    /// Answers [`super::Command::LookAtOutcome`]: whether the registry says how the instance ended.
    Outcome {
        /// Whether it does.
        is_written_down: bool,
    },
    /// Answers [`super::Command::Look`].
    Others {
        /// All replicas that run; `None` if that can't be found out.
        running: Option<Vec<Other>>,
        /// The newest reign that the log knows.
        fence: Epoch,
    },
    /// The log of a reign reports.
    Log {
        /// The reign.
        epoch: Epoch,
        /// What.
        event: LogEvent,
    },
    /// Somebody has seen that the log belongs to a later reign.
    Fenced {
        /// That reign, or a later one.
        by: Epoch,
    },
    /// Peers, clients and the operator's lines; for a primary.
    Traffic(Traffic),
    /// Somebody asks something. A primary or a standby answers by [`super::Command::AnswerQuery`], unless it begins anew before.
    Query(Query),
    /// Somebody wants to know what has become of a request; for a primary, which answers by
    /// [`super::Command::AnswerInquiry`], unless its reign ends before.
    Inquiry(Inquiry),
    /// Answers [`super::Command::LookUpPeer`].
    PeerLookedUp {
        /// What that command holds.
        traffic: Traffic,
        /// The instance that the registry has under the name now; `None` if it has none, or can't be read.
        registered: Option<InstanceUuid>,
    },
    /// An operator wants a checkpoint.
    CheckpointWanted(ConnectionId),
    /// A checkpoint of this replica is further.
    Checkpoint(CheckpointEvent),
    /// What the registry says is wished, at the beginning and whenever that changes.
    Wish(Option<Wish>),
    /// Answers [`super::Command::LookForMend`].
    Mending {
        /// Whether a mend of the record is in the log.
        is_mended: bool,
        /// What the registry says is wished.
        wish: Option<Wish>,
    },
    /// Answers [`super::Command::Prepare`].
    Prepared {
        /// The wish.
        attempt: u64,
        /// Whether the module is at hand; why not.
        result: Result<(), String>,
    },
    /// Answers [`super::Command::ClaimWish`].
    Claimed {
        /// The wish.
        attempt: u64,
        /// The reign.
        epoch: Epoch,
        /// Whether that reign sees to it. If not, it stands no more, is another one's, or the registry can't be written.
        is_claimed: bool,
    },
    /// The operator has set other values for the guest. They keep to the limits
    /// ([`crate::Configuration::check`]).
    Configure(BTreeMap<String, Bytes>),
    /// Answers [`super::Command::Close`].
    Closed,
    /// The operator wants the replica to end.
    Shutdown,
    /// The store is not the one that was opened.
    StoreLost,
}

/// What the log of a reign reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogEvent {
    /// All records up to this one are durable. It only rises.
    Durable(Lsn),
    /// There was no room for more records, and is now.
    Room,
    /// Nothing has become durable for long, and the log goes on trying. Comes once before [`LogEvent::Resumed`]; only the operator
    /// is told.
    Stalled {
        /// What was the matter last, for a person to read.
        reason: String,
        /// For how long that has been so.
        waited: Duration,
    },
    /// It goes on.
    Resumed,
    /// A look at the fence that was begun has been made.
    Looked {
        /// Its number.
        number: u64,
        /// Whether the reign was the newest then; if not, the later one.
        newest: Result<(), Epoch>,
    },
    /// Nothing will be durable any more. It comes once, and last.
    Stopped(StopCause),
}

/// Why the log of a reign stopped.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StopCause {
    /// Another replica is primary.
    #[error("another replica became primary with epoch {by}")]
    Fenced {
        /// The epoch of its reign, or a later one.
        by: Epoch,
    },
    /// The log could not be written, and nobody knows what of the last write is on the disk: the state must be built
    /// anew from the log.
    #[error("the log failed: {0}")]
    Failed(String),
}

/// What a checkpoint of this replica has come to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CheckpointEvent {
    /// Answers [`super::Command::CopyAhead`].
    CopiedAhead {
        /// Whether nothing is left to be copied.
        is_done: bool,
    },
    /// Answers [`super::Command::Capture`], at once.
    Captured(Result<(), String>),
    /// Answers [`super::Command::Write`].
    Written(Result<(), String>),
    /// Answers [`super::Command::Publish`].
    Published(Result<(), String>),
    /// Answers [`super::Command::Compact`]. An error says that what the checkpoint rests on can't be relied on.
    Compacted(Result<(), String>),
    /// Answers [`super::Command::Trim`].
    Tidied(Result<(), String>),
}

/// Whether there is room for what the guest prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// There is.
    Room,
    /// There is none; if nothing moves, the output is stuck after this time.
    Full(Duration),
    /// Nothing has moved for so long that it is taken for stuck.
    Stuck,
}

/// What a member can't see, and a turn depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Surroundings {
    /// What the wall clock shows.
    pub wall: Timestamp,
    /// Whether the log takes more records.
    pub log_has_room: bool,
    /// Whether there is room for what the guest prints.
    pub output: Flow,
    /// Whether this replica may step down for an output that is stuck: one that has done so in vain may not.
    pub may_yield: bool,
    /// The newest checkpoint that is known to have been published.
    pub published: Lsn,
}
