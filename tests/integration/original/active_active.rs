//! The active-active group: replicas die, and others are there.

use ambrosia_tests::Cluster;
use serde_json::json;

use super::{
    scenario::Scenario,
    workload::{Back, Workload},
};
use crate::support::{Replicas, cluster, role, wait_for_status};

/// A server of three replicas and a job, somewhere in the middle.
fn start(cluster: &Cluster, workload: Workload) -> Scenario<'_> {
    let scenario = Scenario::start_held(cluster, workload, 3);
    scenario.wait_for_progress();
    scenario
}

/// Gives the job three replicas too.
fn add_standbys_of_job(scenario: &mut Scenario<'_>) {
    for _ in 0..2 {
        let standby = scenario.jobs[0].add(&[]);
        scenario.jobs[0].host(standby).wait_until_caught_up();
    }
}

/// Kills the primary; the dead replica comes back as a standby.
fn kill_primary(replicas: &mut Replicas<'_>) {
    let dead = replicas.kill_primary();
    replicas.start_standby(dead);
    assert_eq!(replicas.reign().epoch, 2, "it took nothing back");
}

#[test]
fn unit_test_basic_active_active_kill_primary() {
    let cluster = cluster();
    let mut scenario = start(&cluster, Workload::of_sizes(&[2500; 3]));
    kill_primary(&mut scenario.server);
    scenario.check();
}

#[test]
fn amb_active_active_kill_primary() {
    let cluster = cluster();
    let mut scenario = start(&cluster, Workload::thirteen_rounds());
    kill_primary(&mut scenario.server);
    scenario.wait_for_progress();
    let primary = scenario.server.primary();
    let status = wait_for_status(&cluster, "server", |status| role(status, 0) == "standby");
    assert_eq!((&status["epoch"], role(&status, primary).as_str()), (&json!(2), "primary"));
    scenario.check();
}

#[test]
fn js_pti_active_active_kill_primary() {
    let cluster = cluster();
    let mut scenario = start(&cluster, Workload::thirteen_rounds().back(Back::Nothing));
    kill_primary(&mut scenario.server);
    scenario.check();
}

#[test]
fn amb_active_active_kill_secondary() {
    let cluster = cluster();
    let mut scenario = start(&cluster, Workload::thirteen_rounds());
    scenario.server.kill(2);
    scenario.wait_for_progress();
    scenario.server.start_standby(2);
    scenario.wait_for_progress();
    assert_eq!(scenario.server.reign().epoch, 1, "the primary was not disturbed");
    scenario.check();
}

/// There is no such role here: any standby does what the checkpointer does.
#[test]
fn amb_active_active_kill_secondary_and_check_pointer() {
    let cluster = cluster();
    let mut scenario = start(&cluster, Workload::thirteen_rounds());
    [1, 2].into_iter().for_each(|replica| scenario.server.kill(replica));
    scenario.wait_for_progress();
    [1, 2].into_iter().for_each(|replica| scenario.server.start_standby(replica));
    scenario.wait_for_progress();
    assert_eq!(scenario.server.reign().epoch, 1, "the primary was not disturbed");
    scenario.check();
}

#[test]
fn amb_active_active_kill_client_and_server() {
    let cluster = cluster();
    let mut scenario = start(&cluster, Workload::thirteen_rounds());
    add_standbys_of_job(&mut scenario);
    kill_primary(&mut scenario.jobs[0]);
    kill_primary(&mut scenario.server);
    scenario.check();
}

#[test]
fn amb_active_active_kill_all() {
    let cluster = cluster();
    let mut scenario = start(&cluster, Workload::thirteen_rounds());
    add_standbys_of_job(&mut scenario);
    scenario.jobs[0].kill_all();
    scenario.server.kill_all();
    for replicas in scenario.jobs.iter_mut().chain([&mut scenario.server]) {
        (0..3).for_each(|replica| replicas.start(replica));
        replicas.next_reign();
    }
    scenario.check();
}

#[test]
fn amb_active_active_add_node_before_kill_primary() {
    let cluster = cluster();
    let mut scenario = start(&cluster, Workload::thirteen_rounds());
    let added = scenario.server.add(&[]);
    scenario.server.host(added).wait_until_caught_up();
    for _ in 0..2 {
        scenario.server.kill_primary();
        scenario.wait_for_progress();
    }
    scenario.check();
}
