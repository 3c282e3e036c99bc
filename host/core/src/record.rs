//! One record of the log: a fixed header and a body (`docs/formats.md`).
//!
//! **Architecture Invariant:** nothing here knows where a record is stored. What a storage needs so that it can tell a torn
//! tail from damage is in the header (`durable`) and is a kind of its own (a mark); neither means anything to a replica.

use bytes::Bytes;

use crate::{
    Epoch, InstanceNumber, Lsn, RunError, Timestamp, bytes_reader::BytesReader, limits::RECORD_BODY_BYTES_MAX,
    numbered::numbered,
};

const MAGIC: [u8; 4] = *b"AMBR";
const VERSION: u8 = 1;

const MAGIC_AT: usize = 0;
const VERSION_AT: usize = MAGIC_AT + MAGIC.len();
const KIND_AT: usize = VERSION_AT + size_of::<u8>();
/// Written as zeros, and refused if they are not: a later version means something by them.
const RESERVED_AT: usize = KIND_AT + size_of::<u8>();
const BODY_BYTES_AT: usize = RESERVED_AT + size_of::<u16>();
const MESSAGES_AT: usize = BODY_BYTES_AT + size_of::<u32>();
const EPOCH_AT: usize = MESSAGES_AT + size_of::<u32>();
const LSN_AT: usize = EPOCH_AT + size_of::<u64>();
const TIME_AT: usize = LSN_AT + size_of::<u64>();
const DURABLE_AT: usize = TIME_AT + size_of::<u64>();
const PREVIOUS_AT: usize = DURABLE_AT + size_of::<u64>();
const BODY_CHECKSUM_AT: usize = PREVIOUS_AT + size_of::<u64>();
const CHECKSUM_AT: usize = BODY_CHECKSUM_AT + size_of::<u32>();
/// Bytes of a record before its body.
pub const RECORD_HEADER_BYTES: usize = CHECKSUM_AT + size_of::<u32>();
const _: () = assert!(RECORD_HEADER_BYTES == 64);

/// Records begin at multiples of this; the body is padded with zeros.
pub const RECORD_ALIGNMENT: usize = 8;
const _: () = assert!(RECORD_HEADER_BYTES.is_multiple_of(RECORD_ALIGNMENT));

numbered! {
    /// What a record is.
    pub enum RecordKind {
        /// First record: who the instance is.
        Genesis = 1,
        /// A replica became primary; its records follow.
        Epoch = 2,
        /// A peer's name now stands for that instance uuid.
        Bind = 3,
        /// Messages for the guest.
        Deliver = 4,
        /// Written by the storage when the log falls idle, to say what is durable. Takes no lsn of its own: it repeats
        /// that of the record before it, and is not part of the chain.
        Mark = 5,
        /// The digest of the state before it, to compare replicas by. A checkpoint may be taken at it.
        Digest = 6,
        /// Another module, or other limits, from here on.
        Upgrade = 7,
        /// How a record before it that the guest could not handle is delivered all the same.
        Mend = 8,
        /// What the operator has set for the guest, from here on.
        Configuration = 9,
        /// A client has opened a session.
        Session = 10,
    }
}

impl RecordKind {
    /// Whether the guest handles what a record of that kind holds.
    pub fn reaches_guest(self) -> bool {
        match self {
            RecordKind::Deliver | RecordKind::Upgrade | RecordKind::Mend => true,
            RecordKind::Genesis
            | RecordKind::Epoch
            | RecordKind::Bind
            | RecordKind::Mark
            | RecordKind::Digest
            | RecordKind::Configuration
            | RecordKind::Session => false,
        }
    }
}

/// The fixed part of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHeader {
    /// What it is.
    pub kind: RecordKind,
    /// Bytes of the body, without padding.
    pub body_bytes: u32,
    /// Messages in the body.
    pub messages: u32,
    /// Epoch of the primary that wrote it; 0 for genesis.
    pub epoch: Epoch,
    /// Its number.
    pub lsn: Lsn,
    /// When it was made.
    pub time: Timestamp,
    /// Highest lsn that was known to be durable when the record was made.
    pub durable: Lsn,
    /// [`RecordHeader::link`] of the record before it: this is what chains them. 0 for genesis.
    pub previous: u64,
    /// CRC-32C of the body.
    pub body_checksum: u32,
    /// CRC-32C of the header up to here.
    pub checksum: u32,
}

/// Why some bytes are not a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    /// Not even the magic number is there.
    #[error("there is no record header")]
    NoMagic,
    /// Fewer bytes than the record needs.
    #[error("the record is cut off")]
    CutOff,
    /// The header was changed after it was written.
    #[error("the checksum of the record header does not match")]
    HeaderChecksum,
    /// The body was changed after it was written.
    #[error("the checksum of the record body does not match")]
    BodyChecksum,
    /// Written by another version.
    #[error("the record has format version {0}, this program reads version {VERSION}")]
    Version(u8),
    /// The kind has no meaning.
    #[error("unknown record kind {0}")]
    UnknownKind(u8),
    /// A reserved byte is not zero.
    #[error("a reserved byte of the record header is not zero: a later version wrote the record")]
    Reserved,
    /// The record is for another instance than the only one that this program knows of in a log.
    #[error(
        "the record is for instance number {0} of the log: this program is too old for a log with several instances. \
         Use the version that wrote it, or a newer one"
    )]
    Instance(InstanceNumber),
    /// The body exceeds [`RECORD_BODY_BYTES_MAX`].
    #[error("a record body of {0} bytes exceeds the limit of {RECORD_BODY_BYTES_MAX}")]
    TooLarge(u32),
    /// The checksums are right and the contents are not: a program wrote nonsense.
    #[error("the body of the record does not have the shape of its kind")]
    Shape,
    /// The messages of the record are not what they should be.
    #[error("a record holds a bad run of messages: {0}")]
    Run(#[from] RunError),
}

impl RecordHeader {
    /// Checks and decodes the header at the front of `bytes`. Says nothing of the body.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let header = bytes.first_chunk::<RECORD_HEADER_BYTES>().ok_or(RecordError::CutOff)?;
        if header[MAGIC_AT..VERSION_AT] != MAGIC {
            return Err(RecordError::NoMagic);
        }
        let checksum = crc32c::crc32c(&header[..CHECKSUM_AT]);
        let mut fields = BytesReader(&header[VERSION_AT..]);
        Self::decode_fields(&mut fields, checksum).ok_or(RecordError::CutOff)?
    }

    fn decode_fields(fields: &mut BytesReader<'_>, computed: u32) -> Option<Result<Self, RecordError>> {
        let version = fields.u8()?;
        let kind = fields.u8()?;
        let reserved = fields.u16()?;
        let body_bytes = fields.u32()?;
        let messages = fields.u32()?;
        let epoch = Epoch(fields.u64()?);
        let lsn = Lsn(fields.u64()?);
        let time = Timestamp(fields.u64()?);
        let durable = Lsn(fields.u64()?);
        let previous = fields.u64()?;
        let body_checksum = fields.u32()?;
        let checksum = fields.u32()?;
        if checksum != computed {
            return Some(Err(RecordError::HeaderChecksum));
        }
        if version != VERSION {
            return Some(Err(RecordError::Version(version)));
        }
        if reserved != 0 {
            return Some(Err(RecordError::Reserved));
        }
        let Some(kind) = RecordKind::from_byte(kind) else {
            return Some(Err(RecordError::UnknownKind(kind)));
        };
        if body_bytes as usize > RECORD_BODY_BYTES_MAX {
            return Some(Err(RecordError::TooLarge(body_bytes)));
        }
        Some(Ok(RecordHeader {
            kind,
            body_bytes,
            messages,
            epoch,
            lsn,
            time,
            durable,
            previous,
            body_checksum,
            checksum,
        }))
    }

    fn encode(&mut self) -> [u8; RECORD_HEADER_BYTES] {
        let mut out = [0; RECORD_HEADER_BYTES];
        out[MAGIC_AT..VERSION_AT].copy_from_slice(&MAGIC);
        out[VERSION_AT] = VERSION;
        out[KIND_AT] = self.kind as u8;
        out[BODY_BYTES_AT..MESSAGES_AT].copy_from_slice(&self.body_bytes.to_le_bytes());
        out[MESSAGES_AT..EPOCH_AT].copy_from_slice(&self.messages.to_le_bytes());
        out[EPOCH_AT..LSN_AT].copy_from_slice(&self.epoch.0.to_le_bytes());
        out[LSN_AT..TIME_AT].copy_from_slice(&self.lsn.0.to_le_bytes());
        out[TIME_AT..DURABLE_AT].copy_from_slice(&self.time.0.to_le_bytes());
        out[DURABLE_AT..PREVIOUS_AT].copy_from_slice(&self.durable.0.to_le_bytes());
        out[PREVIOUS_AT..BODY_CHECKSUM_AT].copy_from_slice(&self.previous.to_le_bytes());
        out[BODY_CHECKSUM_AT..CHECKSUM_AT].copy_from_slice(&self.body_checksum.to_le_bytes());
        self.checksum = crc32c::crc32c(&out[..CHECKSUM_AT]);
        out[CHECKSUM_AT..].copy_from_slice(&self.checksum.to_le_bytes());
        out
    }

    /// Bytes that the whole record takes in the log, with padding.
    pub fn stored_bytes(&self) -> usize {
        RECORD_HEADER_BYTES + (self.body_bytes as usize).next_multiple_of(RECORD_ALIGNMENT)
    }

    /// The value that the next record carries as `previous`.
    pub fn link(&self) -> u64 {
        u64::from(self.checksum) << 32 | u64::from(self.body_checksum)
    }
}

impl RecordHeader {
    /// A header to be sealed: lengths and checksums are filled in by [`Record::seal`].
    pub fn new(kind: RecordKind, epoch: Epoch, lsn: Lsn, time: Timestamp) -> Self {
        RecordHeader {
            kind,
            body_bytes: 0,
            messages: 0,
            epoch,
            lsn,
            time,
            durable: Lsn(0),
            previous: 0,
            body_checksum: 0,
            checksum: 0,
        }
    }
}

/// A checked record with the bytes that hold it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    header: RecordHeader,
    stored: Bytes,
}

/// Leaves room for the header of a record in `out`, which is empty; the body is to be written behind it.
pub(crate) fn begin_record(out: &mut Vec<u8>) {
    assert!(out.is_empty(), "a record begins where nothing is");
    out.resize(RECORD_HEADER_BYTES, 0);
}

impl Record {
    /// Makes a record around `body`, fills in lengths and checksums. `header.previous` must be the link of the
    /// record before it.
    ///
    /// # Panics
    /// If the body exceeds [`RECORD_BODY_BYTES_MAX`]: whoever gathers the body keeps to the limit.
    pub fn seal(header: RecordHeader, body: &[u8]) -> Record {
        let mut stored = Vec::with_capacity(RECORD_HEADER_BYTES + body.len().next_multiple_of(RECORD_ALIGNMENT));
        begin_record(&mut stored);
        stored.extend_from_slice(body);
        Record::seal_written(header, stored)
    }

    /// The same of a body that was written where it stays: `stored` has it behind [`begin_record`].
    ///
    /// # Panics
    /// As [`Record::seal`].
    pub(crate) fn seal_written(mut header: RecordHeader, mut stored: Vec<u8>) -> Record {
        let body = &stored[RECORD_HEADER_BYTES..];
        assert!(body.len() <= RECORD_BODY_BYTES_MAX, "whoever gathers the body keeps to the limit");
        header.body_bytes = body.len() as u32;
        header.body_checksum = crc32c::crc32c(body);
        stored[..RECORD_HEADER_BYTES].copy_from_slice(&header.encode());
        stored.resize(header.stored_bytes(), 0);
        assert!(stored.len().is_multiple_of(RECORD_ALIGNMENT), "the next record begins where readers look for it");
        debug_assert_eq!(RecordHeader::decode(&stored), Ok(header), "a header reads back as it was written");
        Record { header, stored: stored.into() }
    }

    /// Checks and takes the record at the front of `bytes`, leaving the rest in it. On an error `bytes` is unchanged.
    pub fn split_from(bytes: &mut Bytes) -> Result<Record, RecordError> {
        let header = RecordHeader::decode(bytes)?;
        if bytes.len() < header.stored_bytes() {
            return Err(RecordError::CutOff);
        }
        let body_end = RECORD_HEADER_BYTES + header.body_bytes as usize;
        if crc32c::crc32c(&bytes[RECORD_HEADER_BYTES..body_end]) != header.body_checksum {
            return Err(RecordError::BodyChecksum);
        }
        let record = Record { header, stored: bytes.split_to(header.stored_bytes()) };
        debug_assert_eq!(record.body().len(), header.body_bytes as usize, "the body is as long as the header says");
        Ok(record)
    }

    /// The fixed part.
    pub fn header(&self) -> &RecordHeader {
        &self.header
    }

    /// The body without padding.
    pub fn body(&self) -> &[u8] {
        &self.stored[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + self.header.body_bytes as usize]
    }

    /// The whole record as it stands in the log.
    pub fn stored(&self) -> &Bytes {
        &self.stored
    }

    /// The number of the record.
    pub fn lsn(&self) -> Lsn {
        self.header.lsn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Record {
        let mut header = RecordHeader::new(RecordKind::Deliver, Epoch(3), Lsn(17), Timestamp(99));
        header.messages = 2;
        header.durable = Lsn(12);
        header.previous = 0xfeed;
        Record::seal(header, b"thirteen byte")
    }

    #[test]
    fn a_record_reads_back_as_it_was_sealed() {
        let record = sample();
        let mut bytes = record.stored().clone();
        assert_eq!(bytes.len(), 64 + 16);
        let read = Record::split_from(&mut bytes).expect("sealed a line above");
        assert_eq!(read, record);
        assert_eq!(read.body(), b"thirteen byte");
        assert!(bytes.is_empty());
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let record = sample();
        for bit in 0..(RECORD_HEADER_BYTES + 13) * 8 {
            let mut damaged = record.stored().to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::split_from(&mut damaged.into()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        let record = sample();
        for length in 0..record.stored().len() {
            let mut cut = record.stored().slice(..length);
            assert_eq!(Record::split_from(&mut cut), Err(RecordError::CutOff), "{length} bytes");
        }
    }
}
