//! Where a log ends: decides whether what can't be read was never finished, or was durable and is damaged.
//!
//! A write cut short by the death of a process or machine leaves an unreadable record that nobody was told of: the
//! log ends before it. The same bytes are damage if anything shows that the record was durable: the shared page, a
//! record or mark further on that says so, or a segment that follows. A file that is shorter than its head says is
//! damage too: it had its length, on the disk, before it was put in place, and what shows it may be what is missing.
//!
//! **Architecture Invariant:** it changes no file. A log is only ever cut by the segment that goes on before the cut.

use ambrosia_core::{Epoch, Lsn, RECORD_ALIGNMENT, RECORD_HEADER_BYTES, RecordHeader};

use super::{
    cursor::{Cursor, Fault},
    log_directory::read_up_to,
    machine::MachineFile,
};
use crate::{LogError, io_error::IoContext};

/// Reads in which evidence is searched.
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
    let from = cursor.offset() + skip.max(RECORD_ALIGNMENT as u64);
    let search = search(cursor.file(), from, cursor.segment().epoch, expected).context("read", &cursor.path())?;
    if let Some((offset, durable)) = search.evidence {
        return damage(format!("offset {offset} says that record {durable} was durable"));
    }
    let end = search.end_of_data.unwrap_or_else(|| begun_bytes(cursor).map_or(cursor.offset(), |_| from));
    Ok(LogEnd { torn_bytes: end - cursor.offset() })
}

/// Whether anything stands where the next record was expected.
fn begun_bytes(cursor: &Cursor) -> Option<()> {
    let mut front = [0; RECORD_ALIGNMENT];
    let read = read_up_to(cursor.file(), &mut front, cursor.offset()).ok()?;
    (front[..read] != [0; RECORD_ALIGNMENT][..read]).then_some(())
}

struct Search {
    /// Offset of a record, and what it says was durable.
    evidence: Option<(u64, Lsn)>,
    /// Behind the last 8 bytes that are not zero.
    end_of_data: Option<u64>,
}

/// Looks from `from` on for a header of `epoch` that says that `expected` was durable.
fn search(file: &dyn MachineFile, from: u64, epoch: Epoch, expected: Lsn) -> std::io::Result<Search> {
    let mut found = Search { evidence: None, end_of_data: None };
    let mut chunk = vec![0; SEARCH_BYTES + RECORD_HEADER_BYTES];
    let zeros = vec![0; chunk.len()];
    let mut offset = from.next_multiple_of(RECORD_ALIGNMENT as u64);
    loop {
        let read = read_up_to(file, &mut chunk, offset)?;
        if chunk[..read] != zeros[..read] {
            search_chunk(&chunk[..read], offset, epoch, expected, &mut found);
        }
        if found.evidence.is_some() || read < chunk.len() {
            return Ok(found);
        }
        offset += SEARCH_BYTES as u64;
    }
}

fn search_chunk(chunk: &[u8], offset: u64, epoch: Epoch, expected: Lsn, found: &mut Search) {
    for at in (0..chunk.len()).step_by(RECORD_ALIGNMENT) {
        let rest = &chunk[at..];
        if rest.iter().take(RECORD_ALIGNMENT).all(|byte| *byte == 0) {
            continue;
        }
        let place = offset + at as u64;
        found.end_of_data = Some(place + RECORD_ALIGNMENT as u64);
        if let Ok(header) = RecordHeader::decode(rest)
            && header.epoch == epoch
            && header.durable >= expected
        {
            found.evidence = Some((place, header.durable));
            return;
        }
    }
}
