//! Writes a part of a log of another store: the same records, in segments of their own.
//!
//! **Architecture Invariant:** the directory of the log has its name once all of it is on the disk, and not before.

use ambrosia_core::{Epoch, Lsn, Record, Timestamp};

use super::{
    durable_file::{create_directory_durably, rename_durably, sync_directory},
    genesis_log::unfinished,
    log_directory::LogDirectory,
    machine::ThisMachine,
    salt::Salt,
    segment::{LastRecord, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentName},
};
use crate::{FileStore, LogError, LogId, io_error::IoContext};

/// A segment that would be larger is followed by another one.
const SEGMENT_BYTES_MAX: usize = 64 << 20;

/// The record before the first of a part of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordBefore {
    /// Its number.
    pub lsn: Lsn,
    /// Its chain value.
    pub link: u64,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its time.
    pub time: Timestamp,
}

impl FileStore {
    /// Makes a log that has these records of another store's log, which come one after the other: from genesis on, or
    /// from behind `before`.
    ///
    /// # Errors
    /// If a record can't be had, or the log not be written. Then there is none.
    pub fn copy_log(
        &self,
        id: LogId,
        before: Option<RecordBefore>,
        records: impl Iterator<Item = Result<Record, LogError>>,
    ) -> Result<(), LogError> {
        let directory = self.log_directory(id.0);
        let unfinished = unfinished(&self.logs_path(), &directory);
        create_directory_durably(&unfinished.path)?;
        unfinished.create_lock_file()?;
        let (follows, before) = match before {
            Some(RecordBefore { lsn, link, epoch, time }) => (epoch, LastRecord { lsn, link, time }),
            None => (Epoch(0), LastRecord::NONE),
        };
        let mut copy =
            Copy { directory: unfinished, follows, before, last: before, bytes: Vec::new(), lengths: Vec::new() };
        let mut epoch = None;
        for record in records {
            let record = record?;
            let header = *record.header();
            assert_eq!(
                (header.lsn, header.previous),
                (copy.last.lsn.next(), copy.last.link),
                "records follow each other"
            );
            let is_full = copy.bytes.len() + record.stored().len() > SEGMENT_BYTES_MAX;
            if let Some(before) = epoch.filter(|before| *before != header.epoch || is_full) {
                copy.write_segment(before)?;
            }
            epoch = Some(header.epoch);
            copy.push(&record);
        }
        if let Some(epoch) = epoch {
            copy.write_segment(epoch)?;
        }
        sync_directory(&ThisMachine, &copy.directory.path)?;
        Ok(rename_durably(&ThisMachine, &copy.directory.path, &directory.path)?)
    }
}

/// The segment at hand.
struct Copy {
    directory: LogDirectory,
    follows: Epoch,
    /// The record before its first.
    before: LastRecord,
    last: LastRecord,
    bytes: Vec<u8>,
    lengths: Vec<u32>,
}

impl Copy {
    fn push(&mut self, record: &Record) {
        self.bytes.extend_from_slice(record.stored());
        self.lengths.push(record.stored().len() as u32);
        self.last = LastRecord::of(record.header());
    }

    /// Writes it, and begins the next one. It is exactly as large as what is in it.
    fn write_segment(&mut self, epoch: Epoch) -> Result<(), LogError> {
        let machine = &self.directory.machine;
        let name = SegmentName { first: self.before.lsn.next(), epoch, follows: self.follows };
        let (capacity, salt) = ((SEGMENT_HEADER_BYTES + self.bytes.len()) as u64, Salt::new(machine.random()));
        let header = SegmentHeader { uuid: self.directory.uuid, name, capacity, before: self.before, salt };
        salt.mix_all(&mut self.bytes, &self.lengths);
        let path = self.directory.segment_path(name);
        let file = machine.create(&path).context("create", &path)?;
        file.write_all_at(&header.encode(), 0).context("write", &path)?;
        file.write_all_at(&self.bytes, SEGMENT_HEADER_BYTES as u64).context("write", &path)?;
        file.sync_all().context("sync", &path)?;
        (self.follows, self.before) = (epoch, self.last);
        self.bytes.clear();
        self.lengths.clear();
        Ok(())
    }
}
