//! The writer of a reign, for a driver: its records go to the committer at once, and what becomes of them is told by its thread.
//!
//! **Architecture Invariant:** nobody is called any more once it is closed or dropped.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, mpsc::channel},
    time::Instant,
};

use ambrosia_core::{Epoch, Lsn, Record};
use ambrosia_storage::{AppendError, Events, FenceLook, LogEvent, LogId, LogWriter, WriterStats};

use super::host::{EngineHost, ReignId, lock};
use crate::{event::Event, limits::CLOSE_TIME, task::TaskId};

/// The writer of one reign.
pub(super) struct EngineWriter {
    pub(super) host: Arc<EngineHost>,
    pub(super) log: LogId,
    pub(super) reign: ReignId,
    pub(super) task: TaskId,
    pub(super) listener: Arc<Listener>,
    /// The last look at the fence.
    pub(super) look: Option<TaskId>,
    pub(super) is_over: bool,
}

/// Who is told of a reign, and what is counted of it.
pub(super) struct Listener {
    events: Mutex<Option<Events>>,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    stats: WriterStats,
    /// Records that are not known to be durable: their bytes, and since when.
    appended: VecDeque<(Lsn, u64, Instant)>,
}

impl Listener {
    pub(super) fn new(events: Events) -> Arc<Listener> {
        Arc::new(Listener { events: Mutex::new(Some(events)), counts: Mutex::default() })
    }

    pub(super) fn tell(&self, event: Event) {
        let Event::Log(epoch, event) = event else { return };
        if let LogEvent::Durable(lsn) = event {
            self.count(lsn);
        }
        if let Some(events) = &*lock(&self.events) {
            events(epoch, event);
        }
    }

    pub(super) fn silence(&self) {
        let _nobody = lock(&self.events).take();
    }

    fn count(&self, durable: Lsn) {
        let mut counts = lock(&self.counts);
        let Counts { stats, appended } = &mut *counts;
        if let Some((_, _, since)) = appended.front() {
            stats.sync_times.add(since.elapsed());
        }
        stats.flushes += 1;
        while let Some((_, bytes, _)) = appended.pop_front_if(|(lsn, _, _)| *lsn <= durable) {
            stats.records += 1;
            stats.bytes += bytes;
        }
    }
}

impl EngineWriter {
    fn abandon(&mut self) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.listener.silence();
            self.host.abandon(self.task, self.look);
        }
    }
}

impl LogWriter for EngineWriter {
    fn append(&mut self, record: Record) -> Result<(), AppendError> {
        let (lsn, bytes, now) = (record.lsn(), record.stored().len() as u64, Instant::now());
        // Before it can be durable.
        lock(&self.listener.counts).appended.push_back((lsn, bytes, now));
        let appended = self.host.shared.with(|state, now| state.committer.append(self.task, record, now));
        if appended.is_err() {
            lock(&self.listener.counts).appended.pop_back();
        }
        appended
    }

    fn look_at_fence(&mut self, number: u64) -> Result<FenceLook, Epoch> {
        self.look = Some(self.host.look(self.log, self.reign, number, &self.listener));
        Ok(FenceLook::Begun)
    }

    fn queued_bytes(&self) -> usize {
        self.host.shared.look(|committer| committer.queued_bytes(self.task))
    }

    fn close(mut self: Box<Self>) {
        let (sender, done) = channel();
        self.host.close(self.task, sender);
        // Nobody tells if the reign was over, or ends meanwhile; what takes too long is given up.
        let is_closed = done.recv_timeout(CLOSE_TIME).is_ok();
        self.is_over = is_closed;
        self.listener.silence();
        self.abandon();
    }

    fn stats(&self) -> WriterStats {
        lock(&self.listener.counts).stats.clone()
    }
}

impl Drop for EngineWriter {
    fn drop(&mut self) {
        self.abandon();
    }
}
