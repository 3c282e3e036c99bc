//! In a database nothing but beats tells that a process lives. That one has ended its connections show.

use ambrosia_test_database::Server;
use ambrosia_tests::{Cluster, Host, PATIENCE, Signal};
use serde_json::json;

use crate::support::cluster_on;

/// A counter with a primary and a standby in a database of its own, unless there is no PostgreSQL.
struct Counter {
    cluster: Cluster,
    primary: Host,
    standby: Host,
    _server: Server,
}

impl Counter {
    fn begin() -> Option<Counter> {
        let server = Server::begin(&[])?;
        let mut cluster = cluster_on(&server.url("shop"));
        cluster.register("counter", "counter", 2);
        let primary = cluster.start("counter", 0);
        primary.wait_until_primary();
        cluster.set_env("AMBROSIA_LOG", "info,ambrosia_host=debug");
        let standby = cluster.start("counter", 1);
        standby.wait_until_caught_up();
        let is_connected = |line: &str| line.contains("connected with a host");
        standby.stderr.wait_for(0, PATIENCE, is_connected).expect("it watches the primary");
        assert_eq!(cluster.send("counter", "add", json!([1])), json!(1));
        Some(Counter { cluster, primary, standby, _server: server })
    }

    /// Why the standby has taken over.
    fn why_taken_over(&self) -> String {
        self.standby.stderr.wait_for(0, PATIENCE, |line| line.contains("taking over")).expect("it takes over");
        self.standby.wait_until_primary();
        assert_eq!(self.cluster.send("counter", "add", json!([1])), json!(2));
        self.standby.stderr.all().into_iter().find(|line| line.contains("taking over")).expect("it was waited for")
    }
}

#[test]
fn a_primary_whose_process_was_killed_is_gone_before_it_was_silent() {
    let Some(mut counter) = Counter::begin() else { return };
    counter.primary.kill();
    let why = counter.why_taken_over();
    assert!(why.contains("the primary of epoch 1 is gone"), "{why}");
}

#[test]
fn a_primary_whose_process_was_stopped_is_silent() {
    let Some(counter) = Counter::begin() else { return };
    counter.primary.signal(Signal::Stop);
    let why = counter.why_taken_over();
    assert!(why.contains("the primary of epoch 1 is silent"), "{why}");
    counter.primary.signal(Signal::Continue);
}
