//! The conformance suite against the stores in memory.

use std::sync::Arc;

use ambrosia_core::Record;

use crate::{BlobError, LogStore, MemoryLog, MemoryStore, Store, conformance::Handles};

fn new_log(genesis: Record) -> Handles {
    let log = MemoryLog::new(genesis);
    Box::new(move || Arc::new(log.clone()) as Arc<dyn LogStore>)
}

fn store(store: &MemoryStore) -> &dyn Store {
    store
}

mod log {
    crate::log_conformance!(super::new_log);
}

crate::store_conformance!(crate::MemoryStore::default, super::store);
crate::heartbeat_conformance!(crate::MemoryStore::default, super::store);

#[test]
fn a_damaged_blob_is_told() {
    let store = MemoryStore::default();
    let hash = store.blobs().put(b"contents").expect("works");
    assert!(store.damage_blob(hash));
    assert!(matches!(store.blobs().get(hash), Err(BlobError::Damaged { .. })));
}
