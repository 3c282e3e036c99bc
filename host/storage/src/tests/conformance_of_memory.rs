//! The conformance suite against the stores in memory.

use std::sync::Arc;

use ambrosia_core::Record;

use crate::{BlobError, BlobStore, LogStore, MemoryLog, MemoryStore, Registry, conformance::Handles};

fn new_log(genesis: Record) -> Handles {
    let log = MemoryLog::new(genesis);
    Box::new(move || Arc::new(log.clone()) as Arc<dyn LogStore>)
}

fn registry(store: &MemoryStore) -> &dyn Registry {
    store
}

fn blobs(store: &MemoryStore) -> &dyn BlobStore {
    store
}

mod log {
    crate::log_conformance!(super::new_log);
}

mod registry {
    crate::registry_conformance!(crate::MemoryStore::default, super::registry);
}

mod blobs {
    crate::blob_conformance!(crate::MemoryStore::default, super::blobs);
}

#[test]
fn a_damaged_blob_is_told() {
    let store = MemoryStore::default();
    let hash = store.put(b"contents").expect("works");
    assert!(store.damage_blob(hash));
    assert!(matches!(BlobStore::get(&store, hash), Err(BlobError::Damaged { .. })));
}
