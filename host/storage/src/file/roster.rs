//! Which replicas of an instance run, what they do, and where the primary answers.
//!
//! **Architecture Invariant:** it says who should be asked, and never who may write.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU32},
    time::{Duration, Instant},
};

use ambrosia_core::{Epoch, Lsn, ReplicaIndex};

use super::{
    byte_lock::{ByteLock, held_byte},
    control::{Control, REPLICAS_MAX, Reign},
    file_log::FileLog,
    log_directory::{reign_byte, replica_byte},
    process_place::ProcessPlace,
    system::machine_uptime,
};
use crate::{IoError, io_error::IoContext};

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

impl CaptureMeans {
    fn to_word(self) -> u64 {
        match self {
            CaptureMeans::Memory => 1,
            CaptureMeans::Save => 2,
            CaptureMeans::None => 3,
        }
    }

    fn from_word(word: u64) -> Option<CaptureMeans> {
        [CaptureMeans::Memory, CaptureMeans::Save, CaptureMeans::None].into_iter().find(|means| means.to_word() == word)
    }
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
    pub address: Option<SocketAddr>,
    /// How long a replay of all since the newest checkpoint would take, as far as it knows.
    pub replay: Duration,
    /// How its guest is captured; `None` if it has not said so yet.
    pub capture: Option<CaptureMeans>,
}

/// The primary of an instance, once it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PrimaryInfo {
    /// Its number.
    pub replica: ReplicaIndex,
    /// The epoch of its reign.
    pub epoch: Epoch,
    /// Where it answers.
    pub address: SocketAddr,
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
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
}

/// The replicas of one instance, as all processes see them.
#[derive(Clone)]
pub struct Roster {
    control: Arc<Control>,
    lock_path: PathBuf,
    control_path: PathBuf,
}

impl Roster {
    pub(crate) fn new(log: &FileLog) -> Roster {
        let (control_path, lock_path) = (log.directory().control_path(), log.directory().lock_path());
        Roster { control: log.control().clone(), lock_path, control_path }
    }

    /// Takes the place of a replica, unless it runs already.
    pub fn enter(&self, replica: ReplicaIndex) -> Result<Presence, EnterError> {
        if replica.0 >= REPLICAS_MAX {
            return Err(EnterError::NumberTooHigh { replica });
        }
        let lock = ByteLock::try_take(&self.lock_path, replica_byte(replica)).context("lock", &self.lock_path)?;
        self.control.check_writable().context("write", &self.control_path)?;
        let slot = self.control.slot(replica);
        let lock = lock.ok_or_else(|| EnterError::AlreadyRunning { replica, pid: slot.pid(), place: slot.place() })?;
        slot.enter(std::process::id(), ProcessPlace::here());
        slot.beat(STANDBY, machine_uptime());
        let (control, control_path) = (self.control.clone(), self.control_path.clone());
        Ok(Presence { control, control_path, replica, _lock: lock })
    }

    /// The given replicas, in order.
    pub fn members(&self, replicas: impl IntoIterator<Item = ReplicaIndex>) -> Result<Vec<Member>, IoError> {
        replicas.into_iter().filter(|replica| replica.0 < REPLICAS_MAX).map(|replica| self.member(replica)).collect()
    }

    /// All replicas that run, also those added since this process began.
    pub fn running(&self) -> Result<Vec<Member>, IoError> {
        let mut members = self.members((0..REPLICAS_MAX).map(ReplicaIndex))?;
        members.retain(|member| member.role != Role::Down);
        Ok(members)
    }

    fn member(&self, replica: ReplicaIndex) -> Result<Member, IoError> {
        let runs = self.is_running(replica)?;
        let slot = self.control.slot(replica);
        let role = match (runs, slot.role()) {
            (false, _) => Role::Down,
            (true, PRIMARY) if self.control.reign() == (Reign { epoch: self.control.fence(), replica }) => {
                Role::Primary
            }
            (true, _) => Role::Standby,
        };
        Ok(Member {
            replica,
            role,
            applied: slot.applied(),
            pid: slot.pid(),
            place: slot.place(),
            heartbeat_age: machine_uptime().saturating_sub(slot.beat_time()),
            address: slot.address().filter(|_| runs),
            replay: slot.replay(),
            capture: CaptureMeans::from_word(slot.capture()).filter(|_| runs),
        })
    }

    /// Whether the replica runs.
    pub fn is_running(&self, replica: ReplicaIndex) -> Result<bool, IoError> {
        let held = held_byte(&self.lock_path, replica_byte(replica));
        Ok(held.context("examine the locks of", &self.lock_path)?.is_some())
    }

    /// The primary, if there is one and it said where it answers.
    pub fn primary(&self) -> Result<Option<PrimaryInfo>, IoError> {
        let Some(Reign { epoch, replica }) = self.control.primary() else { return Ok(None) };
        let held = held_byte(&self.lock_path, reign_byte(epoch)).context("examine the locks of", &self.lock_path)?;
        if held.is_none() || self.control.fence() != epoch {
            return Ok(None);
        }
        let slot = self.control.slot(replica);
        Ok(slot.address().map(|address| PrimaryInfo { replica, epoch, address, pid: slot.pid() }))
    }

    /// How often the primary has changed, or ended.
    pub fn leadership_changes(&self) -> u64 {
        u64::from(self.control.leadership_changes())
    }

    /// The same count, fit to be waited for.
    pub(crate) fn leadership_word(&self) -> &AtomicU32 {
        self.control.leadership_word()
    }

    /// Blocks until [`Roster::leadership_changes`] differs from `seen`, or `timeout` ran out; returns it.
    ///
    /// The death of a primary is no change: only its successor, or its orderly end, is.
    pub fn wait_for_leadership_change(&self, seen: u64, timeout: Duration) -> u64 {
        let begin = Instant::now();
        loop {
            let changes = self.leadership_changes();
            let rest = timeout.saturating_sub(begin.elapsed());
            if changes != seen || rest.is_zero() {
                return changes;
            }
            self.control.wait_for_leadership_change(changes as u32, rest);
        }
    }
}

const STANDBY: u64 = 0;
const PRIMARY: u64 = 1;

/// The place of a running replica, until dropped.
pub struct Presence {
    control: Arc<Control>,
    control_path: PathBuf,
    replica: ReplicaIndex,
    _lock: ByteLock,
}

impl Presence {
    /// Says that the replica is alive: to be called every [`super::HEARTBEAT_INTERVAL`].
    pub fn beat(&self, role: Role) {
        let role = if role == Role::Primary { PRIMARY } else { STANDBY };
        self.control.slot(self.replica).beat(role, machine_uptime());
    }

    /// The file that all replicas share, if another one, or none, lies in its place by now: then others see another
    /// fence than this replica. To be called with each beat.
    pub fn lost_store(&self) -> Result<Option<&Path>, IoError> {
        let is_there = self.control.is_at(&self.control_path).context("examine", &self.control_path)?;
        Ok((!is_there).then_some(&self.control_path))
    }

    /// Says how far the replica is. Cheap enough to be called for each record.
    pub fn set_applied(&self, applied: Lsn) {
        self.control.slot(self.replica).set_applied(applied);
    }

    /// Says how long a replay would take. As cheap.
    pub fn set_replay(&self, replay: Duration) {
        self.control.slot(self.replica).set_replay(replay);
    }

    /// Says how the guest is captured.
    pub fn set_capture(&self, means: CaptureMeans) {
        self.control.slot(self.replica).set_capture(means.to_word());
    }

    /// Says where the replica answers.
    pub fn set_address(&self, address: SocketAddr) {
        self.control.slot(self.replica).set_address(Some(address));
    }

    /// Tells all that wait for a new primary that it is this replica, and where it answers.
    pub fn publish_primary(&self, epoch: Epoch, address: SocketAddr) {
        self.set_address(address);
        self.control.publish_primary(Reign { epoch, replica: self.replica });
    }

    /// The number of the replica.
    pub fn replica(&self) -> ReplicaIndex {
        self.replica
    }
}
