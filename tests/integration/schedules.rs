//! Methods that run by themselves: once for each of their times, whatever dies.

use std::time::Instant;

use ambrosia_host::{Clock, SystemClock};
use ambrosia_tests::{Cluster, PATIENCE};
use serde_json::{Value, json};

use crate::support::{Moved, Replicas, cluster, fails, succeeds, wait_for_status};

const HOUR: i64 = 3600;

/// The times for which a method has run, in seconds.
fn ran(cluster: &Cluster, method: &str) -> Vec<u64> {
    let ran = cluster.send("it", "ran", json!([method]));
    ran.as_array().expect("a list").iter().map(|time| time.as_u64().expect("a number")).collect()
}

/// Waits until `tick` has run so often; then it has run once for each second.
fn wait_for_ticks(cluster: &Cluster, count: usize) -> Vec<u64> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ticks = ran(cluster, "tick");
        if ticks.len() >= count {
            let gaps: Vec<_> = ticks.windows(2).filter(|pair| pair[1] != pair[0] + 1).collect();
            assert_eq!(gaps, [[0; 2]; 0], "each second once: {ticks:?}");
            return ticks;
        }
        assert!(Instant::now() < deadline, "too few ticks: {ticks:?}");
    }
}

#[test]
fn each_second_runs_once_although_the_primary_is_killed_twice() {
    let cluster = cluster();
    let mut replicas = Replicas::of(&cluster, "it", "scheduled", 2);
    for _ in 0..2 {
        let before = wait_for_ticks(&cluster, 2).len();
        wait_for_ticks(&cluster, before + 2);
        let dead = replicas.kill_primary();
        wait_for_ticks(&cluster, before + 4);
        replicas.start_standby(dead);
    }
    // And without anybody for a moment.
    let before = wait_for_ticks(&cluster, 1).len();
    replicas.kill_all();
    replicas.start(0);
    replicas.next_reign();
    wait_for_ticks(&cluster, before + 3);
}

/// A store whose clock stands at half past, and its offset to the true time.
fn at_half_past() -> (Moved, i64) {
    let moved = Moved::new();
    let now = SystemClock::check().expect("the clock is set").now().0 / 1_000_000_000;
    let offset = HOUR + HOUR / 2 - (now % 3600) as i64;
    moved.jump_to(offset);
    (moved, offset)
}

/// Stops the only replica, and starts it where the clock shows that.
fn begin_at(moved: &Moved, replicas: &mut Replicas<'_>, offset: i64) {
    replicas.kill(0);
    moved.jump_to(offset);
    replicas.start(0);
    replicas.next_reign();
}

/// How often each of the methods has run.
fn counts(cluster: &Cluster) -> [usize; 3] {
    ["one", "all", "none"].map(|method| ran(cluster, method).len())
}

/// Waits until `all` has run so often.
fn wait_for_all(cluster: &Cluster, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while ran(cluster, "all").len() < count {
        assert!(Instant::now() < deadline, "{:?}", counts(cluster));
    }
}

#[test]
fn what_was_missed_is_made_up_for_as_the_method_says_and_nothing_twice() {
    let (moved, offset) = at_half_past();
    let cluster = &moved.cluster;
    let mut replicas = Replicas::of(cluster, "it", "hourly", 1);
    assert_eq!(counts(cluster), [0; 3]);
    begin_at(&moved, &mut replicas, offset + 5 * HOUR);
    wait_for_all(cluster, 5);
    assert_eq!(counts(cluster), [1, 5, 0]);
    let all = ran(cluster, "all");
    assert!(all.windows(2).all(|pair| pair[1] == pair[0] + 3600) && all[0].is_multiple_of(3600), "{all:?}");
    assert_eq!(ran(cluster, "one"), [all[4]], "the newest of them");
    begin_at(&moved, &mut replicas, offset + 5 * HOUR);
    assert_eq!(counts(cluster), [1, 5, 0], "in another reign, too");
    begin_at(&moved, &mut replicas, offset + 2 * HOUR);
    assert_eq!(counts(cluster), [1, 5, 0], "a clock that goes back brings nothing again");
    begin_at(&moved, &mut replicas, offset + 7 * HOUR);
    wait_for_all(cluster, 7);
    assert_eq!(counts(cluster), [2, 7, 0]);
}

#[test]
fn what_new_code_has_otherwise_counts_from_its_upgrade() {
    let (moved, offset) = at_half_past();
    let cluster = &moved.cluster;
    let mut replicas = Replicas::of(cluster, "it", "scheduled", 1);
    wait_for_ticks(cluster, 1);
    begin_at(&moved, &mut replicas, offset + 5 * HOUR);
    let module = cluster.guest("hourly");
    let module = module.to_str().expect("the path is text");
    succeeds(
        cluster,
        &["upgrade", "--instance", "it", "--module", module, "--dry-run"],
        &["+ one(due: u64) at 0 * * * * UTC"],
    );
    cluster.must(&["upgrade", "--instance", "it", "--module", module, "--yes"]);
    assert_eq!(counts(cluster), [0; 3]);
    begin_at(&moved, &mut replicas, offset + 5 * HOUR);
    assert_eq!(counts(cluster), [0; 3], "what was before the upgrade is none of its business");
    let ticks = ran(cluster, "tick");
    begin_at(&moved, &mut replicas, offset + 6 * HOUR);
    wait_for_all(cluster, 1);
    assert_eq!((counts(cluster), ran(cluster, "tick")), ([1, 1, 0], ticks), "and the old schedule is gone");
}

#[test]
fn status_tells_when_methods_run() {
    let (moved, _) = at_half_past();
    let cluster = &moved.cluster;
    let _replicas = Replicas::of(cluster, "it", "hourly", 1);
    let status = wait_for_status(cluster, "it", |status| status["schedules"].is_array());
    let schedules = status["schedules"].as_array().expect("a list");
    let leap = &schedules[3];
    assert_eq!((&leap["method"], &leap["cron"]), (&json!("leap"), &json!("30 2 29 2 *")));
    assert_eq!((&leap["zone"], &leap["missed"], &leap["last"]), (&json!("Europe/Berlin"), &json!("one"), &Value::Null));
    let next = leap["next"].as_str().expect("a text");
    assert!(next.contains("-02-29T01:30:00Z"), "{next}");
    let shown = cluster.must(&["status", "--instance", "it"]);
    assert!(shown.contains(&format!("leap runs at 30 2 29 2 * Europe/Berlin: next {next}, last not yet")), "{shown}");
}

#[test]
fn a_schedule_that_can_not_be_kept_is_refused_at_the_registration() {
    let cluster = cluster();
    let module = cluster.guest("hourly");
    let bytes = std::fs::read(module).expect("it is built");
    let mut changed = bytes.clone();
    for at in (0..bytes.len() - 13).filter(|at| bytes[*at..].starts_with(b"Europe/Berlin")) {
        changed[at..at + 13].copy_from_slice(b"Europe/Narnia");
    }
    let file = cluster.file("narnia.wasm");
    std::fs::write(&file, changed).expect("the directory is ours");
    let file = file.to_str().expect("the path is text");
    let arguments = ["register-instance", "--instance", "it", "--module", file];
    fails(
        &cluster,
        &arguments,
        &["the method `leap` is to run in the time zone \"Europe/Narnia\"", "install the data"],
    );
}
