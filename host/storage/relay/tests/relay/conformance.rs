//! The conformance suites of engines, logs and stores, through a host whose engine is in memory.

use std::sync::Arc;

use ambrosia_core::Record;
use ambrosia_relay::{RelayEngine, RelayPlace};
use ambrosia_shared_log::{Connected, Depot, EngineStore, EngineUrl, MemoryEngine, conformance};
use ambrosia_storage::{Store, StoreRight, conformance::Handles};

use crate::support::{Host, Manner, url};

fn host(depot: Option<Arc<dyn Depot>>) -> Host {
    Host::begin(Arc::new(MemoryEngine::default()), depot, "store", Manner::Relay(StoreRight::Change))
}

fn place(host: &Host) -> RelayPlace {
    RelayPlace::read(&url(&[host])).expect("it is a URL")
}

#[test]
fn each_request_does_what_it_does_to_rows_in_memory() {
    let host = host(None);
    let engine = RelayEngine::open(place(&host)).expect("it is there");
    conformance::each_request_does_what_it_does_to_rows_in_memory(&engine);
}

#[test]
fn who_was_deposed_appends_nothing() {
    let host = host(None);
    let engine = RelayEngine::open(place(&host)).expect("it is there");
    conformance::who_was_deposed_appends_nothing_even_where_the_log_was_trimmed(&engine);
}

/// Each handle has a connection of its own, as on another machine.
fn new_log(genesis: Record) -> Handles {
    let host = host(None);
    conformance::handles(&genesis, move || Arc::new(RelayEngine::open(place(&host)).expect("it is there")))
}

mod log_of_one {
    ambrosia_storage::log_conformance!(super::new_log);
}

/// A store with its host, and the directory of its cache.
struct Opened {
    store: EngineStore,
    _cache: tempfile::TempDir,
    _host: Host,
}

fn opened(host: Host) -> Opened {
    let cache = tempfile::tempdir().expect("there is room");
    let Connected { engine, depot, me, .. } = place(&host).connect().expect("it is there");
    let begun = EngineStore::begin_with(engine, depot, me, cache.path().join("cache"));
    Opened { store: begun.expect("there are threads"), _cache: cache, _host: host }
}

fn store(opened: &Opened) -> &dyn Store {
    &opened.store
}

mod on_an_engine {
    fn new() -> super::Opened {
        super::opened(super::host(None))
    }

    ambrosia_storage::store_conformance!(super::new, super::super::store);
}

mod with_a_depot {
    fn new() -> super::Opened {
        super::opened(super::host(Some(std::sync::Arc::<crate::support::Shelf>::default())))
    }

    ambrosia_storage::store_conformance!(super::new, super::super::store);
}
