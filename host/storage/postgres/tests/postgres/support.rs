//! What the tests ask of an engine on a server of their own.

use ambrosia_postgres::{PostgresEngine, PostgresPlace};
pub(crate) use ambrosia_shared_log::conformance::{append, ask, create, genesis, group, log, open, position};
use ambrosia_test_database::Server;

pub(crate) fn place(server: &Server) -> PostgresPlace {
    PostgresPlace::read(&server.url("shop")).expect("it is a URL")
}

/// An engine, with its tables.
pub(crate) fn engine(server: &Server) -> PostgresEngine {
    PostgresEngine::create(&place(server)).expect("tables can be made");
    PostgresEngine::open(place(server)).expect("they are there")
}
