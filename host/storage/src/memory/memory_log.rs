//! A log in memory, with the same order of events as one on a disk: records are durable a little later, in a thread.
//!
//! **Architecture Invariant:** a record becomes visible and durable in one step, under one lock, if its epoch is still
//! the newest then.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ambrosia_core::{Epoch, EpochBody, Lsn, Record, Timestamp};

use super::shared::{MemoryState, Shared};
use crate::{
    AcquireError, Acquired, AppendError, Callback, Events, FenceLook, Head, IoError, LOG_QUEUE_BYTES_MAX, LogError,
    LogEvent, LogStore, LogTail, LogWriter, OnRead, OnVacancy, StopCause, Subscription, Vacancy, WriterStats,
    file::{LastRecord, Silence, check_follows, epoch_record},
    vacancy_watcher::{Cause, Observer, Sight, VacancyBell, VacancyWatcher},
};

const BUDGET_BYTES: usize = 4 << 20;

/// The log of one instance in memory. A clone is the same log, and counts the silence of its primary by itself.
pub struct MemoryLog {
    shared: Arc<Shared>,
    observer: Arc<MemoryObserver>,
    watcher: VacancyWatcher,
}

impl Clone for MemoryLog {
    fn clone(&self) -> Self {
        MemoryLog::on(Arc::clone(&self.shared), self.watcher.clone())
    }
}

impl MemoryLog {
    /// A log that begins with `genesis`.
    pub fn new(genesis: Record) -> MemoryLog {
        MemoryLog::on(Arc::new(Shared::new(genesis)), VacancyWatcher::default())
    }

    pub(crate) fn on(shared: Arc<Shared>, watcher: VacancyWatcher) -> MemoryLog {
        let observer = Arc::new(MemoryObserver { shared: Arc::clone(&shared), silent: Mutex::default() });
        MemoryLog { shared, observer, watcher }
    }

    /// Makes nothing durable until [`MemoryLog::release`], like a disk that hangs.
    pub fn hold(&self) {
        self.shared.lock().held = true;
    }

    /// Ends [`MemoryLog::hold`].
    pub fn release(&self) {
        self.shared.lock().held = false;
        self.shared.queued.notify_all();
    }
}

impl LogStore for MemoryLog {
    fn tail(&self, from: Lsn) -> Result<Box<dyn LogTail>, LogError> {
        self.shared.lock().check_has(from)?;
        Ok(Box::new(MemoryTail { shared: Arc::clone(&self.shared), next: from }))
    }

    fn head(&self) -> Result<Head, LogError> {
        let state = self.shared.lock();
        Ok(Head { epoch: state.reign.epoch, durable: state.last() })
    }

    fn first(&self) -> Result<Lsn, LogError> {
        Ok(self.shared.lock().first)
    }

    fn stored_bytes(&self) -> Result<u64, IoError> {
        Ok(self.shared.lock().stored_bytes())
    }

    fn is_at_rest(&self) -> bool {
        false
    }

    fn subscribe(&self, call: Callback) -> io::Result<Subscription> {
        Ok(self.shared.durable.subscribe(call))
    }

    fn watch(&self, call: OnVacancy) -> io::Result<Subscription> {
        self.watcher.watch(Arc::clone(&self.observer) as Arc<dyn Observer>, call)
    }
}

/// Looks whether the log has a primary that is heard of.
struct MemoryObserver {
    shared: Arc<Shared>,
    /// Epoch and beats of the primary.
    silent: Mutex<Option<Silence<(Epoch, u64)>>>,
}

impl Observer for MemoryObserver {
    fn look(&self, _: Cause, now: Instant, bell: &VacancyBell) -> Result<Sight, LogError> {
        let mut state = self.shared.lock();
        let epoch = state.reign.epoch;
        let sign = (epoch, state.slots.get(&state.reign.replica).map_or(0, |slot| slot.beats));
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        let silence = silent.get_or_insert_with(|| Silence::new(sign, now)).look(sign, now);
        if !state.is_reigned {
            return Ok(Sight::Vacant(Vacancy::Released(epoch)));
        }
        if !state.bells.iter().any(|there| there.is(bell)) {
            state.bells.retain(VacancyBell::is_heard);
            state.bells.push(bell.clone());
        }
        let is_silent = silence >= self.shared.silence;
        Ok(if is_silent { Sight::Vacant(Vacancy::Silent(epoch)) } else { Sight::Unchanged })
    }
}

/// The thread of a reign: moves what is queued into the log until the reign ends.
fn make_durable(shared: &Shared, epoch: Epoch, events: &Events) {
    loop {
        let idle = |state: &mut MemoryState| {
            state.reign.epoch == epoch
                && (state.held || state.queue.is_empty())
                && (!state.is_ending || !state.queue.is_empty())
        };
        let waited = shared.queued.wait_while(shared.lock(), idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if state.reign.epoch != epoch {
            let by = state.reign.epoch;
            drop(state);
            return events(epoch, LogEvent::Stopped(StopCause::Fenced { by }));
        }
        if state.queue.is_empty() {
            return;
        }
        let queue = std::mem::take(&mut state.queue);
        let bytes: usize = queue.iter().map(|record| record.stored().len()).sum();
        state.stats.flushes += 1;
        state.stats.records += queue.len() as u64;
        state.stats.bytes += bytes as u64;
        state.stats.sync_times.add(Duration::ZERO);
        state.records.extend(queue);
        let durable = state.last();
        drop(state);
        shared.durable.call();
        if bytes > LOG_QUEUE_BYTES_MAX {
            events(epoch, LogEvent::Room);
        }
        events(epoch, LogEvent::Durable(durable));
    }
}

struct MemoryTail {
    shared: Arc<Shared>,
    next: Lsn,
}

impl LogTail for MemoryTail {
    fn read(&mut self) -> Result<Vec<Record>, LogError> {
        let state = self.shared.lock();
        state.check_has(self.next)?;
        let mut bytes = 0;
        let within = |record: &&Record| {
            let had = bytes;
            bytes += record.stored().len();
            had < BUDGET_BYTES
        };
        let records: Vec<Record> = state.from(self.next).take_while(within).cloned().collect();
        self.next.0 += records.len() as u64;
        Ok(records)
    }

    fn begin_read(mut self: Box<Self>, done: OnRead) {
        let records = self.read();
        done(self, records);
    }

    fn position(&self) -> Lsn {
        self.next
    }

    fn link(&self) -> u64 {
        self.shared.lock().link_before(self.next)
    }

    fn fork(&self) -> Box<dyn LogTail> {
        Box::new(MemoryTail { shared: Arc::clone(&self.shared), next: self.next })
    }

    fn acquire(
        self: Box<Self>,
        over: Epoch,
        me: EpochBody,
        now: Timestamp,
        events: Events,
    ) -> Result<Acquired, AcquireError> {
        let mut state = self.shared.lock();
        if state.reign.epoch != over {
            return Err(AcquireError::Contended { epoch: state.reign.epoch });
        }
        state.check_has(self.next)?;
        let epoch = Epoch(over.0 + 1);
        let before = LastRecord::of(state.records.back().expect("a log is never empty").header());
        let record = epoch_record(&me, epoch, now, before);
        state.begin_reign(epoch, me.replica, record.clone());
        let records = state.from(self.next).cloned().collect();
        drop(state);
        self.shared.queued.notify_all();
        self.shared.durable.call();
        let last = LastRecord::of(record.header());
        let shared = Arc::clone(&self.shared);
        let thread = Some(thread::spawn(move || make_durable(&shared, epoch, &events)));
        let writer = MemoryWriter { shared: Arc::clone(&self.shared), epoch, last, thread };
        Ok(Acquired { records, epoch, writer: Box::new(writer) })
    }
}

struct MemoryWriter {
    shared: Arc<Shared>,
    epoch: Epoch,
    last: LastRecord,
    thread: Option<JoinHandle<()>>,
}

impl MemoryWriter {
    /// Ends the reign, and then waits for its thread. What is still queued is made durable, or given up.
    fn end_reign(&mut self, gives_up: bool) {
        let Some(thread) = self.thread.take() else { return };
        let mut state = self.shared.lock();
        let is_own = state.reign.epoch == self.epoch;
        if is_own && gives_up {
            state.queue.clear();
        }
        if is_own {
            state.is_ending = true;
        }
        drop(state);
        self.shared.queued.notify_all();
        thread.join().expect("the thread of the log does not panic");
        self.shared.end_reign(self.epoch);
    }
}

impl LogWriter for MemoryWriter {
    fn append(&mut self, record: Record) -> Result<(), AppendError> {
        let mut state = self.shared.lock();
        if state.reign.epoch != self.epoch {
            return Err(AppendError::Fenced { by: state.reign.epoch });
        }
        check_follows(&record, self.epoch, self.last)?;
        self.last = LastRecord::of(record.header());
        state.queue.push(record);
        drop(state);
        self.shared.queued.notify_all();
        Ok(())
    }

    fn look_at_fence(&mut self, _: u64) -> Result<FenceLook, Epoch> {
        let fence = self.shared.lock().reign.epoch;
        if fence == self.epoch { Ok(FenceLook::Done) } else { Err(fence) }
    }

    fn queued_bytes(&self) -> usize {
        let state = self.shared.lock();
        if state.reign.epoch == self.epoch { state.queue.iter().map(|record| record.stored().len()).sum() } else { 0 }
    }

    fn close(mut self: Box<Self>) {
        self.end_reign(false);
    }

    fn stats(&self) -> WriterStats {
        self.shared.lock().stats.clone()
    }
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        self.end_reign(true);
    }
}
