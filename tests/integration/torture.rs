//! One short round of each kind of torture. `make torture` plays longer ones, from any seed.

use ambrosia_tests::{
    skip,
    torture::{Draft, EngineKind, Extent, Files, Interrupt, Kind, machines_impossible, play, play_apart},
};

/// Requests that every round gets done at least, or it was no test.
const REQUESTS_MIN: u64 = 50;

fn holds(kind: Kind, seed: u64) {
    if let Some(reason) = kind.impossible() {
        return skip(&format!("torture of kind {}", kind.name()), &reason);
    }
    match play(kind, seed, Extent::Short, &Interrupt::default()) {
        Ok(held) => {
            assert!(held.tally.faults.values().sum::<u64>() >= 3, "{:?}", held.tally);
            assert!(held.tally.requests >= REQUESTS_MIN, "{:?}", held.tally);
            assert!(held.tally.checkpoints > 0, "faults are to hit checkpoints, too: {:?}", held.tally);
        }
        Err(violation) => panic!(
            "{}\nfiles: {}\nagain: torture --short --kinds {} --rounds 1 --seed {seed}\n{}",
            violation.what,
            violation.directory.display(),
            kind.name(),
            violation.plan
        ),
    }
}

#[test]
fn processes_are_killed_under_load() {
    holds(Kind::Kill, 1);
}

#[test]
fn processes_stand_still_and_go_on_under_load() {
    holds(Kind::Stop, 1);
}

#[test]
fn all_processes_end_or_die_and_come_back_in_any_order() {
    holds(Kind::Restart, 1);
}

#[test]
fn replicas_crash_at_any_system_call() {
    holds(Kind::Crash, 1);
}

#[test]
fn writes_and_syncs_fail() {
    holds(Kind::Eio, 1);
}

#[test]
fn the_disk_is_full_for_a_while() {
    holds(Kind::Full, 1);
}

#[test]
fn packets_between_hosts_and_clients_vanish_for_a_while() {
    holds(Kind::Partition, 1);
}

#[test]
fn connections_are_delayed_and_reset() {
    holds(Kind::Proxy, 1);
}

#[test]
fn a_copy_made_mid_write_has_all_that_was_acknowledged() {
    holds(Kind::PowerCut, 1);
}

#[test]
fn flipped_bits_are_found_and_named() {
    holds(Kind::Flip, 1);
}

#[test]
fn segments_cut_short_are_found_and_named() {
    holds(Kind::Cut, 1);
}

#[test]
fn all_kinds_of_faults_come_together() {
    holds(Kind::Mixed, 1);
}

#[test]
fn hosts_databases_and_cables_of_several_machines_fail_under_load() {
    holds_apart(EngineKind::Postgres, &[1, 2]);
}

#[test]
fn hosts_members_of_etcd_and_cables_of_several_machines_fail_under_load() {
    holds_apart(EngineKind::Etcd, &[1]);
}

fn holds_apart(engine: EngineKind, seeds: &[u64]) {
    if let Some(reason) = machines_impossible(engine) {
        return skip(&format!("torture on machines with {engine:?}"), &reason);
    }
    let draft = |seed| Draft { seed, engine, extent: Extent::Short, only: Vec::new() };
    for seed in seeds {
        match play_apart(&draft(*seed), Files::Removed, &Interrupt::default()) {
            Ok(held) => {
                assert!(held.faults.values().sum::<u64>() >= 5, "{held:?}");
                assert!(held.calls >= REQUESTS_MIN, "{held:?}");
                held.gaps.table().iter().for_each(|line| eprintln!("{line}"));
            }
            Err(violation) => panic!(
                "{}\nfiles: {}\nagain: torture --short --machines --rounds 1 --seed {seed}, with {engine:?}\n{}",
                violation.what,
                violation.directory.display(),
                violation.plan
            ),
        }
    }
}
