//! What the tests ask of an engine on a server of their own.

use ambrosia_etcd::{EtcdEngine, EtcdPlace};
pub(crate) use ambrosia_shared_log::conformance::{
    append, ask, create, genesis, group, log, open, open_with, position, read,
};
use ambrosia_test_database::Etcd;

pub(crate) fn place(server: &Etcd) -> EtcdPlace {
    EtcdPlace::read(&server.url("shop")).expect("it is a URL")
}

/// An engine, with its store.
pub(crate) fn engine(server: &Etcd) -> EtcdEngine {
    EtcdEngine::create(&place(server)).expect("a store can be made");
    EtcdEngine::open(place(server)).expect("it is there")
}
