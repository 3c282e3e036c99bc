//! The same as `evidence.rs`, in a segment of version 1, whose headers anybody can forge.
//!
//! The bodies of records hold bytes of clients, and these may look like headers of any kind. So a header counts for
//! its place in the chain only: from the record before the unreadable one, over the header of that, each further one
//! stands where the one before it ends, and carries its link, which no client knows beforehand. If the header of the
//! unreadable record has changed in one byte, it is mended for this.
//!
//! Where that header can't be had, nothing chains to the log, and the fault model decides. A write cut short leaves the
//! zeros that were there before, sector by sector. A header of which a sector is zeros was so never written as a whole:
//! the record is torn, whatever the bytes behind it look like. If there are no such zeros, the header was there, and
//! was changed later. Then a header further on need only be plausible.
//!
//! **Architecture Invariant:** it reads one segment, and changes nothing.

use std::io;

use ambrosia_core::{Lsn, RECORD_ALIGNMENT, RECORD_HEADER_BYTES, RecordHeader, RecordKind};

use super::{cursor::Cursor, log_directory::read_up_to, segment::LastRecord};

/// What a disk writes as a whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// Bytes read at once.
const SEARCH_BYTES: usize = 1 << 20;

/// The place of a header that says that the record expected at `cursor` was durable, and up to where it knew that.
pub(crate) fn evidence(cursor: &Cursor) -> io::Result<Option<(u64, Lsn)>> {
    let Some(front) = read_header(cursor, cursor.offset())? else { return Ok(None) };
    if let Some(header) = mended(front, |header| follows(cursor, header, cursor.last())) {
        return chained(cursor, header);
    }
    if is_torn(&front, cursor.offset()) { Ok(None) } else { plausible(cursor) }
}

fn read_header(cursor: &Cursor, offset: u64) -> io::Result<Option<[u8; RECORD_HEADER_BYTES]>> {
    let mut header = [0; RECORD_HEADER_BYTES];
    let read = read_up_to(cursor.file(), &mut header, offset)?;
    Ok((read == header.len()).then_some(header))
}

/// Whether `header` can only come from the writer of the segment, behind `last`: the link is in no message.
fn follows(cursor: &Cursor, header: &RecordHeader, last: LastRecord) -> bool {
    let lsn = if header.kind == RecordKind::Mark { last.lsn } else { last.lsn.next() };
    header.epoch == cursor.segment().epoch && header.lsn == lsn && header.previous == last.link
}

/// The header that stood there before one of its bytes changed, or none did.
fn mended(mut bytes: [u8; RECORD_HEADER_BYTES], belongs: impl Fn(&RecordHeader) -> bool) -> Option<RecordHeader> {
    let read = |bytes: &[u8]| RecordHeader::decode(bytes).ok().filter(|header| belongs(header));
    if let Some(header) = read(&bytes) {
        return Some(header);
    }
    for at in 0..bytes.len() {
        for change in 1..=u8::MAX {
            bytes[at] ^= change;
            if let Some(header) = read(&bytes) {
                return Some(header);
            }
            bytes[at] ^= change;
        }
    }
    None
}

/// Walks the chain from `header`, which stands at the cursor.
fn chained(cursor: &Cursor, mut header: RecordHeader) -> io::Result<Option<(u64, Lsn)>> {
    let (mut offset, mut last) = (cursor.offset(), cursor.last());
    loop {
        if header.kind != RecordKind::Mark {
            last = LastRecord::of(&header);
        }
        offset += header.stored_bytes() as u64;
        let Some(next) = read_header(cursor, offset)? else { return Ok(None) };
        header = match RecordHeader::decode(&next) {
            Ok(next) if follows(cursor, &next, last) => next,
            _ => return Ok(None),
        };
        if header.durable >= cursor.next_lsn() {
            return Ok(Some((offset, header.durable)));
        }
    }
}

/// Whether a sector that holds a part of the header at `offset` was never written.
fn is_torn(header: &[u8], offset: u64) -> bool {
    let first = ((SECTOR_BYTES - offset % SECTOR_BYTES) as usize).min(header.len());
    let (first, second) = header.split_at(first);
    [first, second].iter().any(|part| !part.is_empty() && part.iter().all(|byte| *byte == 0))
}

/// Looks at every place behind the cursor.
fn plausible(cursor: &Cursor) -> io::Result<Option<(u64, Lsn)>> {
    let mut chunk = vec![0; SEARCH_BYTES + RECORD_HEADER_BYTES];
    let mut offset = cursor.offset() + RECORD_ALIGNMENT as u64;
    loop {
        let read = read_up_to(cursor.file(), &mut chunk, offset)?;
        for at in (0..read.min(SEARCH_BYTES)).step_by(RECORD_ALIGNMENT) {
            let place = offset + at as u64;
            if let Ok(header) = RecordHeader::decode(&chunk[at..read])
                && is_plausible(cursor, place, &header)
                && has_its_body(cursor, place, &header)?
            {
                return Ok(Some((place, header.durable)));
            }
        }
        if read < chunk.len() {
            return Ok(None);
        }
        offset += SEARCH_BYTES as u64;
    }
}

/// Whether the writer of the segment could have written that header there, and known the expected record to be durable.
fn is_plausible(cursor: &Cursor, place: u64, header: &RecordHeader) -> bool {
    let expected = cursor.next_lsn();
    let records_max = (place - cursor.offset()) / RECORD_HEADER_BYTES as u64;
    let number_fits = header.lsn >= expected && header.lsn.0 - expected.0 <= records_max;
    let durable_fits = match header.kind {
        RecordKind::Mark => header.durable == header.lsn,
        _ => header.durable < header.lsn,
    };
    header.epoch == cursor.segment().epoch
        && header.time >= cursor.last().time
        && number_fits
        && durable_fits
        && header.durable >= expected
}

fn has_its_body(cursor: &Cursor, place: u64, header: &RecordHeader) -> io::Result<bool> {
    let mut body = vec![0; header.body_bytes as usize];
    let read = read_up_to(cursor.file(), &mut body, place + RECORD_HEADER_BYTES as u64)?;
    Ok(read == body.len() && crc32c::crc32c(&body) == header.body_checksum)
}
