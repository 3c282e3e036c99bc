//! Where large contents of stores lie, as an operator writes it in the URL of a store.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf, sync::Arc};

use ambrosia_shared_log::{Depot, DepotError};
use ambrosia_storage_tls::decoded;
use uuid::Uuid;

use crate::directory::Directory;

/// What `blobs=` in the URL of a store says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlobsPlace(Kind);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Kind {
    Directory(PathBuf),
}

/// It is no place for blobs. What was written is not shown: it may hold what should not stand there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("what blobs= says is no place for blobs: use blobs=file:/DIRECTORY, with a directory that all hosts share")]
pub struct BlobsPlaceError;

impl BlobsPlace {
    /// Reads the value of the parameter, as it stands in a URL.
    ///
    /// # Errors
    /// If it is no such place.
    pub fn read(value: &str) -> Result<BlobsPlace, BlobsPlaceError> {
        let bytes = decoded(value);
        let path = bytes.strip_prefix(b"file:").filter(|path| path.starts_with(b"/"));
        // As `file:///directory`.
        let path = path.map(|path| path.strip_prefix(b"//").unwrap_or(path)).filter(|path| path.starts_with(b"/"));
        let path = path.map(|path| PathBuf::from(OsString::from_vec(path.to_vec())));
        path.map(|path| BlobsPlace(Kind::Directory(path))).ok_or(BlobsPlaceError)
    }

    /// The depot of a store there.
    ///
    /// # Errors
    /// If it can't be used.
    pub fn depot(&self, store: Uuid) -> Result<Arc<dyn Depot>, DepotError> {
        match &self.0 {
            Kind::Directory(directory) => Ok(Arc::new(Directory::of(directory, store)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_named_as_a_file() {
        for (value, path) in [("file:/mnt/b", "/mnt/b"), ("file:///mnt/b%20c", "/mnt/b c")] {
            assert_eq!(BlobsPlace::read(value), Ok(BlobsPlace(Kind::Directory(path.into()))));
        }
        for value in ["file:relative", "file://host/b", "/mnt", ""] {
            assert!(BlobsPlace::read(value).is_err(), "{value}");
        }
    }
}
