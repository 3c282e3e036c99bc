//! The files of checkpoints: what listing, loading, compacting and trimming make of anything.
//!
//! The bytes say how files come about, step by step: those that the store writes, and then changes to what they hold,
//! with sizes and checksums put right so that reading gets far.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use ambrosia_core::{
    Capture, Epoch, EpochBody, InstanceName, InstanceUuid, Limits, Lsn, MemoryCapture, PAGE_BYTES, Record,
    RecordHeader, RecordKind, ReplicaIndex, Timestamp, page_hash,
};
use ambrosia_storage::{
    Acquired, Checkpoint, CheckpointError, CheckpointHead, FileCheckpoints, FileLog, FileLogOptions, FileStore,
    Instances, Keep, LoadedCheckpoint, LogStore,
};
use ambrosia_test_allocations::peak_of;
use tempfile::TempDir;

use crate::{choices::Choices, corpus::Seed};

/// Hashes of all pages of the 64 GiB that memories may have together, and of each whether it is known.
const MEMORY_SLACK: usize = ((64 << 30) / PAGE_BYTES) * 9 + (8 << 20);
/// LZ4 makes up to 255 bytes of one, and what was read is put together, compared and written again.
const MEMORY_PER_BYTE: usize = 2048;

const STEPS_MAX: usize = 40;
/// Names of files, of which each may be loaded.
const FILES_MAX: usize = 12;
const ME: ReplicaIndex = ReplicaIndex(1);
const RECORDS: u64 = 40;

const HEADER_BYTES: usize = 4096;
const FILE_BYTES_AT: usize = 128;
const INDEX_STORED_AT: usize = 136;
const INDEX_BYTES_AT: usize = 144;
const INDEX_CHECKSUM_AT: usize = 152;
const CHECKSUM_AT: usize = HEADER_BYTES - 4;

/// What a step does, by its number.
mod step {
    pub(super) const WRITE: u8 = 0;
    pub(super) const GOLDEN: u8 = 1;
    pub(super) const RENAME: u8 = 2;
    pub(super) const INDEX: u8 = 3;
    pub(super) const STORED_INDEX: u8 = 4;
    pub(super) const HEADER: u8 = 5;
    pub(super) const FLIP: u8 = 6;
    pub(super) const LENGTH: u8 = 7;
    pub(super) const BYTES: u8 = 8;
    pub(super) const KINDS: u8 = 9;
}

/// Makes the files that the bytes describe, and does everything with them that a replica does.
pub fn target(bytes: &[u8]) {
    let fixture = FIXTURE.lock().unwrap_or_else(PoisonError::into_inner);
    let (on_disk, peak) = peak_of(|| {
        let mut choices = Choices::new(bytes);
        fixture.clear();
        let (keep, applied) = (usize::from(choices.byte()), Lsn(choices.number()));
        let files = Disk::new(&fixture, &mut choices).files;
        fixture.write(&files);
        fixture.use_all(keep, applied);
        files.values().map(Vec::len).sum::<usize>()
    });
    let bytes_max = MEMORY_SLACK + MEMORY_PER_BYTE * on_disk;
    assert!(peak <= bytes_max, "{peak} bytes were in use at a time, and {bytes_max} are justified");
}

/// What of a checkpoint must stay as it is, whatever is done to the files.
type Contents = (CheckpointHead, Vec<u8>, Vec<u8>, Vec<Memory>);
/// Bytes, and what is not zeros by the number of the page.
type Memory = (u64, BTreeMap<u32, Vec<u8>>);

/// The contents, every page of which has its hash.
fn contents(loaded: &LoadedCheckpoint) -> Contents {
    let memories = loaded.memories.iter().map(|memory| {
        assert_eq!(memory.hashes.len() as u64 * PAGE_BYTES as u64, memory.bytes);
        assert_eq!(memory.pages.bytes, memory.bytes);
        let over: BTreeMap<u32, &[u8]> = memory.pages.iter().map(|(page, _, contents)| (page, contents)).collect();
        let read = |page: u32| match (over.get(&page), &memory.mapped) {
            (Some(contents), _) => contents.to_vec(),
            (None, Some(mapped)) if u64::from(page) < mapped.bytes / PAGE_BYTES as u64 => {
                let mut contents = vec![0; PAGE_BYTES];
                let at = mapped.offset + u64::from(page) * PAGE_BYTES as u64;
                mapped.source.read_exact_at(&mut contents, at).expect("the file was checked");
                contents
            }
            _ => vec![0; PAGE_BYTES],
        };
        assert!(over.iter().all(|(page, contents)| memory.hashes[*page as usize] == page_hash(contents)));
        let held = (0_u32..).zip(&memory.hashes).filter(|(_, hash)| **hash != 0);
        let pages = held.map(|(page, hash)| {
            let contents = read(page);
            assert_eq!(page_hash(&contents), *hash, "page {page} is what its hash says");
            (page, contents)
        });
        (memory.bytes, pages.collect())
    });
    (loaded.head, loaded.state.to_vec(), loaded.registers.clone(), memories.collect())
}

/// A store with a log of a few segments, whose checkpoints are others each time.
struct Fixture {
    _directory: TempDir,
    log: Arc<FileLog>,
    path: PathBuf,
    segments: BTreeMap<String, Vec<u8>>,
}

static FIXTURE: LazyLock<Mutex<Fixture>> = LazyLock::new(|| Mutex::new(Fixture::new()));

impl Fixture {
    fn new() -> Fixture {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let options = FileLogOptions {
            segment_bytes_first: 8 << 10,
            segment_bytes_second: 0,
            segment_growth: 1,
            segment_bytes_max: 8 << 10,
            idle_after: Duration::from_secs(3600),
            silence: Duration::from_secs(3600),
            patience: Duration::from_secs(3600),
        };
        let store = FileStore::create_or_open(directory.path()).expect("it can be written").with_log_options(options);
        // As in the golden files.
        let uuid = InstanceUuid([7; 16]);
        let name = InstanceName::new("server").expect("letters only");
        store.register(&name, b"module", 1, uuid, Limits { fuel: 1, memory_bytes: 1 }, Timestamp(1)).expect("works");
        let log = store.file_log(&name).expect("it is new");
        write_records(&log);
        let path = directory.path().join("logs").join(uuid.to_string());
        let mut segments = files(&path);
        segments.retain(|name, _| name.ends_with(".seg"));
        assert!(segments.len() > 2, "some may be trimmed");
        Fixture { _directory: directory, log, path, segments }
    }

    fn clear(&self) {
        for (name, _) in files(&self.path) {
            if name.ends_with(".base") || name.ends_with(".delta") || name.ends_with(".tmp") {
                fs::remove_file(self.path.join(name)).expect("it can be removed");
            }
        }
        for (name, contents) in self.segments.iter().filter(|(name, _)| !self.path.join(name).exists()) {
            fs::write(self.path.join(name), contents).expect("it can be written");
        }
    }

    fn write(&self, files: &BTreeMap<String, Vec<u8>>) {
        for (name, contents) in files {
            fs::write(self.path.join(name), contents).expect("it can be written");
        }
    }

    fn use_all(&self, keep: usize, applied: Lsn) {
        let checkpoints = self.log.checkpoints();
        let listed: Vec<Lsn> = checkpoints.list().expect("it can be read").iter().map(|info| info.lsn).collect();
        assert!(listed.is_sorted());
        let mut whole = BTreeMap::new();
        for lsn in &listed {
            assert!(checkpoints.is_complete(*lsn).expect("it can be read"));
            if let Some(contents) = load(&checkpoints, *lsn) {
                whole.insert(*lsn, contents);
            }
        }
        if let Some(lsn) = whole.keys().copied().rfind(|lsn| *lsn <= Lsn(RECORDS)) {
            checkpoints.compact(lsn, ME).expect("what can be loaded can be compacted");
            assert!(load(&checkpoints, lsn).as_ref() == whole.get(&lsn), "a base holds what its chain did");
        }
        checkpoints.trim(Keep::newest(keep), &[applied]).expect("it can be removed");
        let kept: Vec<Lsn> = checkpoints.list().expect("it can be read").iter().map(|info| info.lsn).collect();
        assert!(kept.len() >= keep.max(1).min(listed.len()), "{kept:?} of {listed:?}");
        for lsn in &kept {
            assert!(load(&checkpoints, *lsn).as_ref() == whole.get(lsn), "what is kept is as it was");
        }
        // What these rest on is there too, but one goes on from these.
        if let Some(oldest) = kept.get(kept.len().saturating_sub(keep.max(1))) {
            let from = applied.min(*oldest).min(Lsn(RECORDS));
            self.log.tail(Lsn(from.0 + 1)).expect("the log from there on was kept");
        }
    }
}

/// What is there, as contents, unless it is damaged, which can be told to a person.
fn load(checkpoints: &FileCheckpoints, lsn: Lsn) -> Option<Contents> {
    match checkpoints.load(lsn) {
        Ok(loaded) => {
            assert_eq!(loaded.head.lsn, lsn);
            Some(contents(&loaded))
        }
        Err(CheckpointError::Damaged { .. } | CheckpointError::OtherVersion { .. }) => None,
        Err(error) => panic!("what is listed is there: {error}"),
    }
}

/// Records that are durable, over some segments.
fn write_records(log: &FileLog) {
    let me = EpochBody { replica: ReplicaIndex(0), engine: [0; 32] };
    let tail = log.tail(Lsn(1)).expect("it can be read");
    let acquired = tail.acquire(Epoch(0), me, Timestamp(1), Box::new(|_, _| ())).expect("nobody else is at it");
    let Acquired { records, epoch, mut writer } = acquired;
    let mut last = *records.last().expect("the epoch record is there").header();
    while last.lsn < Lsn(RECORDS) {
        let mut header = RecordHeader::new(RecordKind::Deliver, epoch, last.lsn.next(), last.time);
        header.previous = last.link();
        let record = Record::seal(header, &[7; 500]);
        last = *record.header();
        writer.append(record).expect("the reign goes on");
    }
    writer.close();
}

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).expect("it is there").map(|entry| entry.expect("it can be listed").path());
    let name = |path: &Path| path.file_name().expect("it was listed").to_string_lossy().into_owned();
    entries.map(|path| (name(&path), fs::read(&path).expect("it can be read"))).collect()
}

/// The files of checkpoints while they are made up.
struct Disk<'a> {
    fixture: &'a Fixture,
    files: BTreeMap<String, Vec<u8>>,
    current: String,
}

impl<'a> Disk<'a> {
    fn new(fixture: &'a Fixture, choices: &mut Choices<'_>) -> Disk<'a> {
        let mut disk = Disk { fixture, files: BTreeMap::new(), current: String::new() };
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
            step::WRITE => self.write(choices),
            step::GOLDEN => {
                let (name, contents) = golden()[usize::from(choices.below(3))];
                self.put(name.to_owned(), contents.to_vec());
            }
            step::RENAME => {
                let Some(contents) = self.files.get(&self.current).cloned() else { return };
                let mut file = contents;
                let (lsn, parent) = (choices.number(), choices.number());
                set(&mut file, 32, &lsn.to_le_bytes());
                set(&mut file, 40, &parent.to_le_bytes());
                seal(&mut file);
                self.put(file_name(lsn, parent), file);
            }
            step::INDEX => {
                let (at, removed, added) = (choices.number() as usize, usize::from(choices.byte()), choices.bytes());
                let Some(file) = self.files.get_mut(&self.current) else { return };
                let Some(mut index) = read_index(file) else { return };
                let from = index.len().saturating_sub(at);
                index.splice(from..index.len().min(from + removed), added.iter().copied());
                put_index(file, &lz4_flex::block::compress(&index), index.len() as u64);
            }
            step::STORED_INDEX => {
                let (bytes, stored) = (choices.number(), choices.bytes());
                let Some(file) = self.files.get_mut(&self.current) else { return };
                put_index(file, stored, bytes);
            }
            step::HEADER => {
                let (at, value) = (8 * usize::from(choices.byte() % 20), choices.number());
                let Some(file) = self.files.get_mut(&self.current) else { return };
                set(file, at, &value.to_le_bytes());
                seal(file);
            }
            step::FLIP => {
                let (at, bit) = (choices.number() as usize, choices.below(8));
                let Some(file) = self.files.get_mut(&self.current) else { return };
                // Of pages no hole: nobody looks whether there is nothing in it.
                if let Some(byte) = file.get_mut(at).filter(|byte| at < 2 * HEADER_BYTES || **byte != 0) {
                    *byte ^= 1 << bit;
                }
            }
            step::LENGTH => {
                let (fewer, more, told) = (choices.number(), usize::from(choices.byte()) * 256, choices.chance());
                let Some(file) = self.files.get_mut(&self.current) else { return };
                file.truncate(file.len().saturating_sub(fewer as usize));
                file.resize(file.len() + more, 0);
                if told {
                    let bytes = file.len() as u64;
                    set(file, FILE_BYTES_AT, &bytes.to_le_bytes());
                    seal(file);
                }
            }
            step::BYTES => {
                let (lsn, parent, contents) = (choices.number(), choices.number(), choices.bytes());
                self.put(file_name(lsn, parent), contents.to_vec());
            }
            _ => unreachable!("there are no more kinds of steps"),
        }
    }

    /// A checkpoint as the store writes it.
    fn write(&mut self, choices: &mut Choices<'_>) {
        let (lsn, parent) = (choices.number().max(1), choices.number());
        let byte = |byte| [byte; 32];
        let head =
            CheckpointHead { lsn: Lsn(lsn), module: byte(1), engine: byte(2), state_digest: 3, memory_digest: 5 };
        let (state, registers) = (choices.bytes().to_vec().into(), choices.bytes().to_vec());
        let memories = (0..choices.below(3)).map(|_| memory(choices)).collect();
        let parent_lsn = (parent != 0).then_some(Lsn(parent));
        let checkpoint = Checkpoint { head, parent: parent_lsn, state, capture: Capture { registers, memories } };
        let checkpoints = self.fixture.log.checkpoints();
        let written = checkpoints.write(&checkpoint, ME).expect("it can be written");
        let file = fs::read(self.fixture.path.join("checkpoint.replica1.tmp")).expect("it was just written");
        checkpoints.discard(written).expect("it can be removed");
        self.put(file_name(lsn, parent), file);
    }

    fn put(&mut self, name: String, contents: Vec<u8>) {
        self.current = name;
        if self.files.len() < FILES_MAX || self.files.contains_key(&self.current) {
            self.files.insert(self.current.clone(), contents);
        }
    }
}

/// Some pages, each of one byte.
fn memory(choices: &mut Choices<'_>) -> MemoryCapture {
    let pages = u64::from(choices.byte());
    let mut memory = MemoryCapture { bytes: pages * PAGE_BYTES as u64, ..MemoryCapture::default() };
    let mut page = 0;
    for _ in 0..choices.below(8) {
        page += u32::from(choices.byte());
        let byte = choices.byte();
        for _ in 0..=choices.byte() {
            if u64::from(page) < pages {
                let contents = [byte; PAGE_BYTES];
                memory.push(page, page_hash(&contents), &contents);
                page += 1;
            }
        }
    }
    memory
}

fn file_name(lsn: u64, parent: u64) -> String {
    if parent == 0 { format!("{lsn:020}.base") } else { format!("{lsn:020}-{parent:020}.delta") }
}

fn set(file: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = file.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// Puts the checksum of the first block right.
fn seal(file: &mut [u8]) {
    if file.len() >= HEADER_BYTES {
        let checksum = crc32c::crc32c(&file[..CHECKSUM_AT]);
        set(file, CHECKSUM_AT, &checksum.to_le_bytes());
    }
}

fn read_index(file: &[u8]) -> Option<Vec<u8>> {
    let number = |at: usize| Some(u64::from_le_bytes(*file.get(at..)?.first_chunk()?));
    let (stored, bytes) = (number(INDEX_STORED_AT)?, number(INDEX_BYTES_AT)?);
    let end = HEADER_BYTES.checked_add(usize::try_from(stored).ok()?)?;
    let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= 1 << 20)?;
    lz4_flex::block::decompress(file.get(HEADER_BYTES..end)?, bytes).ok()
}

/// Puts an index into a file, over pages if it is too long, with sizes and checksums that fit.
fn put_index(file: &mut [u8], stored: &[u8], bytes: u64) {
    if file.len() >= HEADER_BYTES + stored.len() {
        set(file, HEADER_BYTES, stored);
        set(file, INDEX_STORED_AT, &(stored.len() as u64).to_le_bytes());
        set(file, INDEX_BYTES_AT, &bytes.to_le_bytes());
        set(file, INDEX_CHECKSUM_AT, &crc32c::crc32c(stored).to_le_bytes());
        seal(file);
    }
}

/// Names and contents of golden files.
fn golden() -> [(&'static str, &'static [u8]); 3] {
    macro_rules! golden {
        ($name:literal) => {
            ($name, include_bytes!(concat!("../../../host/storage/golden/checkpoint-v1/", $name)))
        };
    }
    [
        golden!("00000000000000000003.base"),
        golden!("00000000000000000005-00000000000000000003.delta"),
        golden!("00000000000000000007.base"),
    ]
}

/// Chains that are whole, broken and damaged.
pub fn seeds() -> Vec<Seed> {
    use step::{BYTES, FLIP, GOLDEN, HEADER, INDEX, LENGTH, RENAME, STORED_INDEX, WRITE};
    let base: &[u8] = &[WRITE, 4, 0, 2, b's', b't', 1, b'r', 1, 90, 2, 0, 7, 3, 5, 9, 70];
    let delta = |lsn: u8, parent: u8| vec![WRITE, lsn, parent, 1, b's', 0, 1, 95, 2, 1, lsn, 0, 89, lsn, 2];
    let seed = |name: &str, parts: &[&[u8]]| (name.to_owned(), [&[&[2, 240][..]], parts].concat().concat());
    // From the end of its index: the bytes of its last memory, where it begins, and how large its last block is.
    vec![
        seed("seed-golden", &[&[GOLDEN, 0, GOLDEN, 1, GOLDEN, 2]]),
        seed("seed-chain", &[base, &delta(9, 4), &delta(12, 9), &delta(13, 12), &delta(20, 13)]),
        seed("seed-two-bases", &[base, &delta(9, 4), &[WRITE, 15, 0, 0, 0, 2, 4, 1, 0, 1, 0, 3, 0], &delta(16, 15)]),
        seed("seed-upon-a-mapped-one", &[&[GOLDEN, 2], &delta(9, 7), &delta(11, 9)]),
        seed("seed-parent-missing", &[base, &delta(9, 5), &delta(10, 9)]),
        seed("seed-two-ways", &[base, &delta(5, 4), &delta(6, 5), &delta(6, 4), &delta(7, 6), &delta(7, 5)]),
        seed("seed-of-the-future", &[&[GOLDEN, 0, RENAME, 254, 0, GOLDEN, 0, RENAME, 253, 0, BYTES, 0, 0, 1, 1]]),
        seed("seed-flipped-bit", &[&[GOLDEN, 0, FLIP, 255, 0, 32, 0, 0, 0, 0, 0, 0, 3], &delta(9, 3)]),
        seed("seed-cut", &[base, &[LENGTH, 9, 0, 0], &delta(9, 4), &[LENGTH, 0, 16, 1]]),
        seed("seed-header", &[base, &[HEADER, 17, 254], &delta(9, 4), &[HEADER, 18, 254]]),
        seed("seed-index", &[base, &[INDEX, 4, 4, 4, 1, 2, 3, 4], &delta(9, 4), &[INDEX, 90, 1, 1, 1]]),
        seed("seed-changes-to-be-mapped", &[&[GOLDEN, 2, RENAME, 9, 3, GOLDEN, 0]]),
        seed("seed-stored-index", &[base, &[STORED_INDEX, 20, 3, 0x1f, 0, 1]]),
    ]
}
