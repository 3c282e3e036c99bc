//! The conformance suite of logs, as all kinds of logs pass it, by a host for each handle. Each has connections of its own, as on another
//! machine.

use std::sync::Arc;

use ambrosia_core::Record;
use ambrosia_shared_log::{EngineStore, MemoryEngine, conformance};
use ambrosia_storage::{Store, conformance::Handles};

use ambrosia_test_database::Etcd;

use crate::support::{engine, open, open_with};

fn new_log(genesis: Record) -> Handles {
    match Etcd::begin(1, &[]) {
        Some(server) => conformance::handles(&genesis, move || Arc::new(engine(&server))),
        // It has said so. The suite is worth nothing then, and does no harm.
        None => {
            let memory = MemoryEngine::default();
            conformance::handles(&genesis, move || Arc::new(memory.clone()))
        }
    }
}

/// A store with its server, if there is one, and the directory of its cache.
struct Opened {
    store: EngineStore,
    _cache: tempfile::TempDir,
    _server: Option<Etcd>,
}

fn new_store() -> Opened {
    let server = Etcd::begin(1, &[]);
    let cache = tempfile::tempdir().expect("there is room");
    let store = match &server {
        Some(server) => {
            let engine = engine(server);
            let depot = engine.depot();
            open_with(Arc::new(engine), depot, cache.path())
        }
        None => open(Arc::new(MemoryEngine::default()), cache.path()),
    };
    Opened { store, _cache: cache, _server: server }
}

fn store(opened: &Opened) -> &dyn Store {
    &opened.store
}

mod log_of_one {
    ambrosia_storage::log_conformance!(super::new_log);
}

ambrosia_storage::store_conformance!(super::new_store, super::store);
