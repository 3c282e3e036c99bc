//! One rule for what is reserved: it is written as zeros, and a reader refuses anything else, for a later version means
//! something by it.

use ambrosia_core::{
    CallId, DeliverBody, Epoch, InstanceNumber, Lsn, Message, MessageError, MessageKind, Messages, MethodId, PeerIndex,
    RECORD_HEADER_BYTES, Record, RecordError, RecordHeader, RecordKind, RunError, Runs, Seq, Timestamp, begin_run,
    finish_run, push_message,
};
use bytes::Bytes;
use proptest::prelude::*;

/// Places as `docs/formats.md` and `wit/LAYOUT.md` have them, written down once more.
const RECORD_RESERVED: std::ops::Range<usize> = 6..8;
const RECORD_CHECKSUM_AT: usize = 60;
const DELIVER_INSTANCE: std::ops::Range<usize> = 12..16;
const DELIVER_PREFIX_BYTES: usize = 16;
const RUN_INSTANCE: std::ops::Range<usize> = 20..24;
const RUN_HEADER_BYTES: usize = 24;
const MESSAGE_RESERVED: std::ops::Range<usize> = 17..20;

fn run() -> Vec<u8> {
    let mut runs = Vec::new();
    let at = begin_run(&mut runs, PeerIndex(2), Seq(7));
    push_message(
        &mut runs,
        Message { kind: MessageKind::Fork, method: MethodId(1), call_id: CallId(0), arguments: b"\x91\x01" },
    );
    finish_run(&mut runs, at, 1);
    runs
}

fn body(runs: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    DeliverBody { runs, ..DeliverBody::default() }.encode(&mut body);
    body
}

fn record(body: &[u8]) -> Record {
    let mut header = RecordHeader::new(RecordKind::Deliver, Epoch(3), Lsn(9), Timestamp(5));
    header.messages = 1;
    Record::seal(header, body)
}

/// `bytes` with the bytes at `range` as `value` has them.
fn with(bytes: &[u8], range: std::ops::Range<usize>, value: &[u8]) -> Vec<u8> {
    assert!(bytes[range.clone()].iter().all(|byte| *byte == 0), "it is written as zeros");
    let mut changed = bytes.to_vec();
    changed[range].copy_from_slice(value);
    changed
}

fn refused_header(reserved: [u8; 2]) {
    let mut stored = with(record(&body(&run())).stored(), RECORD_RESERVED, &reserved);
    let checksum = crc32c::crc32c(&stored[..RECORD_CHECKSUM_AT]);
    stored[RECORD_CHECKSUM_AT..RECORD_HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(RecordHeader::decode(&stored), Err(RecordError::Reserved));
    assert_eq!(Record::split_from(&mut Bytes::from(stored)), Err(RecordError::Reserved));
}

fn refused_body(instance: u32) {
    let body = with(&body(&run()), DELIVER_INSTANCE, &instance.to_le_bytes());
    let error = RecordError::Instance(InstanceNumber(instance));
    assert_eq!(DeliverBody::decode(&body), Err(error));
    assert_eq!(record(&body).check_body(), Err(error));
    assert!(error.to_string().contains("too old for a log with several instances"), "{error}");
}

fn refused_run(instance: u32) {
    let runs = with(&run(), RUN_INSTANCE, &instance.to_le_bytes());
    let error = RunError::Instance(InstanceNumber(instance));
    assert_eq!(Runs::new(&runs).collect::<Vec<_>>(), [Err(error)], "it is the end, too");
    assert_eq!(record(&body(&runs)).check_body(), Err(RecordError::Run(error)));
    assert!(error.to_string().contains("too old for a log with several instances"), "{error}");
}

fn refused_message(reserved: [u8; 3]) {
    let at = |place: usize| RUN_HEADER_BYTES + place;
    let runs = with(&run(), at(MESSAGE_RESERVED.start)..at(MESSAGE_RESERVED.end), &reserved);
    let messages = &runs[RUN_HEADER_BYTES..];
    assert_eq!(Messages::new(messages).collect::<Vec<_>>(), [Err(MessageError::Reserved)]);
    assert_eq!(
        record(&body(&runs)).check_body(),
        Err(RecordError::Run(RunError::Message(MessageError::Reserved))),
        "it is found in the log, too"
    );
}

#[test]
fn every_byte_that_is_reserved_is_refused_with_every_value_but_zero() {
    for value in 1..=u8::MAX {
        [[value, 0], [0, value]].into_iter().for_each(refused_header);
        (0..4).map(|byte| u32::from(value) << (8 * byte)).for_each(refused_body);
        (0..4).map(|byte| u32::from(value) << (8 * byte)).for_each(refused_run);
        [[value, 0, 0], [0, value, 0], [0, 0, value]].into_iter().for_each(refused_message);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn whatever_stands_in_place_of_what_is_reserved_is_refused(
        header in 1_u16.., instance in 1_u32.., message in 1_u32..1 << 24,
    ) {
        refused_header(header.to_le_bytes());
        refused_body(instance);
        refused_run(instance);
        let [first, second, third, _] = message.to_le_bytes();
        refused_message([first, second, third]);
    }

    /// Of all that stands before the arguments, only what is compared here is read; the rest is reserved.
    #[test]
    fn a_record_as_it_is_written_is_known(at in 0_usize..DELIVER_PREFIX_BYTES) {
        let body = body(&run());
        prop_assert_eq!(record(&body).check_body(), Ok(()));
        let mut changed = body.clone();
        changed[at] ^= 0xff;
        prop_assert!(record(&changed).check_body().is_err(), "byte {} of the body is read", at);
    }
}
