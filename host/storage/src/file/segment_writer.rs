//! Writes the segments of one reign: records into the segment at hand, zeros into the next one ahead of time.
//!
//! Writing into zeros that are on the disk already, a sync need not wait for the file system to record new blocks.
//!
//! **Architecture Invariant:** a segment is put in place only after all records before it are synced, so its name
//! alone proves that they were durable.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
};

use ambrosia_core::{Epoch, RECORD_HEADER_BYTES};

use super::{
    control::ControlPage,
    durable_file::rename_durably,
    log_directory::LogDirectory,
    machine::{Machine, MachineFile},
    options::FileLogOptions,
    salt::Salt,
    segment::{LastRecord, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentName},
};
use crate::{IoError, io_error::IoContext};

/// Zeros written, and synced, at once.
const ZEROS_BYTES: usize = 1 << 20;
const ZEROS_SYNC_BYTES: usize = 16 << 20;

/// Bytes of a segment that takes the place of a spare that is not ready.
const FILL_IN_BYTES: u64 = 16 << 20;

/// The next segment is prepared from this part of the first one on, and at once behind that.
const SPARE_FROM: u64 = 4;

/// Kept free at the end of a segment for a mark, so that the last record can always be said to be durable.
const MARK_BYTES: u64 = RECORD_HEADER_BYTES as u64;

/// The segment being written.
pub(crate) struct SegmentWriter {
    directory: Arc<LogDirectory>,
    control: Arc<ControlPage>,
    options: FileLogOptions,
    epoch: Epoch,
    file: Box<dyn MachineFile>,
    path: PathBuf,
    salt: Salt,
    capacity: u64,
    offset: u64,
    /// The size to which segments have grown.
    grown: u64,
    spare: Option<Spare>,
}

/// The place of a segment in the log.
#[derive(Clone, Copy)]
pub(crate) struct SegmentPlace {
    pub(crate) follows: Epoch,
    pub(crate) epoch: Epoch,
    pub(crate) before: LastRecord,
}

impl SegmentWriter {
    /// Seals the log behind `place.before` with a new segment that holds `first` already, durably.
    pub(crate) fn seal(
        directory: Arc<LogDirectory>,
        control: Arc<ControlPage>,
        options: FileLogOptions,
        place: SegmentPlace,
        first: &[u8],
    ) -> Result<SegmentWriter, IoError> {
        let capacity = options.segment_bytes_first.max(needed_bytes(first.len()));
        let temporary = directory.temporary_path(place.epoch, "first");
        let file = create_zeros(&*directory.machine, &temporary, capacity)?;
        let (path, salt) = put_in_place(&directory, &control, &*file, &temporary, capacity, place, first)?;
        let mut writer = SegmentWriter {
            directory,
            control,
            options,
            epoch: place.epoch,
            file,
            path,
            salt,
            capacity,
            offset: (SEGMENT_HEADER_BYTES + first.len()) as u64,
            grown: capacity,
            spare: None,
        };
        writer.prepare_if_it_grows();
        Ok(writer)
    }

    /// Whether `bytes` more fit into the segment at hand, with a mark behind them.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.offset + bytes as u64 + MARK_BYTES <= self.capacity
    }

    /// Writes whole records of so many bytes behind what is there; a mark may use the room kept for it. The records are
    /// mixed where they are, since a copy would cost more, and are on return as they were.
    pub(crate) fn write(&mut self, records: &mut [u8], lengths: &[u32]) -> Result<(), IoError> {
        assert!(self.offset + records.len() as u64 <= self.capacity, "the caller asked whether there is room");
        self.salt.mix_all(records, lengths);
        let written = self.file.write_all_at(records, self.offset).context("write", &self.path);
        self.salt.mix_all(records, lengths);
        written?;
        self.offset += records.len() as u64;
        self.prepare_if_it_grows();
        Ok(())
    }

    pub(crate) fn sync(&self) -> Result<(), IoError> {
        self.file.sync().context("sync", &self.path)
    }

    /// Whether a mark fits.
    pub(crate) fn has_room_for_mark(&self) -> bool {
        self.offset + MARK_BYTES <= self.capacity
    }

    /// Goes on in a new segment, which has room for `bytes` at least. All before it is durable then.
    pub(crate) fn roll(&mut self, before: LastRecord, bytes: usize) -> Result<(), IoError> {
        self.sync()?;
        let place = SegmentPlace { follows: self.epoch, epoch: self.epoch, before };
        let (temporary, file, capacity) = self.next_file(needed_bytes(bytes))?;
        (self.path, self.salt) =
            put_in_place(&self.directory, &self.control, &*file, &temporary, capacity, place, &[])?;
        (self.file, self.capacity, self.offset) = (file, capacity, SEGMENT_HEADER_BYTES as u64);
        self.prepare_spare();
        Ok(())
    }

    /// The spare. If it is too small for the record to come, or not ready since the log is written faster than zeros
    /// are, a file that is not filled with zeros takes its place this time: its syncs are slower, but nobody waits.
    fn next_file(&mut self, needed: u64) -> Result<(PathBuf, Box<dyn MachineFile>, u64), IoError> {
        if let Some(spare) = self.spare.take_if(|spare| spare.bytes >= needed && spare.is_ready()) {
            self.grown = spare.bytes;
            let (path, bytes) = (spare.path.clone(), spare.bytes);
            return Ok((path, spare.finish()?, bytes));
        }
        let capacity = needed.max(self.options.segment_bytes_instead(self.grown).min(FILL_IN_BYTES));
        let path = self.directory.temporary_path(self.epoch, "fill-in");
        let file = create(&*self.directory.machine, &path)?;
        file.set_bytes(capacity).context("extend", &path)?;
        Ok((path, file, capacity))
    }

    /// An idle log takes no room for what it may never write.
    fn prepare_if_it_grows(&mut self) {
        if self.offset > self.capacity / SPARE_FROM {
            self.prepare_spare();
        }
    }

    fn prepare_spare(&mut self) {
        if self.spare.is_none() {
            let bytes = self.options.segment_bytes_after(self.grown);
            let path = self.directory.temporary_path(self.epoch, "next");
            self.spare = Some(Spare::prepare(self.directory.machine.clone(), path, bytes));
        }
    }
}

impl Drop for SegmentWriter {
    fn drop(&mut self) {
        // The thread of a spare that is not finished leaves the file to the next primary, which removes it.
        if let Some(spare) = self.spare.take()
            && (spare.result.is_some() || spare.work.try_recv().is_ok())
        {
            let _ = self.directory.machine.remove(&spare.path);
        }
    }
}

/// A file being filled with zeros by a thread of its own.
struct Spare {
    machine: Arc<dyn Machine>,
    path: PathBuf,
    bytes: u64,
    work: mpsc::Receiver<Result<Box<dyn MachineFile>, IoError>>,
    /// What came of it, once that is known.
    result: Option<Result<Box<dyn MachineFile>, IoError>>,
}

impl Spare {
    fn prepare(machine: Arc<dyn Machine>, path: PathBuf, bytes: u64) -> Spare {
        let (sender, receiver) = mpsc::sync_channel(1);
        let (machine_there, path_there) = (machine.clone(), path.clone());
        // Nobody may wait for the file any more: the receiver is dropped with the writer.
        let work = move || drop(sender.send(create_synced_zeros(&*machine_there, &path_there, bytes)));
        if let Err(error) = machine.spawn("log-spare", Box::new(work)) {
            tracing::warn!(%error, "no thread for preparing segments ahead: each is made when it is needed");
        }
        Spare { machine, path, bytes, work: receiver, result: None }
    }

    /// Whether the thread has ended, or there is none.
    fn is_ready(&mut self) -> bool {
        if self.result.is_none() {
            self.result = match self.work.try_recv() {
                Ok(result) => Some(result),
                Err(mpsc::TryRecvError::Empty) => return false,
                Err(mpsc::TryRecvError::Disconnected) => Some(create_zeros(&*self.machine, &self.path, self.bytes)),
            };
        }
        true
    }

    fn finish(mut self) -> Result<Box<dyn MachineFile>, IoError> {
        assert!(self.is_ready(), "the caller asked before");
        self.result.take().expect("it is ready")
    }
}

fn needed_bytes(record: usize) -> u64 {
    SEGMENT_HEADER_BYTES as u64 + record as u64 + MARK_BYTES
}

/// Makes a file of `bytes` zeros that are on the disk. It goes there bit by bit, so that the syncs of the log beside it
/// never have to wait for all of it.
fn create_synced_zeros(machine: &dyn Machine, path: &Path, bytes: u64) -> Result<Box<dyn MachineFile>, IoError> {
    let file = create(machine, path)?;
    for begin in (0..bytes).step_by(ZEROS_SYNC_BYTES) {
        write_zeros(&*file, path, begin..bytes.min(begin + ZEROS_SYNC_BYTES as u64))?;
        file.sync_all().context("sync", path)?;
    }
    Ok(file)
}

/// Makes a file of `bytes` zeros.
fn create_zeros(machine: &dyn Machine, path: &Path, bytes: u64) -> Result<Box<dyn MachineFile>, IoError> {
    let file = create(machine, path)?;
    write_zeros(&*file, path, 0..bytes)?;
    Ok(file)
}

fn create(machine: &dyn Machine, path: &Path) -> Result<Box<dyn MachineFile>, IoError> {
    machine.create(path).context("create", path)
}

fn write_zeros(file: &dyn MachineFile, path: &Path, range: Range<u64>) -> Result<(), IoError> {
    let zeros = vec![0; ZEROS_BYTES.min((range.end - range.start) as usize)];
    for begin in range.clone().step_by(ZEROS_BYTES) {
        let piece = (range.end - begin).min(zeros.len() as u64) as usize;
        file.write_all_at(&zeros[..piece], begin).context("write", path)?;
    }
    Ok(())
}

/// Writes the first block and `first`, syncs the file, and names it.
fn put_in_place(
    directory: &LogDirectory,
    control: &ControlPage,
    file: &dyn MachineFile,
    temporary: &Path,
    capacity: u64,
    place: SegmentPlace,
    first: &[u8],
) -> Result<(PathBuf, Salt), IoError> {
    let placed = write_segment(directory, file, temporary, capacity, place, first)?;
    control.count_segment();
    Ok(placed)
}

/// As [`put_in_place`], for a log that nobody uses yet.
pub(crate) fn write_segment(
    directory: &LogDirectory,
    file: &dyn MachineFile,
    temporary: &Path,
    capacity: u64,
    place: SegmentPlace,
    first: &[u8],
) -> Result<(PathBuf, Salt), IoError> {
    let SegmentPlace { follows, epoch, before } = place;
    let name = SegmentName { first: before.lsn.next(), epoch, follows };
    let salt = Salt::new(directory.machine.random());
    let header = SegmentHeader { uuid: directory.uuid, name, capacity, before, salt };
    let mut front = header.encode();
    front.extend_from_slice(&salt.mixed(first));
    file.write_all_at(&front, 0).context("write", temporary)?;
    file.sync_all().context("sync", temporary)?;
    let path = directory.segment_path(name);
    rename_durably(&*directory.machine, temporary, &path)?;
    Ok((path, salt))
}
