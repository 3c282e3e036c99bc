//! Where a log ends: decides whether what can't be read was never finished, or was durable and is damaged.
//!
//! A write cut short by the death of a process or machine leaves an unreadable record that nobody was told of: the
//! log ends before it. The same bytes are damage if anything shows that the record was durable: the shared page, a
//! record or mark further on that says so (`evidence.rs`), or a segment that follows. A file that is shorter than its
//! head says is damage too: it had its length, on the disk, before it was put in place, and what shows it may be what is
//! missing.
//!
//! **Architecture Invariant:** it changes no file. A log is only ever cut by the segment that goes on before the cut.

use ambrosia_core::{Lsn, RECORD_ALIGNMENT};

use super::{
    cursor::{Cursor, Fault},
    evidence::evidence,
    log_directory::read_up_to,
    machine::MachineFile,
};
use crate::{LogError, io_error::IoContext};

/// Bytes read at once.
const SEARCH_BYTES: usize = 1 << 20;

/// What follows the end of a log in its file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LogEnd {
    /// Bytes of a write cut short, 0 if it ended cleanly.
    pub(crate) torn_bytes: u64,
}

/// Decides what `fault`, found at `cursor`, means. `durable` is what the shared page says.
pub(crate) fn end_or_damage(cursor: &Cursor, fault: &Fault, durable: Lsn) -> Result<LogEnd, LogError> {
    let expected = cursor.next_lsn();
    let skip = match fault {
        Fault::Misplaced(_) | Fault::OtherVersion(_) => return Err(cursor.corrupt(fault)),
        Fault::Full => 0,
        Fault::Unreadable { skip, .. } => *skip,
    };
    let damage = |evidence: String| {
        let reason = format!("{fault}, although {evidence}");
        Err(cursor.directory().corrupt(&cursor.path(), cursor.offset(), expected, &reason))
    };
    if durable >= expected {
        return damage(format!("record {durable} was published as durable"));
    }
    if cursor.is_followed() {
        return damage("a segment follows".to_owned());
    }
    let (found, needed) = (cursor.file().bytes().context("examine", &cursor.path())?, cursor.length());
    if found < needed {
        return damage(format!("the file has {found} of its {needed} bytes only"));
    }
    if let Some((offset, durable)) = evidence(cursor).context("read", &cursor.path())? {
        return damage(format!("offset {offset} says that record {durable} was durable"));
    }
    let from = cursor.offset() + skip.max(RECORD_ALIGNMENT as u64);
    let end_of_data = end_of_data(cursor.file(), from).context("read", &cursor.path())?;
    let end = end_of_data.unwrap_or_else(|| begun_bytes(cursor).map_or(cursor.offset(), |_| from));
    Ok(LogEnd { torn_bytes: end - cursor.offset() })
}

/// Whether anything stands where the next record was expected.
fn begun_bytes(cursor: &Cursor) -> Option<()> {
    let mut front = [0; RECORD_ALIGNMENT];
    let read = read_up_to(cursor.file(), &mut front, cursor.offset()).ok()?;
    (front[..read] != [0; RECORD_ALIGNMENT][..read]).then_some(())
}

/// The place behind the last bytes from `from` on that are not zero, a multiple of the alignment of records.
fn end_of_data(file: &dyn MachineFile, from: u64) -> std::io::Result<Option<u64>> {
    let mut found = None;
    let mut chunk = vec![0; SEARCH_BYTES];
    let mut offset = from.next_multiple_of(RECORD_ALIGNMENT as u64);
    loop {
        let read = read_up_to(file, &mut chunk, offset)?;
        if let Some(at) = chunk[..read].iter().rposition(|byte| *byte != 0) {
            found = Some(offset + (at as u64 + 1).next_multiple_of(RECORD_ALIGNMENT as u64));
        }
        if read < chunk.len() {
            return Ok(found);
        }
        offset += read as u64;
    }
}
