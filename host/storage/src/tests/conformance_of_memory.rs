//! The conformance suite against the stores in memory.

use std::sync::Arc;

use ambrosia_core::Record;

use crate::{BlobError, BlobStore, LogStore, MemoryLog, MemoryStore, conformance::Handles};

fn new_log(genesis: Record) -> Handles {
    let log = MemoryLog::new(genesis);
    Box::new(move || Arc::new(log.clone()) as Arc<dyn LogStore>)
}

mod log {
    crate::log_conformance!(super::new_log);
}

mod registry {
    crate::registry_conformance!(Box::<crate::MemoryStore>::default);
}

mod blobs {
    crate::blob_conformance!(Box::<crate::MemoryStore>::default);
}

#[test]
fn a_damaged_blob_is_told() {
    let store = MemoryStore::default();
    let hash = store.put(b"contents").expect("works");
    assert!(store.damage_blob(hash));
    assert!(matches!(BlobStore::get(&store, hash), Err(BlobError::Damaged { .. })));
}
