//! Large states in checkpoints, and recovery from the latest one.

use ambrosia_tests::Cluster;
use serde_json::json;

use super::{
    scenario::Scenario,
    workload::{Back, Workload},
};
use crate::support::cluster;

/// What the state is padded by: as much as in the original's tests of JavaScript. Those of C# take 2 GB, which is for a
/// machine that is not shared.
const PADDING_BYTES: u64 = 100_000_000;

/// Deaths of a server.
const ROUNDS: usize = 2;

/// Makes the state of the server large.
fn pad(cluster: &Cluster) {
    assert_eq!(cluster.send("server", "pad", json!([PADDING_BYTES])), PADDING_BYTES);
}

/// Has a checkpoint taken while jobs send, and kills the server; it must go on from there.
fn check_point_and_restart(cluster: &Cluster, scenario: &mut Scenario<'_>) {
    for _ in 0..ROUNDS {
        scenario.wait_for_progress();
        cluster.must(&["checkpoint", "--instance", "server"]);
        scenario.wait_for_progress();
        scenario.server.restart(0);
        scenario.server.next_reign();
        scenario.server.host(0).wait_for_word("restored a checkpoint");
    }
}

#[test]
fn amb_giant_check_point() {
    let cluster = cluster();
    let mut scenario = Scenario::start_held(&cluster, Workload::thirteen_rounds(), 1);
    pad(&cluster);
    check_point_and_restart(&cluster, &mut scenario);
    scenario.check();
}

#[test]
fn js_pti_giant_check_point() {
    let cluster = cluster();
    let mut scenario = Scenario::start_combined_held(&cluster, Workload::of_sizes(&[4096; 3]).back(Back::Nothing));
    pad(&cluster);
    check_point_and_restart(&cluster, &mut scenario);
    scenario.check();
}

#[test]
fn js_pti_giant_check_point_bi_di() {
    let cluster = cluster();
    let mut scenario = Scenario::start_combined_held(&cluster, Workload::of_sizes(&[64; 3]).back(Back::Echoes));
    pad(&cluster);
    check_point_and_restart(&cluster, &mut scenario);
    scenario.check();
}

/// Calls are under way at the checkpoint, and their answers come after it.
#[test]
fn amb_async_replay_latest() {
    let cluster = cluster();
    let mut scenario = Scenario::start_held(&cluster, Workload::of_sizes(&[256; 3]).back(Back::Answers), 1);
    scenario.wait_for_progress();
    cluster.must(&["checkpoint", "--instance", "job-1"]);
    scenario.wait_for_progress();
    scenario.jobs[0].restart(0);
    scenario.jobs[0].next_reign();
    scenario.jobs[0].host(0).wait_for_word("restored a checkpoint");
    scenario.wait_for_progress();
    scenario.check();
}
