//! Jobs and servers die and are started again.

use ambrosia_tests::Cluster;

use super::{
    scenario::Scenario,
    workload::{Back, Workload},
};
use crate::support::cluster;

#[test]
fn unit_test_basic_restart_end_to_end() {
    let cluster = cluster();
    let mut scenario = Scenario::start_held(&cluster, Workload::of_sizes(&[1024; 4]), 1);
    scenario.wait_for_progress();
    scenario.server.restart(0);
    scenario.check();
}

#[test]
fn amb_kill_job() {
    let cluster = cluster();
    let mut scenario = Scenario::start_held(&cluster, Workload::thirteen_rounds(), 1);
    for _ in 0..2 {
        scenario.wait_for_progress();
        scenario.jobs[0].restart(0);
    }
    scenario.check();
}

#[test]
fn amb_kill_server() {
    let cluster = cluster();
    let mut scenario = Scenario::start_held(&cluster, Workload::thirteen_rounds(), 1);
    scenario.wait_for_progress();
    scenario.server.restart(0);
    scenario.check();
}

/// A job and a server of which both are dead.
fn start_and_kill_both(cluster: &Cluster) -> Scenario<'_> {
    let mut scenario = Scenario::start_held(cluster, Workload::thirteen_rounds(), 1);
    scenario.wait_for_progress();
    scenario.jobs[0].kill(0);
    scenario.server.kill(0);
    scenario
}

#[test]
fn amb_double_kill_restart_job_first() {
    let cluster = cluster();
    let mut scenario = start_and_kill_both(&cluster);
    scenario.jobs[0].start(0);
    scenario.jobs[0].next_reign();
    scenario.server.start(0);
    scenario.check();
}

#[test]
fn amb_double_kill_restart_server_first() {
    let cluster = cluster();
    let mut scenario = start_and_kill_both(&cluster);
    scenario.server.start(0);
    scenario.server.next_reign();
    scenario.jobs[0].start(0);
    scenario.check();
}

/// The original is a soak of hours, with the victims drawn at random.
#[test]
fn amb_mtf_kill_persist() {
    let cluster = cluster();
    let mut scenario = Scenario::start_held(&cluster, Workload::thirteen_rounds(), 1);
    let (job, server) = ([true, false], [false, true]);
    for victims in [job, server, [true; 2], server, job, [true; 2], job, server] {
        scenario.wait_for_progress();
        let both = scenario.jobs.iter_mut().chain([&mut scenario.server]);
        let mut dead: Vec<_> = both.zip(victims).filter_map(|(replicas, dies)| dies.then_some(replicas)).collect();
        dead.iter_mut().for_each(|replicas| replicas.kill(0));
        dead.iter_mut().for_each(|replicas| replicas.start(0));
    }
    scenario.check();
}

#[test]
fn js_pti_basic_restart_end_to_end() {
    let cluster = cluster();
    let workload = Workload::of_sizes(&[64; 5]).back(Back::Nothing);
    let mut scenario = Scenario::start_combined_held(&cluster, workload);
    scenario.wait_for_progress();
    scenario.server.restart(0);
    scenario.check();
}

#[test]
fn js_pti_basic_restart_end_to_end_bi_di() {
    let cluster = cluster();
    let mut scenario = Scenario::start_combined_held(&cluster, Workload::thirteen_rounds());
    scenario.wait_for_progress();
    scenario.server.restart(0);
    scenario.check();
}

#[test]
fn js_pti_restart_after_finishes_bi_di() {
    let cluster = cluster();
    let mut scenario = Scenario::start(&cluster, Workload::descending(32 << 10, 3), 1);
    scenario.wait_for_end();
    for replicas in scenario.jobs.iter_mut().chain([&mut scenario.server]) {
        replicas.restart(0);
        replicas.next_reign();
    }
    scenario.check_again();
}
