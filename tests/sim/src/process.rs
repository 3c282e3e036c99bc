//! One process with one replica: its driver, and its log, which works beside it.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ambrosia_core::{
    Epoch, InstanceName, InstanceUuid, Lsn, PeerIndex, Record, Replica, Timestamp,
    member::{Command, Member, WishOutcome},
};
use ambrosia_storage::{
    Checkpoint, FileCheckpoints, FileLog, FileTail, LoadedCheckpoint, LogEvent, LogTurns, LogWriter, WrittenFile,
};

use crate::{
    agenda::Event,
    checkpointing::Task,
    checks::engines::Compared,
    guest::SimGuest,
    ids::{Place, ProcessId},
    life::Input,
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
    pub(crate) reports: Arc<Mutex<VecDeque<LogEvent>>>,
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
    /// Until when its output takes nothing, and whether it has stepped down for that before.
    pub(crate) stuck_until: Cell<u64>,
    pub(crate) has_yielded: Cell<bool>,
    /// The wish whose module it has at hand, as the others know it.
    pub(crate) ready: Cell<u64>,
    /// The last record of which it was told that it is mended.
    pub(crate) knows_mended: Cell<Lsn>,
    /// What became of wishes, and is not written yet.
    pub(crate) unsaid: RefCell<VecDeque<(u64, Epoch, WishOutcome)>>,
    /// Until when its guest can't be captured.
    pub(crate) uncapturable_until: Cell<u64>,
}

/// What its driver thread owns.
pub(crate) struct Driver {
    pub(crate) log: FileLog,
    pub(crate) checkpoints: FileCheckpoints,
    pub(crate) member: Member<Box<dyn SimGuest>>,
    pub(crate) hands: Hands,
}

impl Driver {
    /// The replica, once it was built.
    pub(crate) fn replica(&self) -> Option<&Replica<Box<dyn SimGuest>>> {
        self.member.replica()
    }

    /// The replica of a member that is known to have one.
    pub(crate) fn the_replica(&self) -> &Replica<Box<dyn SimGuest>> {
        self.member.replica().expect("it has recovered")
    }
}

/// What a driver has beside its member.
#[derive(Default)]
pub(crate) struct Hands {
    /// To be carried out.
    pub(crate) commands: VecDeque<Command>,
    /// Where the log is read. Taken while it tries to become primary.
    pub(crate) tail: Option<FileTail>,
    /// The member waits for records.
    pub(crate) is_reading: bool,
    /// The member wants to know of vacancies.
    pub(crate) is_watching: bool,
    /// The log of the reign.
    pub(crate) writer: Option<Box<dyn LogWriter>>,
    /// Appended, and not known to be durable.
    pub(crate) appended: VecDeque<Record>,
    /// The last record known to be durable, of those it has read or made.
    pub(crate) durable: Lsn,
    /// What was durable when it last looked.
    pub(crate) seen_durable: Lsn,
    /// Of the records that it has applied; `None` before the first.
    pub(crate) links: Option<Links>,
    /// Peers to stay connected to.
    pub(crate) wanted: BTreeMap<PeerIndex, InstanceName>,
    /// A checkpoint that was read, to make a guest of.
    pub(crate) loaded: Option<LoadedCheckpoint>,
    /// The last checkpoint that was tried was of no use, for a reason that was made.
    pub(crate) is_unusable: bool,
    pub(crate) captured: Option<Checkpoint>,
    pub(crate) written: Option<WrittenFile>,
    /// What is to be done to a checkpoint next.
    pub(crate) job: Option<Command>,
    /// What was seen of the others, and is not heard of yet.
    pub(crate) others: Option<Input>,
    /// Replicas that had been silent for long when it was last looked who runs, and when that was done to trim the log.
    pub(crate) silent: Vec<ProcessId>,
    pub(crate) left_out: Vec<ProcessId>,
    /// When the first record of the reign was made, in true time and by its own.
    pub(crate) reign_began: Option<(u64, Timestamp)>,
    /// What it has done of reigns of another engine.
    pub(crate) compared: Compared,
    /// Digest records since the last record of another kind.
    pub(crate) digests_in_a_row: u32,
    /// A vacancy that it saw first at that time, with an output that was stuck.
    pub(crate) vacant: Option<(Epoch, u64)>,
    /// Tries to become primary since it has read the log last.
    pub(crate) tries: u32,
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
            stuck_until: Cell::default(),
            has_yielded: Cell::default(),
            ready: Cell::default(),
            knows_mended: Cell::default(),
            unsaid: RefCell::default(),
            uncapturable_until: Cell::default(),
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

    pub(crate) fn reports(&self) -> MutexGuard<'_, VecDeque<LogEvent>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
