//! What is given at the start outweighs what was there before.

use ambrosia_tests::Cluster;

use super::{scenario::Scenario, workload::Workload};
use crate::support::{Replicas, cluster, fails, wait_for_status};

/// Moves an instance to a replica with an address of its own.
fn move_to(cluster: &Cluster, instance: &str, replicas: &mut Replicas<'_>, address: &str) {
    let added = replicas.add(&["--listen", &format!("{address}:0")]);
    replicas.host(added).wait_until_caught_up();
    replicas.kill_primary();
    wait_for_status(cluster, instance, |status| {
        status["primary"]["address"].as_str().is_some_and(|primary| primary.starts_with(address))
    });
}

#[test]
fn amb_override_options() {
    let cluster = cluster();
    let mut scenario = Scenario::start_held(&cluster, Workload::thirteen_rounds(), 1);
    scenario.wait_for_progress();
    cluster.must(&["add-replica", "--instance", "server", "--replica", "1"]);
    let wrong = ["run", "--instance", "server", "--replica", "1", "--listen", "192.0.2.1:7000"];
    fails(&cluster, &wrong, &["192.0.2.1:7000 is not a loopback address"]);
    move_to(&cluster, "server", &mut scenario.server, "127.0.0.2");
    scenario.wait_for_progress();
    move_to(&cluster, "job-1", &mut scenario.jobs[0], "127.0.0.3");
    scenario.check();
}
