//! Which replicas of a log run, what they do, and where the primary answers: told through its shared page, and by locks.
//!
//! **Architecture Invariant:** a replica runs as long as the lock of its number is held, whatever the page says.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};

use ambrosia_core::{Epoch, HostAddress, Lsn, ReplicaIndex};

use super::{
    address::{NAME_BYTES_MAX, address_to_words},
    byte_lock::{ByteLock, held_byte},
    control::{ControlPage, PRIMARY, ReignWord, STANDBY},
    file_log::FileLog,
    log_directory::{reign_byte, replica_byte},
    system::machine_uptime,
    watcher::{Watched, Watcher},
};
use crate::{
    Callback, CaptureMeans, EnterError, IoError, Member, Members, Presence, PrimaryInfo, ProcessPlace, REPLICAS_MAX,
    Role, Subscription, io_error::IoContext,
};

fn capture_to_word(means: CaptureMeans) -> u64 {
    match means {
        CaptureMeans::Memory => 1,
        CaptureMeans::Save => 2,
        CaptureMeans::None => 3,
    }
}

fn capture_from_word(word: u64) -> Option<CaptureMeans> {
    [CaptureMeans::Memory, CaptureMeans::Save, CaptureMeans::None]
        .into_iter()
        .find(|means| capture_to_word(*means) == word)
}

/// The replicas of one log, as all processes see them.
pub(crate) struct FileMembers {
    control: Arc<ControlPage>,
    lock_path: PathBuf,
    control_path: PathBuf,
    watcher: Watcher,
}

/// The count of changes of the primary.
struct Leadership(Arc<ControlPage>);

impl Watched for Leadership {
    fn word(&self) -> &AtomicU32 {
        self.0.leadership_word()
    }
}

impl FileMembers {
    pub(crate) fn new(log: &FileLog) -> FileMembers {
        let (control_path, lock_path) = (log.directory().control_path(), log.directory().lock_path());
        FileMembers { control: log.control().clone(), lock_path, control_path, watcher: log.watcher().clone() }
    }

    fn member(&self, replica: ReplicaIndex) -> Result<Member, IoError> {
        let runs = self.is_running(replica)?;
        let slot = self.control.slot(replica);
        let role = match (runs, slot.role()) {
            (false, _) => Role::Down,
            (true, PRIMARY) if self.control.reign() == (ReignWord { epoch: self.control.fence(), replica }) => {
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
            capture: capture_from_word(slot.capture()).filter(|_| runs),
            ready: Some(slot.ready()).filter(|attempt| runs && *attempt > 0),
            waiting: slot.waiting().filter(|_| runs),
        })
    }
}

impl Members for FileMembers {
    fn enter(&self, replica: ReplicaIndex) -> Result<Box<dyn Presence>, EnterError> {
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
        Ok(Box::new(FilePresence { control, control_path, replica, _lock: lock }))
    }

    fn members(&self, replicas: &[ReplicaIndex]) -> Result<Vec<Member>, IoError> {
        replicas.iter().filter(|replica| replica.0 < REPLICAS_MAX).map(|replica| self.member(*replica)).collect()
    }

    fn running(&self) -> Result<Vec<Member>, IoError> {
        let mut members =
            (0..REPLICAS_MAX).map(|replica| self.member(ReplicaIndex(replica))).collect::<Result<Vec<_>, _>>()?;
        members.retain(|member| member.role != Role::Down);
        Ok(members)
    }

    fn is_running(&self, replica: ReplicaIndex) -> Result<bool, IoError> {
        let held = held_byte(&self.lock_path, replica_byte(replica));
        Ok(held.context("examine the locks of", &self.lock_path)?.is_some())
    }

    fn primary(&self) -> Result<Option<PrimaryInfo>, IoError> {
        let Some(ReignWord { epoch, replica }) = self.control.primary() else { return Ok(None) };
        let held = held_byte(&self.lock_path, reign_byte(epoch)).context("examine the locks of", &self.lock_path)?;
        if held.is_none() || self.control.fence() != epoch {
            return Ok(None);
        }
        let slot = self.control.slot(replica);
        Ok(slot.address().map(|address| PrimaryInfo { replica, epoch, address, pid: slot.pid() }))
    }

    fn subscribe(&self, call: Callback) -> io::Result<Subscription> {
        self.watcher.subscribe(Box::new(Leadership(Arc::clone(&self.control))), call)
    }
}

/// The place of a running replica, until dropped.
struct FilePresence {
    control: Arc<ControlPage>,
    control_path: PathBuf,
    replica: ReplicaIndex,
    _lock: ByteLock,
}

impl Presence for FilePresence {
    fn beat(&self, role: Role) {
        let role = if role == Role::Primary { PRIMARY } else { STANDBY };
        self.control.slot(self.replica).beat(role, machine_uptime());
    }

    fn lost_store(&self) -> Result<Option<String>, IoError> {
        let is_there = self.control.is_at(&self.control_path).context("examine", &self.control_path)?;
        Ok((!is_there).then(|| self.control_path.display().to_string()))
    }

    fn set_applied(&self, applied: Lsn) {
        self.control.slot(self.replica).set_applied(applied);
    }

    fn set_replay(&self, replay: Duration) {
        self.control.slot(self.replica).set_replay(replay);
    }

    fn set_capture(&self, means: CaptureMeans) {
        self.control.slot(self.replica).set_capture(capture_to_word(means));
    }

    fn set_ready(&self, attempt: u64) {
        self.control.slot(self.replica).set_ready(attempt);
    }

    fn set_waiting(&self, handlers: Option<u64>) {
        self.control.slot(self.replica).set_waiting(handlers);
    }

    fn set_address(&self, address: &HostAddress) -> Result<(), IoError> {
        let too_long = || {
            let text = format!(
                "the name in {address} is longer than the {NAME_BYTES_MAX} bytes that a store on files has room for: advertise a \
                 shorter one, or an IP address"
            );
            io::Error::new(io::ErrorKind::InvalidInput, text)
        };
        let words = address_to_words(address).ok_or_else(too_long).context("write", &self.control_path)?;
        self.control.slot(self.replica).set_address(words);
        Ok(())
    }

    fn publish_primary(&self, epoch: Epoch) {
        self.control.publish_primary(ReignWord { epoch, replica: self.replica });
    }

    fn replica(&self) -> ReplicaIndex {
        self.replica
    }
}
