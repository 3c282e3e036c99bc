//! Where large contents lie beside an engine: a directory that all hosts share, or an object store.
//!
//! **Architecture Invariant:** what counts stands in the engine, with its length and hash. Contents whose name is not there are nothing,
//! and nothing is ever changed under a name.

use std::{
    borrow::Cow,
    io::{self, Read, Write},
};

use sha2::{Digest, Sha256};

/// Where large contents lie beside an engine. Each store has one of its own, which hosts with the same URL share.
///
/// Everything blocks, and comes to an end by itself where the depot does not answer.
pub trait Depot: Send + Sync {
    /// What and where it is, for people; without secrets.
    fn place(&self) -> String;

    /// Marks it as that of the store. Once more, it is the same.
    ///
    /// # Errors
    /// If it can't be used.
    fn make(&self) -> Result<(), DepotError>;

    /// Sees that it was marked.
    ///
    /// # Errors
    /// If it can't be used, or is not that of the store.
    fn check(&self) -> Result<(), DepotError>;

    /// Puts contents under a name that is never used for others. They are durable, and there as a whole, when this returns; if it fails
    /// there are none. Once more, it is the same.
    ///
    /// # Errors
    /// If that can't be done, or the contents can't be read.
    fn put(&self, name: &str, contents: &mut dyn Read) -> Result<(), DepotError>;

    /// Writes contents out, which are not checked.
    ///
    /// # Errors
    /// If there are none, they can't be had, or they can't be written.
    fn get(&self, name: &str, out: &mut dyn Write) -> Result<(), DepotError>;

    /// Removes contents, if they are there.
    ///
    /// # Errors
    /// If that can't be done.
    fn remove(&self, name: &str) -> Result<(), DepotError>;

    /// What lies in a folder; in the topmost one, if it has no name. One that there is not is empty.
    ///
    /// # Errors
    /// If that can't be seen.
    fn list(&self, folder: &str) -> Result<Listing, DepotError>;
}

/// What lies in a folder of a depot: names in it, in any order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listing {
    /// Contents. Among them may be such that are only being put.
    pub files: Vec<String>,
    /// Folders in it. One of them may be empty.
    pub folders: Vec<String>,
}

/// How long contents are, and their hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seal {
    /// Their length.
    pub bytes: u64,
    /// SHA-256.
    pub sha256: [u8; 32],
}

/// Something of a depot can't be done.
#[derive(Debug, thiserror::Error)]
pub enum DepotError {
    /// It does not answer, or not in time. Tried again, it may.
    #[error("{place} does not answer: {reason}")]
    Away {
        /// What and where, without secrets.
        place: String,
        /// Why.
        reason: String,
    },
    /// It answers, and can't be used as it is.
    #[error("{place} can't be used: {reason}")]
    Unusable {
        /// What and where, without secrets.
        place: String,
        /// Why, and what to do.
        reason: String,
    },
    /// There are no such contents.
    #[error("{name} of {place} is missing: {remedy}")]
    Missing {
        /// The contents.
        name: String,
        /// What and where, without secrets.
        place: String,
        /// What to do.
        remedy: Cow<'static, str>,
    },
    /// The contents are not what they were.
    #[error("{name} of {place} is damaged: restore it from a copy")]
    Damaged {
        /// The contents.
        name: String,
        /// What and where, without secrets.
        place: String,
    },
    /// What was to be put can't be read, or what was to be had can't be written.
    #[error(transparent)]
    Contents(io::Error),
}

impl dyn Depot + '_ {
    /// Puts contents, and tells how long they are and their hash.
    ///
    /// # Errors
    /// As [`Depot::put`].
    pub fn put_sealed(&self, name: &str, contents: &mut dyn Read) -> Result<Seal, DepotError> {
        let mut sealing = Sealing { inner: contents, sum: Sum::default() };
        self.put(name, &mut sealing)?;
        Ok(sealing.sum.seal())
    }

    /// Writes contents out whose length and hash are known. What was written counts only if this returns without an error.
    ///
    /// # Errors
    /// As [`Depot::get`], and if they are not what they were.
    pub fn get_sealed(&self, name: &str, seal: Seal, out: &mut dyn Write) -> Result<(), DepotError> {
        let damaged = || DepotError::Damaged { name: name.to_owned(), place: self.place() };
        let mut checking = Checking { inner: out, sum: Sum::default(), bytes: seal.bytes };
        match self.get(name, &mut checking) {
            Err(DepotError::Contents(error)) if error.kind() == io::ErrorKind::FileTooLarge => Err(damaged()),
            got => got.and_then(|()| if checking.sum.seal() == seal { Ok(()) } else { Err(damaged()) }),
        }
    }
}

#[derive(Default)]
struct Sum {
    bytes: u64,
    hash: Sha256,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hash.update(bytes);
    }

    fn seal(self) -> Seal {
        Seal { bytes: self.bytes, sha256: self.hash.finalize().into() }
    }
}

struct Sealing<'a> {
    inner: &'a mut dyn Read,
    sum: Sum,
}

impl Read for Sealing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.sum.add(&buffer[..read]);
        Ok(read)
    }
}

struct Checking<'a> {
    inner: &'a mut dyn Write,
    sum: Sum,
    /// That many come, and no more.
    bytes: u64,
}

impl Write for Checking<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.sum.bytes + buffer.len() as u64 > self.bytes {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "there is more of it than there was"));
        }
        let written = self.inner.write(buffer)?;
        self.sum.add(&buffer[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
