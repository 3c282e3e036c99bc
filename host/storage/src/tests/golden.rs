//! Golden files of store format 1: a whole store as it once stood on a disk, and its log with each later version of
//! segments. They are never changed, only added to, and every later program reads them. `AMBROSIA_BLESS=1` writes those
//! that are missing.
//!
//! ':' in the name of a file of the registry is '+' in the golden one, since not every system has such names. What
//! need not survive the machine is not there: the shared pages, the lock of the registry, unfinished files.

use std::{collections::BTreeMap, env, fs, path::Path, path::PathBuf, time::Duration};

use ambrosia_core::{
    Bind, CallId, DeliverBody, Epoch, EpochBody, Genesis, InstanceName, InstanceUuid, Limits, Lsn, Message,
    MessageKind, MethodId, PeerIndex, Record, RecordHeader, RecordKind, ReplicaIndex, RequestEntry, RequestId, Seq,
    Timestamp, Watermark, begin_run, finish_run, push_message,
};
use bytes::Bytes;
use tempfile::TempDir;

use super::support::{segment_header, with_salt};

use crate::{
    Acquired, BlobHash, FileLog, FileLogOptions, FileStore, InstanceEntry, Instances, LogStore, RecordedOutcome,
    Registered, Revision, Store, Upgrades,
    conformance::read_all,
    file::testing::{LastRecord, Salt, SegmentHeader, SegmentName},
};

const MODULE: &[u8] = b"\0asm golden";
/// What a reader finds in the name of the file.
const MODULE_HASH: &str = "777e1d3cf6bebdc4753ffe6bf949a0f7db94fec30fd14525dabab13442690eba";
const LIMITS: Limits = Limits { fuel: 20_000_000_000, memory_bytes: 4 << 30 };
const SEED: u64 = 0x1122_3344_5566_7788;
const REGISTERED: Timestamp = Timestamp(1_700_000_000_000_000_001);
const REIGNS: [(EpochBody, Timestamp); 2] = [
    (EpochBody { replica: ReplicaIndex(0), engine: [0xe1; 32] }, Timestamp(1_700_000_001_000_000_000)),
    (EpochBody { replica: ReplicaIndex(3), engine: [0xe2; 32] }, Timestamp(1_700_000_002_000_000_000)),
];
/// From one record of a reign to the next.
const STEP_NANOSECONDS: u64 = 1_000;
const SEGMENT_BYTES: u64 = 8 << 10;

/// All segments alike, so that it makes no difference whether a spare was ready; and no mark but at the end of a reign.
const OPTIONS: FileLogOptions = FileLogOptions {
    segment_bytes_first: SEGMENT_BYTES,
    segment_bytes_second: 0,
    segment_growth: 1,
    segment_bytes_max: SEGMENT_BYTES,
    idle_after: Duration::from_secs(3600),
    silence: Duration::from_secs(3600),
    patience: Duration::from_secs(3600),
};

fn name(text: &str) -> InstanceName {
    InstanceName::new(text).expect("a plain name")
}

fn entry(text: &str, uuid: u8, replicas: &[u16], outcome: Option<RecordedOutcome>) -> InstanceEntry {
    InstanceEntry {
        name: name(text),
        uuid: InstanceUuid([uuid; 16]),
        module: BlobHash::of(MODULE).0,
        replicas: replicas.iter().copied().collect(),
        registered: REGISTERED,
        outcome,
        upgrades: Upgrades::none(BlobHash::of(MODULE).0),
    }
}

/// One of each outcome, in the order of their names, with the revision of the last change.
fn entries() -> [(Revision, InstanceEntry); 3] {
    let finished = RecordedOutcome::Finished { code: -3, lsn: Lsn(70_000) };
    let reason = "the guest panicked at src/lib.rs:3:5: no such account".to_owned();
    let halted =
        RecordedOutcome::Halted { lsn: Lsn(1 << 40), reason, backtrace: "0: a::deposit\n1: a::main".to_owned() };
    [
        (Revision(4), entry("finished", 0xa2, &[0], Some(finished))),
        (Revision(6), entry("halted", 0xa3, &[0], Some(halted))),
        (Revision(2), entry("server", 0xa1, &[0, 3], None)),
    ]
}

fn bind() -> Bind {
    Bind { peer: PeerIndex(1), uuid: InstanceUuid([0xb1; 16]), name: name("client-1") }
}

fn runs(peer: u32, first_seq: u64, messages: &[Message<'_>]) -> Vec<u8> {
    let mut runs = Vec::new();
    let at = begin_run(&mut runs, PeerIndex(peer), Seq(first_seq));
    messages.iter().for_each(|message| push_message(&mut runs, *message));
    finish_run(&mut runs, at, messages.len() as u32);
    runs
}

fn start() -> Vec<u8> {
    runs(0, 0, &[Message { kind: MessageKind::Start, method: MethodId(0), call_id: CallId(0), arguments: b"" }])
}

fn impulse(arguments: &[u8]) -> Vec<u8> {
    runs(
        0,
        0,
        &[Message { kind: MessageKind::Impulse, method: MethodId::of("deposit"), call_id: CallId(1), arguments }],
    )
}

fn fork() -> Vec<u8> {
    runs(
        1,
        41,
        &[Message { kind: MessageKind::Fork, method: MethodId::of("greet"), call_id: CallId(0), arguments: b"\x90" }],
    )
}

/// What is logged after the epoch records of the reigns. The impulse is too large for the first segment of its reign.
fn logged() -> [Vec<(RecordKind, Vec<u8>)>; 2] {
    let encode = |body: DeliverBody<'_>| {
        let mut out = Vec::new();
        body.encode(&mut out);
        (RecordKind::Deliver, out)
    };
    let mut bound = Vec::new();
    bind().encode(&mut bound);
    let (impulse, start, fork) = (impulse(&[0xc0; 3700]), start(), fork());
    let first = encode(DeliverBody { runs: &start, ..DeliverBody::default() });
    let large =
        encode(DeliverBody { runs: &impulse, acknowledged: vec![], requests: requests(), ..DeliverBody::default() });
    let last = encode(DeliverBody { runs: &fork, acknowledged: acknowledged(), ..DeliverBody::default() });
    [vec![first, (RecordKind::Bind, bound), large], vec![last]]
}

fn requests() -> Vec<RequestEntry> {
    vec![RequestEntry { call_id: CallId(1), request: RequestId::new(b"client-7/12").expect("short") }]
}

fn acknowledged() -> Vec<Watermark> {
    vec![Watermark { peer: PeerIndex(1), seq: Seq(9) }]
}

fn reign(log: &FileLog, (me, now): (EpochBody, Timestamp), bodies: &[(RecordKind, Vec<u8>)]) {
    let over = log.head().expect("works").epoch;
    let tail = log.tail(Lsn(1)).expect("works");
    let acquired = tail.acquire(over, me, now, Box::new(|_, _| ())).expect("nobody else is at it");
    let Acquired { records, epoch, mut writer } = acquired;
    let begin = *records.last().expect("the epoch record is there").header();
    let mut last = begin;
    for (kind, body) in bodies {
        let time = Timestamp(last.time.0 + STEP_NANOSECONDS);
        let mut header = RecordHeader::new(*kind, epoch, last.lsn.next(), time);
        header.messages = u32::from(*kind == RecordKind::Deliver);
        header.durable = begin.lsn;
        header.previous = last.link();
        let record = Record::seal(header, body);
        last = *record.header();
        writer.append(record).expect("the reign goes on");
    }
    writer.close();
}

/// Writes the golden store into an empty directory.
fn write_store(root: &Path) {
    let store = FileStore::create_or_open(root).expect("works").with_log_options(OPTIONS);
    for (text, uuid) in [("server", 0xa1), ("finished", 0xa2), ("halted", 0xa3)] {
        let uuid = InstanceUuid([uuid; 16]);
        let registered = store.register(&name(text), MODULE, SEED, uuid, LIMITS, REGISTERED).expect("works");
        assert_eq!(registered, Registered::New);
        if text == "server" {
            store.add_replica(&name(text), ReplicaIndex(3)).expect("works");
        }
        let (_, entry) = entries().into_iter().find(|(_, entry)| entry.name == name(text)).expect("one of them");
        if let Some(outcome) = entry.outcome {
            store.set_outcome(&name(text), outcome).expect("works");
        }
    }
    let log = store.file_log(&name("server")).expect("works");
    REIGNS.iter().zip(logged()).for_each(|(primary, bodies)| reign(&log, *primary, &bodies));
}

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/store-v1")
}

/// The logs of the same store, with segments of version 2.
fn golden_segments_2() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/segments-v2")
}

/// The versions of segments.
const VERSIONS: [u32; 2] = [1, 2];

/// The golden files of a store with such segments.
fn golden_files(version: u32) -> BTreeMap<String, Vec<u8>> {
    let mut files = durable_files(&golden());
    if version == 2 {
        files.extend(durable_files(&golden_segments_2()));
    }
    files
}

/// The files of which `name` is said.
fn only(files: &BTreeMap<String, Vec<u8>>, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, Vec<u8>> {
    files.iter().filter(|(name, _)| wanted(name)).map(|(name, contents)| (name.clone(), contents.clone())).collect()
}

fn is_segment(name: &str) -> bool {
    name.ends_with(".seg")
}

/// The durable files under `root`, by their golden names.
fn durable_files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("readable") {
            let path = entry.expect("readable").path();
            let file = path.file_name().expect("listed").to_str().expect("plain names").to_owned();
            if path.is_dir() {
                directories.push(path);
            } else if file != "control" && !file.starts_with('.') && !file.ends_with(".tmp") {
                let relative = path.strip_prefix(root).expect("it lies there").to_str().expect("plain names");
                found.insert(relative.replace(':', "+"), fs::read(&path).expect("readable"));
            }
        }
    }
    found
}

fn write_files(root: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for (name, contents) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("it lies in the store")).expect("writable");
        if !path.exists() {
            fs::write(&path, contents).expect("writable");
        }
    }
}

/// The golden store as a copy that can be used.
fn opened(version: u32) -> (TempDir, FileStore) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let files = golden_files(version).into_iter().map(|(name, contents)| (name.replace('+', ":"), contents));
    write_files(directory.path(), &files.collect());
    let store = FileStore::open(directory.path()).expect("golden stores stay readable").with_log_options(OPTIONS);
    (directory, store)
}

#[test]
fn the_same_store_written_again_has_the_same_bytes() {
    let directory = tempfile::tempdir().expect("temporary directory");
    write_store(directory.path());
    let made = durable_files(directory.path());
    let mut unsalted = made.clone();
    unsalted.iter_mut().filter(|(name, _)| is_segment(name)).for_each(|(_, segment)| {
        *segment = with_salt(segment, Salt::NONE);
    });
    if env::var_os("AMBROSIA_BLESS").is_some() {
        write_files(&golden(), &unsalted);
        write_files(&golden_segments_2(), &only(&made, is_segment));
    }
    // But for the salt, which is another one each time, segments of version 2 are as those of version 1.
    expect_same(&durable_files(&golden()), &unsalted);
    let segments = durable_files(&golden_segments_2());
    let mut resalted = only(&made, is_segment);
    resalted.iter_mut().for_each(|(name, segment)| {
        *segment = segments.get(name).map_or(segment.clone(), |golden| with_salt(segment, segment_header(golden).salt));
    });
    expect_same(&segments, &resalted);
}

fn expect_same(golden: &BTreeMap<String, Vec<u8>>, made: &BTreeMap<String, Vec<u8>>) {
    assert!(golden.keys().eq(made.keys()), "bless what is missing with AMBROSIA_BLESS=1: {:?}", made.keys());
    for (name, contents) in golden {
        let first = contents.iter().zip(&made[name]).position(|(golden, made)| golden != made);
        assert!(
            *contents == made[name],
            "{name}: the format changed at byte {first:?}; raise its version and keep reading this one"
        );
    }
}

#[test]
fn stores_of_version_1_hold_what_they_always_held() {
    let files = durable_files(&golden());
    assert_eq!(files["FORMAT"], b"ambrosia-store 1\n");
    assert_eq!(files[&format!("blobs/{MODULE_HASH}")], MODULE);
    assert_eq!(files["logs/a1a1a1a1-a1a1-a1a1-a1a1-a1a1a1a1a1a1/lock"], b"");
    assert_eq!(files.keys().filter(|name| name.starts_with("registry/instances+")).count(), 3);
    assert_eq!(files.keys().filter(|name| name.ends_with(".seg")).count(), 4 + 1 + 1);
}

#[test]
fn registry_entries_of_version_1_stay_readable() {
    let (_directory, store) = opened(1);
    assert_eq!(store.instances().expect("golden"), entries().map(|(_, entry)| entry));
    for (revision, entry) in entries() {
        let (found, value) =
            store.registry().get(&format!("instances/{}", entry.name)).expect("golden").expect("there");
        assert_eq!(found, revision);
        assert_eq!(InstanceEntry::decode(&value), Ok(entry.clone()));
        assert_eq!(entry.encode(), value);
    }
    let contents = &durable_files(&golden())["registry/instances+server"];
    assert_eq!(contents[..16], *b"AMBREG\x01\0\x02\0\0\0\0\0\0\0");
    assert_eq!(contents[20..32], *b"\0\0\0\0\x01\x06server");
}

#[test]
fn modules_of_version_1_stores_stay_readable() {
    let (_directory, store) = opened(1);
    assert_eq!(BlobHash::of(MODULE).to_string(), MODULE_HASH);
    assert_eq!(store.blobs().list().expect("golden"), [BlobHash::of(MODULE)]);
    assert_eq!(store.blobs().get(BlobHash::of(MODULE)).expect("golden"), MODULE);
}

/// MessageKind, epoch, lsn, nanoseconds since the beginning of the reign, durable, messages.
type Row = (RecordKind, u64, u64, u64, u64, u32);
const ROWS: [Row; 7] = [
    (RecordKind::Genesis, 0, 1, 0, 0, 0),
    (RecordKind::Epoch, 1, 2, 0, 1, 0),
    (RecordKind::Deliver, 1, 3, 1_000, 2, 1),
    (RecordKind::Bind, 1, 4, 2_000, 2, 0),
    (RecordKind::Deliver, 1, 5, 3_000, 2, 1),
    (RecordKind::Epoch, 2, 6, 0, 5, 0),
    (RecordKind::Deliver, 2, 7, 1_000, 6, 1),
];

fn check_header(header: &RecordHeader, (kind, epoch, lsn, nanoseconds, durable, messages): Row, previous: u64) {
    let begin = [REGISTERED, REIGNS[0].1, REIGNS[1].1][epoch as usize];
    assert_eq!((header.kind, header.epoch, header.lsn), (kind, Epoch(epoch), Lsn(lsn)));
    assert_eq!(header.time, Timestamp(begin.0 + nanoseconds));
    assert_eq!((header.durable, header.messages), (Lsn(durable), messages));
    assert_eq!(header.previous, previous, "the link of the record before {lsn}");
}

fn check_bodies(records: &[Record]) {
    let deliver = |at: usize| DeliverBody::decode(records[at].body()).expect("golden");
    let genesis = Genesis::decode(records[0].body()).expect("golden");
    assert_eq!((genesis.uuid, genesis.module), (InstanceUuid([0xa1; 16]), BlobHash::of(MODULE).0));
    assert_eq!((genesis.seed, genesis.limits, genesis.name), (SEED, LIMITS, name("server")));
    assert_eq!(EpochBody::decode(records[1].body()), Ok(REIGNS[0].0));
    assert_eq!(deliver(2), DeliverBody { runs: &start(), ..DeliverBody::default() });
    assert_eq!(Bind::decode(records[3].body()), Ok(bind()));
    let large = impulse(&[0xc0; 3700]);
    assert_eq!(
        deliver(4),
        DeliverBody { runs: &large, acknowledged: vec![], requests: requests(), ..DeliverBody::default() }
    );
    assert_eq!(EpochBody::decode(records[5].body()), Ok(REIGNS[1].0));
    assert_eq!(deliver(6), DeliverBody { runs: &fork(), acknowledged: acknowledged(), ..DeliverBody::default() });
}

#[test]
fn logs_of_all_versions_stay_readable() {
    VERSIONS.into_iter().for_each(a_log_stays_readable);
}

fn a_log_stays_readable(version: u32) {
    let (_directory, store) = opened(version);
    let log = store.file_log(&name("server")).expect("golden");
    let head = log.head().expect("golden");
    assert_eq!((head.epoch, head.durable), (Epoch(2), Lsn(7)));
    let records = read_all(&*log);
    assert_eq!(records.len(), ROWS.len());
    let mut previous = 0;
    for (record, row) in records.iter().zip(ROWS) {
        check_header(record.header(), row, previous);
        previous = record.header().link();
    }
    check_bodies(&records);
    let scanned: Vec<Record> = store
        .scan_log(&name("server"), Lsn(1))
        .expect("golden")
        .map(|scanned| scanned.expect("golden").record)
        .collect();
    assert_eq!(scanned, records);
}

#[test]
fn a_primary_of_today_goes_on_with_logs_of_all_versions() {
    VERSIONS.into_iter().for_each(a_primary_of_today_goes_on);
}

fn a_primary_of_today_goes_on(version: u32) {
    let (_directory, store) = opened(version);
    let log = store.file_log(&name("server")).expect("golden");
    let before = read_all(&*log);
    reign(&log, REIGNS[0], &logged()[1]);
    let after = read_all(&*log);
    assert_eq!(after[..before.len()], before);
    assert_eq!(after.len(), before.len() + 2);
    assert_eq!(after[7].header().epoch, Epoch(3));
    assert_eq!(after[7].header().previous, before[6].header().link());
}

/// The first block of a segment of the golden log, and all records in it, marks too.
fn segment(version: u32, first: u64, epoch: u64, follows: u64) -> (SegmentHeader, Vec<Record>) {
    let name = SegmentName { first: Lsn(first), epoch: Epoch(epoch), follows: Epoch(follows) };
    let file = &golden_files(version)[&format!("logs/a1a1a1a1-a1a1-a1a1-a1a1-a1a1a1a1a1a1/{name}")];
    assert_eq!(file[8..12], version.to_le_bytes());
    let header = SegmentHeader::decode(&file[..4096]).expect("golden");
    assert_eq!(header.salt == Salt::NONE, version == 1);
    let mut rest = Bytes::from(with_salt(file, Salt::NONE)).slice(4096..);
    assert_eq!((header.name, header.uuid), (name, InstanceUuid([0xa1; 16])));
    assert_eq!(header.capacity, 4096 + rest.len() as u64);
    let mut records = Vec::new();
    while rest.first().is_some_and(|byte| *byte != 0) {
        records.push(Record::split_from(&mut rest).expect("golden"));
    }
    assert!(rest.iter().all(|byte| *byte == 0), "zeros behind the records");
    (header, records)
}

#[test]
fn segments_of_all_versions_stay_readable() {
    VERSIONS.into_iter().for_each(segments_stay_readable);
}

/// What the file of version 2 holds is written down here byte for byte, as docs/formats.md has it.
#[test]
fn the_front_of_each_record_in_a_segment_of_version_2_is_mixed_with_its_salt() {
    let name = "logs/a1a1a1a1-a1a1-a1a1-a1a1-a1a1a1a1a1a1/00000000000000000002-0000000001-0000000000.seg";
    let (old, new) = (&golden_files(1)[name], &golden_files(2)[name]);
    let changed: Vec<usize> = (0..old.len()).filter(|at| old[*at] != new[*at]).collect();
    let (records, [deliver, bind]) = (4096, [4096 + 64 + 40, 4096 + 64 + 40 + 64 + 64]);
    for at in changed {
        let in_header = (8..12).contains(&at) || (80..88).contains(&at) || (4092..4096).contains(&at);
        let in_record = [records, deliver, bind].iter().any(|record| (*record..record + 8).contains(&at));
        assert!(in_header || in_record, "byte {at}");
    }
    for record in [records, deliver, bind] {
        let mixed: Vec<u8> = (0..8).map(|byte| old[record + byte] ^ new[80 + byte]).collect();
        assert_eq!(new[record..record + 8], mixed, "the record at {record}");
    }
}

fn segments_stay_readable(version: u32) {
    let segment = |first, epoch, follows| segment(version, first, epoch, follows);
    let kinds = |records: &[Record]| records.iter().map(|record| record.header().kind).collect::<Vec<_>>();
    let (deliver, mark) = (RecordKind::Deliver, RecordKind::Mark);
    let (genesis, first) = segment(1, 0, 0);
    let (epoch_1, second) = segment(2, 1, 0);
    let (rolled, third) = segment(5, 1, 1);
    let (epoch_2, fourth) = segment(6, 2, 1);
    assert_eq!(genesis.before, LastRecord { lsn: Lsn(0), link: 0, time: Timestamp(0) });
    assert_eq!(epoch_1.before, LastRecord::of(first[0].header()));
    assert_eq!(rolled.before, LastRecord::of(second[2].header()));
    assert_eq!(epoch_2.before, LastRecord::of(third[0].header()));
    assert_eq!(kinds(&first), [RecordKind::Genesis]);
    assert_eq!(kinds(&second), [RecordKind::Epoch, deliver, RecordKind::Bind]);
    assert_eq!(kinds(&third), [deliver, mark]);
    assert_eq!(kinds(&fourth), [RecordKind::Epoch, deliver, mark]);
    for (before, mark) in [(third[0].header(), &third[1]), (fourth[1].header(), &fourth[2])] {
        let header = mark.header();
        assert_eq!((header.epoch, header.lsn, header.time), (before.epoch, before.lsn, before.time));
        assert_eq!((header.durable, header.previous), (before.lsn, before.link()));
        assert_eq!((header.messages, mark.body()), (0, &b""[..]));
    }
}
