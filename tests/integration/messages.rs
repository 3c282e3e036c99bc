//! Large messages, and instances that are registered anew.

use ambrosia_tests::Cluster;
use serde_json::json;

use crate::support::{Replicas, Session, cluster};

/// Forks one blob of each size from `source` to `sink`, which must get them in order and unchanged.
fn check_blobs(cluster: &Cluster, sizes: &[u64], mut between: impl FnMut(usize)) {
    for (at, bytes) in sizes.iter().enumerate() {
        cluster.send("source", "send_blob", json!(["sink", bytes]));
        between(at);
    }
    let mut sink = Session::new(cluster, "sink");
    sink.call_until("report", |report| report[0].as_u64() >= Some(sizes.len() as u64));
    let expected = sink.call("expected", json!([sizes]));
    let report = sink.call("report", json!([]));
    assert_eq!(report, json!([sizes.len(), sizes.iter().sum::<u64>(), expected]));
}

#[test]
fn messages_of_1_mib_arrive_once_across_takeovers_of_both_sides() {
    let cluster = cluster();
    let mut sink = Replicas::of(&cluster, "sink", "big", 2);
    let mut source = Replicas::of(&cluster, "source", "big", 2);
    check_blobs(&cluster, &[1 << 20; 8], |at| match at {
        2 => drop(sink.kill_primary()),
        5 => drop(source.kill_primary()),
        _ => {}
    });
}

#[test]
fn a_message_of_64_mib_arrives_and_is_there_after_a_restart() {
    const BYTES: u64 = 64 << 20;
    let cluster = cluster();
    let mut sink = Replicas::of(&cluster, "sink", "big", 1);
    let _source = Replicas::of(&cluster, "source", "big", 1);
    check_blobs(&cluster, &[BYTES, 10], |_| {});
    let before = cluster.send("sink", "report", json!([]));
    sink.kill(0);
    sink.start(0);
    assert_eq!(cluster.send("sink", "report", json!([])), before);
}

#[test]
fn a_request_and_an_answer_of_16_mib_come_through_whole() {
    let cluster = cluster();
    let mut big = Replicas::of(&cluster, "big", "big", 2);
    let bytes: Vec<u8> = (0..16 << 20).map(|at: u32| (at % 251) as u8).collect();
    let mut session = Session::new(&cluster, "big");
    assert!(session.call_raw("echo", &bytes) == bytes);
    big.kill_primary();
    assert!(session.call_raw("echo", &bytes) == bytes);
}

#[test]
fn a_target_registered_again_under_its_old_name_starts_afresh() {
    let cluster = cluster();
    let mut receiver = Replicas::of(&cluster, "receiver", "receiver", 1);
    let sender = Replicas::of(&cluster, "sender", "sender", 1);
    cluster.send("sender", "start", json!(["receiver", 100, 10, 64]));
    let mut session = Session::new(&cluster, "receiver");
    session.call_until("report", |report| *report == json!([100, 0]));
    drop(session);
    receiver.kill_all();
    cluster.must(&["deregister-instance", "--instance", "receiver", "--yes"]);
    let mut receiver = Replicas::of(&cluster, "receiver", "receiver", 1);
    // What it sends before it knows is for the one that is gone, and dropped.
    sender.host(0).wait_for_word("registered anew");
    cluster.send("sender", "start", json!(["receiver", 50, 10, 64]));
    let mut session = Session::new(&cluster, "receiver");
    session.call_until("report", |report| report[0] == 50);
    // The new one expected number 0 first and got 100: one violation, and only the fifty new ones.
    assert_eq!(session.call("report", json!([])), json!([50, 1]));
    receiver.kill(0);
    receiver.start(0);
    assert_eq!(session.call("report", json!([])), json!([50, 1]));
}

#[test]
fn a_source_registered_again_under_its_old_name_starts_a_new_stream() {
    let cluster = cluster();
    let _receiver = Replicas::of(&cluster, "receiver", "receiver", 1);
    for round in 1..=2 {
        let mut sender = Replicas::of(&cluster, "sender", "sender", 1);
        cluster.send("sender", "start", json!(["receiver", 100, 10, 64]));
        let mut session = Session::new(&cluster, "receiver");
        session.call_until("report", |report| report[0] == 100 * round);
        // The new sender counts from 0 again, which does not follow 99.
        assert_eq!(session.call("report", json!([])), json!([100 * round, round - 1]));
        sender.kill_all();
        cluster.must(&["deregister-instance", "--instance", "sender", "--yes"]);
    }
}

#[test]
fn messages_to_an_instance_that_is_registered_and_run_later_arrive_then() {
    let cluster = cluster();
    let mut sender = Replicas::of(&cluster, "sender", "sender", 1);
    cluster.send("sender", "start", json!(["receiver", 1000, 100, 64]));
    sender.kill(0);
    sender.start(0);
    let _receiver = Replicas::of(&cluster, "receiver", "receiver", 1);
    let mut session = Session::new(&cluster, "receiver");
    session.call_until("report", |report| report[0] == 1000);
    assert_eq!(session.call("report", json!([])), json!([1000, 0]));
}

/// Until two instances have met, a message is for the name: the README says so.
#[test]
fn messages_to_a_life_that_was_never_met_reach_whoever_has_the_name_when_they_meet() {
    let cluster = cluster();
    let _sender = Replicas::of(&cluster, "sender", "sender", 1);
    for _life in 0..2 {
        cluster.register("receiver", "receiver", 1);
        cluster.send("sender", "start", json!(["receiver", 10, 10, 64]));
        cluster.must(&["deregister-instance", "--instance", "receiver", "--yes"]);
    }
    let _receiver = Replicas::of(&cluster, "receiver", "receiver", 1);
    let mut session = Session::new(&cluster, "receiver");
    session.call_until("report", |report| report[0] == 20);
    assert_eq!(session.call("report", json!([])), json!([20, 0]));
}
