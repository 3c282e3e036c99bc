//! The log of one instance, as the driver sees it.
//!
//! Authority lies in the log: the epoch record that comes first in it wins. What [`LogStore::watch`] says is only a hint who
//! should try; a false suspicion costs a change of primary and never a record.
//!
//! **Architecture Invariant:** nothing here opens a file; that a log is kept in files shows in its errors alone, which name
//! where an operator has to look. Nothing here waits for news: who wants them has subscribed to them.

use std::{fmt, io};

use ambrosia_core::{Epoch, EpochBody, Lsn, Record, Timestamp};

use crate::{AcquireError, AppendError, Callback, FenceLook, IoError, LogError, LogEvent, Subscription, SyncTimes};

/// The primary delivers nothing more while this much is queued for the disk.
pub const LOG_QUEUE_BYTES_MAX: usize = 16 << 20;

/// The log of one instance. Every replica, and every tool, has one of its own.
pub trait LogStore: Send + Sync {
    /// Reads durable records from `from` on; `Lsn(1)` is genesis.
    fn tail(&self, from: Lsn) -> Result<Box<dyn LogTail>, LogError>;

    /// How far the log is known to go just now.
    fn head(&self) -> Result<Head, LogError>;

    /// A later reign than that one, for a primary that may have been deposed while it has nothing to write. It is asked ten times a second for
    /// each of very many, so it takes no longer than a look at memory that processes share; where more is needed the answer is none, and the
    /// writer of the reign is told by itself.
    ///
    /// # Errors
    /// If that can't be seen.
    fn later_reign(&self, than: Epoch) -> Result<Option<Epoch>, LogError> {
        Ok(Some(self.head()?.epoch).filter(|epoch| *epoch > than))
    }

    /// The first record that the log still has.
    fn first(&self) -> Result<Lsn, LogError>;

    /// Bytes that the log, its checkpoints and all that lies beside them take.
    fn stored_bytes(&self) -> Result<u64, IoError>;

    /// Whether this process may only look, and sees what was kept when the log was opened: nobody has used it since the
    /// machine started.
    fn is_at_rest(&self) -> bool;

    /// Calls back when more may be durable than before, a checkpoint counts from now on, or a primary has begun or ended: all
    /// that somebody who follows the log wants to know. Whoever has subscribed hears of a vacancy at once, too.
    ///
    /// # Errors
    /// If the system has no more threads.
    fn subscribe(&self, call: Callback) -> io::Result<Subscription>;

    /// Calls back once, when nobody seems to be primary, or with an error if that can't be found out any more. How long a
    /// primary has been silent is counted by this handle, from one call to the next.
    ///
    /// # Errors
    /// If the system has no more threads.
    fn watch(&self, call: OnVacancy) -> io::Result<Subscription>;
}

/// Told of a vacancy, by a thread of the store: it must neither block nor end a subscription.
pub type OnVacancy = Box<dyn FnOnce(Result<Vacancy, LogError>) + Send>;

/// Takes the [`LogEvent`]s of one reign, whose epoch comes with each. It is called by the thread of the log: it must not
/// block, and must not drop the writer.
pub type Events = Box<dyn Fn(Epoch, LogEvent) + Send + Sync>;

/// Told what a tail has read, with the tail, by any thread: it must not block.
pub type OnRead = Box<dyn FnOnce(Box<dyn LogTail>, Result<Vec<Record>, LogError>) + Send>;

/// How far a log goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// The newest reign that was begun.
    pub epoch: Epoch,
    /// The last record known to be durable.
    pub durable: Lsn,
}

/// Why nobody seems to be primary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vacancy {
    /// The primary of this reign ended, died, or there was none.
    Released(Epoch),
    /// The primary of this reign has not been heard of for too long.
    Silent(Epoch),
}

impl fmt::Display for Vacancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Vacancy::Released(Epoch(0)) => f.write_str("there was no primary yet"),
            Vacancy::Released(epoch) => write!(f, "the primary of epoch {epoch} is gone"),
            Vacancy::Silent(epoch) => write!(f, "the primary of epoch {epoch} is silent"),
        }
    }
}

impl Vacancy {
    /// The reign to be deposed.
    pub fn epoch(self) -> Epoch {
        match self {
            Vacancy::Released(epoch) | Vacancy::Silent(epoch) => epoch,
        }
    }
}

/// What a successful [`LogTail::acquire`] gives.
pub struct Acquired {
    /// All records that the tail had not returned; the new epoch record is the last. All of them are durable.
    pub records: Vec<Record>,
    /// The epoch of the new reign.
    pub epoch: Epoch,
    /// Takes the records of the new reign.
    pub writer: Box<dyn LogWriter>,
}

impl fmt::Debug for Acquired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquired").field("epoch", &self.epoch).field("records", &self.records.len()).finish()
    }
}

/// Reads the durable records of a log in order, across changes of the primary.
pub trait LogTail: Send {
    /// The next durable records; none if there are none now. [`LogStore::subscribe`] tells when there may be more.
    ///
    /// Bounded to about 4 MiB a call, and at least one record however large it is.
    fn read(&mut self) -> Result<Vec<Record>, LogError>;

    /// The same for whoever does not wait: `done` is called once, at once or later.
    fn begin_read(self: Box<Self>, done: OnRead);

    /// False if nothing was seen to come since the last read began that this did not return: whoever subscribes to the log is called
    /// before that changes, and need not read until then.
    fn may_have_more(&self) -> bool {
        true
    }

    /// The record that [`LogTail::read`] returns next.
    fn position(&self) -> Lsn;

    /// Chain value of the record before that one, which is what it will carry as `previous`; 0 before genesis. Whoever
    /// goes on from a checkpoint sees by it that the checkpoint belongs to this log.
    fn link(&self) -> u64;

    /// Another reader that stands where this one does. It begins with small reads, for whoever wants a few records.
    fn fork(&self) -> Box<dyn LogTail>;

    /// Deposes the reign `over` and becomes the writer, with an epoch record of its own as the newest of the log.
    ///
    /// `over` is the reign that was found vacant. If another one has begun since, the answer is Contended and nobody is
    /// deposed: of several standbys that see the same death only one takes over.
    ///
    /// Reads on to the true end of the log and returns all of that at once, so read until there is nothing more before.
    fn acquire(
        self: Box<Self>,
        over: Epoch,
        me: EpochBody,
        now: Timestamp,
        events: Events,
    ) -> Result<Acquired, AcquireError>;
}

/// The one writer of a reign. Dropped without [`LogWriter::close`], it gives up what is queued and ends the reign.
pub trait LogWriter: Send {
    /// Queues a record, whose bytes are final: its epoch is that of the reign, its lsn the next, its `previous` the
    /// link of the one before. Never blocks.
    fn append(&mut self, record: Record) -> Result<(), AppendError>;

    /// Looks whether the log is still that of this reign: if it is, all that was durable in it before, and nothing else, is
    /// durable at the moment of the look. It takes no longer than a look at memory that processes share: what takes longer is
    /// begun, and told by [`LogEvent::Looked`] with that number. One look is under way at a time.
    ///
    /// # Errors
    /// The later reign.
    fn look_at_fence(&mut self, number: u64) -> Result<FenceLook, Epoch>;

    /// Bytes queued and not yet handed to the disk. The caller stops delivering above [`LOG_QUEUE_BYTES_MAX`] and
    /// goes on at [`LogEvent::Room`].
    fn queued_bytes(&self) -> usize;

    /// Makes all that is queued durable and ends the reign, so that others take over at once.
    fn close(self: Box<Self>);

    /// What it did so far.
    fn stats(&self) -> WriterStats;
}

/// What a writer did so far.
#[derive(Clone, Debug, Default)]
pub struct WriterStats {
    /// Times that data was forced to the disk.
    pub flushes: u64,
    /// Records made durable.
    pub records: u64,
    /// Bytes of these records, as stored.
    pub bytes: u64,
    /// How long the flushes took.
    pub sync_times: SyncTimes,
}

impl WriterStats {
    /// Counts what another writer did, too.
    pub fn add_all(&mut self, other: &WriterStats) {
        self.flushes += other.flushes;
        self.records += other.records;
        self.bytes += other.bytes;
        self.sync_times.add_all(&other.sync_times);
    }
}
