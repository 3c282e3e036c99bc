//! Files that are being downloaded into a directory of this machine, which several processes may share.
//!
//! Whoever downloads one holds a lock on it, so that what was left by a process that was killed is told from what somebody is about to finish:
//! numbers of processes do not tell, where each container has its own.
//!
//! **Architecture Invariant:** no name is used twice, so whoever removes what was left removes nothing else.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use ambrosia_storage::{CheckpointName, IoError};

use crate::engine::Claim;

/// Ends the names of files that nobody has finished.
const SUFFIX: &str = ".tmp";

/// A file that is being downloaded. Dropped, it is left to whoever removes what was left.
pub(super) struct Download {
    file: File,
    path: PathBuf,
}

fn error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> IoError {
    let place = path.display().to_string();
    move |source| IoError { action, place: place.clone(), source }
}

impl Download {
    /// Begins one of that checkpoint. `claims` gives one that none was before.
    pub(super) fn begin(
        directory: &Path,
        name: CheckpointName,
        claims: impl Fn() -> Claim,
    ) -> Result<Download, IoError> {
        loop {
            let Claim { host, attempt } = claims();
            let host: String = host.0.iter().map(|byte| format!("{byte:02x}")).collect();
            let path = directory.join(format!("{name}.{host}-{attempt}{SUFFIX}"));
            let file = File::create_new(&path).map_err(error("create", &path))?;
            // Where a file system has no locks, nobody can tell that it was left, and nobody removes it.
            let _locked = file.lock();
            // Before that it may have been taken for one that was left.
            if path.exists() {
                return Ok(Download { file, path });
            }
        }
    }

    /// Where its contents are to be written.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// What is wrong with it.
    pub(super) fn error(&self, action: &'static str) -> impl Fn(io::Error) -> IoError {
        error(action, &self.path)
    }

    /// Gives it its name, in the same directory.
    pub(super) fn finish(self, to: &Path) -> Result<(), IoError> {
        fs::rename(&self.path, to).map_err(self.error("rename"))
    }

    /// It is of no use.
    pub(super) fn give_up(self) {
        // Why it is of none is the error that matters.
        let _gone = fs::remove_file(&self.path);
    }
}

/// Removes what was left by processes that are gone.
pub(super) fn remove_left(directory: &Path) -> Result<(), IoError> {
    for entry in fs::read_dir(directory).map_err(error("list", directory))? {
        let path = entry.map_err(error("list", directory))?.path();
        if is_download(&path) {
            remove_if_left(&path)?;
        }
    }
    Ok(())
}

/// Removes a file that somebody was about to finish, unless he is about to.
pub(super) fn remove_if_left(path: &Path) -> Result<(), IoError> {
    let file = match File::open(path) {
        Ok(file) => file,
        // It has its name by now, or another one has removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(error("open", path)(source)),
    };
    match file.try_lock() {
        Ok(()) => match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(error("remove", path)(source)),
            _ => Ok(()),
        },
        // Somebody is about to finish it; or it can't be told.
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => Ok(()),
    }
}

/// Whether a file is one, by its name. Those that replicas write are told by themselves.
fn is_download(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let of = name.and_then(|name| name.strip_suffix(SUFFIX)).and_then(|name| name.rsplit_once('.'));
    of.is_some_and(|(checkpoint, _)| checkpoint.parse::<CheckpointName>().is_ok())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use ambrosia_core::Lsn;

    use super::*;
    use crate::engine::HostId;

    const NAME: CheckpointName = CheckpointName { lsn: Lsn(7), parent: None };

    fn names(directory: &Path) -> Vec<String> {
        let name =
            |entry: io::Result<fs::DirEntry>| entry.expect("it is read").file_name().into_string().expect("text");
        let mut names: Vec<_> = fs::read_dir(directory).expect("it is there").map(name).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_was_left_goes_and_what_is_under_way_or_was_finished_stays() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let attempts = Cell::new(0);
        let begin = || {
            let claims = || Claim { host: HostId([1; 16]), attempt: attempts.replace(attempts.get() + 1) };
            Download::begin(directory.path(), NAME, claims).expect("there is room")
        };
        let (left, under_way, finished) = (begin(), begin(), begin());
        finished.finish(&directory.path().join(NAME.to_string())).expect("there is room");
        // As its process is killed.
        drop(left);
        // Of an earlier version; and what a replica writes.
        fs::write(directory.path().join(format!("{NAME}.1234-5.tmp")), b"half").expect("there is room");
        fs::write(directory.path().join("checkpoint.replica3.tmp"), b"half").expect("there is room");
        assert_eq!(names(directory.path()).len(), 5);
        remove_left(directory.path()).expect("it is there");
        let there = format!("{NAME}.{}-1.tmp", "01".repeat(16));
        assert_eq!(names(directory.path()), [NAME.to_string(), there, "checkpoint.replica3.tmp".to_owned()]);
        under_way.finish(&directory.path().join(NAME.to_string())).expect("it is still there");
        begin().give_up();
        assert_eq!(names(directory.path()), [NAME.to_string(), "checkpoint.replica3.tmp".to_owned()]);
    }
}
