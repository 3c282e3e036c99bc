//! What an instance waits for can be seen: in `status`, and in one line on stderr for each cause.

use ambrosia_tests::{Cluster, Signal, integer};
use serde_json::{Value, json};

use crate::support::{Replicas, cluster, wait_for_status};

/// What `status` says of one peer of `values`, once that is as wanted.
fn wait_for_peer(cluster: &Cluster, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let find = |status: &Value| -> Option<Value> {
        status["peers"].as_array()?.iter().find(|peer| peer["name"] == name).cloned()
    };
    let status = wait_for_status(cluster, "values", |status| find(status).is_some_and(|peer| wanted(&peer)));
    find(&status).expect("it was just there")
}

/// How often a host has said that.
fn count(replicas: &Replicas<'_>, words: &str) -> usize {
    replicas.host(0).stderr.all().iter().filter(|line| line.contains(words)).count()
}

#[test]
fn a_call_to_a_name_that_nobody_has_is_told_once_and_goes_on_when_there_is_one() {
    let cluster = cluster();
    let values = Replicas::of(&cluster, "values", "values", 1);
    assert_eq!(cluster.status("values")["peers"], json!([]));
    cluster.send("values", "begin_call", json!(["acount"]));
    let peer = wait_for_peer(&cluster, "acount", |peer| peer["state"] == "not registered");
    assert_eq!((&peer["unacknowledged"], &peer["unanswered_calls"]), (&json!(1), &json!(1)));
    assert!(peer["oldest_call"].is_u64() && integer::<u64>(&peer["unacknowledged_bytes"]) > Some(20), "{peer}");
    assert!(peer["reason"].as_str().is_some_and(|reason| reason.contains("is the name right?")), "{peer}");

    values.host(0).wait_for_word("what is sent to the peer waits: no instance of that name is registered");
    let older = wait_for_peer(&cluster, "acount", |peer| integer::<u64>(&peer["oldest_ms"]) > Some(5000));
    assert_eq!(older["state"], "not registered");
    let text = cluster.must(&["status"]);
    let line = text.lines().find(|line| line.contains("peer acount")).unwrap_or_else(|| panic!("{text}"));
    assert!(
        line.contains("not registered for ") && line.contains("1 message (") && line.contains("1 call not answered")
    );

    let _counter = Replicas::of(&cluster, "acount", "counter", 1);
    values.host(0).wait_for_word("the peer is reached, and gets what has waited for it");
    wait_for_peer(&cluster, "acount", |peer| {
        peer["state"] == "connected" && peer["unacknowledged"] == 0 && peer["unanswered_calls"] == 0
    });
    let told = "what is sent to the peer waits: no instance of that name is registered";
    assert_eq!(count(&values, told), 1);
    assert_eq!(cluster.send("acount", "total", json!([])), 1);
}

#[test]
fn what_a_peer_lacks_is_told_by_name() {
    let cluster = cluster();
    let values = Replicas::of(&cluster, "values", "values", 1);
    cluster.register("down", "counter", 1);
    let mut halted = Replicas::of(&cluster, "halted", "faulty", 1);
    cluster.run(&["send", "--instance", "halted", "--method", "trap", "--no-wait"]);
    halted.wait_for_end(0);
    let stopped = Replicas::of(&cluster, "stopped", "counter", 1);
    stopped.host(0).signal(Signal::Stop);
    for peer in ["down", "halted", "stopped"] {
        cluster.send("values", "begin_call", json!([peer]));
    }
    let down = wait_for_peer(&cluster, "down", |peer| peer["state"] == "no primary");
    assert!(down["reason"].as_str().is_some_and(|reason| reason.contains("run --instance down")), "{down}");
    wait_for_peer(&cluster, "halted", |peer| peer["state"] == "halted");
    values.host(0).wait_for_word("the instance has no primary: start one with `ambrosia-host run --instance down`");
    values.host(0).wait_for_word("the instance halted at lsn");
    wait_for_peer(&cluster, "stopped", |peer| peer["state"] == "silent");
    values.host(0).wait_for_word("does not answer: it is busy or stopped");
    stopped.host(0).signal(Signal::Continue);
    values.host(0).wait_for_word("the peer is reached");
}

#[test]
fn a_peer_that_is_up_and_asked_for_nothing_is_told_nothing_of() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 1);
    let values = Replicas::of(&cluster, "values", "values", 1);
    assert_eq!(cluster.send("values", "call", json!(["counter"])), 1);
    let peer = wait_for_peer(&cluster, "counter", |peer| peer["unacknowledged"] == 0);
    assert_eq!(
        (&peer["state"], &peer["oldest_ms"], &peer["oldest_call"]),
        (&json!("connected"), &Value::Null, &Value::Null)
    );
    counter.kill(0);
    // Nothing waits for it: it is still not told of when another one is, which is found missing later.
    wait_for_peer(&cluster, "counter", |peer| peer["state"] == "no primary");
    cluster.send("values", "begin_call", json!(["nobody"]));
    values.host(0).wait_for_word("peer=nobody");
    assert_eq!(count(&values, "peer=counter"), 0);
}

#[test]
fn a_primary_that_does_not_answer_is_said_not_to() {
    let cluster = cluster();
    let values = Replicas::of(&cluster, "values", "values", 1);
    values.host(0).signal(Signal::Stop);
    let status = wait_for_status(&cluster, "values", |status| status["peers_error"].is_string());
    assert_eq!(status["peers"], Value::Null);
    let reason = status["peers_error"].as_str().expect("a text");
    assert!(reason.contains("does not answer"), "{reason}");
    assert!(cluster.must(&["status"]).contains("  peers: not known, the primary at "));
    values.host(0).signal(Signal::Continue);
    wait_for_status(&cluster, "values", |status| status["peers"] == json!([]));
}
