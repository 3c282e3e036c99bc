//! Replicas of two versions of the engine behind one log: a change of the program without an outage, and what happens when nobody
//! knows whether both do the same.

use ambrosia_tests::{Cluster, Host};
use serde_json::{Value, json};

use crate::support::{Replicas, cluster, end, succeeds, wait_for_status};

/// A replica by the other engine.
fn start_other(cluster: &Cluster, replica: u16) -> Host {
    let replica = replica.to_string();
    let command = cluster.command_of("other-engine", &["run", "--instance", "counter", "--replica", &replica]);
    Host::start(command, |_| {}).expect("the program can be started")
}

fn add(cluster: &Cluster, total: u64) {
    assert_eq!(cluster.send("counter", "add", json!([1])), total);
}

/// A counter with so many replicas, of which the first runs and has counted to 1.
fn begin(cluster: &Cluster, replicas: u16) -> Host {
    cluster.register("counter", "counter", replicas);
    let first = cluster.start("counter", 0);
    first.wait_until_primary();
    add(cluster, 1);
    first
}

/// The engine of each reign, from the log.
fn engines(cluster: &Cluster) -> Vec<String> {
    let log = cluster.log("counter");
    let reigns = log.iter().filter(|record| record["kind"] == "epoch");
    reigns.map(|record| record["engine"].as_str().expect("it is told").to_owned()).collect()
}

fn has_no_primary(status: &Value) -> bool {
    status["replicas"].as_array().is_some_and(|all| all.iter().all(|replica| replica["role"] != "primary"))
}

#[test]
fn one_replica_after_the_other_gets_another_engine_and_back_while_the_instance_serves() {
    let cluster = cluster();
    let first = begin(&cluster, 2);
    let other = start_other(&cluster, 1);
    other.wait_for_word("runs another version of the engine");
    other.wait_for_word("agrees with that of the primary");
    add(&cluster, 2);
    end(first);
    other.wait_until_primary();
    add(&cluster, 3);
    let back = cluster.start("counter", 0);
    back.wait_for_word("agrees with that of the primary");
    add(&cluster, 4);
    let mut other = other;
    other.kill();
    back.wait_until_primary();
    add(&cluster, 5);
    let engines = engines(&cluster);
    assert_eq!(engines.len(), 3, "{engines:?}");
    assert!(engines[0] == engines[2] && engines[0] != engines[1], "{engines:?}");
    end(back);
    succeeds(&cluster, &["verify", "--instance", "counter"], &["digests there agree"]);
}

#[test]
fn whoever_can_not_know_whether_it_agrees_waits_for_a_replica_of_the_engine_that_reigned() {
    let cluster = cluster();
    let mut replicas = Replicas::of(&cluster, "counter", "counter", 1);
    cluster.must(&["add-replica", "--instance", "counter", "--replica", "1"]);
    add(&cluster, 1);
    replicas.kill_all();
    let other = start_other(&cluster, 1);
    other.wait_for_word("this replica can't take over");
    assert!(other.said().contains("--allow-engine-change"), "{}", other.said());
    wait_for_status(&cluster, "counter", has_no_primary);
    replicas.start(0);
    assert_eq!(replicas.next_reign().replica, 0);
    other.wait_for_word("agrees with that of the primary");
    add(&cluster, 2);
    replicas.kill_all();
    other.wait_until_primary();
    add(&cluster, 3);
}

#[test]
fn a_primary_that_hands_over_to_nobody_leaves_what_another_engine_can_compare_itself_with() {
    let cluster = cluster();
    let first = begin(&cluster, 1);
    end(first);
    let other = start_other(&cluster, 0);
    other.wait_until_primary();
    assert!(other.said().contains("agrees with that of the primary"), "{}", other.said());
    add(&cluster, 2);
}

#[test]
fn an_operator_gives_up_what_is_not_known_of_another_engine() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    let mut first = start_other(&cluster, 0);
    first.wait_until_primary();
    add(&cluster, 1);
    first.kill();
    let mut doubts = cluster.start("counter", 0);
    doubts.wait_for_word("this replica can't take over");
    doubts.kill();
    let forced = cluster.start_with("counter", 0, &["--allow-engine-change"], |_| {});
    forced.wait_until_primary();
    add(&cluster, 2);
}

/// The checkpoint is of a reign of the other engine; all before it is gone from the log.
#[test]
fn a_replica_begins_at_a_checkpoint_of_another_engine() {
    let cluster = cluster();
    let mut first = begin(&cluster, 2);
    (2..=20).for_each(|total| add(&cluster, total));
    cluster.must(&["checkpoint", "--instance", "counter"]);
    add(&cluster, 21);
    let other = start_other(&cluster, 1);
    other.wait_for_word("restored a checkpoint");
    other.wait_for_word("agrees with that of the primary");
    first.kill();
    other.wait_until_primary();
    add(&cluster, 22);
}
