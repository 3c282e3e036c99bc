//! Files that are there whole or not at all.
//!
//! **Architecture Invariant:** a file appears under its name only after its contents are on the disk, and the name is
//! on the disk before the call returns.
//!
//! What a log needs of it takes the [`Machine`] that the log runs on; everybody else passes [`ThisMachine`].

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use super::{
    machine::{Machine, ThisMachine},
    ownership::{create_directory, create_file},
};
use crate::{IoError, io_error::IoContext};

/// Ends the names of files that nobody has finished.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// Writes `contents` to `path`, replacing what is there.
pub(crate) fn write_durably(path: &Path, contents: &[u8]) -> Result<(), IoError> {
    let temporary = temporary_beside(path);
    let mut file = create_file(&temporary).context("create", &temporary)?;
    file.write_all(contents).context("write", &temporary)?;
    file.sync_all().context("sync", &temporary)?;
    rename_durably(&ThisMachine, &temporary, path)
}

/// Gives the synced file `from` the name `to` in the same directory.
pub(crate) fn rename_durably(machine: &dyn Machine, from: &Path, to: &Path) -> Result<(), IoError> {
    machine.rename(from, to).context("rename to its place", from)?;
    sync_directory(machine, to.parent().expect("a file lies in a directory"))
}

/// Makes a directory within a store if there is none.
pub(crate) fn create_directory_durably(path: &Path) -> Result<(), IoError> {
    if path.is_dir() {
        return Ok(());
    }
    match create_directory(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()), // another process was faster
        made => {
            made.context("create", path)?;
            sync_directory(&ThisMachine, path.parent().expect("a directory of a store lies in one"))
        }
    }
}

/// Makes the directory of a store, and those that it lies in, if there is none.
pub(crate) fn create_root_durably(path: &Path) -> Result<(), IoError> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path).context("create", path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_directory(&ThisMachine, parent),
        _ => Ok(()),
    }
}

/// Removes a file; it is no error if it is not there, since another process may be faster.
pub(crate) fn remove_durably(machine: &dyn Machine, path: &Path) -> Result<(), IoError> {
    match machine.remove(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => {
            removed.context("remove", path)?;
            sync_directory(machine, path.parent().expect("a file lies in a directory"))
        }
    }
}

/// Puts the names in a directory on the disk.
pub(crate) fn sync_directory(machine: &dyn Machine, path: &Path) -> Result<(), IoError> {
    machine.sync_directory(path).context("sync", path)
}

/// The contents of a file, `None` if it is not there.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, IoError> {
    match fs::read(path) {
        Ok(contents) => Ok(Some(contents)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IoError::at(path, "read", source)),
    }
}

/// The names in a directory, in order.
pub(crate) fn file_names(machine: &dyn Machine, directory: &Path) -> Result<Vec<String>, IoError> {
    machine.list(directory).context("list", directory)
}

/// A name that no other process or thread uses.
fn temporary_beside(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut name = path.file_name().expect("a file has a name").to_os_string();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".{}-{count}{TEMPORARY_SUFFIX}", std::process::id()));
    path.with_file_name(name)
}
