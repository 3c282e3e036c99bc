//! Contents by their hash.
//!
//! ```text
//! blob/{sha-256}      which upload holds the contents
//! methods/{sha-256}   what is written down of the methods of a module
//! ```

use std::{collections::BTreeSet, io, sync::Arc};

use ambrosia_storage::{BlobError, BlobHash, BlobStore, IoError, remove_compiled};

use super::{
    Inner,
    desk::Desk,
    kept_blobs::KeptBlobs,
    stored,
    uploads::{Missing, Upload, Uploads},
};
use crate::{
    keys::{PutRefused, Space},
    shell::host::EngineHost,
};

const PREFIX: &str = "blob/";

/// So often contents are uploaded that others take for what was left behind.
const UPLOADS_MAX: u32 = 3;

pub(super) struct EngineBlobs {
    pub(super) desk: Arc<Desk>,
    pub(super) uploads: Arc<Uploads>,
    pub(super) host: Arc<EngineHost>,
    pub(super) kept: Arc<KeptBlobs>,
}

fn key(hash: BlobHash) -> String {
    format!("{PREFIX}{hash}")
}

fn methods_key(hash: BlobHash) -> String {
    format!("methods/{hash}")
}

/// The contents of which somebody has written down that they are there.
fn hashes(desk: &Desk) -> Result<BTreeSet<BlobHash>, IoError> {
    let entries = desk.list(Space::Store, PREFIX, false)?;
    Ok(entries.iter().filter_map(|entry| BlobHash::parse(entry.key.strip_prefix(PREFIX)?)).collect())
}

/// Removes what the cache of this machine has of modules that are gone, with what was compiled of them: another machine may have removed them.
pub(super) fn remove_cached_of_gone(inner: &Inner) -> Result<(), IoError> {
    inner.kept.remove_left();
    let cached = inner.kept.hashes();
    if cached.is_empty() {
        return Ok(());
    }
    // Read behind the cache: each module that is there was in the store before that.
    for gone in cached.difference(&hashes(&inner.desk)?) {
        // Else it is tried again; nobody waits for that.
        if remove_compiled(&inner.cache, *gone).is_ok() {
            inner.kept.forget(*gone);
        }
    }
    Ok(())
}

impl EngineBlobs {
    fn missing(&self, hash: BlobHash) -> BlobError {
        BlobError::Missing { hash, place: self.desk.place() }
    }

    /// The contents as the store has them.
    fn fetch(&self, hash: BlobHash) -> Result<Vec<u8>, BlobError> {
        let missing = || self.missing(hash);
        let entry = self.desk.get(Space::Store, &key(hash))?.ok_or_else(missing)?;
        let mut contents = Vec::new();
        let writing = |source| IoError { action: "write", place: "memory".to_owned(), source };
        if let Some(upload) = stored::decode::<Upload>(&entry.value) {
            match self.uploads.download(&upload, &mut contents, writing) {
                Ok(()) => {}
                Err(Missing::Io(error)) => return Err(error.into()),
                // It was removed meanwhile, or is damaged.
                Err(Missing::Part(_)) if self.desk.get(Space::Store, &key(hash))?.is_none() => return Err(missing()),
                Err(Missing::Part(_)) => {}
            }
        }
        let found = BlobHash::of(&contents);
        let place = || format!("blob {hash} of {}", self.desk.place());
        if found == hash { Ok(contents) } else { Err(BlobError::Damaged { hash, found, place: place() }) }
    }
}

impl EngineBlobs {
    /// Uploads contents, and has them count; whether they stay, or were taken for what a host has left that is gone.
    fn upload(&self, hash: BlobHash, contents: &[u8]) -> Result<bool, IoError> {
        let before = self.desk.get(Space::Store, &key(hash))?;
        let reading = |source| IoError { action: "read", place: "memory".to_owned(), source };
        let (upload, under_way) = self.uploads.upload(&key(hash), None, contents, reading)?;
        let revision = before.as_ref().map(|entry| entry.revision);
        let put = self.desk.put(Space::Store, &key(hash), revision, stored::encode(&upload), None);
        if put.is_err() {
            // It may come to count at any time, and whoever has the same contents then rests on it: nothing here could keep it from that.
            under_way.stay();
        }
        let (left, stays) = match put? {
            // Looked at behind that: who sweeps it later sees that it counts. What does not stay is damaged, until it is put anew.
            Ok(_) => (before.and_then(|entry| stored::decode(&entry.value)), !self.uploads.is_swept(&upload)?),
            // Somebody else has put the same.
            Err(PutRefused::Stands(_) | PutRefused::NoLog) => (Some(upload), true),
        };
        if let Some(upload) = left {
            self.uploads.remove(&upload)?;
        }
        Ok(stays)
    }
}

impl BlobStore for EngineBlobs {
    fn put(&self, contents: &[u8]) -> Result<BlobHash, BlobError> {
        let hash = BlobHash::of(contents);
        match self.fetch(hash) {
            Ok(_) => return Ok(hash),
            // What is damaged is put anew.
            Err(BlobError::Missing { .. } | BlobError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        // Else others take an upload for one of a process that is gone: this one may have nothing but that.
        let _alive = self.host.stay_alive();
        for _ in 0..UPLOADS_MAX {
            if self.upload(hash, contents)? {
                return Ok(hash);
            }
        }
        let reason = "this host was taken for gone each time that it had uploaded it: see that the engine is quick, and try again";
        let place = format!("blob {hash} of {}", self.desk.place());
        Err(IoError { action: "write", place, source: io::Error::other(reason) }.into())
    }

    fn get(&self, hash: BlobHash) -> Result<Vec<u8>, BlobError> {
        if let Some(contents) = self.kept.get(hash) {
            let is_there = self.desk.get(Space::Store, &key(hash))?.is_some();
            return if is_there { Ok(contents) } else { Err(self.missing(hash)) };
        }
        let contents = self.fetch(hash)?;
        // If that can't be done, it is downloaded again. What the disk lacks, checkpoints say.
        let _kept = self.kept.keep(hash, &contents);
        Ok(contents)
    }

    fn methods(&self, module: BlobHash) -> Result<Option<Vec<u8>>, BlobError> {
        Ok(self.desk.get(Space::Store, &methods_key(module))?.map(|entry| entry.value.to_vec()))
    }

    fn put_methods(&self, module: BlobHash, contents: &[u8]) -> Result<(), BlobError> {
        let key = methods_key(module);
        loop {
            let stands = self.desk.get(Space::Store, &key)?.map(|entry| entry.revision);
            if self.desk.put(Space::Store, &key, stands, contents.to_vec(), None)?.is_ok() {
                return Ok(());
            }
        }
    }

    fn delete(&self, hash: BlobHash) -> Result<(), BlobError> {
        let held = self.desk.remove(&key(hash))?.and_then(|entry| stored::decode::<Upload>(&entry.value));
        if let Some(upload) = held {
            self.uploads.remove(&upload)?;
        }
        self.desk.remove(&methods_key(hash))?;
        self.kept.forget(hash);
        Ok(())
    }

    fn list(&self) -> Result<Vec<BlobHash>, BlobError> {
        Ok(hashes(&self.desk)?.into_iter().collect())
    }
}
