//! Requests from outside: each is done once, and every repetition gets the same result.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use ambrosia_core::RequestId;
use ambrosia_host::ClientError;
use ambrosia_tests::{Caller, Cluster, client, integer};
use serde_json::{Value, json};

use crate::support::{Pending, Replicas, Session, begin, cluster, fails};

/// A client of its own that adds 1 again and again, each time with a fresh request id.
pub(crate) fn add_in_a_loop(cluster: &Cluster, instance: &'static str) -> Caller {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let name = format!("caller-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let store = cluster.store();
    Caller::start(&name, move || client(&store, instance), "add", |_| json!([1]))
}

/// Ends the callers; the counter counted each of their requests once, and told nobody a number twice.
pub(crate) fn check_each_once(cluster: &Cluster, instance: &str, callers: impl Iterator<Item = Caller>) {
    let mut values = Vec::new();
    for caller in callers {
        let answers = caller.stop().expect("every request was answered");
        let own: Vec<u64> = answers.iter().map(|answer| answer.value.as_u64().expect("a number")).collect();
        assert!(own.is_sorted(), "each client sees the total rise");
        values.extend(own);
    }
    let count = values.len() as u64;
    assert_eq!(values.into_iter().collect::<BTreeSet<_>>(), (1..=count).collect());
    assert_eq!(cluster.send(instance, "total", json!([])), count);
}

fn send_as<'a>(id: &'a str, method: &'a str, arguments: &'a str) -> [&'a str; 9] {
    ["send", "--instance", "counter", "--method", method, "--request-id", id, "--args", arguments]
}

#[test]
fn the_same_id_twice_is_done_once_and_gives_the_same_result() {
    let cluster = cluster();
    let _counter = Replicas::of(&cluster, "counter", "counter", 1);
    assert_eq!(cluster.must(&send_as("a", "add", "[5]")), "5\n");
    assert_eq!(cluster.must(&send_as("b", "add", "[5]")), "10\n");
    assert_eq!(cluster.must(&send_as("a", "add", "[5]")), "5\n");
    fails(&cluster, &send_as("a", "add", "[1000]"), &["the request id a is that of another request"]);
    fails(&cluster, &send_as("a", "total", "[]"), &["the request id a is that of another request"]);
    assert_eq!(cluster.send("counter", "total", json!([])), 10);
}

#[test]
fn the_same_id_from_several_processes_at_once_is_done_once() {
    let cluster = cluster();
    let _counter = Replicas::of(&cluster, "counter", "counter", 1);
    for (id, total) in [("a", "1"), ("b", "2"), ("c", "3")] {
        let all: Vec<Pending> = (0..6).map(|_| begin(&cluster, &send_as(id, "add", "[1]"))).collect();
        all.into_iter().map(Pending::end).for_each(|ran| assert_eq!((ran.code, ran.stdout.as_str()), (0, total)));
    }
    assert_eq!(cluster.send("counter", "total", json!([])), 3);
}

#[test]
fn results_are_the_same_after_a_takeover_and_after_a_restart_of_all() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 2);
    let mut session = Session::new(&cluster, "counter");
    let ids: Vec<String> = (1..=100).map(|n| format!("request {n}")).collect();
    let results: Vec<Value> = ids.iter().map(|id| session.call_as(id, "add", json!([3]))).collect();
    assert_eq!(results, (1..=100).map(|n| json!(3 * n)).collect::<Vec<_>>());
    let mut ask_again = || ids.iter().map(|id| session.call_as(id, "add", json!([3]))).collect::<Vec<_>>();
    counter.kill_primary();
    assert_eq!(ask_again(), results);
    counter.kill_all();
    counter.start(0);
    assert_eq!(ask_again(), results);
    assert_eq!(cluster.send("counter", "total", json!([])), 300);
}

#[test]
fn requests_under_way_while_primaries_are_killed_are_each_done_once() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 3);
    let mut callers: Vec<_> = (0..4).map(|_| add_in_a_loop(&cluster, "counter")).collect();
    for _ in 0..5 {
        callers.iter().for_each(|caller| caller.wait_for(caller.count() + 50));
        let dead = counter.kill_primary();
        counter.start_standby(dead);
    }
    callers.iter().for_each(|caller| caller.wait_for(caller.count() + 50));
    check_each_once(&cluster, "counter", callers.drain(..));
}

#[test]
fn requests_under_way_while_all_replicas_are_killed_are_each_done_once() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 2);
    let mut callers: Vec<_> = (0..4).map(|_| add_in_a_loop(&cluster, "counter")).collect();
    for _ in 0..3 {
        callers.iter().for_each(|caller| caller.wait_for(caller.count() + 50));
        counter.kill_all();
        (0..2).for_each(|replica| counter.start(replica));
    }
    callers.iter().for_each(|caller| caller.wait_for(caller.count() + 50));
    check_each_once(&cluster, "counter", callers.drain(..));
}

#[test]
fn no_wait_returns_nothing_and_the_request_is_done_even_if_the_primary_dies_at_once() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 2);
    for n in 1..=3 {
        let id = format!("request {n}");
        let mut arguments = send_as(&id, "add", "[1]").to_vec();
        arguments.push("--no-wait");
        assert_eq!(cluster.must(&arguments), "");
        let dead = counter.kill_primary();
        counter.start_standby(dead);
        assert_eq!(cluster.must(&send_as(&id, "add", "[1]")), format!("{n}\n"), "its result can be had later");
    }
}

#[test]
fn so_many_results_are_remembered_as_the_operator_has_set_also_after_a_takeover() {
    let cluster = cluster();
    let kept = &["--result-retention-count", "2", "--result-retention", "7d", "--result-retention-size", "1MiB"];
    let mut counter = Replicas::of_with(&cluster, "counter", "counter", 2, kept);
    for (id, total) in [("a", 1), ("b", 2), ("c", 3)] {
        assert_eq!(cluster.must(&send_as(id, "add", "[1]")), format!("{total}\n"));
    }
    let dead = counter.kill_primary();
    counter.start_standby(dead);
    assert_eq!(cluster.must(&send_as("c", "add", "[1]")), "3\n", "the newest are remembered");
    assert_eq!(cluster.must(&send_as("b", "add", "[1]")), "2\n");
    fails(&cluster, &["result", "a", "--instance", "counter"], &["nothing is known of request a"]);
    assert_eq!(cluster.must(&send_as("a", "add", "[1]")), "4\n", "what is forgotten counts as new");
    let status = cluster.status("counter");
    let requests = json!({ "under_way": 0, "results": 2, "result_bytes": 2, "results_max": 2, "result_bytes_max": 1 << 20,
                           "result_age_s_max": 604_800 });
    assert_eq!(status["requests"], requests, "{status}");
    let text = cluster.must(&["status", "--instance", "counter"]);
    assert!(text.contains("2 results of requests remembered, 2 bytes; at most 2, 1.0 MiB, for 168 h"), "{text}");
    let too_long = ["run", "--instance", "counter", "--result-retention", "367d"];
    fails(&cluster, &too_long, &["--result-retention", "31622400 seconds"]);
}

#[test]
fn a_request_without_an_answer_in_time_says_how_to_repeat_it() {
    let cluster = cluster();
    let _ticker = Replicas::of(&cluster, "ticker", "ticker", 1);
    let slow = ["send", "--instance", "ticker", "--method", "every", "--args", "[700, 1]", "--request-id", "slow"];
    let hurried = [&slow[..], &["--timeout", "0.1"]].concat();
    fails(&cluster, &hurried, &["no answer within 100ms", "repeat it with --request-id slow"]);
    assert_eq!(cluster.must(&slow), "1\n");
    assert_eq!(cluster.send("ticker", "report", json!([]))[0], 1, "it was done once");
}

#[test]
fn an_answer_that_comes_too_late_is_not_taken_for_that_of_the_next_request() {
    let cluster = cluster();
    let _sender = Replicas::of(&cluster, "sender", "sender", 1);
    cluster.register("counter", "counter", 1);
    let mut session = Session::new(&cluster, "sender");
    assert_eq!(session.call("progress", json!([])), 0, "there is a connection");
    // Nobody runs the counter yet, so this one can't be answered in time; it is answered before the next one is.
    let first = RequestId::new("first").expect("short");
    let late = session.try_call(&first, "call_all", &json!(["counter", 1]), Duration::from_millis(200));
    assert!(matches!(late, Err(ClientError::Timeout(..))), "{late:?}");
    let _counter = cluster.start("counter", 0);
    assert_eq!(session.call_as("second", "call_all", json!(["counter", 3])), 4);
    assert_eq!(session.call_as("first", "call_all", json!(["counter", 1])), 1);
    assert_eq!(session.call_as("second", "call_all", json!(["counter", 3])), 4);
}

#[test]
fn a_request_to_an_instance_that_nobody_runs_says_so() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    let arguments = ["send", "--instance", "counter", "--method", "total", "--timeout", "0.2"];
    fails(&cluster, &arguments, &["instance counter has no primary", "ambrosia-host run --instance counter"]);
}

#[test]
fn a_request_waits_for_a_primary_that_is_started_later() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    let pending = begin(&cluster, &send_as("early", "add", "[7]"));
    let _host = cluster.start("counter", 0);
    let ran = pending.end();
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "7"));
}

#[test]
fn calls_of_an_async_handler_survive_the_death_of_both_sides_in_the_middle() {
    const CALLS: u64 = 3_000;
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 2);
    let mut sender = Replicas::of(&cluster, "sender", "sender", 2);
    let arguments = json!(["counter", CALLS]).to_string();
    let all = ["send", "--instance", "sender", "--method", "call_all", "--args", &arguments, "--request-id", "all"];
    let mut pending = begin(&cluster, &[&all[..], &["--timeout", "60"]].concat());
    let mut session = Session::new(&cluster, "sender");
    for kills in 1..=3 {
        let mark = CALLS / 6 * kills;
        session.call_until("last_result", |result| result.as_u64() >= Some(mark));
        assert!(!pending.has_ended(), "the calls were over before they could be disturbed");
        let dead = counter.kill_primary();
        counter.start_standby(dead);
        let dead = sender.kill_primary();
        sender.start_standby(dead);
    }
    let ran = pending.end();
    assert_eq!((ran.code, ran.stdout), (0, CALLS.to_string()), "{}", ran.stderr);
    assert_eq!(cluster.must(&all), format!("{CALLS}\n"), "the same id gives the same result");
    assert_eq!(cluster.send("counter", "total", json!([])), CALLS);
}

#[test]
fn two_instances_that_call_each_other_survive_the_death_of_either() {
    const CALLS: u64 = 800;
    let cluster = cluster();
    let mut a = Replicas::of(&cluster, "a", "mutual", 2);
    let mut b = Replicas::of(&cluster, "b", "mutual", 2);
    cluster.send("a", "start", json!(["b", CALLS]));
    cluster.send("b", "start", json!(["a", CALLS]));
    a.kill_primary();
    b.kill_primary();
    // Of eight calls, of depths 0 to 7, sixteen bounces come back to the caller and twenty are the other side's.
    let expected = json!([CALLS, 0, CALLS / 8 * 36]);
    let mut sessions = ["a", "b"].map(|instance| Session::new(&cluster, instance));
    for session in &mut sessions {
        session.call_until("report", |report| report[0].as_u64() >= Some(CALLS));
    }
    for session in &mut sessions {
        assert_eq!(session.call("report", json!([])), expected);
    }
}

#[test]
fn a_timer_loop_ticks_exactly_as_often_as_asked_across_takeovers() {
    let cluster = cluster();
    let mut ticker = Replicas::of(&cluster, "ticker", "ticker", 2);
    let arguments = ["send", "--instance", "ticker", "--method", "every", "--args", "[10, 100]"];
    let mut pending = begin(&cluster, &arguments);
    let mut session = Session::new(&cluster, "ticker");
    for ticks in [20, 50] {
        session.call_until("report", |report| report[0].as_u64() >= Some(ticks));
        let dead = ticker.kill_primary();
        ticker.start_standby(dead);
        assert!(!pending.ends_within(Duration::ZERO), "the ticks were over before they could be disturbed");
    }
    let ran = pending.end();
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "100"), "{}", ran.stderr);
    let report = cluster.send("ticker", "report", json!([]));
    let times = report[1].as_array().expect("a list").iter();
    let times: Vec<u64> = times.map(|time| integer(time).expect("a number")).collect();
    assert_eq!((&report[0], times.len()), (&json!(100), 100));
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 10_000_000), "no tick comes early: {times:?}");
}

#[test]
fn a_cancelled_timer_never_ticks_and_one_set_after_it_does() {
    let cluster = cluster();
    let mut ticker = Replicas::of(&cluster, "ticker", "ticker", 2);
    cluster.send("ticker", "cancelled", json!([50]));
    ticker.kill_primary();
    assert_eq!(cluster.send("ticker", "every", json!([100, 1])), 1);
    assert_eq!(cluster.send("ticker", "report", json!([]))[0], 1);
}
