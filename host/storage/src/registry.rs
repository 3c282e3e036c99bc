//! Small named values with revisions: who is registered, and with what outcome.
//!
//! **Architecture Invariant:** a value is bytes here; whoever puts them knows what they mean.

use std::io;

use crate::{Callback, IoError, LogId, Subscription};

/// Longest key, in bytes.
pub(crate) const KEY_BYTES_MAX: usize = 128;

/// Small named values. Every change gets a revision of its own, and a revision is never used again.
pub trait Registry: Send + Sync {
    /// The value of `key` and the revision of its last change.
    fn get(&self, key: &str) -> Result<Option<(Revision, Vec<u8>)>, RegistryError>;

    /// Puts `value` if the key stands at `expected`; `None` means that there is no such key.
    fn put_if(&self, key: &str, expected: Option<Revision>, value: &[u8]) -> Result<Revision, PutError>;

    /// Puts a value under a key that there is none of, if that log is there. Of logs that nothing but whoever holds the
    /// registrations can remove, the registry need not know anything.
    fn put_new_beside(&self, key: &str, value: &[u8], _: LogId) -> Result<Revision, PutError> {
        self.put_if(key, None, value)
    }

    /// Deletes the key if it stands at `expected`.
    fn delete_if(&self, key: &str, expected: Revision) -> Result<(), PutError>;

    /// All entries whose key begins with `prefix`, ordered by key.
    fn list(&self, prefix: &str) -> Result<Vec<RegistryEntry>, RegistryError>;

    /// The keys that begin with `prefix`, in order, also those whose values can't be read.
    fn keys(&self, prefix: &str) -> Result<Vec<String>, RegistryError>;

    /// The value of a key as it is kept, damaged or not; `None` if there is not even the beginning of one.
    fn unchecked_value(&self, key: &str) -> Result<Option<Vec<u8>>, RegistryError>;

    /// Removes a key whose value can't be read.
    fn remove_damaged(&self, key: &str) -> Result<(), RegistryError>;

    /// A number that is another one after each change. `None` if this process may not know, since it can only look.
    fn changes(&self) -> Option<u64>;

    /// Calls back after each change. `None` if this process may not know of changes.
    ///
    /// # Errors
    /// If the system has no more threads.
    fn subscribe(&self, call: Callback) -> io::Result<Option<Subscription>>;
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
    #[error("{place} is damaged: {reason}; restore it from a copy, or deregister the instance that it is of")]
    Damaged {
        /// Where it is.
        place: String,
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
