//! Records of the log and their bodies (`docs/formats.md`).
//!
//! Random bytes never have a right checksum, so the bytes are read three times: as they are, with the checksums put
//! right, and with the lengths put right as well.

use ambrosia_core::{
    Bind, DeliverBody, EpochBody, Genesis, RECORD_ALIGNMENT, RECORD_HEADER_BYTES, Record, RecordError, RecordHeader,
    RecordKind, Runs, Timestamp,
};
use ambrosia_test_allocations::within;
use bytes::Bytes;

use crate::{
    corpus::Seed,
    layout::{check_messages, check_runs},
};

/// The copies with other checksums, what is encoded again, and watermarks and requests, which are larger decoded.
const MEMORY_PER_BYTE: usize = 32;
const MEMORY_SLACK: usize = 8192;

/// Offsets in the header of a record.
const BODY_BYTES_AT: usize = 8;
const BODY_CHECKSUM_AT: usize = 56;
const CHECKSUM_AT: usize = 60;

/// Reads the bytes as records, one after the other.
pub fn target(bytes: &[u8]) {
    within(MEMORY_PER_BYTE * bytes.len() + MEMORY_SLACK, || {
        check_records(bytes);
        check_bodies(bytes);
        let mut repaired = bytes.to_vec();
        repair_checksums(&mut repaired);
        check_records(&repaired);
        if let Some(body_bytes) = repaired.len().checked_sub(RECORD_HEADER_BYTES) {
            repaired[BODY_BYTES_AT..BODY_BYTES_AT + 4].copy_from_slice(&(body_bytes as u32).to_le_bytes());
            repaired.resize(repaired.len().next_multiple_of(RECORD_ALIGNMENT), 0);
            repair_checksums(&mut repaired);
            check_records(&repaired);
        }
    });
}

/// Golden files of the kinds of records, and all of them behind each other.
pub fn seeds() -> Vec<Seed> {
    let golden = [
        ("genesis", &include_bytes!("../../../host/core/tests/golden/record-v1-genesis.bin")[..]),
        ("epoch", include_bytes!("../../../host/core/tests/golden/record-v1-epoch.bin")),
        ("bind", include_bytes!("../../../host/core/tests/golden/record-v1-bind.bin")),
        ("deliver", include_bytes!("../../../host/core/tests/golden/record-v1-deliver.bin")),
        ("mark", include_bytes!("../../../host/core/tests/golden/record-v1-mark.bin")),
    ];
    let all: Vec<u8> = golden.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
    let mut seeds: Vec<Seed> = golden.iter().map(|(name, bytes)| (format!("seed-{name}"), bytes.to_vec())).collect();
    seeds.push(("seed-all".to_owned(), all));
    seeds
}

/// Puts both checksums of each record right that is there as a whole.
fn repair_checksums(bytes: &mut [u8]) {
    let mut rest = bytes;
    while rest.len() >= RECORD_HEADER_BYTES {
        let (header, behind) = rest.split_at_mut(RECORD_HEADER_BYTES);
        let length = header[BODY_BYTES_AT..].first_chunk().expect("inside the header");
        let body_bytes = u32::from_le_bytes(*length) as usize;
        let body = &behind[..body_bytes.min(behind.len())];
        header[BODY_CHECKSUM_AT..CHECKSUM_AT].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
        let checksum = crc32c::crc32c(&header[..CHECKSUM_AT]);
        header[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        let next = body_bytes.next_multiple_of(RECORD_ALIGNMENT).min(behind.len());
        rest = &mut behind[next..];
    }
}

fn check_records(bytes: &[u8]) {
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut at = 0;
    loop {
        let before = rest.clone();
        match Record::split_from(&mut rest) {
            Ok(record) => {
                assert_eq!(record.stored(), &before[..record.stored().len()]);
                at += record.stored().len();
                assert_eq!(rest, bytes[at..], "a record is taken off as a whole");
                check_record(&record);
            }
            Err(error) => {
                assert_eq!(rest, before, "on an error nothing is taken off");
                return check_error(error, &before);
            }
        }
    }
}

fn check_record(record: &Record) {
    assert_eq!(RecordHeader::decode(record.stored()).ok().as_ref(), Some(record.header()));
    assert!(record.stored().len().is_multiple_of(RECORD_ALIGNMENT));
    let again = Record::seal(*record.header(), record.body());
    // What fills up the last word is written as zero and not read: no checksum covers it.
    let padding = &record.stored()[RECORD_HEADER_BYTES + record.body().len()..];
    if padding.iter().all(|byte| *byte == 0) {
        assert_eq!(&again, record, "a record is written as it was read");
    } else {
        assert_eq!(again.header().link() as u32, record.header().link() as u32, "the body has its checksum");
        assert_eq!(again.body(), record.body());
    }
    check_bodies(record.body());
    if record.check_body().is_ok() && record.header().kind == RecordKind::Deliver {
        let body = DeliverBody::decode(record.body()).expect("it was checked");
        assert!(Runs::new(body.runs).all(|run| run.is_ok_and(|run| run.check().is_ok())), "down to its messages");
    }
}

/// What is said of bytes that are no record follows from them.
fn check_error(error: RecordError, bytes: &[u8]) {
    match error {
        RecordError::CutOff => assert!(
            RecordHeader::decode(bytes)
                .map_or(bytes.len() < RECORD_HEADER_BYTES, |header| { bytes.len() < header.stored_bytes() })
        ),
        RecordError::BodyChecksum => assert!(RecordHeader::decode(bytes).is_ok()),
        RecordError::Shape | RecordError::Instance(_) | RecordError::Run(_) => panic!("the body is not looked at"),
        RecordError::NoMagic
        | RecordError::HeaderChecksum
        | RecordError::Version(_)
        | RecordError::Reserved
        | RecordError::UnknownKind(_)
        | RecordError::TooLarge(_) => assert_eq!(RecordHeader::decode(bytes), Err(error)),
    }
}

/// Reads a body as each kind, whatever its record says, and writes it again.
fn check_bodies(body: &[u8]) {
    let mut again = Vec::new();
    if let Ok(genesis) = Genesis::decode(body) {
        let record = genesis.record(Timestamp(1));
        assert_eq!((record.body(), record.header().kind), (body, RecordKind::Genesis));
    }
    if let Ok(epoch) = EpochBody::decode(body) {
        epoch.encode(&mut again);
        assert_eq!(again, body);
    }
    if let Ok(bind) = Bind::decode(body) {
        again.clear();
        bind.encode(&mut again);
        assert_eq!(again, body);
    }
    if let Ok(deliver) = DeliverBody::decode(body) {
        again.clear();
        deliver.encode(&mut again);
        assert_eq!(again, body, "a body is written as it was read");
        check_runs(deliver.runs);
    }
    check_messages(body);
}
