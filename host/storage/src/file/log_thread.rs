//! Writes the log: write, sync, look at the fence, and only then say that records are durable.
//!
//! Logs are written by a few threads of the process, each by whichever is free: most logs are idle most of the time.
//!
//! **Architecture Invariant:** after an error of a write or sync nothing is ever written or acknowledged again: what
//! the kernel then holds and what the disk holds are no longer known to be the same.

use std::{
    io,
    sync::{Arc, Condvar, LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ambrosia_core::{Epoch, Lsn, Record, RecordHeader, RecordKind};

use super::{
    control::ControlPage,
    machine::Lock,
    options::FileLogOptions,
    queue::{Batch, End, Queue, Taken},
    segment::LastRecord,
    segment_writer::SegmentWriter,
};
use crate::{Events, LOG_QUEUE_BYTES_MAX, LogEvent, Pool, StopCause, Task, WriterStats, pool};

/// A log that is idle looks that often whether its primary was deposed, should nobody else look: the heartbeat does, and more
/// often.
const FENCE_LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// So many logs of a process are written, or synced, at once. More of them wait for one another.
const LOG_THREADS_MAX: usize = 32;

/// The threads that write the logs of this process.
static WRITERS: LazyLock<Pool> = LazyLock::new(|| Pool::new("log", LOG_THREADS_MAX, None));

/// All that whoever writes the log owns.
pub(crate) struct LogThread {
    pub(crate) queue: Arc<Queue>,
    pub(crate) stats: Arc<Mutex<WriterStats>>,
    pub(crate) control: Arc<ControlPage>,
    pub(crate) segment: SegmentWriter,
    pub(crate) epoch: Epoch,
    pub(crate) last: LastRecord,
    pub(crate) events: Events,
    pub(crate) options: FileLogOptions,
    /// Held as long as the log is written.
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
    /// Has the log written until the reign ends, by the threads of this process. What is returned opens then.
    ///
    /// # Errors
    /// If the system has no thread for it.
    pub(crate) fn start(self) -> io::Result<Arc<Latch>> {
        let (end, writer) = (Arc::<Latch>::default(), WRITERS.place());
        self.queue.set_writer(writer.clone());
        let (active, concluded) = (Instant::now(), Ok(()));
        writer.begin(Box::new(Writing { log: self, active, concluded, end: Arc::clone(&end) }))?;
        Ok(end)
    }

    fn conclude(self, end: Result<(), StopCause>) {
        if let Err(cause) = &end {
            self.queue.stop(cause.clone());
        }
        let LogThread { events, epoch, control, reign, segment, .. } = self;
        drop((reign, segment));
        control.count_leadership_change();
        if let Err(cause) = end {
            events(epoch, LogEvent::Stopped(cause));
        }
    }

    /// Writes what is queued; if that is nothing, the log is idle and says what of it is durable.
    fn turn(&mut self) -> Result<Turn, StopCause> {
        match self.queue.take(&mut self.batch) {
            Taken::Records => {
                if self.batch.bytes.len() > LOG_QUEUE_BYTES_MAX {
                    (self.events)(self.epoch, LogEvent::Room);
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
        (self.events)(self.epoch, LogEvent::Durable(self.last.lsn));
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

/// A log that is written by the threads of this process.
struct Writing {
    log: LogThread,
    /// When it was written last, or looked at the fence.
    active: Instant,
    /// How the reign has ended, once it has.
    concluded: Result<(), StopCause>,
    end: Arc<Latch>,
}

impl Writing {
    /// How long a log with an empty queue has nothing to do yet.
    fn idle_for(&self) -> Option<Duration> {
        let idle = if self.log.is_marked() { FENCE_LOOK_INTERVAL } else { self.log.options.idle_after };
        idle.checked_sub(self.active.elapsed()).filter(|rest| !rest.is_zero())
    }

    fn turn(&mut self) -> Result<Turn, StopCause> {
        let turn = self.log.turn()?;
        if turn == Turn::Wrote {
            self.log.settle()?;
        }
        Ok(turn)
    }
}

impl Task for Writing {
    fn go_on(&mut self) -> pool::Turn {
        if let Some(rest) = self.idle_for()
            && !self.log.queue.has_news()
        {
            return pool::Turn::Wait(Some(rest));
        }
        match self.turn() {
            Ok(Turn::Wrote | Turn::Idle) => {
                self.active = Instant::now();
                pool::Turn::Again
            }
            Ok(Turn::Ended) => pool::Turn::Ended,
            Err(cause) => {
                self.concluded = Err(cause);
                pool::Turn::Ended
            }
        }
    }

    fn end(self: Box<Self>) {
        let Writing { log, concluded, end, active: _ } = *self;
        log.conclude(concluded);
        end.open();
    }

    fn fail(mut self: Box<Self>) {
        let defect = "whoever writes the log has panicked; this is a defect of ambrosia-host";
        self.concluded = Err(StopCause::Failed(defect.to_owned()));
        self.end();
    }
}

/// Opens once.
#[derive(Default)]
pub(crate) struct Latch {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Latch {
    fn open(&self) {
        *self.is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }

    /// Waits until it is open.
    pub(crate) fn wait(&self) {
        let is_open = self.is_open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.opened.wait_while(is_open, |is_open| !*is_open).unwrap_or_else(PoisonError::into_inner));
    }
}

/// A log without threads: a simulator says when it goes on.
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
        let turn = self.log.as_mut().map(LogThread::turn);
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
