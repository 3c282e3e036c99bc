//! The log of one instance on files.
//!
//! **Architecture Invariant:** the fence is raised before the log is read to its end, and the log is read to its end
//! before it is sealed: what the deposed primary acknowledged is in what was read.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicU32},
};

use ambrosia_core::{Epoch, EpochBody, InstanceUuid, Lsn, Record, RecordHeader, RecordKind, Timestamp};

use super::{
    checkpoints::FileCheckpoints,
    control::{ControlPage, ReignWord},
    cursor::{Cursor, Place, Stop},
    file_tail::FileTail,
    file_writer::FileWriter,
    first_use::{look_at_control, open_control, warn_of_torn_tail},
    genesis_log::begin_log,
    log_directory::{LogDirectory, reign_byte},
    log_end::end_or_damage,
    log_thread::{LogThread, LogTurns},
    machine::{Lock, Machine},
    options::FileLogOptions,
    process_watcher::ProcessWatcher,
    queue::{Batch, Queue},
    segment::LastRecord,
    segment_writer::{SegmentPlace, SegmentWriter},
    vacancy::VacancyWatch,
    watcher::{Watched, Watcher},
};
use crate::{
    AcquireError, Acquired, Callback, Events, Head, IoError, LogError, LogStore, LogTail, OnVacancy, REPLICAS_MAX,
    Subscription, Vacancy,
    io_error::IoContext,
    vacancy_watcher::{Observer, VacancyWatcher},
};

/// Reigns that a candidate tries: each other replica can be stopped while it holds one, and once more each time that it
/// was started again beside a process that is still stopped.
const REIGNS_TRIED_MAX: usize = 4 * REPLICAS_MAX as usize;

/// The log of one instance on files. A clone is the same handle.
#[derive(Clone)]
pub struct FileLog {
    directory: Arc<LogDirectory>,
    control: Arc<ControlPage>,
    watch: Arc<VacancyWatch>,
    options: FileLogOptions,
    watchers: Watchers,
}

/// What watches logs in this process. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Watchers {
    pub(crate) words: Watcher,
    pub(crate) vacancies: VacancyWatcher,
    pub(crate) processes: ProcessWatcher,
}

/// The count of news of a log.
struct News(Arc<ControlPage>);

impl Watched for News {
    fn word(&self) -> &AtomicU32 {
        self.0.news_word()
    }
}

impl FileLog {
    pub(crate) fn open(
        directory: LogDirectory,
        options: FileLogOptions,
        watchers: Watchers,
    ) -> Result<FileLog, LogError> {
        let directory = Arc::new(directory);
        let control = open_control(&directory)?;
        Ok(FileLog::with(directory, control, options, watchers))
    }

    /// The same for whoever only looks: nothing is written.
    pub(crate) fn look(
        directory: LogDirectory,
        options: FileLogOptions,
        watchers: Watchers,
    ) -> Result<FileLog, LogError> {
        let directory = Arc::new(directory);
        let control = look_at_control(&directory)?;
        Ok(FileLog::with(directory, control, options, watchers))
    }

    fn with(
        directory: Arc<LogDirectory>,
        control: ControlPage,
        options: FileLogOptions,
        watchers: Watchers,
    ) -> FileLog {
        let control = Arc::new(control);
        let watch = Arc::new(VacancyWatch::new(&directory, control.clone(), watchers.processes.clone(), &options));
        FileLog { directory, control, watch, options, watchers }
    }

    /// Reads durable records from `from` on.
    pub fn read_from(&self, from: Lsn) -> Result<FileTail, LogError> {
        FileTail::open(self.clone(), from)
    }

    /// Looks once whether nobody seems to be primary.
    pub fn look_for_vacancy(&self) -> Result<Option<Vacancy>, LogError> {
        self.watch.look_once()
    }

    pub(crate) fn shared_directory(&self) -> &Arc<LogDirectory> {
        &self.directory
    }

    pub(crate) fn directory(&self) -> &LogDirectory {
        &self.directory
    }

    /// The checkpoints beside the log.
    pub fn checkpoints(&self) -> FileCheckpoints {
        FileCheckpoints::new(self.directory.clone(), self.control.clone(), self.watchers.words.clone())
    }

    pub(crate) fn watcher(&self) -> &Watcher {
        &self.watchers.words
    }

    pub(crate) fn control(&self) -> &Arc<ControlPage> {
        &self.control
    }

    /// Takes the lock of the next reign and raises the fence to it, if `before` is still the one in force.
    fn begin_reign(&self, before: Epoch, me: &EpochBody) -> Result<(Epoch, Lock), AcquireError> {
        let fence = self.control.fence();
        if fence != before {
            return Err(AcquireError::Contended { epoch: fence });
        }
        self.control.check_writable().context("write", &self.directory.control_path())?;
        let Some((epoch, lock)) = self.lock_reign(before)? else {
            self.watch.pause(before);
            return Err(AcquireError::Contended { epoch: Epoch(before.0 + 1) });
        };
        // In a store that was replaced nobody holds the locks of those who share this page.
        self.directory.check_control(&self.control)?;
        if self.control.raise_fence(before, ReignWord { epoch, replica: me.replica }) {
            Ok((epoch, lock))
        } else {
            Err(AcquireError::Contended { epoch: self.control.fence() })
        }
    }

    /// Locks the next reign after `before`. A candidate that holds it is left the time of a pause to raise the fence;
    /// if it has not, it may be stopped for ever, and the next reign that nobody holds is taken instead.
    fn lock_reign(&self, before: Epoch) -> Result<Option<(Epoch, Lock)>, AcquireError> {
        let path = self.directory.lock_path();
        let tries = if self.watch.has_paused(before) { REIGNS_TRIED_MAX } else { 1 };
        for epoch in (before.0 + 1..).take(tries).map(Epoch) {
            let lock = self.directory.machine.try_lock(&path, reign_byte(epoch)).context("lock", &path)?;
            if let Some(lock) = lock {
                return Ok(Some((epoch, lock)));
            }
        }
        Ok(None)
    }

    /// What a candidate has done that is stopped before it raises the fence.
    #[cfg(test)]
    pub(crate) fn lock_reign_for_test(&self) -> (Epoch, Lock) {
        self.lock_reign(self.control.fence()).expect("works").expect("nobody else is at it")
    }

    /// By which means the end of the primary is heard.
    #[cfg(test)]
    pub(crate) fn listens_by(&self) -> String {
        self.watch.listens_by()
    }

    /// What a candidate has done that is stopped before it reads the log.
    #[cfg(test)]
    pub(crate) fn begin_reign_for_test(&self, replica: u16) -> Lock {
        let me = EpochBody { replica: ambrosia_core::ReplicaIndex(replica), engine: [0; 32] };
        self.begin_reign(self.control.fence(), &me).expect("nobody else is at it").1
    }

    /// Reads to the true end, which is durable on return.
    fn read_rest(&self, cursor: &mut Cursor) -> Result<Vec<Record>, LogError> {
        let durable = self.control.durable();
        let (mut records, mut unsure) = (Vec::new(), Vec::new());
        let sink = |place: Place, record: Record| {
            if record.lsn() > durable {
                unsure.push((place, record.clone()));
            }
            records.push(record);
        };
        let Stop::Fault(fault) = cursor.read(Lsn(u64::MAX), usize::MAX, sink)? else {
            unreachable!("no log holds that many records")
        };
        let end = end_or_damage(cursor, &fault, self.control.durable())?;
        warn_of_torn_tail(cursor, end);
        write_again(cursor, &unsure)?;
        Ok(records)
    }

    /// The rest of the log with the new epoch record, and the segment that holds that.
    fn read_and_seal(
        &self,
        me: &EpochBody,
        epoch: Epoch,
        now: Timestamp,
        mut cursor: Cursor,
    ) -> Result<(Vec<Record>, SegmentWriter), LogError> {
        cursor.relist()?;
        let mut records = self.read_rest(&mut cursor)?;
        let record = epoch_record(me, epoch, now, cursor.last());
        let segment = self.seal(&cursor, &record)?;
        records.push(record);
        Ok((records, segment))
    }

    fn seal(&self, cursor: &Cursor, record: &Record) -> Result<SegmentWriter, IoError> {
        let epoch = record.header().epoch;
        self.directory.remove_leftovers(epoch)?;
        let place = SegmentPlace { follows: cursor.segment().epoch, epoch, before: cursor.last() };
        SegmentWriter::seal(self.directory.clone(), self.control.clone(), self.options, place, record.stored())
    }

    fn writer(
        &self,
        segment: SegmentWriter,
        epoch: Epoch,
        last: LastRecord,
        events: Events,
        reign: Lock,
    ) -> (FileWriter, LogThread) {
        let (queue, stats) = (Arc::<Queue>::default(), Arc::<Mutex<_>>::default());
        let log_thread = LogThread {
            queue: queue.clone(),
            stats: stats.clone(),
            control: self.control.clone(),
            segment,
            epoch,
            last,
            events,
            options: self.options,
            reign,
            batch: Batch::default(),
            marked: last.lsn,
        };
        (FileWriter { queue, stats, written: None, control: self.control.clone(), epoch, last }, log_thread)
    }

    fn take_over(
        &self,
        over: Epoch,
        me: EpochBody,
        now: Timestamp,
        tail: Cursor,
        events: Events,
    ) -> Result<(Vec<Record>, FileWriter, LogThread), AcquireError> {
        assert!(me.replica.0 < REPLICAS_MAX, "a replica gets no number above the limit");
        let (epoch, reign) = self.begin_reign(over, &me)?;
        let sealed = self.read_and_seal(&me, epoch, now, tail);
        // Whoever deposed us may have removed our files under our hands: an error says nothing then.
        let fence = self.control.fence_after_writes();
        if fence != epoch {
            return Err(AcquireError::Contended { epoch: fence });
        }
        let (records, segment) = sealed?;
        let last = LastRecord::of(records.last().expect("the epoch record is there").header());
        self.control.publish_durable(last.lsn);
        let (writer, log_thread) = self.writer(segment, epoch, last, events, reign);
        Ok((records, writer, log_thread))
    }
}

/// Taking over, from where a tail stands.
impl FileLog {
    pub(crate) fn acquire(
        &self,
        over: Epoch,
        me: EpochBody,
        now: Timestamp,
        tail: Cursor,
        events: Events,
    ) -> Result<Acquired, AcquireError> {
        let (records, mut writer, log_thread) = self.take_over(over, me, now, tail, events)?;
        let started = log_thread.start().context("start a thread for the log in", &self.directory.path);
        writer.written = Some(started?);
        Ok(Acquired { records, epoch: writer.epoch, writer: Box::new(writer) })
    }

    pub(crate) fn acquire_by_turns(
        &self,
        over: Epoch,
        me: EpochBody,
        now: Timestamp,
        tail: Cursor,
        events: Events,
    ) -> Result<(Acquired, LogTurns), AcquireError> {
        let (records, writer, log_thread) = self.take_over(over, me, now, tail, events)?;
        let acquired = Acquired { records, epoch: writer.epoch, writer: Box::new(writer) };
        Ok((acquired, LogTurns::new(log_thread)))
    }
}

/// For simulators: a log on another [`Machine`], without threads.
impl FileLog {
    /// Makes the log that begins with `genesis` in `directory`.
    pub fn create_on(
        machine: Arc<dyn Machine>,
        directory: PathBuf,
        uuid: InstanceUuid,
        genesis: &Record,
    ) -> Result<(), IoError> {
        begin_log(&LogDirectory { path: directory, uuid, machine }, genesis)
    }

    /// Opens the log in `directory`.
    pub fn open_on(
        machine: Arc<dyn Machine>,
        directory: PathBuf,
        uuid: InstanceUuid,
        options: FileLogOptions,
    ) -> Result<FileLog, LogError> {
        FileLog::open(LogDirectory { path: directory, uuid, machine }, options, Watchers::default())
    }
}

impl LogStore for FileLog {
    fn tail(&self, from: Lsn) -> Result<Box<dyn LogTail>, LogError> {
        Ok(Box::new(self.read_from(from)?))
    }

    fn head(&self) -> Result<Head, LogError> {
        Ok(Head { epoch: self.control.fence(), durable: self.control.durable() })
    }

    fn first(&self) -> Result<Lsn, LogError> {
        Ok(self.directory.reading_order()?[0].first)
    }

    fn stored_bytes(&self) -> Result<u64, IoError> {
        let path = &self.directory.path;
        let mut bytes = 0;
        for entry in std::fs::read_dir(path).context("list", path)? {
            // Holes of sparse files take nothing, and a file may be removed just now.
            let entry = entry.context("list", path)?;
            bytes += entry.metadata().map_or(0, |metadata| metadata.blocks() * 512);
        }
        Ok(bytes)
    }

    fn is_at_rest(&self) -> bool {
        self.control.is_from_log()
    }

    fn subscribe(&self, call: Callback) -> io::Result<Subscription> {
        let watch = Arc::clone(&self.watch);
        let call = Box::new(move || {
            watch.on_news();
            call();
        });
        self.watchers.words.subscribe(Box::new(News(Arc::clone(&self.control))), call)
    }

    fn watch(&self, call: OnVacancy) -> io::Result<Subscription> {
        self.watchers.vacancies.watch(Arc::clone(&self.watch) as Arc<dyn Observer>, call)
    }
}

/// Makes durable what nobody has published as durable.
///
/// A sync alone would not do: after one that failed, Linux shows pages that are not on the disk, takes them for clean,
/// and writes them no more. So the same bytes are written to the same place once more. Records in a segment that is
/// followed by another one are durable, or that would not have its name.
fn write_again(cursor: &Cursor, unsure: &[(Place, Record)]) -> Result<(), IoError> {
    let path = cursor.path();
    let file = cursor.directory().machine.open_to_write(&path).context("open", &path)?;
    for (place, record) in unsure.iter().filter(|(place, _)| place.segment == cursor.segment()) {
        let stored = cursor.salt().mixed(record.stored());
        file.write_all_at(&stored, place.offset).context("write", &path)?;
    }
    file.sync().context("sync", &path)
}

/// The first record of a reign.
pub(crate) fn epoch_record(me: &EpochBody, epoch: Epoch, now: Timestamp, last: LastRecord) -> Record {
    let mut body = Vec::new();
    me.encode(&mut body);
    let mut header = RecordHeader::new(RecordKind::Epoch, epoch, last.lsn.next(), now.max(last.time));
    header.durable = last.lsn;
    header.previous = last.link;
    Record::seal(header, &body)
}
