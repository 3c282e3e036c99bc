//! A database that commits nothing for a while, since its standby is gone: whoever waits for it is there when it does again.

use ambrosia_test_database::Server;
use serde_json::json;

use crate::support::cluster_on;

#[test]
fn a_standby_outlives_a_takeover_that_the_database_does_not_commit() {
    let Some(server) = Server::begin(&[]) else { return };
    let cluster = cluster_on(&server.url("app"));
    cluster.register("counter", "counter", 2);
    let mut first = cluster.start("counter", 0);
    first.wait_until_primary();
    let mut second = cluster.start("counter", 1);
    second.wait_until_caught_up();
    assert_eq!(cluster.send("counter", "add", json!([3])), 3);
    server.set("synchronous_standby_names", "nobody");
    first.kill();
    second.wait_for_word("can't take over while the log can't be reached");
    assert_eq!(second.has_ended(), None, "{}", second.said());
    server.set("synchronous_standby_names", "");
    second.wait_until_primary();
    assert_eq!(cluster.send("counter", "add", json!([4])), 7);
}
