//! Replicas that join late, twice, or not at all; and the order to hand over.

use std::time::{Duration, Instant};

use ambrosia_tests::Signal;
use serde_json::json;

use crate::support::{Replicas, Session, cluster, fails, role, wait_for_status};

#[test]
fn a_replica_added_while_the_primary_runs_takes_over() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 1);
    let mut session = Session::new(&cluster, "counter");
    (1..=50).for_each(|n| assert_eq!(session.call("add", json!([1])), n));
    cluster.must(&["add-replica", "--instance", "counter", "--replica", "1"]);
    counter.start_standby(1);
    assert_eq!(counter.kill_primary(), 0);
    (51..=60).for_each(|n| assert_eq!(session.call("add", json!([1])), n));
}

#[test]
fn a_standby_far_behind_follows_and_takes_over_with_everything() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 2);
    counter.kill(1);
    let mut session = Session::new(&cluster, "counter");
    (1..=2000).for_each(|n| {
        session.call("see", json!([n]));
    });
    counter.start(1);
    counter.kill(0); // whether it has caught up or not
    assert_eq!(counter.next_reign().replica, 1);
    assert_eq!(session.call("seen", json!([])), json!((1..=2000).collect::<Vec<_>>()));
}

#[test]
fn the_same_replica_started_twice_is_an_error_and_harms_nobody() {
    let cluster = cluster();
    let counter = Replicas::of(&cluster, "counter", "counter", 2);
    for replica in [0, 1] {
        let text = format!("replica {replica} is already running, as process {}", counter.host(replica).pid());
        fails(&cluster, &["run", "--instance", "counter", "--replica", &replica.to_string()], &[&text]);
    }
    assert_eq!(cluster.send("counter", "add", json!([1])), 1);
    assert_eq!(cluster.status("counter")["epoch"], 1);
}

#[test]
fn a_replica_that_was_never_added_is_an_error_that_says_how_to_add_it() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    let how = "ambrosia-host add-replica --instance counter --replica 1";
    fails(&cluster, &["run", "--instance", "counter", "--replica", "1"], &["has no replica 1", how]);
    assert_eq!(cluster.log("counter").len(), 1, "nothing but genesis");
}

#[test]
fn sigterm_and_sigint_hand_over_at_once() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 2);
    for (signal, replica, total) in [(Signal::Terminate, 0, 1), (Signal::Interrupt, 1, 2)] {
        assert_eq!(cluster.send("counter", "add", json!([1])), total);
        let asked = Instant::now();
        counter.host(replica).signal(signal);
        let next = counter.next_reign();
        assert_eq!(next.replica, 1 - replica);
        // Its silence would be noticed after 0.6 s only.
        assert!(next.began - asked < Duration::from_millis(500), "took {:?}", next.began - asked);
        assert_eq!(counter.wait_for_end(replica).0, 0);
        counter.start_standby(replica);
    }
    assert_eq!(cluster.send("counter", "total", json!([])), 2);
}

#[test]
fn a_standby_ends_at_sigterm_and_the_primary_goes_on() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 2);
    counter.host(1).signal(Signal::Terminate);
    assert_eq!(counter.wait_for_end(1).0, 0);
    let status = wait_for_status(&cluster, "counter", |status| role(status, 1) == "down");
    assert_eq!((&status["epoch"], role(&status, 0).as_str()), (&json!(1), "primary"));
    assert_eq!(cluster.send("counter", "add", json!([1])), 1);
}

#[test]
fn what_was_asked_for_before_the_hand_over_is_answered() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 2);
    let mut callers: Vec<_> = (0..4).map(|_| crate::requests::add_in_a_loop(&cluster, "counter")).collect();
    for _ in 0..4 {
        callers.iter().for_each(|caller| caller.wait_for(caller.count() + 20));
        let primary = counter.primary();
        counter.host(primary).signal(Signal::Terminate);
        assert_ne!(counter.next_reign().replica, primary);
        assert_eq!(counter.wait_for_end(primary).0, 0);
        counter.start_standby(primary);
    }
    crate::requests::check_each_once(&cluster, "counter", callers.drain(..));
}
