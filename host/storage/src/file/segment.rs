//! The file that holds a stretch of a log: its name and its first block.
//!
//! ```text
//! name: {first lsn, 20 digits}-{epoch, 10 digits}-{epoch of the record before, 10 digits}.seg
//!   0 magic "AMBRSEGM"        8 format version, u32    12 bytes of this block, u32
//!  16 uuid of the instance   32 first lsn, u64         40 epoch, u64
//!  48 epoch of the record before, u64                  56 bytes of the file, u64
//!  64 link of the record before, u64                   72 time of the record before, u64
//!  80 salt, u64            88 reserved, zeros          4092 CRC-32C of all before, u32
//! 4096 records, each at a multiple of 8, its first 8 bytes mixed with the salt; zeros behind them
//! ```
//!
//! Version 1 has zeros in place of the salt, and so mixes nothing. It is still read, and written by tests.
//!
//! All records in a segment are of its epoch: each reign begins a segment of its own.
//!
//! **Architecture Invariant:** a segment once named is never renamed or cut, and another process than its primary's
//! writes nothing into it but the bytes that stand there already (`file_log.rs` says why).

use std::{fmt, str::FromStr};

use ambrosia_core::{Epoch, InstanceUuid, Lsn, Timestamp};

use super::salt::Salt;

/// Bytes before the first record.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 4096;

const MAGIC: [u8; 8] = *b"AMBRSEGM";
const VERSION: u32 = 2;
const VERSION_UNSALTED: u32 = 1;
const MAGIC_AT: usize = 0;
const VERSION_AT: usize = MAGIC_AT + 8;
const HEADER_BYTES_AT: usize = VERSION_AT + 4;
const UUID_AT: usize = HEADER_BYTES_AT + 4;
const FIRST_AT: usize = UUID_AT + 16;
const EPOCH_AT: usize = FIRST_AT + 8;
const FOLLOWS_AT: usize = EPOCH_AT + 8;
const CAPACITY_AT: usize = FOLLOWS_AT + 8;
const PREVIOUS_LINK_AT: usize = CAPACITY_AT + 8;
const PREVIOUS_TIME_AT: usize = PREVIOUS_LINK_AT + 8;
const SALT_AT: usize = PREVIOUS_TIME_AT + 8;
/// Written as zeros up to the checksum, and refused if they are not: a later version means something by them.
const RESERVED_AT: usize = SALT_AT + 8;
const CHECKSUM_AT: usize = SEGMENT_HEADER_BYTES - 4;
const _: () = assert!(RESERVED_AT == 88);

/// What the name of a segment says. Ordered by first lsn, then epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct SegmentName {
    /// Its first record.
    pub(crate) first: Lsn,
    /// Epoch of all its records.
    pub(crate) epoch: Epoch,
    /// Epoch of the record before its first.
    pub(crate) follows: Epoch,
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{:010}-{:010}.seg", self.first.0, self.epoch.0, self.follows.0)
    }
}

impl FromStr for SegmentName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.strip_suffix(".seg").ok_or(())?.split('-').map(|part| part.parse::<u64>().map_err(|_| ()));
        let mut number = || parts.next().ok_or(())?;
        let name = SegmentName { first: Lsn(number()?), epoch: Epoch(number()?), follows: Epoch(number()?) };
        if name.to_string() == text { Ok(name) } else { Err(()) }
    }
}

/// The newest record before some place in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LastRecord {
    pub(crate) lsn: Lsn,
    /// What the next record carries as `previous`.
    pub(crate) link: u64,
    pub(crate) time: Timestamp,
}

impl LastRecord {
    /// Before genesis.
    pub(crate) const NONE: LastRecord = LastRecord { lsn: Lsn(0), link: 0, time: Timestamp(0) };

    pub(crate) fn of(header: &ambrosia_core::RecordHeader) -> LastRecord {
        LastRecord { lsn: header.lsn, link: header.link(), time: header.time }
    }
}

/// The first block of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentHeader {
    pub(crate) uuid: InstanceUuid,
    pub(crate) name: SegmentName,
    /// Bytes of the file.
    pub(crate) capacity: u64,
    /// The record before its first.
    pub(crate) before: LastRecord,
    /// What the headers of its records are mixed with.
    pub(crate) salt: Salt,
}

/// Why a block is not the header of a segment.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum SegmentHeaderError {
    #[error("the file is not a segment of a log, or its first block is damaged")]
    Damaged,
    #[error("the segment has format version {0}, this program reads versions {VERSION_UNSALTED} to {VERSION}")]
    Version(u32),
    #[error("a reserved byte of the segment's first block is not zero: a later version wrote it")]
    Reserved,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        assert_eq!(self.before.lsn.next(), self.name.first, "a segment goes on where the log ends");
        let mut block = vec![0; SEGMENT_HEADER_BYTES];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(MAGIC_AT, &MAGIC);
        let version = if self.salt == Salt::NONE { VERSION_UNSALTED } else { VERSION };
        put(VERSION_AT, &version.to_le_bytes());
        put(HEADER_BYTES_AT, &(SEGMENT_HEADER_BYTES as u32).to_le_bytes());
        put(UUID_AT, &self.uuid.0);
        put(FIRST_AT, &self.name.first.0.to_le_bytes());
        put(EPOCH_AT, &self.name.epoch.0.to_le_bytes());
        put(FOLLOWS_AT, &self.name.follows.0.to_le_bytes());
        put(CAPACITY_AT, &self.capacity.to_le_bytes());
        put(PREVIOUS_LINK_AT, &self.before.link.to_le_bytes());
        put(PREVIOUS_TIME_AT, &self.before.time.0.to_le_bytes());
        put(SALT_AT, &self.salt.0.to_le_bytes());
        let checksum = crc32c::crc32c(&block[..CHECKSUM_AT]);
        block[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        block
    }

    pub(crate) fn decode(block: &[u8]) -> Result<SegmentHeader, SegmentHeaderError> {
        let block = block.first_chunk::<SEGMENT_HEADER_BYTES>().ok_or(SegmentHeaderError::Damaged)?;
        let u32_at = |at: usize| u32::from_le_bytes(*block[at..].first_chunk().expect("inside the block"));
        let u64_at = |at: usize| u64::from_le_bytes(*block[at..].first_chunk().expect("inside the block"));
        if block[..MAGIC.len()] != MAGIC || crc32c::crc32c(&block[..CHECKSUM_AT]) != u32_at(CHECKSUM_AT) {
            return Err(SegmentHeaderError::Damaged);
        }
        let salt = match (u32_at(VERSION_AT), u64_at(SALT_AT)) {
            (VERSION_UNSALTED, 0) => Salt::NONE,
            (VERSION_UNSALTED, _) => return Err(SegmentHeaderError::Reserved),
            (VERSION, 0) => return Err(SegmentHeaderError::Damaged),
            (VERSION, salt) => Salt(salt),
            (version, _) => return Err(SegmentHeaderError::Version(version)),
        };
        if block[RESERVED_AT..CHECKSUM_AT].iter().any(|byte| *byte != 0) {
            return Err(SegmentHeaderError::Reserved);
        }
        let first = u64_at(FIRST_AT);
        let before = LastRecord {
            lsn: Lsn(first.checked_sub(1).ok_or(SegmentHeaderError::Damaged)?),
            link: u64_at(PREVIOUS_LINK_AT),
            time: Timestamp(u64_at(PREVIOUS_TIME_AT)),
        };
        Ok(SegmentHeader {
            uuid: InstanceUuid(*block[UUID_AT..].first_chunk().expect("inside the block")),
            name: SegmentName { first: Lsn(first), epoch: Epoch(u64_at(EPOCH_AT)), follows: Epoch(u64_at(FOLLOWS_AT)) },
            capacity: u64_at(CAPACITY_AT),
            before,
            salt,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> SegmentHeader {
        SegmentHeader {
            uuid: InstanceUuid([7; 16]),
            name: SegmentName { first: Lsn(18), epoch: Epoch(4), follows: Epoch(2) },
            capacity: 1 << 20,
            before: LastRecord { lsn: Lsn(17), link: 0xfeed, time: Timestamp(99) },
            salt: Salt(0x1234_5678_9abc_def0),
        }
    }

    #[test]
    fn names_read_back() {
        let name = sample().name;
        assert_eq!(name.to_string(), "00000000000000000018-0000000004-0000000002.seg");
        assert_eq!(name.to_string().parse(), Ok(name));
        for bad in ["", "control", "1-2-3.seg", "00000000000000000018-0000000004-0000000002.seg.tmp"] {
            assert_eq!(bad.parse::<SegmentName>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn headers_read_back_and_every_flipped_bit_is_noticed() {
        let block = sample().encode();
        assert_eq!(SegmentHeader::decode(&block), Ok(sample()));
        for bit in 0..SEGMENT_HEADER_BYTES * 8 {
            let mut damaged = block.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_reserved_byte_that_is_not_zero_is_of_a_later_version() {
        let unsalted = SegmentHeader { salt: Salt::NONE, ..sample() };
        for (header, reserved) in [(sample(), RESERVED_AT..CHECKSUM_AT), (unsalted, SALT_AT..CHECKSUM_AT)] {
            for at in reserved {
                let later = with_byte(header, at, 1);
                assert_eq!(later, Err(SegmentHeaderError::Reserved), "byte {at}");
            }
        }
    }

    fn with_byte(header: SegmentHeader, at: usize, byte: u8) -> Result<SegmentHeader, SegmentHeaderError> {
        let mut block = header.encode();
        block[at] = byte;
        let checksum = crc32c::crc32c(&block[..CHECKSUM_AT]);
        block[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        SegmentHeader::decode(&block)
    }

    #[test]
    fn segments_without_a_salt_are_of_version_1_and_those_with_one_of_version_2() {
        let unsalted = SegmentHeader { salt: Salt::NONE, ..sample() };
        assert_eq!((unsalted.encode()[VERSION_AT], sample().encode()[VERSION_AT]), (1, 2));
        assert_eq!(SegmentHeader::decode(&unsalted.encode()), Ok(unsalted));
        assert_eq!(with_byte(unsalted, VERSION_AT, 2), Err(SegmentHeaderError::Damaged), "a salt of zero is none");
        assert_eq!(with_byte(sample(), VERSION_AT, 3), Err(SegmentHeaderError::Version(3)));
    }
}
