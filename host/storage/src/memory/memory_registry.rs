//! A registry and blobs in memory, which a store has.
//!
//! **Architecture Invariant:** values are copied in and out, never shared.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::subscribers::Subscribers;
use crate::{
    BlobError, BlobHash, BlobStore, Callback, PutError, Registry, RegistryEntry, RegistryError, Revision, Subscription,
    check_key,
};

#[derive(Default)]
struct RegistryState {
    keys: BTreeMap<String, (Revision, Vec<u8>)>,
    changes: u64,
    blobs: BTreeMap<BlobHash, Vec<u8>>,
    methods: BTreeMap<BlobHash, Vec<u8>>,
}

/// A registry and blobs in memory. A clone is the same.
#[derive(Clone, Default)]
pub(crate) struct MemoryRegistry {
    shared: Arc<(Mutex<RegistryState>, Subscribers)>,
}

impl MemoryRegistry {
    fn lock(&self) -> MutexGuard<'_, RegistryState> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes `key` to `value` if it stands at `expected`.
    fn change(&self, key: &str, expected: Option<Revision>, value: Option<&[u8]>) -> Result<Revision, PutError> {
        check_key(key).map_err(RegistryError::from)?;
        let mut state = self.lock();
        let current = state.keys.get(key).map(|(revision, _)| *revision);
        if current != expected {
            return Err(PutError::Conflict { key: key.to_owned(), current });
        }
        state.changes += 1;
        let revision = Revision(state.changes);
        match value {
            Some(value) => drop(state.keys.insert(key.to_owned(), (revision, value.to_vec()))),
            None => drop(state.keys.remove(key)),
        }
        drop(state);
        self.shared.1.call();
        Ok(revision)
    }

    /// Changes contents in place, as a bad disk does. Whether there were such contents.
    pub(crate) fn damage_blob(&self, hash: BlobHash) -> bool {
        self.lock().blobs.get_mut(&hash).map(|contents| contents.push(0)).is_some()
    }
}

impl Registry for MemoryRegistry {
    fn get(&self, key: &str) -> Result<Option<(Revision, Vec<u8>)>, RegistryError> {
        check_key(key)?;
        Ok(self.lock().keys.get(key).cloned())
    }

    fn put_if(&self, key: &str, expected: Option<Revision>, value: &[u8]) -> Result<Revision, PutError> {
        self.change(key, expected, Some(value))
    }

    fn delete_if(&self, key: &str, expected: Revision) -> Result<(), PutError> {
        self.change(key, Some(expected), None).map(drop)
    }

    fn list(&self, prefix: &str) -> Result<Vec<RegistryEntry>, RegistryError> {
        let state = self.lock();
        let entries = state.keys.iter().filter(|(key, _)| key.starts_with(prefix));
        let entry = |(key, (revision, value)): (&String, &(Revision, Vec<u8>))| RegistryEntry {
            key: key.clone(),
            revision: *revision,
            value: value.clone(),
        };
        Ok(entries.map(entry).collect())
    }

    fn keys(&self, prefix: &str) -> Result<Vec<String>, RegistryError> {
        Ok(self.lock().keys.keys().filter(|key| key.starts_with(prefix)).cloned().collect())
    }

    fn unchecked_value(&self, key: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        Ok(Registry::get(self, key)?.map(|(_, value)| value))
    }

    fn remove_damaged(&self, key: &str) -> Result<(), RegistryError> {
        let mut state = self.lock();
        state.changes += 1;
        state.keys.remove(key);
        drop(state);
        self.shared.1.call();
        Ok(())
    }

    fn changes(&self) -> Option<u64> {
        Some(self.lock().changes)
    }

    fn subscribe(&self, call: Callback) -> io::Result<Option<Subscription>> {
        Ok(Some(self.shared.1.subscribe(call)))
    }
}

impl BlobStore for MemoryRegistry {
    fn put(&self, contents: &[u8]) -> Result<BlobHash, BlobError> {
        let hash = BlobHash::of(contents);
        self.lock().blobs.insert(hash, contents.to_vec());
        Ok(hash)
    }

    fn get(&self, hash: BlobHash) -> Result<Vec<u8>, BlobError> {
        let place = || "memory".to_owned();
        let contents =
            self.lock().blobs.get(&hash).cloned().ok_or_else(|| BlobError::Missing { hash, place: place() })?;
        let found = BlobHash::of(&contents);
        if found == hash { Ok(contents) } else { Err(BlobError::Damaged { hash, found, place: place() }) }
    }

    fn methods(&self, module: BlobHash) -> Result<Option<Vec<u8>>, BlobError> {
        Ok(self.lock().methods.get(&module).cloned())
    }

    fn put_methods(&self, module: BlobHash, contents: &[u8]) -> Result<(), BlobError> {
        self.lock().methods.insert(module, contents.to_vec());
        Ok(())
    }

    fn delete(&self, hash: BlobHash) -> Result<(), BlobError> {
        let mut state = self.lock();
        state.methods.remove(&hash);
        state.blobs.remove(&hash);
        Ok(())
    }

    fn list(&self) -> Result<Vec<BlobHash>, BlobError> {
        Ok(self.lock().blobs.keys().copied().collect())
    }
}
