//! The conformance suite of logs, on an engine in memory: by one host, by a host for each handle, and on an engine whose answers
//! are often lost.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use ambrosia_core::{InstanceUuid, Record};
use ambrosia_shared_log::{
    Answering, Engine, EngineFacts, EngineHost, EngineLog, Fault, HostId, Lane, MemoryEngine, Request,
};
use ambrosia_storage::{LogStore, conformance::Handles};

const LOG: InstanceUuid = InstanceUuid([7; 16]);

/// Another one for each host.
fn new_host(engine: &Arc<dyn Engine>) -> Arc<EngineHost> {
    static HOSTS: AtomicU64 = AtomicU64::new(0);
    let mut me = [0; 16];
    me[..8].copy_from_slice(&HOSTS.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    EngineHost::begin(Arc::clone(engine), HostId(me)).expect("there are threads")
}

fn handles(genesis: &Record, is_one_host: bool, over: impl FnOnce(MemoryEngine) -> Arc<dyn Engine>) -> Handles {
    let memory = MemoryEngine::default();
    let log = memory.create(LOG, genesis);
    let engine = over(memory);
    let first = new_host(&engine);
    Box::new(move || {
        let host = if is_one_host { Arc::clone(&first) } else { new_host(&engine) };
        Arc::new(EngineLog::new(host, log)) as Arc<dyn LogStore>
    })
}

/// An engine that fails often, and says of what it did that it does not know.
struct Unsure {
    engine: MemoryEngine,
    asked: Mutex<u64>,
}

impl Engine for Unsure {
    fn ask(&self, lane: Lane, request: Request, answer: Answering) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        *asked += 1;
        let number = *asked;
        drop(asked);
        let is_change = matches!(request, Request::Append { .. } | Request::Raise { .. } | Request::Release { .. });
        match number % 7 {
            2 if is_change => {
                self.engine.ask(lane, request, Box::new(|_| ()));
                answer(Err(Fault::Unknown("the connection was cut after it was done".to_owned())));
            }
            4 if is_change => answer(Err(Fault::Unknown("the connection was cut before it was done".to_owned()))),
            5 if is_change => answer(Err(Fault::Unavailable("the connection was refused".to_owned()))),
            _ => self.engine.ask(lane, request, answer),
        }
    }

    fn facts(&self) -> EngineFacts {
        self.engine.facts()
    }
}

mod by_one_host {
    fn new_log(genesis: ambrosia_core::Record) -> ambrosia_storage::conformance::Handles {
        super::handles(&genesis, true, |engine| std::sync::Arc::new(engine))
    }

    ambrosia_storage::log_conformance!(new_log);
}

mod by_a_host_for_each_handle {
    fn new_log(genesis: ambrosia_core::Record) -> ambrosia_storage::conformance::Handles {
        super::handles(&genesis, false, |engine| std::sync::Arc::new(engine))
    }

    ambrosia_storage::log_conformance!(new_log);
}

mod on_an_engine_that_is_unsure {
    use std::sync::Arc;

    fn new_log(genesis: ambrosia_core::Record) -> ambrosia_storage::conformance::Handles {
        super::handles(&genesis, false, |engine| Arc::new(super::Unsure { engine, asked: 0.into() }))
    }

    ambrosia_storage::log_conformance!(new_log);
}
