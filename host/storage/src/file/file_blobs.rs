//! A file for each blob, named by its hash, and beside a module what it describes.
//!
//! **Architecture Invariant:** a blob is never changed; putting it again repairs it.

use std::path::PathBuf;

use super::{
    durable_file::{file_names, read_if_there, remove_durably, write_durably},
    machine::ThisMachine,
};
use crate::{BlobError, BlobHash, BlobStore};

/// Blobs in a directory.
pub(crate) struct FileBlobs {
    directory: PathBuf,
}

impl FileBlobs {
    pub(crate) fn open(directory: PathBuf) -> FileBlobs {
        FileBlobs { directory }
    }

    fn path_of(&self, hash: BlobHash) -> PathBuf {
        self.directory.join(hash.to_string())
    }

    fn methods_path_of(&self, hash: BlobHash) -> PathBuf {
        self.directory.join(format!("{hash}.methods"))
    }
}

impl BlobStore for FileBlobs {
    fn put(&self, contents: &[u8]) -> Result<BlobHash, BlobError> {
        let hash = BlobHash::of(contents);
        match self.get(hash) {
            Ok(_) => return Ok(hash),
            Err(BlobError::Missing { .. } | BlobError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        write_durably(&self.path_of(hash), contents)?;
        Ok(hash)
    }

    fn get(&self, hash: BlobHash) -> Result<Vec<u8>, BlobError> {
        let path = self.path_of(hash);
        let contents = read_if_there(&path)?
            .ok_or_else(|| BlobError::Missing { hash, place: self.directory.display().to_string() })?;
        let found = BlobHash::of(&contents);
        if found != hash {
            return Err(BlobError::Damaged { hash, found, place: path.display().to_string() });
        }
        Ok(contents)
    }

    fn methods(&self, module: BlobHash) -> Result<Option<Vec<u8>>, BlobError> {
        Ok(read_if_there(&self.methods_path_of(module))?)
    }

    fn put_methods(&self, module: BlobHash, contents: &[u8]) -> Result<(), BlobError> {
        Ok(write_durably(&self.methods_path_of(module), contents)?)
    }

    fn delete(&self, hash: BlobHash) -> Result<(), BlobError> {
        // What is beside it goes first: nobody would ever look for it without the blob.
        remove_durably(&ThisMachine, &self.methods_path_of(hash))?;
        Ok(remove_durably(&ThisMachine, &self.path_of(hash))?)
    }

    fn list(&self) -> Result<Vec<BlobHash>, BlobError> {
        Ok(file_names(&ThisMachine, &self.directory)?.iter().filter_map(|name| BlobHash::parse(name)).collect())
    }
}
