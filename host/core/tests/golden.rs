//! Golden files: a record of each kind and format version as it once stood in a log. They are never changed, only added
//! to, and every later program reads them. `AMBROSIA_BLESS=1` writes those that are missing.

use std::{env, fs, path::PathBuf};

use ambrosia_core::{
    Bind, CallId, DeliverBody, DigestBody, Epoch, EpochBody, Genesis, InstanceName, InstanceUuid, Limits, Lsn, Mend,
    Message, MessageKind, Messages, MethodId, OpenSession, OpeningId, PeerIndex, Record, RecordHeader, RecordKind,
    Remedy, ReplicaIndex, RequestEntry, RequestId, Run, Runs, Seq, SessionId, SessionPart, SessionRun, Skip, Ticket,
    Timestamp, TraceEntry, Upgrade, Watermark, begin_run, finish_run, push_message,
};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The record in the golden file `name`, which is the one that this program makes.
fn check(name: &str, made: &Record) -> Record {
    let path = path(name);
    if env::var_os("AMBROSIA_BLESS").is_some() && !path.exists() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        fs::write(&path, made.stored()).expect("writable");
    }
    let golden = fs::read(&path).unwrap_or_else(|_| panic!("{name} is missing: bless it with AMBROSIA_BLESS=1"));
    assert_eq!(golden, made.stored()[..], "{name}: the format changed; raise its version and keep reading this one");
    let mut bytes = golden.into();
    let record = Record::split_from(&mut bytes).expect("golden files stay readable");
    assert!(bytes.is_empty(), "one record a file");
    assert_eq!(record, *made);
    record
}

fn header(kind: RecordKind, lsn: u64) -> RecordHeader {
    let mut header =
        RecordHeader::new(kind, Epoch(0x0102_0304_0506_0708), Lsn(lsn), Timestamp(1_700_000_000_123_456_789));
    header.durable = Lsn(lsn - 1);
    header.previous = 0x1122_3344_5566_7788;
    header
}

/// All fields that [`header`] and sealing set.
fn check_header(record: &Record, kind: RecordKind, lsn: u64, messages: u32, body_bytes: u32) {
    let header = record.header();
    assert_eq!((header.kind, header.lsn, record.lsn()), (kind, Lsn(lsn), Lsn(lsn)));
    assert_eq!((header.messages, header.body_bytes), (messages, body_bytes));
    assert_eq!(header.epoch, Epoch(0x0102_0304_0506_0708));
    assert_eq!(header.time, Timestamp(1_700_000_000_123_456_789));
    assert_eq!(header.durable, Lsn(lsn - 1));
    assert_eq!(header.previous, 0x1122_3344_5566_7788);
    assert_eq!(header.link(), u64::from(header.checksum) << 32 | u64::from(header.body_checksum));
}

fn server() -> InstanceName {
    InstanceName::new("Server-1.eu_2").expect("a plain name")
}

#[test]
fn genesis_records_of_version_1_stay_readable() {
    let limits = Limits { fuel: 20_000_000_000, memory_bytes: 4 << 30 };
    let genesis = Genesis { uuid: InstanceUuid([0xa1; 16]), module: [0xb2; 32], seed: 0xc3c4, limits, name: server() };
    let record = check("record-v1-genesis.bin", &genesis.record(Timestamp(77)));
    let header = record.header();
    assert_eq!((header.kind, header.lsn, header.epoch), (RecordKind::Genesis, Lsn(1), Epoch(0)));
    assert_eq!((header.time, header.durable, header.previous), (Timestamp(77), Lsn(0), 0));
    let read = Genesis::decode(record.body()).expect("golden");
    assert_eq!(read.uuid, InstanceUuid([0xa1; 16]));
    assert_eq!(read.module, [0xb2; 32]);
    assert_eq!(read.seed, 0xc3c4);
    assert_eq!((read.limits.fuel, read.limits.memory_bytes), (20_000_000_000, 4 << 30));
    assert_eq!(read.name, server());
}

#[test]
fn epoch_records_of_version_1_stay_readable() {
    let mut body = Vec::new();
    EpochBody { replica: ReplicaIndex(0x0203), engine: [0xd4; 32] }.encode(&mut body);
    let record = check("record-v1-epoch.bin", &Record::seal(header(RecordKind::Epoch, 2), &body));
    check_header(&record, RecordKind::Epoch, 2, 0, 34);
    let read = EpochBody::decode(record.body()).expect("golden");
    assert_eq!((read.replica, read.engine), (ReplicaIndex(0x0203), [0xd4; 32]));
}

#[test]
fn bind_records_of_version_1_stay_readable() {
    let mut body = Vec::new();
    Bind { peer: PeerIndex(0x0405), uuid: InstanceUuid([0xe5; 16]), name: server() }.encode(&mut body);
    let record = check("record-v1-bind.bin", &Record::seal(header(RecordKind::Bind, 3), &body));
    check_header(&record, RecordKind::Bind, 3, 0, 33);
    let read = Bind::decode(record.body()).expect("golden");
    assert_eq!((read.peer, read.uuid, read.name), (PeerIndex(0x0405), InstanceUuid([0xe5; 16]), server()));
}

#[test]
fn mark_records_of_version_1_stay_readable() {
    let record = check("record-v1-mark.bin", &Record::seal(header(RecordKind::Mark, 3), b""));
    check_header(&record, RecordKind::Mark, 3, 0, 0);
    assert_eq!(record.body(), b"");
}

#[test]
fn digest_records_of_version_1_stay_readable() {
    let body = DigestBody { state: 0x0102_0304_0506_0708, memory: 0x1112_1314_1516_1718, checkpoint_by: None };
    let asking = DigestBody { checkpoint_by: Some(ReplicaIndex(0x0203)), ..body };
    for (file, body) in [("record-v1-digest.bin", body), ("record-v1-digest-checkpoint.bin", asking)] {
        let mut bytes = Vec::new();
        body.encode(&mut bytes);
        let record = check(file, &Record::seal(header(RecordKind::Digest, 5), &bytes));
        check_header(&record, RecordKind::Digest, 5, 0, 18);
        assert_eq!(DigestBody::decode(record.body()), Ok(body));
    }
}

#[test]
fn upgrade_records_of_version_1_stay_readable() {
    let limits = Limits { fuel: 20_000_000_000, memory_bytes: 4 << 30 };
    let first = Upgrade {
        attempt: 0x0102,
        from: [0xb2; 32],
        to: [0xb3; 32],
        limits,
        handover_fuel: 0x0304_0506,
        end_waiting: false,
    };
    let second = Upgrade { end_waiting: true, to: first.from, ..first };
    for (file, body) in [("record-v1-upgrade.bin", first), ("record-v1-upgrade-end-waiting.bin", second)] {
        let mut bytes = Vec::new();
        body.encode(&mut bytes);
        let record = check(file, &Record::seal(header(RecordKind::Upgrade, 6), &bytes));
        check_header(&record, RecordKind::Upgrade, 6, 0, 97);
        assert_eq!(Upgrade::decode(record.body()), Ok(body));
    }
}

#[test]
fn an_upgrade_body_that_is_cut_off_or_has_another_flag_is_refused() {
    let limits = Limits { fuel: 1, memory_bytes: 2 };
    let body = Upgrade { attempt: 3, from: [4; 32], to: [5; 32], limits, handover_fuel: 6, end_waiting: true };
    let mut bytes = Vec::new();
    body.encode(&mut bytes);
    for length in 0..bytes.len() {
        assert!(Upgrade::decode(&bytes[..length]).is_err(), "{length} bytes");
    }
    assert!(Upgrade::decode(&[&bytes[..], &[0]].concat()).is_err(), "a byte more");
    *bytes.last_mut().expect("not empty") = 2;
    assert!(Upgrade::decode(&bytes).is_err(), "a flag of a later version");
}

#[test]
fn mend_records_of_version_1_stay_readable() {
    let limits = Limits { fuel: 7, memory_bytes: 8 };
    let upgrade = Upgrade { attempt: 3, from: [4; 32], to: [5; 32], limits, handover_fuel: 6, end_waiting: false };
    let skip = Skip { attempt: 0x0102, messages: vec![0, 5, 0x0304] };
    let mend = |remedy| Mend { lsn: Lsn(0x0506), link: 0x0102_0304_0506_0708, remedy };
    for (file, body, bytes) in [
        ("record-v1-mend-upgrade.bin", mend(Remedy::Upgrade(upgrade)), 114),
        ("record-v1-mend-skip.bin", mend(Remedy::Skip(skip)), 37),
    ] {
        let mut encoded = Vec::new();
        body.encode(&mut encoded);
        let record = check(file, &Record::seal(header(RecordKind::Mend, 7), &encoded));
        check_header(&record, RecordKind::Mend, 7, 0, bytes);
        assert_eq!(Mend::decode(record.body()), Ok(body));
        for length in 0..encoded.len() {
            let is_shorter_skip = file.contains("skip") && length > 25 && (length - 25).is_multiple_of(4);
            assert_eq!(Mend::decode(&encoded[..length]).is_ok(), is_shorter_skip, "{file}: {length} bytes");
        }
        assert!(Mend::decode(&[&encoded[..], &[0]].concat()).is_err(), "{file}: a byte more");
        encoded[16] = 2;
        assert!(Mend::decode(&encoded).is_err(), "{file}: a remedy of a later version");
    }
    for messages in [vec![], vec![1, 1], vec![2, 1], vec![u32::MAX]] {
        let mut encoded = Vec::new();
        mend(Remedy::Skip(Skip { attempt: 1, messages: messages.clone() })).encode(&mut encoded);
        assert!(Mend::decode(&encoded).is_err(), "{messages:?}");
    }
}

/// Every kind that a record may hold.
fn messages() -> [(PeerIndex, Vec<Message<'static>>); 2] {
    let message = |kind, method, call_id, arguments| Message { kind, method, call_id: CallId(call_id), arguments };
    let (none, method) = (MethodId(0), MethodId::of("receive_message"));
    let outside = vec![
        message(MessageKind::Start, none, 0, &b""[..]),
        message(MessageKind::Primary, none, 0, b""),
        message(MessageKind::Error, none, 3, b"\xa4gone"),
        message(MessageKind::Timer, none, 4, b""),
        message(MessageKind::Impulse, method, 5, b"\x91\x01"),
    ];
    let peer = vec![
        message(MessageKind::Fork, method, 0, b"\x90"),
        message(MessageKind::Call, method, 0x0607_0809, b"\x91\xa2hi"),
        message(MessageKind::Reply, none, 8, b"\xc0"),
        message(MessageKind::Error, none, 9, b"\xa2no"),
    ];
    [(PeerIndex::OUTSIDE, outside), (PeerIndex(2), peer)]
}

#[test]
fn deliver_records_of_version_1_stay_readable() {
    let mut runs = Vec::new();
    for (peer, messages) in messages() {
        let at = begin_run(&mut runs, peer, Seq(u64::from(peer.0) * 50));
        messages.iter().for_each(|message| push_message(&mut runs, *message));
        finish_run(&mut runs, at, messages.len() as u32);
    }
    let acknowledged =
        vec![Watermark { peer: PeerIndex(2), seq: Seq(40) }, Watermark { peer: PeerIndex(3), seq: Seq(1) }];
    let request = RequestId::new(b"client-7/12").expect("short");
    let requests = vec![RequestEntry { call_id: CallId(5), request }];
    let mut body = Vec::new();
    DeliverBody {
        runs: &runs,
        acknowledged: acknowledged.clone(),
        requests: requests.clone(),
        ..DeliverBody::default()
    }
    .encode(&mut body);
    let mut header = header(RecordKind::Deliver, 4);
    header.messages = 9;
    let record = check("record-v1-deliver.bin", &Record::seal(header, &body));

    check_header(&record, RecordKind::Deliver, 4, 9, body.len() as u32);
    let read = DeliverBody::decode(record.body()).expect("golden");
    assert_eq!((&read.acknowledged, &read.requests), (&acknowledged, &requests));
    let runs: Vec<Run<'_>> = Runs::new(read.runs).collect::<Result<_, _>>().expect("golden");
    assert_eq!(
        runs.iter().map(|run| (run.peer.0, run.first_seq.0, run.count)).collect::<Vec<_>>(),
        [(0, 0, 5), (2, 100, 4)]
    );
    for (run, (_, expected)) in runs.iter().zip(messages()) {
        assert_eq!(run.check(), Ok(()));
        assert_eq!(Messages::new(run.messages).collect::<Result<Vec<_>, _>>().expect("golden"), expected);
    }
}

#[test]
fn what_records_hold_of_sessions_stays_readable() {
    let open = OpenSession { session: SessionId([0xd1; 16]), opening: OpeningId([0xe2; 16]) };
    let mut body = Vec::new();
    open.encode(&mut body);
    let record = check("record-v1-session.bin", &Record::seal(header(RecordKind::Session, 5), &body));
    check_header(&record, RecordKind::Session, 5, 0, 32);
    assert_eq!(OpenSession::decode(record.body()), Ok(open));

    let impulse = |call_id, arguments| {
        let method = MethodId::of("receive_message");
        Message { kind: MessageKind::Impulse, method, call_id: CallId(call_id), arguments }
    };
    let mut runs = Vec::new();
    let at = begin_run(&mut runs, PeerIndex::OUTSIDE, Seq(0));
    push_message(&mut runs, impulse(6, &b"\x91\xa2hi"[..]));
    push_message(&mut runs, impulse(7, &b"\x91\xa2ho"[..]));
    finish_run(&mut runs, at, 2);
    let run = |ticket, part| SessionRun { ticket: Ticket(ticket), confirmed: Seq(0x0102_0304), part };
    let delivered = SessionPart::Delivered { first_seq: Seq(0x0102_0306), first_call: CallId(6), count: 2 };
    let reason = "the instance has no method «gone»".to_owned();
    let failed = SessionPart::Failed { seq: Seq(0x0102_0308), content: 0x1112_1314_1516_1718, reason };
    let sessions = vec![run(5, delivered), run(5, failed), run(3, SessionPart::Confirmed)];
    let deliver =
        DeliverBody { runs: &runs, acknowledged: Vec::new(), requests: Vec::new(), sessions, traces: Vec::new() };
    let mut body = Vec::new();
    deliver.encode(&mut body);
    let mut head = header(RecordKind::Deliver, 6);
    head.messages = 2;
    let record = check("record-v1-deliver-sessions.bin", &Record::seal(head, &body));
    assert_eq!(DeliverBody::decode(record.body()), Ok(deliver));
}

#[test]
fn what_records_hold_of_traces_stays_readable() {
    let impulse = |call_id| {
        let method = MethodId::of("receive_message");
        Message { kind: MessageKind::Impulse, method, call_id: CallId(call_id), arguments: &b"\x91\xa2hi"[..] }
    };
    let mut runs = Vec::new();
    let at = begin_run(&mut runs, PeerIndex::OUTSIDE, Seq(0));
    push_message(&mut runs, impulse(6));
    push_message(&mut runs, impulse(7));
    finish_run(&mut runs, at, 2);
    let entry = |call, id| RequestEntry { call_id: CallId(call), request: RequestId::new(id).expect("short") };
    let context =
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().expect("the standard's own example");
    let traces = vec![TraceEntry { call_id: CallId(7), context }];
    let requests = vec![entry(6, "order-1"), entry(7, "order-2")];
    let deliver = DeliverBody { runs: &runs, requests, traces, ..DeliverBody::default() };
    let mut body = Vec::new();
    deliver.encode(&mut body);
    let mut head = header(RecordKind::Deliver, 6);
    head.messages = 2;
    let record = check("record-v1-deliver-traces.bin", &Record::seal(head, &body));
    assert_eq!(DeliverBody::decode(record.body()), Ok(deliver));
}

#[test]
fn every_golden_file_of_a_record_is_one() {
    let files = fs::read_dir(path("")).expect("the golden files are here").map(|file| file.expect("readable"));
    let mut count = 0;
    for file in files.filter(|file| file.file_name().to_string_lossy().starts_with("record-")) {
        let bytes = fs::read(file.path()).expect("readable");
        assert!(Record::split_from(&mut bytes.into()).is_ok());
        count += 1;
    }
    assert!(count >= 7, "one for each kind");
}
