//! What the bytes behind an unreadable record say of it: whether a later record or mark knew it to be durable.
//!
//! The bodies of records hold bytes of clients, and these may look like headers of any kind, but for the salt of the
//! segment, which is secret. So a header that is found by it was written by the primary of the segment, wherever it
//! stands, and what it says was durable was so: `durable` is set from what the log has reported, after sync and fence.
//! Nothing else is asked of it. That a later record stands there proves nothing by itself: of a write that was never
//! synced, a later sector may be on the disk and an earlier one not.
//!
//! **Architecture Invariant:** it reads one segment, and changes nothing.

use std::io;

use ambrosia_core::{Lsn, RECORD_ALIGNMENT, RECORD_HEADER_BYTES};

use super::{cursor::Cursor, evidence_unsalted, log_directory::read_up_to, salt::Salt};

/// Bytes read at once.
const SEARCH_BYTES: usize = 1 << 20;

/// The place of a header that says that the record expected at `cursor` was durable, and up to where it knew that.
pub(crate) fn evidence(cursor: &Cursor) -> io::Result<Option<(u64, Lsn)>> {
    if cursor.salt() == Salt::NONE {
        return evidence_unsalted::evidence(cursor);
    }
    let mut chunk = vec![0; SEARCH_BYTES + RECORD_HEADER_BYTES];
    let mut offset = cursor.offset() + RECORD_ALIGNMENT as u64;
    loop {
        let read = read_up_to(cursor.file(), &mut chunk, offset)?;
        for at in (0..read.min(SEARCH_BYTES)).step_by(RECORD_ALIGNMENT) {
            if let Ok(header) = cursor.salt().decode(&chunk[at..read])
                && header.durable >= cursor.next_lsn()
            {
                return Ok(Some((offset + at as u64, header.durable)));
            }
        }
        if read < chunk.len() {
            return Ok(None);
        }
        offset += SEARCH_BYTES as u64;
    }
}
