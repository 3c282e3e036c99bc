//! The secret of a segment, by which a header of its primary is told from bytes of a client that look like one.
//!
//! The first 8 bytes of each record, which say nothing but what it is, are mixed with it on their way into the file. It
//! stands in the first block of the segment, and no client or guest ever sees that: whoever finds a header by it knows
//! that the primary of the segment wrote it.
//!
//! **Architecture Invariant:** it is nowhere but in files. A record in memory is not mixed.

use std::fmt;

use ambrosia_core::{RECORD_HEADER_BYTES, RecordError, RecordHeader};

/// Bytes of a record that are mixed: magic, version, kind and what is reserved.
const MIXED_BYTES: usize = size_of::<u64>();
const _: () = assert!(MIXED_BYTES <= RECORD_HEADER_BYTES);

/// What the headers in a segment are mixed with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Salt(pub(crate) u64);

impl Salt {
    /// Segments of version 1 have none: their headers stand there as they are.
    pub(crate) const NONE: Salt = Salt(0);

    /// Made of random bits.
    pub(crate) fn new(random: u64) -> Salt {
        Salt(random.max(1))
    }

    /// Mixes the record at the front of `stored`, or brings it back.
    pub(crate) fn mix(self, stored: &mut [u8]) {
        let salt = self.0.to_le_bytes();
        stored.iter_mut().zip(salt).for_each(|(byte, salt)| *byte ^= salt);
    }

    /// Mixes records of so many bytes one behind the other, or brings them back.
    pub(crate) fn mix_all(self, mut records: &mut [u8], lengths: &[u32]) {
        for length in lengths {
            let (record, rest) = records.split_at_mut(*length as usize);
            self.mix(record);
            records = rest;
        }
    }

    /// The record as it stands in the file.
    pub(crate) fn mixed(self, stored: &[u8]) -> Vec<u8> {
        let mut mixed = stored.to_vec();
        self.mix(&mut mixed);
        mixed
    }

    /// The header that stands at the front of `bytes` of a file.
    pub(crate) fn decode(self, bytes: &[u8]) -> Result<RecordHeader, RecordError> {
        let mut header = *bytes.first_chunk::<RECORD_HEADER_BYTES>().ok_or(RecordError::CutOff)?;
        self.mix(&mut header);
        RecordHeader::decode(&header)
    }
}

/// It is a secret.
impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Salt::NONE { "no salt" } else { "a salt" })
    }
}

#[cfg(test)]
mod tests {
    use ambrosia_core::{Epoch, Lsn, Record, RecordKind, Timestamp};

    use super::*;

    fn record(lsn: u64) -> Record {
        Record::seal(RecordHeader::new(RecordKind::Deliver, Epoch(1), Lsn(lsn), Timestamp(1)), b"body")
    }

    #[test]
    fn a_header_is_found_by_its_own_salt_only() {
        let record = record(7);
        let mixed = Salt(0xfeed).mixed(record.stored());
        assert_eq!(Salt(0xfeed).decode(&mixed), Ok(*record.header()));
        for other in [Salt::NONE, Salt(0xfeed ^ 1 << 63), Salt(0xfeed ^ 1 << 47), Salt(0xfeec)] {
            assert!(other.decode(&mixed).is_err(), "{}", other.0);
        }
        assert!(Salt(0xfeed).decode(record.stored()).is_err(), "a client knows how a record looks");
    }

    #[test]
    fn what_is_mixed_twice_is_as_it_was() {
        let records = [record(1), record(2)];
        let plain = records.each_ref().map(|record| record.stored().to_vec()).concat();
        let lengths = records.each_ref().map(|record| record.stored().len() as u32);
        let mut mixed = plain.clone();
        Salt(3 << 40).mix_all(&mut mixed, &lengths);
        assert_eq!(mixed, records.map(|record| Salt(3 << 40).mixed(record.stored())).concat());
        Salt(3 << 40).mix_all(&mut mixed, &lengths);
        assert_eq!(mixed, plain);
    }

    #[test]
    fn random_bits_of_zero_are_a_salt_too() {
        assert_ne!(Salt::new(0), Salt::NONE);
    }
}
