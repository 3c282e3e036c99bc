//! The segments of a log: what a scan and a replica make of files of anything.
//!
//! The bytes say how the files of one log come about, step by step: segments and records that fit, so that reading
//! gets far, and what does not fit between them. Who can write to a store can do anything to it, but must get an error.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{LazyLock, Mutex, PoisonError},
};

use ambrosia_core::{
    Epoch, Genesis, InstanceName, InstanceUuid, Limits, Lsn, RECORD_HEADER_BYTES, Record, RecordHeader, RecordKind,
    Timestamp,
};
use ambrosia_storage::{FileStore, InstanceError, Instances, LogError, LogStore};
use ambrosia_test_allocations::within;
use tempfile::TempDir;

use crate::{choices::Choices, corpus::Seed};

/// Buffers of a reader, and those in which evidence is searched.
const MEMORY_SLACK: usize = 8 << 20;
/// What was read stays in memory as long as its records do, here until all of it was compared.
const MEMORY_PER_BYTE: usize = 8;

const STEPS_MAX: usize = 100;
const SEGMENT_HEADER_BYTES: usize = 4096;
const UUID: [u8; 16] = [0xa1; 16];

/// Where a segment of version 2 says what the first bytes of its records are mixed with.
const SALT_AT: usize = 80;
const SALT: u64 = 0x0123_4567_89ab_cdef;

/// What a step does, by its number.
mod step {
    pub(super) const FITTING_SEGMENT: u8 = 0;
    pub(super) const SEGMENT: u8 = 1;
    pub(super) const FITTING_RECORD: u8 = 2;
    pub(super) const RECORD: u8 = 3;
    pub(super) const BYTES: u8 = 4;
    pub(super) const ZEROS: u8 = 5;
    pub(super) const CUT: u8 = 6;
    pub(super) const FLIP: u8 = 7;
    pub(super) const MARK: u8 = 8;
    pub(super) const FILE: u8 = 9;
    pub(super) const KINDS: u8 = 10;
}

/// Reads the log that the bytes describe, by a scan and as a replica does, and compares the two.
pub fn target(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let from = Lsn(choices.number());
    let disk = Disk::new(&mut choices);
    let fixture = FIXTURE.lock().unwrap_or_else(PoisonError::into_inner);
    fixture.write(&disk);
    let on_disk: usize = disk.files.values().map(Vec::len).sum();
    within(MEMORY_SLACK + MEMORY_PER_BYTE * on_disk + disk.largest_claim(), || {
        let scanned = fixture.scan(Lsn(1), &disk);
        check_suffix(&scanned, &fixture.scan(from, &disk), from);
        let followed = fixture.follow();
        let common = scanned.records.len().min(followed.records.len());
        assert_eq!(scanned.records[..common], followed.records[..common], "there is one log");
        if scanned.whole {
            assert!(followed.whole, "what can be scanned can be followed");
            assert_eq!(common, scanned.records.len(), "all that can be scanned is durable");
        }
    });
}

/// What was read of a log.
struct Read {
    records: Vec<Record>,
    /// False if there was an error.
    whole: bool,
}

/// A scan that begins later gives the same records from there on.
fn check_suffix(all: &Read, suffix: &Read, from: Lsn) {
    let before = usize::try_from(from.0).unwrap_or(usize::MAX).saturating_sub(1);
    if all.whole && from >= Lsn(1) && before <= all.records.len() {
        assert!(suffix.whole, "what can be scanned from the start can be scanned from anywhere");
        assert_eq!(suffix.records, all.records[before..], "a scan from {from} on gives what is there");
    }
}

/// A store with one instance, whose segments are written anew each time.
struct Fixture {
    _directory: TempDir,
    store: FileStore,
    logs: PathBuf,
}

static FIXTURE: LazyLock<Mutex<Fixture>> = LazyLock::new(|| Mutex::new(Fixture::new()));

fn name() -> InstanceName {
    InstanceName::new("server").expect("letters only")
}

fn genesis() -> Genesis {
    let limits = Limits { fuel: 1, memory_bytes: 1 };
    Genesis { uuid: InstanceUuid(UUID), module: [0; 32], seed: 1, limits, name: name() }
}

impl Fixture {
    fn new() -> Fixture {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = FileStore::create_or_open(directory.path()).expect("it can be written");
        let Genesis { uuid, seed, limits, name, .. } = genesis();
        store.register(&name, b"module", seed, uuid, limits, Timestamp(1)).expect("it can be written");
        let logs = directory.path().join("logs").join(uuid.to_string());
        Fixture { _directory: directory, store, logs }
    }

    /// As after a start of the machine: the shared page is filled from the segments.
    fn write(&self, disk: &Disk) {
        for entry in fs::read_dir(&self.logs).expect("it is there") {
            let path = entry.expect("it can be listed").path();
            if path.file_name().is_some_and(|name| name != "lock") {
                fs::remove_file(path).expect("it can be removed");
            }
        }
        for (name, contents) in &disk.files {
            fs::write(self.logs.join(name), contents).expect("it can be written");
        }
    }

    /// Everything that a scan gives, checked against the files.
    fn scan(&self, from: Lsn, disk: &Disk) -> Read {
        let mut records: Vec<Record> = Vec::new();
        let mut scan = match self.store.scan_log(&name(), from) {
            Ok(scan) => scan,
            Err(InstanceError::Log(error)) => return failed(records, &error),
            Err(error) => panic!("the registration is whole: {error}"),
        };
        while let Some(found) = scan.next() {
            let found = match found {
                Ok(found) => found,
                Err(error) => {
                    assert!(scan.next().is_none(), "damage is the last item");
                    return failed(records, &error);
                }
            };
            let file = found.file.file_name().and_then(|name| name.to_str()).expect("a segment has a name");
            let stored = found.record.stored();
            let file = &disk.files[file];
            assert_eq!(file[found.offset as usize..][..stored.len()], mixed(stored, salt_of(file)));
            check_next(records.last(), &found.record, from);
            records.push(found.record);
        }
        assert!(scan.torn_bytes().is_some(), "the end was reached");
        Read { records, whole: true }
    }

    /// Everything that a replica reads which opens the log.
    fn follow(&self) -> Read {
        let mut records = Vec::new();
        let log = match self.store.file_log(&name()) {
            Ok(log) => log,
            Err(InstanceError::Log(error)) => return failed(records, &error),
            Err(error) => panic!("the registration is whole: {error}"),
        };
        let mut tail = match log.tail(Lsn(1)) {
            Ok(tail) => tail,
            Err(error) => return failed(records, &error),
        };
        loop {
            match tail.read() {
                Ok(more) if more.is_empty() => return Read { records, whole: true },
                Ok(more) => records.extend(more),
                Err(error) => return failed(records, &error),
            }
        }
    }
}

/// An error is of the log, and can be told to a person.
fn failed(records: Vec<Record>, error: &LogError) -> Read {
    assert!(!matches!(error, LogError::Io(_)), "the files can be read: {error}");
    assert!(!error.to_string().is_empty());
    Read { records, whole: false }
}

fn check_next(before: Option<&Record>, record: &Record, from: Lsn) {
    let header = record.header();
    assert_ne!(header.kind, RecordKind::Mark, "marks are not part of the chain");
    match before {
        None => assert_eq!(header.lsn, from),
        Some(before) => {
            assert_eq!(header.lsn, before.lsn().next(), "records have no gap");
            assert_eq!(header.previous, before.header().link(), "records are chained");
            assert!(header.epoch >= before.header().epoch, "epochs never fall");
        }
    }
}

/// What is known of the record that the next one follows.
#[derive(Clone, Copy)]
struct Last {
    lsn: u64,
    link: u64,
    time: u64,
    epoch: u64,
}

/// The files of one log while they are made up.
struct Disk {
    files: BTreeMap<String, Vec<u8>>,
    current: String,
    last: Last,
    /// Epoch of the current segment.
    epoch: u64,
}

impl Disk {
    /// Begins with the segment of genesis, as every log does, unless a step changes it.
    fn new(choices: &mut Choices<'_>) -> Disk {
        let last = Last { lsn: 0, link: 0, time: 0, epoch: 0 };
        let mut disk = Disk { files: BTreeMap::new(), current: String::new(), last, epoch: 0 };
        disk.begin_segment(1, 0, 0, SEGMENT_HEADER_BYTES as u64, last);
        let record = genesis().record(Timestamp(1));
        disk.push_record(&record);
        for _ in 0..STEPS_MAX {
            if choices.is_empty() {
                break;
            }
            disk.step(choices);
        }
        disk
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.below(step::KINDS) {
            step::FITTING_SEGMENT => {
                let epoch = self.last.epoch.saturating_add(choices.number());
                let capacity = choices.number().saturating_add(SEGMENT_HEADER_BYTES as u64);
                self.begin_segment(self.last.lsn.saturating_add(1), epoch, self.last.epoch, capacity, self.last);
            }
            step::SEGMENT => {
                let (first, epoch, follows) = (choices.number(), choices.number(), choices.number());
                let last = Last { link: choices.number(), time: choices.number(), ..self.last };
                self.begin_segment(first, epoch, follows, choices.number(), last);
            }
            step::FITTING_RECORD => {
                let kind = kind(choices.byte());
                let body = choices.bytes();
                let time = Timestamp(self.last.time.saturating_add(choices.number()));
                let lsn = Lsn(self.last.lsn.saturating_add(1));
                let mut header = RecordHeader::new(kind, Epoch(self.epoch), lsn, time);
                header.previous = self.last.link;
                header.durable = Lsn(self.last.lsn);
                self.push_record(&Record::seal(header, body));
            }
            step::RECORD => {
                let (epoch, lsn, time) = (choices.number(), choices.number(), choices.number());
                let mut header = RecordHeader::new(kind(choices.byte()), Epoch(epoch), Lsn(lsn), Timestamp(time));
                header.durable = Lsn(choices.number());
                header.previous = if choices.chance() { self.last.link } else { choices.number() };
                let mut record = Record::seal(header, choices.bytes()).stored().to_vec();
                if choices.chance() {
                    claim(&mut record, choices.number() as u32);
                }
                // Else it is as a client would forge it.
                let salt = if lsn % 2 == 1 { salt_of(self.file()) } else { 0 };
                self.file().extend_from_slice(&mixed(&record, salt));
            }
            step::BYTES => {
                let count = usize::from(u16::from_le_bytes([choices.byte(), choices.byte()]));
                let bytes = choices.take(count);
                self.file().extend_from_slice(bytes);
            }
            step::ZEROS => {
                let count = usize::from(choices.byte()) * 8;
                let length = self.file().len() + count;
                self.file().resize(length, 0);
            }
            step::CUT => {
                let length = self.file().len().saturating_sub(choices.number() as usize);
                self.file().truncate(length);
            }
            step::FLIP => {
                let (back, bit) = (choices.number() as usize, choices.below(8));
                let at = self.file().len().checked_sub(back);
                if let Some(byte) = at.and_then(|at| self.file().get_mut(at)) {
                    *byte ^= 1 << bit;
                }
            }
            step::MARK => {
                let Last { lsn, link, time, .. } = self.last;
                let mut header = RecordHeader::new(RecordKind::Mark, Epoch(self.epoch), Lsn(lsn), Timestamp(time));
                (header.previous, header.durable) = (link, Lsn(lsn));
                let mark = Record::seal(header, &[]);
                self.push(&mark);
            }
            step::FILE => {
                let (first, epoch, follows) = (choices.number(), choices.number(), choices.number());
                self.current = file_name(first, epoch, follows);
                self.epoch = epoch;
                self.files.insert(self.current.clone(), Vec::new());
            }
            _ => unreachable!("there are no more kinds of steps"),
        }
    }

    fn file(&mut self) -> &mut Vec<u8> {
        self.files.get_mut(&self.current).expect("there is always a file at hand")
    }

    /// Begins a file with the header of a segment: of version 2 if its capacity is odd.
    fn begin_segment(&mut self, first: u64, epoch: u64, follows: u64, capacity: u64, before: Last) {
        self.current = file_name(first, epoch, follows);
        self.epoch = epoch;
        let mut block = vec![0; SEGMENT_HEADER_BYTES];
        block[..16].copy_from_slice(b"AMBRSEGM\x01\0\0\0\x00\x10\0\0");
        block[16..32].copy_from_slice(&UUID);
        for (at, field) in (32..).step_by(8).zip([first, epoch, follows, capacity, before.link, before.time]) {
            block[at..at + 8].copy_from_slice(&field.to_le_bytes());
        }
        if capacity % 2 == 1 {
            block[8] = 2;
            block[SALT_AT..SALT_AT + 8].copy_from_slice(&SALT.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&block[..SEGMENT_HEADER_BYTES - 4]);
        block[SEGMENT_HEADER_BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
        self.last = Last { lsn: first.wrapping_sub(1), ..before };
        self.files.insert(self.current.clone(), block);
    }

    fn push_record(&mut self, record: &Record) {
        let header = record.header();
        self.last = Last { lsn: header.lsn.0, link: header.link(), time: header.time.0, epoch: header.epoch.0 };
        self.push(record);
    }

    /// As the primary of the segment writes it.
    fn push(&mut self, record: &Record) {
        let salt = salt_of(self.file());
        self.file().extend_from_slice(&mixed(record.stored(), salt));
    }

    /// Bytes that any intact header says its record has: a reader may make room for that many, and the limit of a
    /// record bounds them.
    fn largest_claim(&self) -> usize {
        let headers = |file: &Vec<u8>| {
            let front = |at: usize| &file[at..file.len().min(at + RECORD_HEADER_BYTES)];
            let places = (0..file.len()).step_by(8).flat_map(|at| [(at, 0), (at, salt_of(file))]);
            let headers = places.filter_map(|(at, salt)| RecordHeader::decode(&mixed(front(at), salt)).ok());
            headers.map(|header| header.stored_bytes()).max()
        };
        self.files.values().filter_map(headers).max().unwrap_or(0)
    }
}

/// What the records in a segment are mixed with; 0 is nothing.
fn salt_of(segment: &[u8]) -> u64 {
    let salt = segment.get(SALT_AT..).and_then(|rest| rest.first_chunk().copied()).map_or(0, u64::from_le_bytes);
    if segment.get(8) == Some(&2) { salt } else { 0 }
}

/// A record as it stands in a file, or from there.
fn mixed(record: &[u8], salt: u64) -> Vec<u8> {
    let mut mixed = record.to_vec();
    mixed.iter_mut().zip(salt.to_le_bytes()).for_each(|(byte, salt)| *byte ^= salt);
    mixed
}

fn kind(byte: u8) -> RecordKind {
    match byte % 4 {
        0 => RecordKind::Deliver,
        1 => RecordKind::Epoch,
        2 => RecordKind::Bind,
        _ => RecordKind::Genesis,
    }
}

/// Makes a record say that its body is that long, with a right checksum of the header.
fn claim(record: &mut [u8], body_bytes: u32) {
    record[8..12].copy_from_slice(&body_bytes.to_le_bytes());
    let checksum = crc32c::crc32c(&record[..RECORD_HEADER_BYTES - 4]);
    record[RECORD_HEADER_BYTES - 4..RECORD_HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

fn file_name(first: u64, epoch: u64, follows: u64) -> String {
    format!("{first:020}-{epoch:010}-{follows:010}.seg")
}

/// Logs that fit, logs that were cut short or damaged, and the log of the golden store.
pub fn seeds() -> Vec<Seed> {
    use step::{BYTES, CUT, FITTING_RECORD, FITTING_SEGMENT, FLIP, MARK, RECORD, SEGMENT, ZEROS};
    let reign = [FITTING_SEGMENT, 1, 200, FITTING_RECORD, 1, 3, b'a', b'b', b'c', 1, FITTING_RECORD, 0, 1, b'd', 2];
    let salted = [FITTING_SEGMENT, 1, 201, FITTING_RECORD, 1, 3, b'a', b'b', b'c', 1, FITTING_RECORD, 0, 1, b'd', 2];
    let seed = |name: &str, parts: &[&[u8]]| (name.to_owned(), parts.concat());
    let mut seeds = vec![
        seed("seed-genesis", &[&[1]]),
        seed("seed-reign", &[&[2], &reign, &[ZEROS, 9]]),
        seed("seed-two-reigns", &[&[4], &reign, &[MARK], &reign, &[MARK, ZEROS, 200]]),
        seed("seed-zombie", &[&[1], &reign, &reign, &[SEGMENT, 5, 1, 1, 0, 0, 200], &reign]),
        seed("seed-torn-tail", &[&[1], &reign, &[CUT, 5]]),
        seed("seed-flipped-bit", &[&[1], &reign, &[FLIP, 9, 3]]),
        seed("seed-damage-before-a-mark", &[&[1], &reign, &[FLIP, 9, 3, MARK]]),
        seed("seed-damage-before-a-segment", &[&[1], &reign, &[CUT, 5], &reign]),
        seed("seed-salted", &[&[2], &salted, &[ZEROS, 9]]),
        seed("seed-salted-two-reigns", &[&[4], &salted, &[MARK], &reign, &[MARK, ZEROS, 200]]),
        seed("seed-salted-torn-tail", &[&[1], &salted, &[CUT, 5]]),
        seed("seed-salted-damage-before-a-mark", &[&[1], &salted, &[FLIP, 9, 3, MARK]]),
        seed("seed-salted-misplaced-record", &[&[1], &salted, &[RECORD, 1, 9, 0, 0, 7, 1, 0, 0]]),
        seed("seed-salted-forged-record", &[&[1], &salted, &[CUT, 5, RECORD, 1, 8, 9, 0, 7, 1, 0, 0]]),
        seed("seed-misplaced-record", &[&[1], &reign, &[RECORD, 1, 9, 0, 0, 7, 1, 0, 0]]),
        seed("seed-claims-more-than-there-is", &[&[1], &reign, &[RECORD, 1, 4, 9, 0, 3, 1, 0, 1, 255, 0, 0, 0, 5]]),
        seed("seed-garbage", &[&[1], &reign, &[BYTES, 8, 0], b"AMBRxxxx", &[ZEROS, 1, BYTES, 2, 0, 1, 1]]),
        seed(
            "bug-counting-past-the-last-lsn",
            &[&[253, SEGMENT, 253, 3, 0, 0, 0, 254, FITTING_RECORD, 0, 0, 254, FITTING_RECORD, 0, 0, 0]],
        ),
    ];
    for (name, segments) in [("seed-golden-store", golden_segments()), ("seed-golden-segments-v2", golden_segments_2())]
    {
        seeds.push((name.to_owned(), as_steps(&segments)));
    }
    seeds
}

/// Files as steps that write them byte by byte.
fn as_steps(segments: &[([u8; 3], &'static [u8])]) -> Vec<u8> {
    use step::{BYTES, FILE};
    let mut golden = vec![1];
    for (numbers, contents) in segments {
        golden.push(FILE);
        golden.extend_from_slice(numbers);
        let end = contents.iter().rposition(|byte| *byte != 0).map_or(0, |last| (last + 1).next_multiple_of(8));
        golden.push(BYTES);
        golden.extend_from_slice(&(end as u16).to_le_bytes());
        golden.extend_from_slice(&contents[..end]);
    }
    golden
}

/// The golden segments of a log: of each its first lsn, epoch and epoch before, and its contents.
macro_rules! golden_log {
    ($folder:literal) => {{
        macro_rules! segment {
            ($name:literal) => {
                include_bytes!(concat!(
                    "../../../host/storage/golden/",
                    $folder,
                    "/logs/a1a1a1a1-a1a1-a1a1-a1a1-a1a1a1a1a1a1/",
                    $name,
                    ".seg"
                ))
            };
        }
        [
            ([1, 0, 0], segment!("00000000000000000001-0000000000-0000000000")),
            ([2, 1, 0], segment!("00000000000000000002-0000000001-0000000000")),
            ([5, 1, 1], segment!("00000000000000000005-0000000001-0000000001")),
            ([6, 2, 1], segment!("00000000000000000006-0000000002-0000000001")),
        ]
    }};
}

fn golden_segments() -> [([u8; 3], &'static [u8]); 4] {
    golden_log!("store-v1")
}

fn golden_segments_2() -> [([u8; 3], &'static [u8]); 4] {
    golden_log!("segments-v2")
}
