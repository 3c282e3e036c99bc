//! Every replica sees the same time, the same randomness and the same order, first hand or replayed.

use ambrosia_tests::integer;
use serde_json::{Value, json};

use crate::support::{Replicas, Session, cluster};

#[test]
fn what_was_drawn_is_the_same_when_it_is_replayed() {
    let cluster = cluster();
    let mut replicas = Replicas::of(&cluster, "deterministic", "deterministic", 3);
    let mut session = Session::new(&cluster, "deterministic");
    let mut results: Vec<(String, Value)> = Vec::new();
    for round in 1..=3 {
        for n in 1..=20 {
            let (draw, clocks) = (format!("draw {round}.{n}"), format!("clocks {round}.{n}"));
            results.push((draw.clone(), session.call_as(&draw, "draw", json!([]))));
            results.push((clocks.clone(), session.call_as(&clocks, "clocks", json!([]))));
        }
        replicas.kill_primary();
        // The new primary made its results by replay.
        check_results(&mut session, &results);
        replicas.kill_all();
        replicas.start_all(3);
        check_results(&mut session, &results);
    }
    assert_eq!(session.call("drawn", json!([])), 60);
    check_plausible(&results);
}

fn check_results(session: &mut Session, results: &[(String, Value)]) {
    for (id, result) in results {
        let method = id.split(' ').next().expect("the first word");
        assert_eq!(session.call_as(id, method, json!([])), *result, "{id}");
    }
}

/// Randomness does not repeat itself across reigns, and time does not run backwards.
fn check_plausible(results: &[(String, Value)]) {
    let draws: Vec<&Value> = results.iter().filter(|(id, _)| id.starts_with("draw")).map(|(_, value)| value).collect();
    let mut numbers: Vec<u64> = draws.iter().map(|draw| integer(&draw[0]).expect("a number")).collect();
    let times: Vec<u64> = draws.iter().map(|draw| integer(&draw[1]).expect("a number")).collect();
    assert!(times.is_sorted(), "{times:?}");
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), draws.len());
    let clocks = results.iter().filter(|(id, _)| id.starts_with("clocks"));
    clocks.for_each(|(id, value)| assert_eq!(value[1], 0, "{id}: the clock stands still in a delivery"));
}

#[test]
fn the_log_is_the_same_before_and_after_takeovers_but_for_what_was_added() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 2);
    let mut before: Vec<Value> = Vec::new();
    for n in 1..=4 {
        let log = cluster.log("counter");
        assert_eq!(log[..before.len()], before[..], "what is in the log stays");
        assert!(log.iter().zip(1..).all(|(record, lsn): (&Value, u64)| record["lsn"] == lsn), "{log:#?}");
        before = log;
        assert_eq!(cluster.send("counter", "add", json!([1])), n);
        let dead = counter.kill_primary();
        counter.start_standby(dead);
    }
}
