//! What this machine has seen to be durable, in its cache: by that it knows, also after all processes were ended, if the store has
//! gone back.
//!
//! ```text
//! durable/{log}      one file a log
//! ```
//! Whoever removes the cache removes that knowledge, and nothing else.
//!
//! Files are written over in place: a new file each time would be a thousand a second with as many logs, of which a file system makes
//! heavy weather. What one holds is less than a block of a disk, which is written as a whole.
//!
//! **Architecture Invariant:** a file says what was durable at some time, in a generation of its log (`rollbacks.rs`). It may be
//! older than what was durable last, and never newer.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io,
    ops::Bound,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::Mutex,
};

use ambrosia_core::{Epoch, Lsn};
use ambrosia_storage::{IoError, LogId};
use serde::{Deserialize, Serialize};

use super::stored;
use crate::{engine::Position, reader::Standing, shell::host::lock};

/// A file has so many bytes, however many of them say something; the rest are 0.
const FILE_BYTES: usize = 64;

/// So many files are written at a time at most: with more logs than that each has its turn.
const FILES_AT_ONCE: usize = 100;

/// What was durable of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Durable {
    /// How often it was accepted by then that the log had gone back.
    pub(super) generation: u64,
    epoch: u64,
    /// 0 if nothing is known.
    lsn: u64,
    link: u64,
}

impl Durable {
    pub(super) fn position(&self) -> Option<Position> {
        (self.lsn > 0).then_some(Position { lsn: Lsn(self.lsn), link: self.link })
    }

    pub(super) fn epoch(&self) -> Epoch {
        Epoch(self.epoch)
    }
}

/// Writes down what was durable.
pub(super) struct Witness {
    directory: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What was durable of the logs that have run in this process.
    newest: BTreeMap<LogId, Durable>,
    /// Of these logs it is not written down yet.
    unwritten: BTreeSet<LogId>,
    /// The log that was written last.
    last: Option<LogId>,
}

impl Witness {
    pub(super) fn new(directory: PathBuf) -> Witness {
        Witness { directory, state: Mutex::default() }
    }

    fn path(&self, log: LogId) -> PathBuf {
        self.directory.join(log.to_string())
    }

    /// What is known of a log.
    pub(super) fn read(&self, log: LogId) -> Result<Durable, IoError> {
        if let Some(durable) = lock(&self.state).newest.get(&log) {
            return Ok(*durable);
        }
        let path = self.path(log);
        match fs::read(&path) {
            // What is damaged tells nothing: it was written while the machine died.
            Ok(bytes) => Ok(stored::decode_padded(&bytes).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Durable::default()),
            Err(source) => Err(IoError { action: "read", place: path.display().to_string(), source }),
        }
    }

    /// A replica of the log is to run, in that generation of it. In a later one than is known, what is known counts no more.
    pub(super) fn begin(&self, log: LogId, known: Durable, generation: u64) -> Result<(), IoError> {
        let counts = known.generation >= generation;
        let durable = if counts { known } else { Durable { generation, ..Durable::default() } };
        let mut state = lock(&self.state);
        if !counts {
            state.newest.remove(&log);
        }
        let newest = state.newest.entry(log).or_insert(durable);
        let durable = *newest;
        state.unwritten.remove(&log);
        drop(state);
        // Whoever can't write it is told so before anything depends on it.
        self.write_one(log, &durable)
    }

    /// Takes what was found to be durable. That is asked while no other generation of a log can begin.
    pub(super) fn take(&self, durable: impl FnOnce() -> BTreeMap<LogId, Standing>) {
        let mut state = lock(&self.state);
        for (log, standing) in durable() {
            // Whoever only looks at a log does not know its generation.
            let Some(newest) = state.newest.get_mut(&log) else { continue };
            let Standing { last, epoch, .. } = standing;
            // Whoever reads the log from its beginning finds old records to be durable, too.
            if last.lsn.0 > newest.lsn {
                *newest = Durable { epoch: epoch.0, lsn: last.lsn.0, link: last.link, ..*newest };
                state.unwritten.insert(log);
            }
        }
    }

    /// Writes down some of what was taken, or all.
    pub(super) fn write(&self, is_all: bool) -> Result<(), IoError> {
        for _ in 0..if is_all { usize::MAX } else { FILES_AT_ONCE } {
            let Some((log, durable)) = self.next() else { return Ok(()) };
            if let Err(error) = self.write_one(log, &durable) {
                lock(&self.state).unwritten.insert(log);
                return Err(error);
            }
        }
        Ok(())
    }

    fn next(&self) -> Option<(LogId, Durable)> {
        let mut state = lock(&self.state);
        let behind = state.last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = state.unwritten.range((behind, Bound::Unbounded)).next().copied();
        let log = next.or_else(|| state.unwritten.first().copied())?;
        state.last = Some(log);
        state.unwritten.remove(&log);
        Some((log, state.newest[&log]))
    }

    fn write_one(&self, log: LogId, durable: &Durable) -> Result<(), IoError> {
        let (path, mut bytes) = (self.path(log), stored::encode(durable));
        assert!(bytes.len() <= FILE_BYTES, "five numbers of ten bytes");
        bytes.resize(FILE_BYTES, 0);
        let open = || OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let written = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.directory).and_then(|()| open())
            }
            file => file,
        }
        .and_then(|file| file.write_all_at(&bytes, 0));
        written.map_err(|source| IoError { action: "write", place: path.display().to_string(), source })
    }

    /// The log is gone.
    pub(super) fn forget(&self, log: LogId) -> Result<(), IoError> {
        let mut state = lock(&self.state);
        state.unwritten.remove(&log);
        state.newest.remove(&log);
        drop(state);
        match fs::remove_file(self.path(log)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(IoError { action: "remove", place: self.path(log).display().to_string(), source })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use ambrosia_core::InstanceUuid;

    use super::*;

    fn at(lsn: u64) -> Standing {
        Standing { last: Position { lsn: Lsn(lsn), link: lsn * 7 }, epoch: Epoch(2), ..Standing::default() }
    }

    fn log(number: u8) -> LogId {
        LogId(InstanceUuid([number; 16]))
    }

    #[test]
    fn what_was_durable_is_known_to_the_next_process() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let witness = Witness::new(directory.path().join("durable"));
        assert_eq!(witness.read(log(1)).expect("works"), Durable::default());
        witness.begin(log(1), Durable::default(), 3).expect("works");
        witness.take(|| BTreeMap::from([(log(1), at(5)), (log(2), at(9))]));
        witness.take(|| BTreeMap::from([(log(1), at(4))]));
        witness.write(false).expect("works");
        let next = Witness::new(directory.path().join("durable"));
        let known = next.read(log(1)).expect("works");
        assert_eq!(known, Durable { generation: 3, epoch: 2, lsn: 5, link: 35 });
        assert_eq!(next.read(log(2)).expect("works"), Durable::default(), "nobody ran there");
        next.begin(log(1), known, 3).expect("works");
        assert_eq!(next.read(log(1)).expect("works"), known);
        next.begin(log(1), known, 4).expect("works");
        assert_eq!(next.read(log(1)).expect("works").position(), None, "it was given up");
        next.forget(log(1)).expect("works");
        assert_eq!(fs::read_dir(directory.path().join("durable")).expect("it is there").count(), 0);
    }

    #[test]
    fn each_log_has_its_turn() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let witness = Witness::new(directory.path().to_owned());
        let logs: Vec<LogId> = (0..=u8::MAX).map(log).collect();
        for log in &logs {
            witness.begin(*log, Durable::default(), 0).expect("works");
        }
        for round in 1..=3 {
            witness.take(|| logs.iter().map(|log| (*log, at(round))).collect());
            witness.write(false).expect("works");
        }
        let known = |log: &&LogId| Witness::new(directory.path().to_owned()).read(**log).expect("works").lsn > 0;
        assert_eq!(logs.iter().filter(known).count(), logs.len());
        witness.write(true).expect("works");
        let newest = |log: &&LogId| Witness::new(directory.path().to_owned()).read(**log).expect("works").lsn == 3;
        assert_eq!(logs.iter().filter(newest).count(), logs.len());
    }
}
