//! The conformance suite against the stores on files, with segments as they are and with very small ones.

use ambrosia_core::Record;
use tempfile::TempDir;

use super::support::{Fixture, SMALL};
use crate::{BlobError, FileLogOptions, FileStore, Store, conformance::Handles};

fn new_log(genesis: Record) -> Handles {
    Fixture::with(FileLogOptions::default(), &genesis).into_handles()
}

fn new_small_log(genesis: Record) -> Handles {
    Fixture::with(SMALL, &genesis).into_handles()
}

/// An empty store with its directory.
struct Empty {
    store: FileStore,
    directory: TempDir,
}

fn empty() -> Empty {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = FileStore::create_or_open(directory.path()).expect("works");
    Empty { store, directory }
}

fn store(empty: &Empty) -> &dyn Store {
    &empty.store
}

mod log {
    crate::log_conformance!(super::new_log);
}

mod log_of_small_segments {
    crate::log_conformance!(super::new_small_log);
}

crate::store_conformance!(super::empty, super::store);
crate::heartbeat_conformance!(super::empty, super::store);

#[test]
fn a_damaged_blob_is_told_and_putting_it_again_repairs_it() {
    let Empty { store, directory } = empty();
    let hash = store.blobs().put(b"contents").expect("works");
    std::fs::write(directory.path().join("blobs").join(hash.to_string()), b"other").expect("works");
    let damaged = store.blobs().get(hash).expect_err("it was changed");
    assert!(matches!(damaged, BlobError::Damaged { .. }), "{damaged}");
    assert!(damaged.to_string().contains(&hash.to_string()));
    store.blobs().put(b"contents").expect("works");
    assert_eq!(store.blobs().get(hash).expect("repaired"), b"contents");
}
