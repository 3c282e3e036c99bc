//! Makes a run that fails smaller: no checkpoints, fewer kinds of faults, a shorter storm, fewer instances.

use std::rc::Rc;

use crate::{
    options::{MILLISECOND, Options},
    run::run,
    sim::MakeGuest,
};

/// Rounds of halving the storm.
const HALVINGS: u32 = 8;

/// Looks for the least that still fails; what fails need not be the same. Returns that, and how many runs it took.
pub fn shrink(seed: u64, options: &Options, make_guest: &Rc<MakeGuest>) -> (Options, u32) {
    let mut runs = 0;
    let mut smallest = options.clone();
    let mut try_it = |candidate: Options, smallest: &mut Options| {
        runs += 1;
        let failed = run(seed, &candidate, Rc::clone(make_guest), false).is_err();
        if failed {
            *smallest = candidate;
        }
        failed
    };
    if smallest.checkpoints.is_some() {
        try_it(Options { checkpoints: None, ..smallest.clone() }, &mut smallest);
    }
    for kind in options.faults.clone() {
        let mut candidate = smallest.clone();
        candidate.faults.retain(|other| *other != kind);
        try_it(candidate, &mut smallest);
    }
    for _ in 0..HALVINGS {
        let millis = smallest.storm / MILLISECOND;
        let candidate = Options { storm: millis / 2 * MILLISECOND, ..smallest.clone() };
        if !try_it(candidate, &mut smallest) {
            let candidate = Options { storm: millis * 3 / 4 * MILLISECOND, ..smallest.clone() };
            if !try_it(candidate, &mut smallest) {
                break;
            }
        }
    }
    for instances in 2..smallest.instances {
        let candidate = Options { instances, machines: smallest.machines.min(instances), ..smallest.clone() };
        if try_it(candidate, &mut smallest) {
            break;
        }
    }
    (smallest, runs)
}
