//! Small named values with revisions: who is registered, and with what outcome.
//!
//! **Architecture Invariant:** a value is bytes here; whoever puts them knows what they mean.

use std::time::Duration;

use crate::IoError;

/// Longest key, in bytes.
pub(crate) const KEY_BYTES_MAX: usize = 128;

/// Small named values. Every change gets a revision of its own, and a revision is never used again.
pub trait Registry: Send + Sync {
    /// The value of `key` and the revision of its last change.
    fn get(&self, key: &str) -> Result<Option<(Revision, Vec<u8>)>, RegistryError>;

    /// Puts `value` if the key stands at `expected`; `None` means that there is no such key.
    fn put_if(&self, key: &str, expected: Option<Revision>, value: &[u8]) -> Result<Revision, PutError>;

    /// Deletes the key if it stands at `expected`.
    fn delete_if(&self, key: &str, expected: Revision) -> Result<(), PutError>;

    /// All entries whose key begins with `prefix`, ordered by key.
    fn list(&self, prefix: &str) -> Result<Vec<RegistryEntry>, RegistryError>;

    /// Blocks until the count of changes differs from `seen` or `timeout` ran out; returns the count.
    ///
    /// With no timeout it just tells the count. Take the count, read what you watch, then wait for another count.
    fn wait_for_change(&self, seen: u64, timeout: Duration) -> Result<u64, RegistryError>;
}

/// Number of a change. It only rises.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Revision(pub u64);

/// One key with its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegistryEntry {
    /// The key.
    pub key: String,
    /// Of its last change.
    pub revision: Revision,
    /// The value.
    pub value: Vec<u8>,
}

/// The registry can't be read.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The operating system refused. Tried again, it may work.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A value can't be read back as it was written.
    #[error("{path} is damaged: {reason}; restore it from a copy, or deregister the instance that it is of")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The key can't be one.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// A change was not made.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// Somebody else changed the key: get it again, and decide again.
    #[error("the registry key {key} was changed by another process")]
    Conflict {
        /// The key.
        key: String,
        /// Where it stands now.
        current: Option<Revision>,
    },
    /// The registry can't be read or written.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl From<IoError> for PutError {
    fn from(error: IoError) -> Self {
        PutError::Registry(error.into())
    }
}

/// Why a text is not a key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{0:?} is not a registry key: use at most {KEY_BYTES_MAX} letters, digits, '.', '_', '-' and '/', each part \
     beginning with a letter or digit"
)]
pub struct KeyError(pub String);

/// Checks that `key` can be a key in every kind of registry.
pub fn check_key(key: &str) -> Result<(), KeyError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let part_ok = |part: &str| part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(plain);
    if key.len() <= KEY_BYTES_MAX && key.split('/').all(part_ok) { Ok(()) } else { Err(KeyError(key.to_owned())) }
}
