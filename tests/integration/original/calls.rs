//! Each message is a call whose answer is awaited: the original's async methods, which it withdrew, and its post
//! methods.

use super::{
    scenario::Scenario,
    workload::{Back, Workload},
};
use crate::support::cluster;

fn calls() -> Workload {
    Workload::descending(8 << 10, 8).back(Back::Answers)
}

#[test]
fn amb_async_basic() {
    let cluster = cluster();
    Scenario::start(&cluster, calls(), 1).check();
}

#[test]
fn amb_async_kill_job() {
    let cluster = cluster();
    let mut scenario = Scenario::start_held(&cluster, calls(), 1);
    for _ in 0..2 {
        scenario.wait_for_progress();
        scenario.jobs[0].restart(0);
    }
    scenario.check();
}

#[test]
fn amb_async_kill_server() {
    let cluster = cluster();
    let mut scenario = Scenario::start_held(&cluster, calls(), 1);
    scenario.wait_for_progress();
    scenario.server.restart(0);
    scenario.check();
}

#[test]
fn amb_async_active_active_basic() {
    let cluster = cluster();
    let mut scenario = Scenario::start_held(&cluster, calls(), 3);
    scenario.wait_for_progress();
    let dead = scenario.server.kill_primary();
    scenario.server.start_standby(dead);
    scenario.check();
}

#[test]
fn amb_async_active_active_kill_all() {
    let cluster = cluster();
    let mut scenario = Scenario::start_held(&cluster, calls(), 3);
    scenario.wait_for_progress();
    scenario.jobs[0].add(&[]);
    scenario.jobs[0].kill_all();
    scenario.server.kill_all();
    (0..2).for_each(|replica| scenario.jobs[0].start(replica));
    (0..3).for_each(|replica| scenario.server.start(replica));
    scenario.jobs[0].next_reign();
    scenario.server.next_reign();
    scenario.check();
}

#[test]
fn js_pti_basic_end_to_end_post_meth() {
    let cluster = cluster();
    Scenario::start_combined(&cluster, calls()).check();
}

#[test]
fn js_pti_basic_restart_end_to_end_post_meth() {
    let cluster = cluster();
    let mut scenario = Scenario::start_combined_held(&cluster, calls());
    scenario.wait_for_progress();
    scenario.server.restart(0);
    scenario.check();
}
