//! An instance moves to another process while it runs: the newcomer follows, and the old one is asked to hand over.

use ambrosia_tests::Signal;

use super::{
    scenario::Scenario,
    workload::{Back, Workload},
};
use crate::support::{Replicas, cluster};

/// Moves to a process of its own, and ends the one before.
fn migrate(replicas: &mut Replicas<'_>) {
    let old = replicas.primary();
    let new = replicas.add(&[]);
    replicas.host(new).wait_until_caught_up();
    replicas.host(old).signal(Signal::Terminate);
    assert_eq!(replicas.next_reign().replica, new);
    assert_eq!(replicas.wait_for_end(old).0, 0);
}

#[test]
fn amb_migrate_client() {
    let cluster = cluster();
    let mut scenario = Scenario::start_held(&cluster, Workload::thirteen_rounds(), 1);
    scenario.wait_for_progress();
    migrate(&mut scenario.jobs[0]);
    scenario.wait_for_progress();
    migrate(&mut scenario.server);
    scenario.check();
}

#[test]
fn js_pti_migrate_client() {
    let cluster = cluster();
    let workload = Workload::thirteen_rounds().back(Back::Nothing);
    let mut scenario = Scenario::start_combined_held(&cluster, workload);
    for _ in 0..2 {
        scenario.wait_for_progress();
        migrate(&mut scenario.server);
    }
    scenario.check();
}
