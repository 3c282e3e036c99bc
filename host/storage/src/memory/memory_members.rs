//! The replicas of a log in memory, all of them in this process.
//!
//! **Architecture Invariant:** a replica runs as long as its presence lives.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use ambrosia_core::{Epoch, HostAddress, Lsn, ReplicaIndex};

use super::shared::{MemoryState, Reign, Shared, Slot};
use crate::{
    Callback, CaptureMeans, EnterError, IoError, Member, Members, Presence, PrimaryInfo, ProcessPlace, REPLICAS_MAX,
    Role, Subscription,
};

pub(crate) struct MemoryMembers(pub(crate) Arc<Shared>);

fn member(state: &MemoryState, replica: ReplicaIndex) -> Member {
    let slot = state.slots.get(&replica);
    let runs = slot.is_some_and(|slot| slot.runs);
    let reigns = state.is_reigned && state.reign.replica == replica;
    let role = match slot.filter(|slot| slot.runs) {
        None => Role::Down,
        Some(slot) if slot.role == Role::Primary && reigns => Role::Primary,
        Some(_) => Role::Standby,
    };
    Member {
        replica,
        role,
        applied: slot.map(|slot| slot.applied).unwrap_or_default(),
        pid: std::process::id(),
        place: ProcessPlace::here().clone(),
        heartbeat_age: slot.map_or(Duration::MAX, |slot| slot.beaten.elapsed()),
        address: slot.and_then(|slot| slot.address.clone()).filter(|_| runs),
        replay: slot.map(|slot| slot.replay).unwrap_or_default(),
        capture: slot.and_then(|slot| slot.capture).filter(|_| runs),
        ready: slot.map(|slot| slot.ready).filter(|attempt| runs && *attempt > 0),
        waiting: slot.and_then(|slot| slot.waiting).filter(|_| runs),
    }
}

impl Members for MemoryMembers {
    fn enter(&self, replica: ReplicaIndex) -> Result<Box<dyn Presence>, EnterError> {
        if replica.0 >= REPLICAS_MAX {
            return Err(EnterError::NumberTooHigh { replica });
        }
        let mut state = self.0.lock();
        if state.is_closed {
            let source = io::Error::new(io::ErrorKind::NotFound, "the instance is being deregistered or copied");
            return Err(IoError { action: "enter", place: "the log in memory".to_owned(), source }.into());
        }
        if state.slots.get(&replica).is_some_and(|slot| slot.runs) {
            let (pid, place) = (std::process::id(), ProcessPlace::here().clone());
            return Err(EnterError::AlreadyRunning { replica, pid, place });
        }
        let beats = state.slots.get(&replica).map_or(0, |slot| slot.beats) + 1;
        let slot = Slot {
            runs: true,
            role: Role::Standby,
            beats,
            beaten: Instant::now(),
            applied: Lsn(0),
            replay: Duration::ZERO,
            capture: None,
            ready: 0,
            waiting: None,
            address: None,
        };
        state.slots.insert(replica, slot);
        drop(state);
        Ok(Box::new(MemoryPresence { shared: Arc::clone(&self.0), replica }))
    }

    fn members(&self, replicas: &[ReplicaIndex]) -> Result<Vec<Member>, IoError> {
        let state = self.0.lock();
        let numbers = replicas.iter().filter(|replica| replica.0 < REPLICAS_MAX);
        Ok(numbers.map(|replica| member(&state, *replica)).collect())
    }

    fn running(&self) -> Result<Vec<Member>, IoError> {
        let state = self.0.lock();
        Ok(state.slots.iter().filter(|(_, slot)| slot.runs).map(|(replica, _)| member(&state, *replica)).collect())
    }

    fn is_running(&self, replica: ReplicaIndex) -> Result<bool, IoError> {
        Ok(self.0.lock().slots.get(&replica).is_some_and(|slot| slot.runs))
    }

    fn primary(&self) -> Result<Option<PrimaryInfo>, IoError> {
        let state = self.0.lock();
        let Some(Reign { epoch, replica }) = state.primary.filter(|primary| *primary == state.reign) else {
            return Ok(None);
        };
        let address = state.slots.get(&replica).and_then(|slot| slot.address.clone()).filter(|_| state.is_reigned);
        Ok(address.map(|address| PrimaryInfo { replica, epoch, address, pid: std::process::id() }))
    }

    fn subscribe(&self, call: Callback) -> io::Result<Subscription> {
        Ok(self.0.leadership.subscribe(call))
    }
}

struct MemoryPresence {
    shared: Arc<Shared>,
    replica: ReplicaIndex,
}

impl MemoryPresence {
    fn tell(&self, tell: impl FnOnce(&mut Slot)) {
        tell(self.shared.lock().slots.get_mut(&self.replica).expect("it is there since the replica entered"));
    }
}

impl Presence for MemoryPresence {
    fn beat(&self, role: Role) {
        self.tell(|slot| {
            (slot.role, slot.beaten) = (role, Instant::now());
            slot.beats += 1;
        });
    }

    fn lost_store(&self) -> Result<Option<String>, IoError> {
        Ok(None)
    }

    fn set_applied(&self, applied: Lsn) {
        self.tell(|slot| slot.applied = applied);
    }

    fn set_replay(&self, replay: Duration) {
        self.tell(|slot| slot.replay = replay);
    }

    fn set_capture(&self, means: CaptureMeans) {
        self.tell(|slot| slot.capture = Some(means));
    }

    fn set_ready(&self, attempt: u64) {
        self.tell(|slot| slot.ready = attempt);
    }

    fn set_waiting(&self, handlers: Option<u64>) {
        self.tell(|slot| slot.waiting = handlers);
    }

    fn set_address(&self, address: &HostAddress) -> Result<(), IoError> {
        self.tell(|slot| slot.address = Some(address.clone()));
        Ok(())
    }

    fn publish_primary(&self, epoch: Epoch) {
        let mut state = self.shared.lock();
        if state.primary.is_none_or(|primary| primary.epoch <= epoch) {
            state.primary = Some(Reign { epoch, replica: self.replica });
        }
        drop(state);
        self.shared.leadership.call();
    }

    fn replica(&self) -> ReplicaIndex {
        self.replica
    }
}

impl Drop for MemoryPresence {
    fn drop(&mut self) {
        self.tell(|slot| slot.runs = false);
    }
}
