//! Modules that this machine has had: so a replica begins although the contents can't be had elsewhere, and waits for no download.
//!
//! **Architecture Invariant:** they are a help and no more: what is here counts only if its hash is the one that was asked for, and if the
//! store knows it.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use ambrosia_storage::BlobHash;

use super::downloads;

/// Ends the names of files that nobody has finished.
const SUFFIX: &str = ".tmp";

/// Contents by their hash, in files.
pub(super) struct KeptBlobs {
    directory: PathBuf,
}

impl KeptBlobs {
    /// Those in the cache of a store.
    pub(super) fn new(cache: &Path) -> KeptBlobs {
        KeptBlobs { directory: cache.join("modules") }
    }

    fn path(&self, hash: BlobHash) -> PathBuf {
        self.directory.join(hash.to_string())
    }

    /// The contents, if they are there as they were.
    pub(super) fn get(&self, hash: BlobHash) -> Option<Vec<u8>> {
        let contents = fs::read(self.path(hash)).ok()?;
        (BlobHash::of(&contents) == hash).then_some(contents)
    }

    /// Keeps them.
    pub(super) fn keep(&self, hash: BlobHash, contents: &[u8]) -> io::Result<()> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let (process, count) = (std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let temporary = self.directory.join(format!("{hash}.{process}-{count}{SUFFIX}"));
        let kept = fs::create_dir_all(&self.directory)
            .and_then(|()| write(&temporary, contents))
            .and_then(|_file| fs::rename(&temporary, self.path(hash)));
        if kept.is_err() {
            // What is at hand is the error that matters.
            let _left = fs::remove_file(&temporary);
        }
        kept
    }

    /// Which there are, as far as that can be seen.
    pub(super) fn hashes(&self) -> BTreeSet<BlobHash> {
        self.names().iter().filter_map(|name| BlobHash::parse(name)).collect()
    }

    /// Removes what was left by processes that are gone.
    pub(super) fn remove_left(&self) {
        for name in self.names().iter().filter(|name| name.ends_with(SUFFIX)) {
            // What can't be removed does no harm.
            let _left = downloads::remove_if_left(&self.directory.join(name));
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// They are of no use any more.
    pub(super) fn forget(&self, hash: BlobHash) {
        // It may never have been here.
        let _gone = fs::remove_file(self.path(hash));
    }
}

/// A new file, with a lock by which others see that somebody is about to finish it.
fn write(path: &Path, contents: &[u8]) -> io::Result<File> {
    let mut file = File::create(path)?;
    // Before that it may have been taken for one that was left: then it does not get its name, and is downloaded again.
    let _locked = file.lock();
    file.write_all(contents)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_what_it_was_is_not_there() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let kept = KeptBlobs::new(directory.path());
        let hash = BlobHash::of(b"module");
        assert_eq!(kept.get(hash), None);
        kept.keep(hash, b"module").expect("there is room");
        assert_eq!(kept.get(hash).as_deref(), Some(&b"module"[..]));
        fs::write(kept.path(hash), b"modul").expect("it can be written");
        assert_eq!(kept.get(hash), None);
        kept.keep(hash, b"module").expect("there is room");
        assert_eq!(fs::read_dir(&kept.directory).expect("it is there").count(), 1, "nothing is left beside it");
        kept.forget(hash);
        assert_eq!(kept.get(hash), None);
    }
}
