//! One process with one replica: its driver, and its log, which works beside it.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ambrosia_core::{Epoch, Held, InstanceName, InstanceUuid, Lsn, PeerIndex, Record, Replica, Schedule};
use ambrosia_storage::{Checkpoints, FileLog, LogTail, LogTurns, LogWriter, WriterEvent};

use crate::{
    agenda::Event,
    checkpointing::{Taking, Task},
    guest::SimGuest,
    ids::{Place, ProcessId},
    machine::SimMachine,
};

/// One start of one replica.
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    pub(crate) place: Place,
    pub(crate) uuid: InstanceUuid,
    pub(crate) machine: Arc<SimMachine>,
    /// `None` until it has opened the log.
    pub(crate) driver: RefCell<Option<Driver>>,
    /// The thread of the log, while it reigns.
    pub(crate) turns: RefCell<Option<LogTurns>>,
    /// What the log has to tell the driver.
    pub(crate) reports: Arc<Mutex<VecDeque<WriterEvent>>>,
    /// The epoch of its reign, 0 on a standby.
    pub(crate) epoch: Cell<Epoch>,
    /// It is about to become primary.
    pub(crate) taking_over: Cell<bool>,
    /// The reign that it last failed to end while no other one began; a number that none has before.
    pub(crate) contended_at: Cell<Epoch>,
    pub(crate) paused: Cell<bool>,
    pub(crate) paused_since: Cell<u64>,
    /// When it began what it is doing.
    pub(crate) work_began: Cell<u64>,
    pub(crate) dead: Cell<bool>,
    /// An operation failed that was made to fail.
    pub(crate) hurt: Cell<bool>,
    /// What happened while it was paused, and it will notice when it goes on.
    pub(crate) deferred: RefCell<Vec<Event>>,
    /// How far the clock is off, in nanoseconds.
    pub(crate) skew: Cell<i64>,
    /// How much longer than others it waits before it looks for records, in nanoseconds.
    pub(crate) lag: Cell<u64>,
    pub(crate) follow_planned: Cell<bool>,
    /// When it looked for records last.
    pub(crate) followed: Cell<u64>,
    pub(crate) deliver_planned: Cell<bool>,
    pub(crate) write_planned: Cell<bool>,
    pub(crate) settle_planned: Cell<bool>,
    /// Something was appended while the log was syncing.
    pub(crate) queued: Cell<bool>,
    pub(crate) last_write: Cell<u64>,
    /// How far it is, as the others know it; 0 while it starts.
    pub(crate) applied: Cell<Lsn>,
    /// Part of the log was removed although it may need it, since it was silent.
    pub(crate) left_out: Cell<bool>,
    /// What it does to a checkpoint.
    pub(crate) task: Cell<Option<Task>>,
}

/// What its driver thread owns.
pub(crate) struct Driver {
    pub(crate) log: FileLog,
    pub(crate) replica: Replica<Box<dyn SimGuest>>,
    pub(crate) links: Links,
    /// Taken while it tries to become primary.
    pub(crate) tail: Option<Box<dyn LogTail>>,
    pub(crate) reign: Option<Reign>,
    /// The last record that it knows to be durable.
    pub(crate) durable: Lsn,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) schedule: Schedule,
    /// The replica that was asked for a checkpoint.
    pub(crate) asked: Option<ProcessId>,
    /// The checkpoint that is being taken.
    pub(crate) taking: Option<Taking>,
    /// The checkpoint since which the guest knows what has changed.
    pub(crate) parent: Option<Lsn>,
    /// All that peers have acknowledged it knows from the log.
    pub(crate) exact: bool,
}

/// Links of the records applied, from the one that the replica began with.
pub(crate) struct Links {
    first: Lsn,
    links: Vec<u64>,
}

impl Links {
    pub(crate) fn new(first: Lsn, link: u64) -> Links {
        Links { first, links: vec![link] }
    }

    pub(crate) fn push(&mut self, link: u64) {
        self.links.push(link);
    }

    pub(crate) fn last(&self) -> (Lsn, u64) {
        let last = self.links.last().expect("a replica begins with a record");
        (Lsn(self.first.0 + self.links.len() as u64 - 1), *last)
    }

    /// The link of that record. What was before the first one is vouched for by that.
    pub(crate) fn at(&self, lsn: Lsn) -> Option<u64> {
        let at = lsn.0.checked_sub(self.first.0)?;
        self.links.get(at as usize).copied()
    }

    pub(crate) fn is_before(&self, lsn: Lsn) -> bool {
        lsn < self.first
    }
}

/// What only a primary has.
pub(crate) struct Reign {
    pub(crate) writer: Option<Box<dyn LogWriter>>,
    /// What waits to leave.
    pub(crate) held: Held,
    /// Appended, and not known to be durable.
    pub(crate) appended: VecDeque<Record>,
    /// Peers to stay connected to.
    pub(crate) wanted: BTreeMap<PeerIndex, InstanceName>,
}

impl Process {
    pub(crate) fn new(id: ProcessId, place: Place, uuid: InstanceUuid, machine: Arc<SimMachine>) -> Process {
        Process {
            id,
            place,
            uuid,
            machine,
            driver: RefCell::default(),
            turns: RefCell::default(),
            reports: Arc::default(),
            epoch: Cell::new(Epoch(0)),
            taking_over: Cell::default(),
            contended_at: Cell::new(Epoch(u64::MAX)),
            paused: Cell::default(),
            paused_since: Cell::default(),
            work_began: Cell::default(),
            dead: Cell::default(),
            hurt: Cell::default(),
            deferred: RefCell::default(),
            skew: Cell::default(),
            lag: Cell::default(),
            follow_planned: Cell::default(),
            followed: Cell::default(),
            deliver_planned: Cell::default(),
            write_planned: Cell::default(),
            settle_planned: Cell::default(),
            queued: Cell::default(),
            last_write: Cell::default(),
            applied: Cell::default(),
            left_out: Cell::default(),
            task: Cell::default(),
        }
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.epoch.get() > Epoch(0)
    }

    /// How long its heartbeat as a primary has not been seen. A candidate has none, and is taken for a primary.
    pub(crate) fn silent_for(&self, now: u64) -> u64 {
        if (self.is_primary() || self.taking_over.get()) && self.paused.get() {
            now - self.paused_since.get()
        } else {
            0
        }
    }

    pub(crate) fn reports(&self) -> MutexGuard<'_, VecDeque<WriterEvent>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
