//! The thread that writes the log: write, sync, look at the fence, and only then say that records are durable.
//!
//! **Architecture Invariant:** after an error of a write or sync nothing is ever written or acknowledged again: what
//! the kernel then holds and what the disk holds are no longer known to be the same.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ambrosia_core::{Epoch, Lsn, Record, RecordHeader, RecordKind};

use super::{
    byte_lock::ByteLock,
    control::Control,
    options::FileLogOptions,
    queue::{Batch, End, Queue, Taken},
    segment::LastRecord,
    segment_writer::SegmentWriter,
};
use crate::{Events, LOG_QUEUE_BYTES_MAX, StopCause, WriterEvent, WriterStats};

/// An idle primary looks that often whether it was deposed.
const FENCE_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// All that the thread owns.
pub(crate) struct LogThread {
    pub(crate) queue: Arc<Queue>,
    pub(crate) stats: Arc<Mutex<WriterStats>>,
    pub(crate) control: Arc<Control>,
    pub(crate) segment: SegmentWriter,
    pub(crate) epoch: Epoch,
    pub(crate) last: LastRecord,
    pub(crate) events: Events,
    pub(crate) options: FileLogOptions,
    /// Held as long as the thread runs.
    pub(crate) reign: ByteLock,
}

impl LogThread {
    /// Writes until the reign ends.
    pub(crate) fn run(mut self) {
        if let Err(cause) = self.write_until_end() {
            self.queue.stop(cause.clone());
            let LogThread { events, control, reign, segment, .. } = self;
            drop((reign, segment));
            control.count_leadership_change();
            events(WriterEvent::Stopped(cause));
            return;
        }
        drop(self.reign);
        self.control.count_leadership_change();
    }

    fn write_until_end(&mut self) -> Result<(), StopCause> {
        let mut batch = Batch::default();
        let mut marked = self.last.lsn;
        loop {
            let idle = if marked < self.last.lsn { self.options.idle_after } else { FENCE_LOOK_INTERVAL };
            match self.queue.take(&mut batch, idle) {
                Taken::Records => {
                    if batch.bytes.len() > LOG_QUEUE_BYTES_MAX {
                        (self.events)(WriterEvent::Room);
                    }
                    self.commit(&batch)?;
                    batch.clear();
                }
                Taken::End(End::Abandoned) => return Ok(()),
                idle_or_end => {
                    if marked < self.last.lsn {
                        self.mark()?;
                        marked = self.last.lsn;
                    }
                    self.check_fence()?;
                    if idle_or_end == Taken::End(End::Flushed) {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Makes the records of `batch` durable and says so.
    fn commit(&mut self, batch: &Batch) -> Result<(), StopCause> {
        let (mut written, mut end) = (0, 0);
        let mut newest = None;
        for length in &batch.lengths {
            let length = *length as usize;
            if !self.segment.has_room(end - written + length) {
                self.write(&batch.bytes[written..end])?;
                written = end;
                let before = newest.map_or(self.last, |at| last_record(&batch.bytes[at..]));
                self.timed_sync(|segment| segment.roll(before, length))?;
            }
            newest = Some(end);
            end += length;
        }
        self.write(&batch.bytes[written..end])?;
        self.timed_sync(|segment| segment.sync())?;
        self.check_fence()?;
        self.last = newest.map_or(self.last, |at| last_record(&batch.bytes[at..]));
        self.count(batch);
        self.control.publish_durable(self.last.lsn);
        (self.events)(WriterEvent::Durable(self.last.lsn));
        Ok(())
    }

    /// Says in the log that all of it is durable. It can't be seen otherwise whether the last record was.
    fn mark(&mut self) -> Result<(), StopCause> {
        if !self.segment.has_room_for_mark() {
            return Ok(());
        }
        let LastRecord { lsn, link, time } = self.last;
        let mut header = RecordHeader::new(RecordKind::Mark, self.epoch, lsn, time);
        header.durable = lsn;
        header.previous = link;
        let mark = Record::seal(header, &[]);
        self.write(mark.stored())?;
        self.timed_sync(|segment| segment.sync())
    }

    fn write(&mut self, records: &[u8]) -> Result<(), StopCause> {
        self.segment.write(records).map_err(|error| self.stop_cause(&error))
    }

    fn timed_sync(
        &mut self,
        sync: impl FnOnce(&mut SegmentWriter) -> Result<(), crate::IoError>,
    ) -> Result<(), StopCause> {
        let begin = Instant::now();
        sync(&mut self.segment).map_err(|error| self.stop_cause(&error))?;
        let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        stats.flushes += 1;
        stats.sync_times.add(begin.elapsed());
        Ok(())
    }

    /// Whoever deposed us may have removed our files under our hands: an error says nothing then.
    fn stop_cause(&self, error: &crate::IoError) -> StopCause {
        self.check_fence().err().unwrap_or_else(|| StopCause::Failed(error.to_string()))
    }

    /// What was written and synced before this counts only if nobody has deposed us by now.
    fn check_fence(&self) -> Result<(), StopCause> {
        let fence = self.control.fence_after_writes();
        if fence == self.epoch { Ok(()) } else { Err(StopCause::Fenced { by: fence }) }
    }

    fn count(&self, batch: &Batch) {
        let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        stats.records += batch.lengths.len() as u64;
        stats.bytes += batch.bytes.len() as u64;
    }
}

fn last_record(stored: &[u8]) -> LastRecord {
    let header = RecordHeader::decode(stored).expect("it was sealed by Record::seal");
    debug_assert!(header.lsn > Lsn(0));
    LastRecord::of(&header)
}
