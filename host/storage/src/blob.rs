//! Immutable contents named by their SHA-256: modules, and later checkpoints.
//!
//! **Architecture Invariant:** contents whose hash differs from their name are never returned.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::IoError;

/// SHA-256 of some contents.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobHash(pub [u8; 32]);

impl BlobHash {
    /// The hash of `contents`.
    pub fn of(contents: &[u8]) -> BlobHash {
        BlobHash(Sha256::digest(contents).into())
    }

    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<BlobHash> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut hash = [0; 32];
        for (i, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
        }
        Some(BlobHash(hash))
    }
}

impl fmt::Display for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Immutable contents by hash.
pub trait BlobStore: Send + Sync {
    /// Stores `contents` durably, unless they are there.
    fn put(&self, contents: &[u8]) -> Result<BlobHash, BlobError>;

    /// The contents with that hash, checked.
    fn get(&self, hash: BlobHash) -> Result<Vec<u8>, BlobError>;

    /// What was written down of the methods of a module, if that was: for tools, which then need not run the module to
    /// know them. The contents are the caller's; they are not checked here.
    fn methods(&self, module: BlobHash) -> Result<Option<Vec<u8>>, BlobError>;

    /// Writes down the methods of a module. They go when the module does.
    fn put_methods(&self, module: BlobHash, contents: &[u8]) -> Result<(), BlobError>;

    /// Deletes them, and what is written down beside; it is no error if they are not there.
    fn delete(&self, hash: BlobHash) -> Result<(), BlobError>;

    /// The hashes of all contents, in order.
    fn list(&self) -> Result<Vec<BlobHash>, BlobError>;
}

/// Contents can't be had.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The operating system refused. Tried again, it may work.
    #[error(transparent)]
    Io(#[from] IoError),
    /// There are no such contents.
    #[error("there is no blob {hash} in {place}")]
    Missing {
        /// The hash asked for.
        hash: BlobHash,
        /// Where it was looked for.
        place: String,
    },
    /// The contents are not what they were.
    #[error("{place} is damaged: its contents hash to {found}, not to {hash}; restore it from a copy")]
    Damaged {
        /// The hash asked for.
        hash: BlobHash,
        /// The hash of what is there.
        found: BlobHash,
        /// Where it is.
        place: String,
    },
}
