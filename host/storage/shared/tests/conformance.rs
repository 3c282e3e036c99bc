//! The conformance suite of logs, on an engine in memory: by one host, by a host for each handle, and on an engine whose answers
//! are often lost.

mod support;

use std::sync::Arc;

use ambrosia_core::{InstanceUuid, Record};
use ambrosia_shared_log::{Engine, EngineHost, EngineLog, MemoryEngine, Request};
use ambrosia_storage::{LogStore, conformance::Handles};
use support::{Failure, Unsure, new_id};

const LOG: InstanceUuid = InstanceUuid([7; 16]);

fn new_host(engine: &Arc<dyn Engine>) -> Arc<EngineHost> {
    EngineHost::begin(Arc::clone(engine), new_id()).expect("there are threads")
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

/// How the engine fails whose answers are often lost.
fn failure(number: u64, request: &Request) -> Option<Failure> {
    let is_change = matches!(request, Request::Append { .. } | Request::Raise { .. } | Request::Release { .. });
    match number % 7 {
        2 if is_change => Some(Failure::Unheard),
        4 if is_change => Some(Failure::Lost),
        5 if is_change => Some(Failure::Refused),
        _ => None,
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
        super::handles(&genesis, false, |engine| Arc::new(super::Unsure::new(engine, super::failure)))
    }

    ambrosia_storage::log_conformance!(new_log);
}
