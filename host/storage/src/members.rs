//! Which replicas of a log run, what they do, and where the primary answers.
//!
//! **Architecture Invariant:** it says who should be asked, and never who may write.

use std::{io, time::Duration};

use ambrosia_core::{Epoch, HostAddress, Lsn, ReplicaIndex};

use crate::{Callback, IoError, ProcessPlace, Subscription};

/// Replicas of one instance.
pub const REPLICAS_MAX: u16 = 64;

/// A replica says that often that it is alive.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(100);

/// A primary that has not been heard of for that long is deposed.
pub const HEARTBEAT_SILENCE: Duration = Duration::from_millis(600);

/// The replicas of one log, as all processes see them.
pub trait Members: Send + Sync {
    /// Takes the place of a replica, unless it runs already.
    fn enter(&self, replica: ReplicaIndex) -> Result<Box<dyn Presence>, EnterError>;

    /// The given replicas, in order.
    fn members(&self, replicas: &[ReplicaIndex]) -> Result<Vec<Member>, IoError>;

    /// All replicas that run, also those added since this process began.
    fn running(&self) -> Result<Vec<Member>, IoError>;

    /// Whether the replica runs.
    fn is_running(&self, replica: ReplicaIndex) -> Result<bool, IoError>;

    /// The primary, if there is one and it said where it answers.
    fn primary(&self) -> Result<Option<PrimaryInfo>, IoError>;

    /// The same as it was seen last, where somebody here follows the log: it may be behind for a moment, and costs those who are asked for
    /// very many logs no more than a look at memory.
    fn primary_seen(&self) -> Result<Option<PrimaryInfo>, IoError> {
        self.primary()
    }

    /// Calls back when another primary has said where it answers, or one has ended in order.
    ///
    /// The death of a primary need not be told: only its successor is.
    ///
    /// # Errors
    /// If the system has no more threads.
    fn subscribe(&self, call: Callback) -> io::Result<Subscription>;
}

/// The place of a running replica, until dropped.
pub trait Presence: Send + Sync {
    /// Says that the replica is alive: to be called every [`HEARTBEAT_INTERVAL`].
    fn beat(&self, role: Role);

    /// Where what all replicas share was, if something else, or nothing, is in its place by now: then others see another
    /// fence than this replica. To be called with each beat.
    fn lost_store(&self) -> Result<Option<String>, IoError>;

    /// Says how far the replica is. Cheap enough to be called for each record.
    fn set_applied(&self, applied: Lsn);

    /// Says how long a replay would take. As cheap.
    fn set_replay(&self, replay: Duration);

    /// Says how the guest is captured.
    fn set_capture(&self, means: CaptureMeans);

    /// Says for which attempt at an upgrade the replica is prepared.
    fn set_ready(&self, attempt: u64);

    /// Says how many handlers of the guest wait; `None` if it does not tell. As cheap as how far the replica is.
    fn set_waiting(&self, handlers: Option<u64>);

    /// Says where the replica answers.
    ///
    /// # Errors
    /// If the store has no room for such an address.
    fn set_address(&self, address: &HostAddress) -> Result<(), IoError>;

    /// Tells all that wait for a new primary that it is this replica, which answers where it said last.
    fn publish_primary(&self, epoch: Epoch);

    /// The number of the replica.
    fn replica(&self) -> ReplicaIndex;
}

/// What a replica does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Reads the log.
    Standby,
    /// Writes the log.
    Primary,
    /// Does not run.
    Down,
}

/// How the guest of a replica gets into a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CaptureMeans {
    /// By its memory, without its help.
    Memory,
    /// By its own `save` and `load`.
    Save,
    /// Not at all: every recovery is a replay of the whole log.
    None,
}

/// One replica of an instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its number.
    pub replica: ReplicaIndex,
    /// What it does.
    pub role: Role,
    /// The last record that it applied.
    pub applied: Lsn,
    /// Its process, or the last one it had.
    pub pid: u32,
    /// Where that runs.
    pub place: ProcessPlace,
    /// How long ago it said that it is alive. A replica that runs and is silent was stopped, or its machine is stuck.
    pub heartbeat_age: Duration,
    /// Where it answers.
    pub address: Option<HostAddress>,
    /// How long a replay of all since the newest checkpoint would take, as far as it knows.
    pub replay: Duration,
    /// How its guest is captured; `None` if it has not said so yet.
    pub capture: Option<CaptureMeans>,
    /// The attempt at an upgrade that it is prepared for, if there is one.
    pub ready: Option<u64>,
    /// How many handlers of its guest wait; `None` if that is not told.
    pub waiting: Option<u64>,
}

/// The primary of an instance, once it answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PrimaryInfo {
    /// Its number.
    pub replica: ReplicaIndex,
    /// The epoch of its reign.
    pub epoch: Epoch,
    /// Where it answers.
    pub address: HostAddress,
    /// Its process.
    pub pid: u32,
}

/// A replica can't begin to run.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// It runs already.
    #[error("replica {replica} is already running, as process {pid}{place}; end that one, or start another replica")]
    AlreadyRunning {
        /// Its number.
        replica: ReplicaIndex,
        /// Its process.
        pid: u32,
        /// Where that runs.
        place: ProcessPlace,
    },
    /// The number is too high.
    #[error("replica number {replica} is out of range: use 0 to {max}", max = REPLICAS_MAX - 1)]
    NumberTooHigh {
        /// The number.
        replica: ReplicaIndex,
    },
    /// The store does not have what was durable in its log.
    #[error("{reason}")]
    Lost {
        /// What was there, what is, and what to do.
        reason: String,
    },
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
}
