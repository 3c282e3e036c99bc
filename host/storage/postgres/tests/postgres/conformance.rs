//! The conformance suite of logs, as all kinds of logs pass it, by a host for each handle. Each has connections of its own, as on another
//! machine.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use ambrosia_core::Record;
use ambrosia_shared_log::{Engine, EngineHost, EngineLog, HostId, MemoryEngine};
use ambrosia_storage::{LogId, LogStore, conformance::Handles};

use crate::support::{Server, log};

const LOG: u8 = 7;

/// Another one for each host.
fn new_host(engine: Arc<dyn Engine>) -> Arc<EngineHost> {
    static HOSTS: AtomicU64 = AtomicU64::new(0);
    let mut me = [0; 16];
    me[..8].copy_from_slice(&HOSTS.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    EngineHost::begin(engine, HostId(me)).expect("there are threads")
}

fn new_log(genesis: Record) -> Handles {
    let LogId(uuid) = log(LOG);
    let Some(server) = Server::begin(&[]) else {
        // It has said so. The suite is worth nothing then, and does no harm.
        let memory = MemoryEngine::default();
        let log = memory.create(uuid, &genesis);
        let engine: Arc<dyn Engine> = Arc::new(memory);
        return Box::new(move || Arc::new(EngineLog::new(new_host(Arc::clone(&engine)), log)) as Arc<dyn LogStore>);
    };
    server.engine().create_log(log(LOG), &genesis).expect("the server is there");
    Box::new(move || {
        let host = new_host(Arc::new(server.engine()));
        Arc::new(EngineLog::new(host, log(LOG))) as Arc<dyn LogStore>
    })
}

ambrosia_storage::log_conformance!(new_log);
