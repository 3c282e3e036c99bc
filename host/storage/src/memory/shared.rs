//! What the log, the checkpoints and the members of one log in memory share.
//!
//! **Architecture Invariant:** subscribers are called, and bells rung, with nothing locked.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ambrosia_core::{Epoch, HostAddress, Lsn, Record, ReplicaIndex};

use super::subscribers::Subscribers;
use crate::{
    CaptureMeans, CheckpointName, HEARTBEAT_SILENCE, LogError, Role, WriterStats, memory::memory_checkpoints::Stored,
    vacancy_watcher::VacancyBell,
};

/// One log, by whoever has a handle on it.
pub(crate) struct Shared {
    state: Mutex<MemoryState>,
    /// Something was queued, or the reign ends.
    pub(crate) queued: Condvar,
    pub(crate) durable: Subscribers,
    pub(crate) leadership: Subscribers,
    pub(crate) published: Subscribers,
    /// The primary counts as gone when silent for this long.
    pub(crate) silence: Duration,
}

/// Which replica reigns with which epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reign {
    pub(crate) epoch: Epoch,
    pub(crate) replica: ReplicaIndex,
}

pub(crate) struct MemoryState {
    /// Lsn of the first record that is left.
    pub(crate) first: Lsn,
    pub(crate) records: VecDeque<Record>,
    /// Link of the record before the first one.
    link_before: u64,
    pub(crate) reign: Reign,
    /// Whether the primary of `reign` is there.
    pub(crate) is_reigned: bool,
    /// Its primary appends nothing more.
    pub(crate) is_ending: bool,
    /// The primary that has said where it answers.
    pub(crate) primary: Option<Reign>,
    /// What waits to be made durable for the newest epoch.
    pub(crate) queue: Vec<Record>,
    pub(crate) held: bool,
    pub(crate) stats: WriterStats,
    /// Rung when the reign ends.
    pub(crate) bells: Vec<VacancyBell>,
    pub(crate) slots: BTreeMap<ReplicaIndex, Slot>,
    pub(crate) checkpoints: BTreeMap<CheckpointName, Stored>,
    pub(crate) newest_published: Lsn,
    /// It is about to be removed: nobody may begin to run.
    pub(crate) is_closed: bool,
}

/// What one replica tells of itself.
#[derive(Clone)]
pub(crate) struct Slot {
    pub(crate) runs: bool,
    pub(crate) role: Role,
    pub(crate) beats: u64,
    pub(crate) beaten: Instant,
    pub(crate) applied: Lsn,
    pub(crate) replay: Duration,
    pub(crate) capture: Option<CaptureMeans>,
    pub(crate) ready: u64,
    pub(crate) waiting: Option<u64>,
    pub(crate) address: Option<HostAddress>,
}

impl Shared {
    pub(crate) fn new(genesis: Record) -> Shared {
        let state = MemoryState {
            first: genesis.lsn(),
            records: VecDeque::from([genesis]),
            link_before: 0,
            reign: Reign { epoch: Epoch(0), replica: ReplicaIndex(0) },
            is_reigned: false,
            is_ending: false,
            primary: None,
            queue: Vec::new(),
            held: false,
            stats: WriterStats::default(),
            bells: Vec::new(),
            slots: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            newest_published: Lsn(0),
            is_closed: false,
        };
        Shared {
            state: Mutex::new(state),
            queued: Condvar::new(),
            durable: Subscribers::default(),
            leadership: Subscribers::default(),
            published: Subscribers::default(),
            silence: HEARTBEAT_SILENCE,
        }
    }

    /// A log that has these records, and that nobody has written since that epoch; `None` if there are none.
    pub(crate) fn of(records: Vec<Record>, epoch: Epoch) -> Option<Shared> {
        let shared = Shared::new(records.first()?.clone());
        let mut state = shared.lock();
        state.link_before = state.records[0].header().previous;
        state.records = records.into();
        state.reign.epoch = epoch;
        drop(state);
        Some(shared)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, MemoryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The primary of `epoch` is gone, unless another one was there since.
    pub(crate) fn end_reign(&self, epoch: Epoch) {
        let mut state = self.lock();
        if state.reign.epoch == epoch {
            state.is_reigned = false;
        }
        let bells = std::mem::take(&mut state.bells);
        drop(state);
        bells.iter().for_each(VacancyBell::ring);
        self.leadership.call();
        self.durable.call();
    }
}

impl MemoryState {
    /// The last record.
    pub(crate) fn last(&self) -> Lsn {
        Lsn(self.first.0 + self.records.len() as u64 - 1)
    }

    /// An error unless the log can be read from there on: a record that it has, or the one behind the last.
    pub(crate) fn check_has(&self, from: Lsn) -> Result<(), LogError> {
        let (first, last) = (self.first, self.last());
        if from < first || from > last.next() {
            return Err(LogError::Missing { place: "memory".to_owned(), asked: from, first, last });
        }
        Ok(())
    }

    /// The records from there on, which the log has.
    pub(crate) fn from(&self, lsn: Lsn) -> impl Iterator<Item = &Record> {
        self.records.iter().skip((lsn.0 - self.first.0) as usize)
    }

    /// Link of the record before that one.
    pub(crate) fn link_before(&self, lsn: Lsn) -> u64 {
        match lsn.0.checked_sub(self.first.0) {
            None | Some(0) => self.link_before,
            Some(at) => self.records[at as usize - 1].header().link(),
        }
    }

    pub(crate) fn stored_bytes(&self) -> u64 {
        let records: usize = self.records.iter().map(|record| record.stored().len()).sum();
        records as u64 + self.checkpoints.values().map(Stored::bytes).sum::<u64>()
    }

    /// Another replica reigns; `record` begins its reign.
    pub(crate) fn begin_reign(&mut self, epoch: Epoch, replica: ReplicaIndex, record: Record) {
        assert!(epoch > self.reign.epoch, "a reign is named by a number that no reign before it had");
        self.reign = Reign { epoch, replica };
        (self.is_reigned, self.is_ending) = (true, false);
        self.queue.clear();
        self.stats = WriterStats::default();
        self.records.push_back(record);
    }

    /// Removes the records before `lsn`, but never the last one.
    pub(crate) fn trim_before(&mut self, lsn: Lsn) -> usize {
        let gone = lsn.min(self.last()).0.saturating_sub(self.first.0);
        for _ in 0..gone {
            let record = self.records.pop_front().expect("the last one stays");
            self.link_before = record.header().link();
        }
        self.first.0 += gone;
        gone as usize
    }
}
