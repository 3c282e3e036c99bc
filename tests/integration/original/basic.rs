//! Nobody dies.

use super::{
    scenario::Scenario,
    workload::{Back, Workload},
};
use crate::support::cluster;

#[test]
fn unit_test_basic_end_to_end() {
    let cluster = cluster();
    Scenario::start(&cluster, Workload::of_sizes(&[1024]), 1).check();
}

#[test]
fn amb_basic() {
    let cluster = cluster();
    Scenario::start(&cluster, Workload::descending(32 << 10, 3), 1).check();
}

#[test]
fn amb_not_bi_di() {
    let cluster = cluster();
    Scenario::start(&cluster, Workload::thirteen_rounds().back(Back::Nothing), 1).check();
}

#[test]
fn amb_start_imm_coord_last() {
    let cluster = cluster();
    Scenario::start_server_last(&cluster, Workload::thirteen_rounds()).check();
}

#[test]
fn amb_multiple_clients_per_server() {
    let cluster = cluster();
    Scenario::start(&cluster, Workload::descending(64 << 10, 3).jobs(4), 1).check();
}

#[test]
fn js_pti_basic_end_to_end() {
    let cluster = cluster();
    Scenario::start_combined(&cluster, Workload::thirteen_rounds().back(Back::Nothing)).check();
}

#[test]
fn js_pti_basic_end_to_end_bi_di() {
    let cluster = cluster();
    Scenario::start_combined(&cluster, Workload::thirteen_rounds()).check();
}
