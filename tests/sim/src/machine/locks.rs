//! Locks on byte ranges of files. They go with their process.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use crate::ids::ProcessId;

#[derive(Debug)]
struct Held {
    number: u64,
    path: PathBuf,
    range: Range<u64>,
    owner: ProcessId,
}

#[derive(Debug, Default)]
pub(crate) struct Locks {
    held: Vec<Held>,
    last: u64,
}

impl Locks {
    /// The number of the lock, if it was free.
    pub(crate) fn take(&mut self, path: &Path, range: Range<u64>, owner: ProcessId) -> Option<u64> {
        if self.held(path, range.clone()).is_some() {
            return None;
        }
        self.last += 1;
        self.held.push(Held { number: self.last, path: path.to_path_buf(), range, owner });
        Some(self.last)
    }

    pub(crate) fn held(&self, path: &Path, range: Range<u64>) -> Option<u64> {
        let overlapping = self.held.iter().filter(|held| held.path == path);
        overlapping
            .filter_map(|held| {
                let begin = held.range.start.max(range.start);
                (begin < held.range.end.min(range.end)).then_some(begin)
            })
            .min()
    }

    pub(crate) fn release(&mut self, number: u64) {
        self.held.retain(|held| held.number != number);
    }

    pub(crate) fn release_all(&mut self, owner: ProcessId) {
        self.held.retain(|held| held.owner != owner);
    }

    pub(crate) fn clear(&mut self) {
        self.held.clear();
    }
}
