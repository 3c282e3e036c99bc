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
    control::Control,
    machine::Lock,
    options::FileLogOptions,
    queue::{Batch, End, Queue, Taken},
    segment::LastRecord,
    segment_writer::SegmentWriter,
};
use crate::{Events, LOG_QUEUE_BYTES_MAX, LogEvent, StopCause, WriterStats};

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
    pub(crate) reign: Lock,
    /// What was taken from the queue last.
    pub(crate) batch: Batch,
    /// The last record that the log itself says is durable.
    pub(crate) marked: Lsn,
}

/// What a turn found to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    /// Records were written, and are to be settled.
    Wrote,
    Idle,
    Ended,
}

impl LogThread {
    /// Writes until the reign ends.
    pub(crate) fn run(mut self) {
        let end = self.write_until_end();
        self.conclude(end);
    }

    fn write_until_end(&mut self) -> Result<(), StopCause> {
        loop {
            let idle = if self.is_marked() { FENCE_LOOK_INTERVAL } else { self.options.idle_after };
            match self.turn(idle)? {
                Turn::Wrote => self.settle()?,
                Turn::Idle => {}
                Turn::Ended => return Ok(()),
            }
        }
    }

    fn conclude(self, end: Result<(), StopCause>) {
        if let Err(cause) = &end {
            self.queue.stop(cause.clone());
        }
        let LogThread { events, control, reign, segment, .. } = self;
        drop((reign, segment));
        control.count_leadership_change();
        if let Err(cause) = end {
            events(LogEvent::Stopped(cause));
        }
    }

    /// Writes what is queued, or what comes within `idle`; a log that falls idle says what of it is durable.
    fn turn(&mut self, idle: Duration) -> Result<Turn, StopCause> {
        match self.queue.take(&mut self.batch, idle) {
            Taken::Records => {
                if self.batch.bytes.len() > LOG_QUEUE_BYTES_MAX {
                    (self.events)(LogEvent::Room);
                }
                self.write_batch()?;
                Ok(Turn::Wrote)
            }
            Taken::End(End::Abandoned) => Ok(Turn::Ended),
            idle_or_end => {
                if !self.is_marked() {
                    self.mark()?;
                    self.marked = self.last.lsn;
                }
                self.check_fence()?;
                Ok(if idle_or_end == Taken::End(End::Flushed) { Turn::Ended } else { Turn::Idle })
            }
        }
    }

    fn is_marked(&self) -> bool {
        self.marked == self.last.lsn
    }

    /// Hands the records of the batch to the machine.
    fn write_batch(&mut self) -> Result<(), StopCause> {
        let mut batch = std::mem::take(&mut self.batch);
        let written = self.write_records(&mut batch);
        self.batch = batch;
        written
    }

    fn write_records(&mut self, batch: &mut Batch) -> Result<(), StopCause> {
        let Batch { bytes, lengths } = batch;
        let (mut written, mut end) = (0, 0);
        let mut first = 0;
        let mut newest = None;
        for (number, length) in lengths.iter().enumerate() {
            let length = *length as usize;
            if !self.segment.has_room(end - written + length) {
                self.write(&mut bytes[written..end], &lengths[first..number])?;
                (written, first) = (end, number);
                let before = newest.map_or(self.last, |at| last_record(&bytes[at..]));
                self.timed_sync(|segment| segment.roll(before, length))?;
            }
            newest = Some(end);
            end += length;
        }
        self.write(&mut bytes[written..end], &lengths[first..])
    }

    /// Makes what was written durable; it counts only if nobody has deposed us meanwhile.
    fn settle(&mut self) -> Result<(), StopCause> {
        self.timed_sync(|segment| segment.sync())?;
        self.check_fence()?;
        let newest = self.batch.lengths.last().expect("a batch that was written holds a record");
        self.last = last_record(&self.batch.bytes[self.batch.bytes.len() - *newest as usize..]);
        self.count();
        self.batch.clear();
        self.control.publish_durable(self.last.lsn);
        (self.events)(LogEvent::Durable(self.last.lsn));
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
        self.write(&mut mark.stored().to_vec(), &[mark.stored().len() as u32])?;
        self.timed_sync(|segment| segment.sync())
    }

    fn write(&mut self, records: &mut [u8], lengths: &[u32]) -> Result<(), StopCause> {
        self.segment.write(records, lengths).map_err(|error| self.stop_cause(&error))
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

    fn count(&self) {
        let batch = &self.batch;
        let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        stats.records += batch.lengths.len() as u64;
        stats.bytes += batch.bytes.len() as u64;
    }
}

/// The thread of a log without a thread: a simulator says when it goes on.
pub struct LogTurns {
    log: Option<LogThread>,
}

impl LogTurns {
    pub(crate) fn new(log: LogThread) -> LogTurns {
        LogTurns { log: Some(log) }
    }

    /// Writes what is queued; a queue that is empty means that the log is idle. True if something was written and
    /// [`LogTurns::settle`] is due.
    pub fn write(&mut self) -> bool {
        let turn = self.log.as_mut().map(|log| log.turn(Duration::ZERO));
        match turn {
            None | Some(Ok(Turn::Idle)) => false,
            Some(Ok(Turn::Wrote)) => true,
            Some(Ok(Turn::Ended)) => self.end(Ok(())),
            Some(Err(cause)) => self.end(Err(cause)),
        }
    }

    /// Syncs what was written, looks at the fence, and reports what is durable.
    pub fn settle(&mut self) {
        if let Some(Err(cause)) = self.log.as_mut().map(LogThread::settle) {
            self.end(Err(cause));
        }
    }

    /// Whether the log says itself that all of it is durable.
    pub fn is_marked(&self) -> bool {
        self.log.as_ref().is_none_or(LogThread::is_marked)
    }

    /// Whether nothing will be written any more.
    pub fn has_ended(&self) -> bool {
        self.log.is_none()
    }

    fn end(&mut self, end: Result<(), StopCause>) -> bool {
        if let Some(log) = self.log.take() {
            log.conclude(end);
        }
        false
    }
}

fn last_record(stored: &[u8]) -> LastRecord {
    let header = RecordHeader::decode(stored).expect("it was sealed by Record::seal");
    debug_assert!(header.lsn > Lsn(0));
    LastRecord::of(&header)
}
