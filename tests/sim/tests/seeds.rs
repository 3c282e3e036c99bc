//! Fixed seeds, fresh ones, and that a seed is all that a run depends on.
//!
//! A bug that the simulator finds gets an entry in the list of deliberate bugs (`src/bin/bugs.rs`), which says for good
//! that it is found again; a seed says that only until a run is drawn in another way.

use std::{ops::Range, rc::Rc};

use ambrosia_sim::{Counts, EngineOptions, EngineReport, Options, Report, models, run, run_engine};

/// Seeds 0 to this, always.
const FIXED: u64 = 300;
/// As many that nobody has run before.
const FRESH: u64 = 300;

/// As many seeds, which are told in the output.
fn fresh() -> Range<u64> {
    let first = std::time::UNIX_EPOCH.elapsed().expect("it is later than 1970").as_nanos() as u64 >> 10;
    println!("from seed {first} on");
    first..first + FRESH
}

fn hold(seed: u64, traced: bool) -> Report {
    let options = Options::draw(seed);
    run(seed, &options, Rc::new(models()), traced).unwrap_or_else(|failure| {
        panic!("seed {seed}: {failure}\n{options}\nsee it with `make vopr SEED={seed}`");
    })
}

fn hold_engine(seed: u64, traced: bool) -> EngineReport {
    let options = EngineOptions::draw(seed);
    run_engine(seed, &options, traced).unwrap_or_else(|failure| {
        panic!("seed {seed}: {failure}\n{options}\nsee it with `make vopr ENGINE=1 SEED={seed}`");
    })
}

#[test]
fn every_promise_holds_for_fixed_seeds_and_every_fault_comes_up_in_them() {
    let mut counts = Counts::default();
    for seed in 0..FIXED {
        counts.add(&hold(seed, false).counts);
    }
    assert_eq!(counts.missing(), [""; 0], "what never happened was not tested: {counts:#?}");
}

#[test]
fn every_promise_holds_for_fresh_seeds() {
    for seed in fresh() {
        hold(seed, false);
    }
}

#[test]
fn a_seed_is_all_that_a_run_depends_on() {
    for seed in 0..20 {
        let first = hold(seed, true);
        assert_eq!(first, hold(seed, true), "seed {seed}: the second run did something else");
        assert!(!first.trace.is_empty());
    }
}

#[test]
fn two_seeds_give_two_runs() {
    assert_ne!(hold(1, false).fingerprint, hold(2, false).fingerprint);
}

#[test]
fn every_promise_of_a_log_on_an_engine_holds_for_fixed_seeds_and_every_fault_comes_up_in_them() {
    let mut counts = std::collections::BTreeMap::new();
    for seed in 0..FIXED {
        for (name, count) in hold_engine(seed, false).counts {
            *counts.entry(name).or_insert(0) += count;
        }
    }
    let missing: Vec<_> = counts.iter().filter(|(_, count)| **count == 0).collect();
    assert_eq!(missing, [], "what never happened was not tested: {counts:#?}");
}

#[test]
fn every_promise_of_a_log_on_an_engine_holds_for_fresh_seeds() {
    for seed in fresh() {
        hold_engine(seed, false);
    }
}

#[test]
fn a_seed_is_all_that_a_run_on_an_engine_depends_on() {
    for seed in 0..20 {
        let first = hold_engine(seed, true);
        assert_eq!(first, hold_engine(seed, true), "seed {seed}: the second run did something else");
        assert!(!first.trace.is_empty());
    }
}
