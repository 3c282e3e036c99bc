//! Reads a log record by record across its segments, and checks everything that can be checked.
//!
//! **Architecture Invariant:** it only reads, and never decides whether what can't be read was durable.

use std::{path::PathBuf, sync::Arc};

use ambrosia_core::{Lsn, RECORD_HEADER_BYTES, Record, RecordError, RecordHeader, RecordKind};
use bytes::Bytes;

use super::{
    log_directory::{LogDirectory, place_in, read_up_to},
    machine::MachineFile,
    salt::Salt,
    segment::{LastRecord, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentName},
};
use crate::{LogError, io_error::IoContext};

const CHUNK_BYTES_MIN: usize = 64 << 10;
const CHUNK_BYTES_MAX: usize = 1 << 20;

/// A place in a log. A clone stands there too.
#[derive(Clone)]
pub(crate) struct Cursor {
    directory: Arc<LogDirectory>,
    order: Vec<SegmentName>,
    /// Index in `order` of the segment that holds `last`, or holds the next record if it has none of its own yet.
    at: usize,
    file: Arc<dyn MachineFile>,
    salt: Salt,
    length: u64,
    offset: u64,
    last: LastRecord,
    chunk_bytes: usize,
}

/// Where a record stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) segment: SegmentName,
    pub(crate) offset: u64,
}

/// Why [`Cursor::read`] stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It read all that was wanted, or as much as was allowed at once.
    Satisfied,
    /// There is no record at the cursor.
    Fault(Fault),
}

/// What stands where a record was expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The segment is full.
    Full,
    /// Bytes that a write cut short may have left, or that were damaged. `skip` is how far what they claim to be goes.
    Unreadable { reason: RecordError, skip: u64 },
    /// An intact record that does not belong here. No write cut short leaves that.
    Misplaced(String),
    /// An intact record of another version.
    OtherVersion(RecordError),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Full => f.write_str("the segment ends here"),
            Fault::Unreadable { reason, .. } | Fault::OtherVersion(reason) => reason.fmt(f),
            Fault::Misplaced(reason) => f.write_str(reason),
        }
    }
}

/// Records at the front of a chunk.
struct Extent {
    bytes: usize,
    /// What follows them, unless the wish ends there.
    fault: Option<Fault>,
    /// A larger chunk than this may hold the record that is cut off.
    needed: usize,
}

impl Cursor {
    /// Begins at `from`, which may be one behind the last record. Reads no further than to `known`.
    pub(crate) fn open(directory: Arc<LogDirectory>, from: Lsn, known: Lsn) -> Result<Cursor, LogError> {
        let order = directory.reading_order()?;
        Cursor::open_listed(directory, order, from, known)
    }

    /// The same, with segments that were listed before.
    pub(crate) fn open_listed(
        directory: Arc<LogDirectory>,
        mut order: Vec<SegmentName>,
        from: Lsn,
        known: Lsn,
    ) -> Result<Cursor, LogError> {
        let mut cursor = loop {
            let first = order[0].first;
            if from < first || from.0 > known.0.saturating_add(1) {
                return Err(missing(&directory, from, first, known));
            }
            let at = order.partition_point(|name| name.first <= from) - 1;
            match Cursor::at_segment(directory.clone(), order.clone(), at) {
                // It may have been trimmed since it was listed, and `from` may be in the one that follows.
                Err(error) if is_gone(&error) => match directory.reading_order()? {
                    listed if listed == order => return Err(error),
                    listed => order = listed,
                },
                opened => break opened?,
            }
        };
        if from > cursor.next_lsn() {
            let stop = cursor.read(Lsn(from.0 - 1), usize::MAX, |_, _| ())?;
            if cursor.next_lsn() < from {
                let Stop::Fault(fault) = stop else { unreachable!("it stops early only at a fault") };
                let (first, last) = (cursor.order[0].first, cursor.last.lsn);
                let is_unknown = known == Lsn(u64::MAX);
                return Err(if is_unknown { missing(&directory, from, first, last) } else { cursor.corrupt(&fault) });
            }
        }
        Ok(cursor)
    }

    /// Begins at the first record of the newest segment.
    pub(crate) fn open_newest(directory: Arc<LogDirectory>) -> Result<Cursor, LogError> {
        let order = directory.reading_order()?;
        let at = order.len() - 1;
        Cursor::at_segment(directory, order, at)
    }

    fn at_segment(directory: Arc<LogDirectory>, order: Vec<SegmentName>, at: usize) -> Result<Cursor, LogError> {
        let (file, header) = directory.open_segment(order[at])?;
        let mut cursor = Cursor {
            directory,
            order,
            at,
            file: file.into(),
            salt: header.salt,
            length: 0,
            offset: 0,
            last: header.before,
            chunk_bytes: CHUNK_BYTES_MIN,
        };
        cursor.begin_segment(&header)?;
        Ok(cursor)
    }

    fn begin_segment(&mut self, header: &SegmentHeader) -> Result<(), LogError> {
        let path = self.path();
        let length = self.file.bytes().context("examine", &path)?;
        // A file that was cut short is read as far as it goes: what is missing shows as unreadable.
        self.length = length.max(header.capacity);
        self.offset = SEGMENT_HEADER_BYTES as u64;
        self.salt = header.salt;
        Ok(())
    }

    /// The record read next.
    pub(crate) fn next_lsn(&self) -> Lsn {
        self.last.lsn.next()
    }

    /// The record read last.
    pub(crate) fn last(&self) -> LastRecord {
        self.last
    }

    /// Where the next record is expected.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes that the file of the segment has, or should have if it was cut short.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The segment at hand.
    pub(crate) fn segment(&self) -> SegmentName {
        self.order[self.at]
    }

    /// What the headers in the segment at hand are mixed with.
    pub(crate) fn salt(&self) -> Salt {
        self.salt
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.segment_path(self.segment())
    }

    pub(crate) fn file(&self) -> &dyn MachineFile {
        &*self.file
    }

    pub(crate) fn directory(&self) -> &Arc<LogDirectory> {
        &self.directory
    }

    /// Whether a later segment follows in the log, which is put in place only when this one is durable.
    pub(crate) fn is_followed(&self) -> bool {
        self.at + 1 < self.order.len()
    }

    /// Says that a record that was durable is not readable here.
    pub(crate) fn corrupt(&self, fault: &Fault) -> LogError {
        if let Fault::OtherVersion(reason) = fault {
            return LogError::OtherVersion { place: place_in(&self.path(), self.offset), reason: reason.to_string() };
        }
        self.directory.corrupt(&self.path(), self.offset, self.next_lsn(), &fault.to_string())
    }

    /// Takes notice of segments put in place since.
    pub(crate) fn relist(&mut self) -> Result<(), LogError> {
        let mut order = self.directory.reading_order()?;
        let next = self.next_lsn();
        let place = order.iter().position(|name| *name == self.segment());
        let goes_on = order.iter().position(|name| name.first == next);
        let sealed_before = |at: usize| order.get(at + 1).is_some_and(|following| following.first < next);
        let first = order[0].first;
        match (place, goes_on) {
            // What was trimmed is gone, and a segment that has no record is no part of the log once another one begins
            // with the same; the file at hand stays as it is.
            (None, Some(at)) => {
                self.order = [self.segment()].into_iter().chain(order.split_off(at)).collect();
                self.at = 0;
                Ok(())
            }
            (None, None) if first > next => {
                // How far it goes is not known.
                Err(missing(&self.directory, next, first, Lsn(u64::MAX)))
            }
            (Some(at), _) if !sealed_before(at) => {
                (self.at, self.order) = (at, order);
                Ok(())
            }
            _ => Err(self.corrupt(&Fault::Misplaced("the log was sealed before a record that was read".to_owned()))),
        }
    }

    /// Gives records to `sink`, each with its place, until the record `until` was given, or at least
    /// `budget_bytes` were, or there is no further record.
    pub(crate) fn read(
        &mut self,
        until: Lsn,
        budget_bytes: usize,
        mut sink: impl FnMut(Place, Record),
    ) -> Result<Stop, LogError> {
        let mut given = 0;
        while self.next_lsn() <= until && given < budget_bytes {
            self.enter_following()?;
            let before = self.offset;
            if let Some(fault) = self.read_chunk(until, &mut sink)? {
                return Ok(Stop::Fault(fault));
            }
            given += (self.offset - before) as usize;
        }
        Ok(Stop::Satisfied)
    }

    fn following(&self) -> Option<SegmentName> {
        self.order.get(self.at + 1).copied()
    }

    fn enter_following(&mut self) -> Result<(), LogError> {
        let (file, header) = loop {
            let Some(name) = self.following().filter(|name| name.first == self.next_lsn()) else { return Ok(()) };
            match self.directory.open_segment(name) {
                // It may have been trimmed since it was listed, or have been of a reign that had no records.
                Err(error) if is_gone(&error) => {
                    self.relist()?;
                    if self.following() == Some(name) {
                        return Err(error);
                    }
                }
                opened => break opened?,
            }
        };
        (self.at, self.file) = (self.at + 1, file.into());
        if header.before.link != self.last.link {
            self.offset = 0;
            return Err(self.corrupt(&Fault::Misplaced("the segment does not follow the one before".to_owned())));
        }
        self.begin_segment(&header)
    }

    /// Reads what one chunk holds, no further than the segment goes.
    fn read_chunk(&mut self, until: Lsn, sink: &mut impl FnMut(Place, Record)) -> Result<Option<Fault>, LogError> {
        let until = self.following().map_or(until, |name| until.min(Lsn(name.first.0 - 1)));
        let mut size = self.chunk_bytes;
        loop {
            let mut chunk = self.read_bytes(size)?;
            let extent = self.extent(&mut chunk, until);
            if extent.needed > size {
                size = extent.needed;
                continue;
            }
            self.adapt_chunk(extent.bytes);
            // What was not used would be kept in memory as long as the records are.
            chunk.truncate(extent.bytes);
            if extent.bytes < chunk.capacity() / 2 {
                chunk.shrink_to_fit();
            }
            return Ok(self.split(chunk.into(), sink).or(extent.fault));
        }
    }

    fn read_bytes(&self, size: usize) -> Result<Vec<u8>, LogError> {
        let size = (self.length.saturating_sub(self.offset)).min(size as u64) as usize;
        let mut chunk = vec![0; size];
        let read = read_up_to(&*self.file, &mut chunk, self.offset).context("read", &self.path())?;
        chunk.truncate(read);
        Ok(chunk)
    }

    fn adapt_chunk(&mut self, used: usize) {
        if used >= self.chunk_bytes / 2 {
            self.chunk_bytes = (self.chunk_bytes * 2).min(CHUNK_BYTES_MAX);
        } else if used < self.chunk_bytes / 8 {
            self.chunk_bytes = (self.chunk_bytes / 2).max(CHUNK_BYTES_MIN);
        }
    }

    /// Walks the headers in `chunk` as far as records, or parts of the wish, go, and brings back what they were before
    /// they were mixed.
    fn extent(&self, chunk: &mut [u8], until: Lsn) -> Extent {
        let mut bytes = 0;
        let mut lsn = self.last.lsn;
        loop {
            let rest = self.length - self.offset - bytes as u64;
            let fault = |fault| Extent { bytes, fault: Some(fault), needed: 0 };
            if lsn >= until {
                return Extent { bytes, fault: None, needed: 0 };
            }
            if rest < RECORD_HEADER_BYTES as u64 {
                return fault(Fault::Full);
            }
            self.salt.mix(&mut chunk[bytes..]);
            let header = match RecordHeader::decode(&chunk[bytes..]) {
                Ok(header) => header,
                Err(RecordError::CutOff) if bytes > 0 => return Extent { bytes, fault: None, needed: 0 },
                Err(error) => return fault(header_fault(error)),
            };
            let stored = header.stored_bytes();
            if stored > chunk.len() - bytes {
                if bytes > 0 {
                    return Extent { bytes, fault: None, needed: 0 };
                }
                let skip = rest.min(stored as u64);
                let needed = if stored as u64 > rest { 0 } else { stored };
                let cut_off = Fault::Unreadable { reason: RecordError::CutOff, skip };
                return Extent { bytes, fault: Some(cut_off), needed };
            }
            bytes += stored;
            if header.kind != RecordKind::Mark {
                lsn = lsn.next();
            }
        }
    }

    /// Splits records off `chunk`, which holds whole ones only, and checks them.
    fn split(&mut self, mut chunk: Bytes, sink: &mut impl FnMut(Place, Record)) -> Option<Fault> {
        while !chunk.is_empty() {
            let record = match Record::split_from(&mut chunk) {
                Ok(record) => record,
                Err(reason) => {
                    let skip = RecordHeader::decode(&chunk).map_or(0, |header| header.stored_bytes() as u64);
                    return Some(Fault::Unreadable { reason, skip });
                }
            };
            if let Err(reason) = self.check_place(record.header()) {
                return Some(Fault::Misplaced(reason));
            }
            let place = Place { segment: self.segment(), offset: self.offset };
            self.offset += record.stored().len() as u64;
            if record.header().kind != RecordKind::Mark {
                self.last = LastRecord::of(record.header());
                sink(place, record);
            }
        }
        None
    }

    fn check_place(&self, header: &RecordHeader) -> Result<(), String> {
        let epoch = self.segment().epoch;
        if header.epoch != epoch {
            return Err(format!("the record has epoch {}, the segment has {epoch}", header.epoch));
        }
        if header.kind == RecordKind::Mark {
            let last = self.last.lsn;
            return if header.lsn == last {
                Ok(())
            } else {
                Err(format!("a mark names record {}, the record before it is {last}", header.lsn))
            };
        }
        // Nothing could follow it: whoever reads on would count past the last number there is.
        if header.lsn != self.next_lsn() || header.lsn == Lsn(u64::MAX) {
            return Err(format!("record {} stands there", header.lsn));
        }
        if header.previous != self.last.link {
            return Err("the record does not follow the one before it".to_owned());
        }
        Ok(())
    }
}

/// Whether a segment that was to be opened is not there.
fn is_gone(error: &LogError) -> bool {
    matches!(error, LogError::Io(error) if error.source.kind() == std::io::ErrorKind::NotFound)
}

/// The log does not have the record asked for.
fn missing(directory: &LogDirectory, asked: Lsn, first: Lsn, last: Lsn) -> LogError {
    LogError::Missing { place: directory.path.display().to_string(), asked, first, last }
}

fn header_fault(error: RecordError) -> Fault {
    match error {
        RecordError::Version(_)
        | RecordError::Reserved
        | RecordError::UnknownKind(_)
        | RecordError::TooLarge(_)
        | RecordError::Instance(_)
        | RecordError::Shape
        | RecordError::Run(_) => Fault::OtherVersion(error),
        RecordError::NoMagic | RecordError::CutOff | RecordError::HeaderChecksum | RecordError::BodyChecksum => {
            Fault::Unreadable { reason: error, skip: 0 }
        }
    }
}
