//! Messages of one size, of many, and of 64 MiB.

use super::{
    scenario::Scenario,
    workload::{Back, Workload},
};
use crate::support::cluster;

#[test]
fn amb_giant_message() {
    let cluster = cluster();
    Scenario::start(&cluster, Workload::descending(64 << 20, 2), 1).check();
}

/// After the first round the original draws the size of each at random.
#[test]
fn amb_fixed_message() {
    let cluster = cluster();
    Scenario::start(&cluster, Workload::of_sizes(&[32 << 10, 512, 8 << 10, 32, 2 << 10]), 1).check();
}

#[test]
fn js_pti_fixed_msg_size() {
    let cluster = cluster();
    Scenario::start_combined(&cluster, Workload::of_sizes(&[4 << 20; 2]).back(Back::Nothing)).check();
}

#[test]
fn js_pti_fixed_msg_size_bi_di() {
    let cluster = cluster();
    Scenario::start_combined(&cluster, Workload::of_sizes(&[64; 3])).check();
}
