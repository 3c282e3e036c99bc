//! A log in memory, with the same order of events as one on a disk: records are durable a little later, in a thread.
//!
//! **Architecture Invariant:** a record becomes visible and durable in one step, under one lock, if its epoch is still
//! the newest then.

use std::{
    any::Any,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use ambrosia_core::{Epoch, EpochBody, Lsn, Record, Timestamp};

use crate::{
    AcquireError, Acquired, AppendError, Events, Head, Interrupter, IoError, LOG_QUEUE_BYTES_MAX, LogError, LogEvent,
    LogStore, LogTail, LogWriter, StopCause, Vacancy, WriterStats,
    file::{LastRecord, check_follows, epoch_record},
};

const BUDGET_BYTES: usize = 4 << 20;

#[derive(Default)]
struct State {
    records: Vec<Record>,
    epoch: Epoch,
    /// Whether the primary of `epoch` is there.
    reigned: bool,
    /// What waits to be made durable for the newest epoch.
    queue: Vec<Record>,
    held: bool,
    stats: WriterStats,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(&self, timeout: Duration, idle: impl FnMut(&mut State) -> bool) -> MutexGuard<'_, State> {
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, idle);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The log of one instance in memory. A clone is the same log with an interruption of its own.
pub struct MemoryLog {
    shared: Arc<Shared>,
    interrupted: AtomicBool,
}

impl Clone for MemoryLog {
    fn clone(&self) -> Self {
        MemoryLog { shared: self.shared.clone(), interrupted: AtomicBool::new(false) }
    }
}

impl MemoryLog {
    /// A log that begins with `genesis`.
    pub fn new(genesis: Record) -> MemoryLog {
        let log = MemoryLog { shared: Arc::default(), interrupted: AtomicBool::new(false) };
        log.shared.lock().records.push(genesis);
        log
    }

    /// Makes nothing durable until [`MemoryLog::release`], like a disk that hangs.
    pub fn hold(&self) {
        self.shared.lock().held = true;
    }

    /// Ends [`MemoryLog::hold`].
    pub fn release(&self) {
        self.shared.lock().held = false;
        self.shared.changed.notify_all();
    }
}

impl LogStore for MemoryLog {
    fn tail(&self, from: Lsn) -> Result<Box<dyn LogTail>, LogError> {
        let last = Lsn(self.shared.lock().records.len() as u64);
        if from < Lsn(1) || from > last.next() {
            return Err(LogError::Missing { place: "memory".to_owned(), asked: from, first: Lsn(1), last });
        }
        Ok(Box::new(MemoryTail { shared: self.shared.clone(), next: from, interrupted: Arc::default() }))
    }

    fn head(&self) -> Result<Head, LogError> {
        let state = self.shared.lock();
        Ok(Head { epoch: state.epoch, durable: Lsn(state.records.len() as u64) })
    }

    fn first(&self) -> Result<Lsn, LogError> {
        Ok(Lsn(1))
    }

    fn stored_bytes(&self) -> Result<u64, IoError> {
        Ok(self.shared.lock().records.iter().map(|record| record.stored().len() as u64).sum())
    }

    fn is_at_rest(&self) -> bool {
        false
    }

    fn wait_for_vacancy(&self, timeout: Duration) -> Result<Option<Vacancy>, LogError> {
        let idle = |state: &mut State| state.reigned && !self.interrupted.load(Ordering::SeqCst);
        let state = self.shared.wait_while(timeout, idle);
        let interrupted = self.interrupted.swap(false, Ordering::SeqCst);
        Ok((!state.reigned && !interrupted).then_some(Vacancy::Released(state.epoch)))
    }

    fn interrupt(&self) {
        let _state = self.shared.lock();
        self.interrupted.store(true, Ordering::SeqCst);
        self.shared.changed.notify_all();
    }

    fn acquire(
        &self,
        over: Epoch,
        me: EpochBody,
        now: Timestamp,
        tail: Box<dyn LogTail>,
        events: Events,
    ) -> Result<Acquired, AcquireError> {
        let mut state = self.shared.lock();
        if state.epoch != over {
            return Err(AcquireError::Contended { epoch: state.epoch });
        }
        let epoch = Epoch(state.epoch.0 + 1);
        let before = LastRecord::of(state.records.last().expect("genesis is there").header());
        let record = epoch_record(&me, epoch, now, before);
        (state.epoch, state.reigned) = (epoch, true);
        state.queue.clear();
        state.stats = WriterStats::default();
        state.records.push(record.clone());
        self.shared.changed.notify_all();
        let records = state.records[tail.position().0 as usize - 1..].to_vec();
        let last = LastRecord::of(record.header());
        let shared = self.shared.clone();
        let thread = Some(thread::spawn(move || make_durable(&shared, epoch, &events)));
        let writer = MemoryWriter { shared: self.shared.clone(), epoch, last, thread };
        Ok(Acquired { records, epoch, writer: Box::new(writer) })
    }
}

/// The thread of a reign: moves what is queued into the log until the reign ends.
fn make_durable(shared: &Shared, epoch: Epoch, events: &Events) {
    loop {
        let idle = |state: &mut State| {
            state.epoch == epoch && (state.held || state.queue.is_empty()) && (state.reigned || !state.queue.is_empty())
        };
        let mut state = shared.wait_while(Duration::MAX, idle);
        if state.epoch != epoch {
            let by = state.epoch;
            drop(state);
            return events(LogEvent::Stopped(StopCause::Fenced { by }));
        }
        if state.queue.is_empty() {
            return;
        }
        let queue = std::mem::take(&mut state.queue);
        let bytes: usize = queue.iter().map(|record| record.stored().len()).sum();
        state.stats.flushes += 1;
        state.stats.records += queue.len() as u64;
        state.stats.bytes += bytes as u64;
        state.records.extend(queue);
        let durable = Lsn(state.records.len() as u64);
        drop(state);
        shared.changed.notify_all();
        if bytes > LOG_QUEUE_BYTES_MAX {
            events(LogEvent::Room);
        }
        events(LogEvent::Durable(durable));
    }
}

struct MemoryTail {
    shared: Arc<Shared>,
    next: Lsn,
    interrupted: Arc<AtomicBool>,
}

impl LogTail for MemoryTail {
    fn next(&mut self, wait: Duration) -> Result<Vec<Record>, LogError> {
        let read = self.next.0 as usize - 1;
        let idle = |state: &mut State| state.records.len() <= read && !self.interrupted.load(Ordering::SeqCst);
        let state = self.shared.wait_while(wait, idle);
        let mut bytes = 0;
        let within = |record: &&Record| {
            let had = bytes;
            bytes += record.stored().len();
            had < BUDGET_BYTES
        };
        let records: Vec<Record> = state.records[read..].iter().take_while(within).cloned().collect();
        if records.is_empty() {
            self.interrupted.store(false, Ordering::SeqCst);
        }
        self.next.0 += records.len() as u64;
        Ok(records)
    }

    fn position(&self) -> Lsn {
        self.next
    }

    fn link(&self) -> u64 {
        let before = (self.next.0 as usize).checked_sub(2);
        before.map_or(0, |before| self.shared.lock().records[before].header().link())
    }

    fn interrupter(&self) -> Interrupter {
        let (shared, interrupted) = (self.shared.clone(), self.interrupted.clone());
        Interrupter::new(move || {
            let _state = shared.lock();
            interrupted.store(true, Ordering::SeqCst);
            shared.changed.notify_all();
        })
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

struct MemoryWriter {
    shared: Arc<Shared>,
    epoch: Epoch,
    last: LastRecord,
    thread: Option<JoinHandle<()>>,
}

impl MemoryWriter {
    fn end_reign(&mut self, change: impl FnOnce(&mut State)) {
        let mut state = self.shared.lock();
        if state.epoch == self.epoch && state.reigned {
            state.reigned = false;
            change(&mut state);
        }
        drop(state);
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the thread of the log does not panic");
        }
    }
}

impl LogWriter for MemoryWriter {
    fn append(&mut self, record: Record) -> Result<(), AppendError> {
        let mut state = self.shared.lock();
        if state.epoch != self.epoch {
            return Err(AppendError::Fenced { by: state.epoch });
        }
        check_follows(&record, self.epoch, self.last)?;
        self.last = LastRecord::of(record.header());
        state.queue.push(record);
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }

    fn queued_bytes(&self) -> usize {
        let state = self.shared.lock();
        if state.epoch == self.epoch { state.queue.iter().map(|record| record.stored().len()).sum() } else { 0 }
    }

    fn close(mut self: Box<Self>) {
        self.end_reign(|_| ());
    }

    fn stats(&self) -> WriterStats {
        self.shared.lock().stats.clone()
    }
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        self.end_reign(|state| state.queue.clear());
    }
}
