//! A store in a temporary directory, and ways to damage it.

use std::{
    collections::BTreeMap,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ambrosia_core::{Genesis, InstanceName, Lsn, Record, Timestamp};
use tempfile::TempDir;

use crate::{
    FileLog, FileLogOptions, FileStore, Instances, LogStore, Registered, ScannedRecord,
    conformance::{Handles, MODULE, genesis},
    file::testing::{Salt, SegmentHeader},
};

/// Small enough that a few records fill a segment.
pub(super) const SMALL: FileLogOptions = FileLogOptions {
    segment_bytes_first: 8 << 10,
    segment_bytes_second: 0,
    segment_growth: 2,
    segment_bytes_max: 16 << 10,
    idle_after: Duration::from_millis(5),
    silence: Duration::from_millis(600),
    patience: Duration::from_millis(300),
};

/// Writes no marks before the log is closed.
pub(super) const WITHOUT_MARKS: FileLogOptions = FileLogOptions { idle_after: Duration::from_secs(3600), ..SMALL };

pub(super) fn name() -> InstanceName {
    InstanceName::new("checked").expect("plain")
}

/// Where the control page says since which start of the machine it is filled.
const BOOT_ID: std::ops::Range<usize> = 8..16;

/// Where it says what is durable.
const DURABLE: std::ops::Range<usize> = 128..136;

/// Bytes of a segment before its first record.
pub(super) const SEGMENT_HEADER_BYTES: usize = 4096;

/// A store with one instance.
pub(super) struct Fixture {
    pub(super) directory: TempDir,
    pub(super) store: FileStore,
}

impl Fixture {
    pub(super) fn new(options: FileLogOptions) -> Fixture {
        Fixture::with(options, &genesis())
    }

    pub(super) fn with(options: FileLogOptions, genesis: &Record) -> Fixture {
        let directory = tempfile::tempdir().expect("temporary directory");
        let store = FileStore::create_or_open(directory.path()).expect("works").with_log_options(options);
        let Genesis { uuid, seed, limits, name, .. } = Genesis::decode(genesis.body()).expect("a genesis record");
        let registered = store.register(&name, MODULE, seed, uuid, limits, Timestamp(1)).expect("works");
        assert_eq!(registered, Registered::New);
        Fixture { directory, store }
    }

    pub(super) fn log(&self) -> Arc<FileLog> {
        self.store.file_log(&name()).expect("works")
    }

    pub(super) fn log_path(&self) -> PathBuf {
        let uuid = self.store.instance(&name()).expect("works").uuid;
        self.directory.path().join("logs").join(uuid.to_string())
    }

    /// The segments, in order of their first records.
    pub(super) fn segments(&self) -> Vec<PathBuf> {
        let is_segment = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "seg");
        files(&self.log_path()).into_iter().filter(is_segment).collect()
    }

    /// Where each record stands.
    pub(super) fn scan(&self) -> Vec<ScannedRecord> {
        let scan = self.store.scan_log(&name(), Lsn(1)).expect("works");
        scan.map(|record| record.expect("not damaged")).collect()
    }

    /// As after a start of the machine: what the processes told each other is gone.
    pub(super) fn forget_control(&self) {
        match std::fs::remove_file(self.log_path().join("control")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
    }

    /// As after a loss of power that the page outlived, such as it was when `page` was read.
    pub(super) fn lose_power_but_not(&self, page: &[u8]) {
        let mut page = page.to_vec();
        page[BOOT_ID].iter_mut().for_each(|byte| *byte ^= 0x5a);
        std::fs::write(self.log_path().join("control"), page).expect("works");
    }

    /// What processes tell each other just now.
    pub(super) fn page(&self) -> Vec<u8> {
        std::fs::read(self.log_path().join("control")).expect("a log that was used has one")
    }

    /// As if the primary was killed before it could say of more than that.
    pub(super) fn set_durable(&self, durable: Lsn) {
        let mut page = self.page();
        page[DURABLE].copy_from_slice(&durable.0.to_le_bytes());
        std::fs::write(self.log_path().join("control"), page).expect("works");
    }

    pub(super) fn into_handles(self) -> Handles {
        Box::new(move || self.log() as Arc<dyn LogStore>)
    }

    /// The contents of the segments.
    pub(super) fn snapshot(&self) -> Snapshot {
        let read = |path: PathBuf| (path.clone(), std::fs::read(path).expect("works"));
        Snapshot(self.segments().into_iter().map(read).collect())
    }

    /// Puts the segments back as they were.
    pub(super) fn restore(&self, snapshot: &Snapshot) {
        self.forget_control();
        for path in self.segments() {
            std::fs::remove_file(path).expect("works");
        }
        for (path, contents) in &snapshot.0 {
            std::fs::write(path, contents).expect("works");
        }
    }
}

/// Contents of files by their paths.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Snapshot(pub(super) BTreeMap<PathBuf, Vec<u8>>);

impl Snapshot {
    pub(super) fn bytes(&mut self, path: &Path) -> &mut Vec<u8> {
        self.0.get_mut(path).expect("the file is in the snapshot")
    }
}

pub(super) fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("works");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("works").path()).collect();
    paths.sort();
    paths
}

/// The secret of a segment, and its first block.
pub(super) fn segment_header(segment: &[u8]) -> SegmentHeader {
    SegmentHeader::decode(&segment[..SEGMENT_HEADER_BYTES]).expect("it is whole")
}

/// Puts a record into a segment, as its primary would.
pub(super) fn put_record(segment: &Path, offset: u64, record: &Record) {
    let salt = segment_header(&std::fs::read(segment).expect("it is there")).salt;
    let file = std::fs::File::options().write(true).open(segment).expect("it is there");
    file.write_all_at(&salt.mixed(record.stored()), offset).expect("it can be written");
}

/// The same segment with another salt, or as version 1 has it with none.
pub(super) fn with_salt(segment: &[u8], salt: Salt) -> Vec<u8> {
    let header = segment_header(segment);
    let mut changed = segment.to_vec();
    changed[..SEGMENT_HEADER_BYTES].copy_from_slice(&SegmentHeader { salt, ..header }.encode());
    let mut at = SEGMENT_HEADER_BYTES;
    while let Ok(record) = header.salt.decode(&segment[at..]) {
        header.salt.mix(&mut changed[at..]);
        salt.mix(&mut changed[at..]);
        at += record.stored_bytes();
    }
    changed
}
