//! Reads a whole log for tools, without taking part in it.
//!
//! **Architecture Invariant:** it needs nothing but the segments, so that it also reads a copy of a directory.

use std::{collections::VecDeque, path::PathBuf, sync::Arc};

use ambrosia_core::{Lsn, Record};

use super::{
    cursor::{Cursor, Stop},
    log_directory::{LogDirectory, place_in},
    log_end::end_or_damage,
};
use crate::{LogError, PlacedRecord};

/// Bytes read at once.
const BUDGET_BYTES: usize = 1 << 20;

/// A record and where it stands.
#[derive(Clone, Debug)]
pub struct ScannedRecord {
    /// The record.
    pub record: Record,
    /// The file that holds it.
    pub file: PathBuf,
    /// Byte in the file at which it begins.
    pub offset: u64,
}

impl From<ScannedRecord> for PlacedRecord {
    fn from(ScannedRecord { record, file, offset }: ScannedRecord) -> Self {
        PlacedRecord { record, place: place_in(&file, offset) }
    }
}

/// All records of a log in order, durable or not. Damage is the last item, as an error.
///
/// A log that is being written while it is scanned seems to end somewhere near its end.
pub struct FileScan {
    cursor: Cursor,
    found: VecDeque<ScannedRecord>,
    end: Option<Result<u64, LogError>>,
}

impl FileScan {
    pub(crate) fn open(directory: LogDirectory, from: Lsn) -> Result<FileScan, LogError> {
        let cursor = Cursor::open(Arc::new(directory), from, Lsn(u64::MAX))?;
        Ok(FileScan { cursor, found: VecDeque::new(), end: None })
    }

    /// Once the end was reached without damage: bytes behind the last record that a write cut short has left.
    pub fn torn_bytes(&self) -> Option<u64> {
        self.end.as_ref().and_then(|end| end.as_ref().ok()).copied()
    }

    fn fill(&mut self) -> Result<Stop, LogError> {
        let directory = self.cursor.directory().clone();
        let found = &mut self.found;
        self.cursor.read(Lsn(u64::MAX), BUDGET_BYTES, |place, record| {
            let file = directory.segment_path(place.segment);
            found.push_back(ScannedRecord { record, file, offset: place.offset });
        })
    }
}

impl FileScan {
    /// A record that was being written when it was read may be there by now, and others behind it that say so: then
    /// the log goes on.
    fn look_again(&mut self, damage: LogError) -> Option<Result<u64, LogError>> {
        let before = self.found.len();
        match self.fill() {
            Ok(_) if self.found.len() > before => None,
            _ => Some(Err(damage)),
        }
    }
}

impl Iterator for FileScan {
    type Item = Result<ScannedRecord, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.found.is_empty() && self.end.is_none() {
            self.end = match self.fill() {
                Ok(Stop::Satisfied) => None,
                Ok(Stop::Fault(fault)) => match end_or_damage(&self.cursor, &fault, Lsn(0)) {
                    Ok(end) => Some(Ok(end.torn_bytes)),
                    Err(damage) => self.look_again(damage),
                },
                Err(error) => Some(Err(error)),
            };
        }
        if let Some(record) = self.found.pop_front() {
            return Some(Ok(record));
        }
        match self.end.take() {
            Some(Err(error)) => {
                self.end = Some(Ok(0));
                Some(Err(error))
            }
            end => {
                self.end = end;
                None
            }
        }
    }
}
