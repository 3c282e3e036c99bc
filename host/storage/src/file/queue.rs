//! Records on their way from the primary to whoever writes the log: two buffers that change places.
//!
//! **Architecture Invariant:** adding never waits for the disk.

use std::sync::{
    Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use crate::{AppendError, LOG_QUEUE_BYTES_MAX, StopCause, Waker};

/// Records behind one another, as they are stored.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    /// Bytes of each record.
    pub(crate) lengths: Vec<u32>,
}

impl Batch {
    /// Empties it. A buffer that one large record blew up is given back.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.lengths.clear();
        if self.bytes.capacity() > 2 * LOG_QUEUE_BYTES_MAX {
            self.bytes.shrink_to(LOG_QUEUE_BYTES_MAX);
        }
    }
}

/// How the reign is to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// With all that is queued.
    Flushed,
    /// At once.
    Abandoned,
}

/// What [`Queue::take`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    Records,
    Nothing,
    End(End),
}

#[derive(Default)]
struct QueueState {
    waiting: Batch,
    end: Option<End>,
    stopped: Option<StopCause>,
}

impl QueueState {
    fn check(&self) -> Result<(), AppendError> {
        match &self.stopped {
            Some(StopCause::Fenced { by }) => Err(AppendError::Fenced { by: *by }),
            Some(StopCause::Failed(reason)) => Err(AppendError::Failed(reason.clone())),
            None => Ok(()),
        }
    }
}

/// The records that wait for the disk.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<QueueState>,
    queued: AtomicUsize,
    /// Wakes whoever writes the log. A simulator has nobody wake.
    writer: OnceLock<Waker>,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nothing is taken any more, if that is so.
    pub(crate) fn check(&self) -> Result<(), AppendError> {
        self.lock().check()
    }

    pub(crate) fn add(&self, record: &[u8]) -> Result<(), AppendError> {
        let mut state = self.lock();
        state.check()?;
        state.waiting.bytes.extend_from_slice(record);
        state.waiting.lengths.push(record.len() as u32);
        self.queued.store(state.waiting.bytes.len(), Ordering::Relaxed);
        let is_first = state.waiting.lengths.len() == 1;
        drop(state);
        if is_first {
            self.wake();
        }
        Ok(())
    }

    /// Whoever writes the log is woken by that from now on.
    pub(crate) fn set_writer(&self, waker: Waker) {
        assert!(self.writer.set(waker).is_ok(), "a log has one writer");
    }

    fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.wake();
        }
    }

    /// Whether there are records, or the end.
    pub(crate) fn has_news(&self) -> bool {
        let state = self.lock();
        !state.waiting.lengths.is_empty() || state.end.is_some()
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    pub(crate) fn end(&self, end: End) {
        self.lock().end.get_or_insert(end);
        self.wake();
    }

    pub(crate) fn stop(&self, cause: StopCause) {
        let mut state = self.lock();
        state.waiting = Batch::default();
        state.stopped = Some(cause);
        self.queued.store(0, Ordering::Relaxed);
    }

    /// Changes places with `batch`, which is empty, if there are records.
    pub(crate) fn take(&self, batch: &mut Batch) -> Taken {
        let mut state = self.lock();
        if state.end == Some(End::Abandoned) {
            return Taken::End(End::Abandoned);
        }
        if state.waiting.lengths.is_empty() {
            return state.end.map_or(Taken::Nothing, Taken::End);
        }
        std::mem::swap(&mut state.waiting, batch);
        self.queued.store(0, Ordering::Relaxed);
        Taken::Records
    }
}
