//! The conformance suite of logs, as all kinds of logs pass it, by a host for each handle. Each has connections of its own, as on another
//! machine.

use std::sync::Arc;

use ambrosia_core::Record;
use ambrosia_shared_log::{Engine, EngineHost, EngineLog, EngineStore, MemoryEngine};
use ambrosia_storage::{LogId, LogStore, Store, conformance::Handles};

use ambrosia_test_database::Etcd;

use crate::support::{create, engine, log, new_id, open};

const LOG: u8 = 7;

fn new_host(engine: Arc<dyn Engine>) -> Arc<EngineHost> {
    EngineHost::begin(engine, new_id()).expect("there are threads")
}

fn new_log(genesis: Record) -> Handles {
    let LogId(uuid) = log(LOG);
    let Some(server) = Etcd::begin(1, &[]) else {
        // It has said so. The suite is worth nothing then, and does no harm.
        let memory = MemoryEngine::default();
        let log = memory.create(uuid, &genesis);
        let engine: Arc<dyn Engine> = Arc::new(memory);
        return Box::new(move || Arc::new(EngineLog::new(new_host(Arc::clone(&engine)), log)) as Arc<dyn LogStore>);
    };
    create(&engine(&server), log(LOG), &genesis);
    Box::new(move || {
        let host = new_host(Arc::new(engine(&server)));
        Arc::new(EngineLog::new(host, log(LOG))) as Arc<dyn LogStore>
    })
}

/// A store with its server, if there is one, and the directory of its cache.
struct Opened {
    store: EngineStore,
    _cache: tempfile::TempDir,
    _server: Option<Etcd>,
}

fn new_store() -> Opened {
    let server = Etcd::begin(1, &[]);
    let engine: Arc<dyn Engine> = match &server {
        Some(server) => Arc::new(engine(server)),
        None => Arc::new(MemoryEngine::default()),
    };
    let cache = tempfile::tempdir().expect("there is room");
    Opened { store: open(engine, cache.path()), _cache: cache, _server: server }
}

fn store(opened: &Opened) -> &dyn Store {
    &opened.store
}

mod log_of_one {
    ambrosia_storage::log_conformance!(super::new_log);
}

ambrosia_storage::store_conformance!(super::new_store, super::store);
