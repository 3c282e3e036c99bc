//! The primary's end of a log on files.
//!
//! **Architecture Invariant:** it never touches the disk; the thread of the log does.

use std::sync::{Arc, Mutex, PoisonError};

use ambrosia_core::{Epoch, Record};

use super::{
    control::ControlPage,
    log_thread::Latch,
    queue::{End, Queue},
    segment::LastRecord,
};
use crate::{AppendError, FenceLook, LogWriter, WriterStats};

/// The writer of one reign over a log on files.
pub(crate) struct FileWriter {
    pub(crate) queue: Arc<Queue>,
    pub(crate) stats: Arc<Mutex<WriterStats>>,
    /// Opens when the log is written no more. A simulator has none.
    pub(crate) written: Option<Arc<Latch>>,
    pub(crate) control: Arc<ControlPage>,
    pub(crate) epoch: Epoch,
    /// The record appended last.
    pub(crate) last: LastRecord,
}

impl FileWriter {
    fn finish(&mut self, end: End) {
        self.queue.end(end);
        if let Some(written) = self.written.take() {
            written.wait();
        }
    }
}

impl LogWriter for FileWriter {
    fn append(&mut self, record: Record) -> Result<(), AppendError> {
        // After the end of the reign nothing follows any more, and that is not the caller's fault.
        self.queue.check()?;
        check_follows(&record, self.epoch, self.last)?;
        self.queue.add(record.stored())?;
        self.last = LastRecord::of(record.header());
        Ok(())
    }

    fn look_at_fence(&mut self, _: u64) -> Result<FenceLook, Epoch> {
        let fence = self.control.fence_after_writes();
        if fence == self.epoch { Ok(FenceLook::Done) } else { Err(fence) }
    }

    fn queued_bytes(&self) -> usize {
        self.queue.queued_bytes()
    }

    fn close(mut self: Box<Self>) {
        self.finish(End::Flushed);
    }

    fn stats(&self) -> WriterStats {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        self.finish(End::Abandoned);
    }
}

/// Whether `record` may come next in the reign of `epoch`.
pub(crate) fn check_follows(record: &Record, epoch: Epoch, last: LastRecord) -> Result<(), AppendError> {
    let header = record.header();
    let misplaced = |reason| {
        Err(AppendError::Misplaced { found: header.lsn, epoch: header.epoch, expected: last.lsn.next(), reason })
    };
    if header.epoch != epoch {
        return misplaced("its epoch is not that of the reign");
    }
    if header.lsn != last.lsn.next() {
        return misplaced("its lsn is not the next");
    }
    if header.previous != last.link {
        return misplaced("its link is not that of the record before");
    }
    Ok(())
}
