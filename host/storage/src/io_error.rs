//! What the operating system answered, and to what.
//!
//! **Architecture Invariant:** no error of a file leaves this crate without its path.

use std::{io, path::Path};

/// The operating system refused something.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {place}: {source}{}", remedy(source))]
pub struct IoError {
    /// What was tried: a verb that fits before a place.
    pub action: &'static str,
    /// On what: a file or a directory, where a store is on files.
    pub place: String,
    /// The answer.
    pub source: io::Error,
}

impl IoError {
    /// What was tried on the file or directory at `path`, and the answer.
    pub(crate) fn at(path: &Path, action: &'static str, source: io::Error) -> IoError {
        IoError { action, place: path.display().to_string(), source }
    }

    /// That there is no log there.
    pub fn gone(place: String) -> IoError {
        IoError { action: "find", place, source: io::Error::new(io::ErrorKind::NotFound, "it is gone") }
    }

    /// Whether the system says that this process may look only.
    pub(crate) fn is_refusal_to_write(&self) -> bool {
        is_refusal_to_write(&self.source)
    }
}

/// Whether the system says that this process may look only.
pub(crate) fn is_refusal_to_write(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// What to do about an error that says nothing of the file but of a limit.
fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE) => ". This process may have no more files open: raise its limit (`ulimit -n`)",
        Some(libc::ENFILE) => ". The machine may have no more files open: raise fs.file-max, or end something else",
        _ => "",
    }
}

/// Puts action and path to an [`io::Result`].
pub(crate) trait IoContext<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, IoError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, IoError> {
        self.map_err(|source| IoError::at(path, action, source))
    }
}
