//! Guests that fail. The instance stands still where it failed, and its log is whole.

use ambrosia_tests::Cluster;
use serde_json::{Value, json};

use crate::support::{Replicas, Session, cluster, fails, register_with};

/// Sends what makes the guest fail, with a standby looking on; both hosts must end and say each of `words`.
fn check_halts(cluster: &Cluster, method: &str, arguments: &str, words: &[&str]) {
    cluster.must(&["add-replica", "--instance", "faulty", "--replica", "1"]);
    let mut faulty = Replicas::none(cluster, "faulty", &[]);
    faulty.start_all(2);
    assert_eq!(cluster.send("faulty", "ok", json!([])), 42);
    let send = ["send", "--instance", "faulty", "--method", method, "--args", arguments];
    fails(cluster, &send, &["instance faulty halted at lsn"]);
    for replica in [0, 1] {
        let (code, said) = faulty.wait_for_end(replica);
        assert_eq!(code, 1, "{said}");
        check_said(&said, words);
    }
    check_aftermath(cluster, method, words);
}

fn check_said(said: &str, words: &[&str]) {
    let always = ["instance faulty halted at lsn 5: ", "The log is intact", "log --instance faulty --from 5 --to 5"];
    let missing: Vec<_> = always.iter().chain(words).filter(|word| !said.contains(**word)).collect();
    assert!(missing.is_empty(), "{missing:?} is missing in:\n{said}");
}

/// `status`, `log` and a further `run` show where and why it stands.
fn check_aftermath(cluster: &Cluster, method: &str, words: &[&str]) {
    let status = cluster.status("faulty");
    assert_eq!((&status["state"], &status["primary"]), (&json!("halted"), &Value::Null));
    let log = cluster.log("faulty");
    assert_eq!((status["durable_lsn"].clone(), status["outcome"]["lsn"].clone()), (json!(log.len()), json!(log.len())));
    let last = log.last().expect("there are records");
    assert_eq!(last["messages"][0]["method"], method);
    for replica in ["0", "1"] {
        let said = fails(cluster, &["run", "--instance", "faulty", "--replica", replica], &[]);
        check_said(&said, words);
    }
    fails(cluster, &["send", "--instance", "faulty", "--method", "ok"], &["instance faulty halted at lsn"]);
    assert_eq!(cluster.log("faulty"), log, "nothing was added");
}

#[test]
fn a_guest_that_traps_halts() {
    let cluster = cluster();
    cluster.register("faulty", "faulty", 1);
    check_halts(&cluster, "trap", "[]", &["the guest panicked", "it was asked to"]);
}

#[test]
fn a_guest_that_loops_for_ever_runs_out_of_fuel_and_halts() {
    let cluster = cluster();
    register_with(&cluster, "faulty", "faulty", &["--fuel", "10000000"]);
    check_halts(&cluster, "spin", "[]", &["ran out of fuel: a handler loops too long", "its limit of 10000000"]);
}

#[test]
fn a_guest_that_exhausts_its_memory_halts() {
    let cluster = cluster();
    register_with(&cluster, "faulty", "faulty", &["--memory-mib", "16"]);
    check_halts(&cluster, "exhaust", "[]", &["the guest aborted: memory allocation of 1048576 bytes failed"]);
}

#[test]
fn a_guest_that_recurses_for_ever_halts() {
    let cluster = cluster();
    cluster.register("faulty", "faulty", 1);
    check_halts(&cluster, "deep", "[]", &["it calls itself too deep", "faulty::descend"]);
}

/// The guests of these tests have the lines of their source in them.
#[test]
fn a_fault_names_its_place_in_the_source_and_not_the_machinery_of_the_panic() {
    let place = |code: &str| {
        let source = include_str!("../guests/examples/faulty.rs");
        let line = source.lines().position(|line| line.contains(code)).expect("it is there") + 1;
        format!("tests/guests/examples/faulty.rs:{line}:9")
    };
    let (panics, traps) = (place("panic!(\"it was asked to\")"), place("unreachable();"));
    for (method, reason, place) in [
        ("trap", format!("it was asked to, at {panics}"), panics),
        ("stop", format!("the guest aborted, at {traps}"), traps),
    ] {
        let cluster = cluster();
        let mut faulty = Replicas::of(&cluster, "faulty", "faulty", 1);
        fails(&cluster, &["send", "--instance", "faulty", "--method", method], &[&reason]);
        let (_, said) = faulty.wait_for_end(0);
        let (_, backtrace) = said.split_once("backtrace:\n").expect("there is a backtrace");
        let innermost = backtrace.lines().find(|line| !line.contains(" at library/")).expect("it has lines");
        assert!(innermost.ends_with(&format!("{method} at {place}")), "{said}");
        assert!(!backtrace.contains("panicking"), "{said}");
        // From the compiled form, which another process has kept.
        let again = fails(&cluster, &["run", "--instance", "faulty"], &[&reason]);
        assert!(again.contains(innermost), "{again}");
    }
}

#[test]
fn a_guest_with_effects_that_cannot_be_halts() {
    for (which, word) in [
        ("cut", "the guest returned bad effects: unknown message kind 0"),
        ("kind", "the guest returned bad effects: an effect of kind Impulse can't go to peer 0"),
        ("unknown-kind", "the guest returned bad effects: unknown message kind 99"),
        ("target", "the guest sent to peer 1000000, which it never attached"),
        ("outside", "the guest returned bad effects: an effect of kind Fork can't go to peer 0"),
        ("reserved", "the guest returned bad effects: a reserved byte of a message header is not zero"),
    ] {
        let cluster = cluster();
        cluster.register("faulty", "faulty", 1);
        let mut faulty = Replicas::none(&cluster, "faulty", &[]);
        faulty.start_all(1);
        let arguments = json!([which]).to_string();
        let send = ["send", "--instance", "faulty", "--method", "bad_effects", "--args", &arguments];
        fails(&cluster, &send, &["instance faulty halted at lsn", word]);
        assert_eq!(faulty.wait_for_end(0).0, 1, "{which}");
        assert_eq!(cluster.status("faulty")["state"], "halted", "{which}");
    }
}

/// What one caller asks for is refused to that caller, and the instance goes on.
#[test]
fn no_input_of_one_caller_ends_the_instance() {
    let cluster = cluster();
    register_with(&cluster, "faulty", "faulty", &[]);
    let mut faulty = Replicas::none(&cluster, "faulty", &[]);
    faulty.start_all(1);
    let refused = |method: &str, arguments: &str, words: &[&str]| {
        fails(&cluster, &["send", "--instance", "faulty", "--method", method, "--args", arguments], words);
        assert_eq!(cluster.send("faulty", "ok", json!([])), 42, "after {method} {arguments}");
    };
    // A text of that many bytes has five bytes before it.
    let most = (80 << 20) - 5;
    refused(
        "text_of",
        &json!([most + 1]).to_string(),
        &["the answer can't be sent: 83886081 bytes exceed the limit of 83886080"],
    );
    refused("bytes_of", "[\"83886081\"]", &["the answer can't be sent: 83886081 bytes exceed the limit"]);
    refused("take_peer", "[\"not a name!\"]", &["`peer: Peer` doesn't decode", "is not an instance name"]);
    let attached = cluster.send("faulty", "attach_one", json!(["not a name!"]));
    assert!(attached["Err"].as_str().is_some_and(|error| error.contains("is not an instance name")), "{attached}");
    assert_eq!(cluster.send("faulty", "attach_one", json!(["anna"])), json!({ "Ok": "anna" }));
    // What it sends itself for a caller.
    let called = cluster.send("faulty", "call_with", json!([(80 << 20) + 1]));
    let exceeds = "exceed the limit of 83886080 bytes";
    assert!(called["Err"].as_str().is_some_and(|error| error.contains(exceeds)), "{called}");
    let forked = cluster.send("faulty", "fork_with", json!([(80 << 20) + 1]));
    for fork in [&forked[0], &forked[1]] {
        assert!(fork["Err"].as_str().is_some_and(|error| error.contains(exceeds)), "{forked}");
    }
    // The text of an error that repeats what a caller has sent, five times as long.
    let name = "\u{1}".repeat(20 << 20);
    let error = Session::new(&cluster, "faulty").call_bytes("take_peer", &message_pack(&name)).expect_err("no name");
    assert!(error.contains("`peer: Peer` doesn't decode") && error.len() < 2000, "{} bytes", error.len());
    assert_eq!(cluster.send("faulty", "ok", json!([])), 42);
    cluster.send("faulty", "print_many", json!([17 << 20]));
    faulty.host(0).wait_for_word("ambrosia: 1048576 bytes more were printed in this delivery and are left out");
    assert_eq!(cluster.send("faulty", "ok", json!([])), 42);
}

/// A text as the only argument, of any size.
fn message_pack(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("far less than 4 GiB");
    [&[0x91, 0xdb][..], &length.to_be_bytes(), text.as_bytes()].concat()
}

#[test]
fn a_halted_instance_does_not_disturb_others() {
    let cluster = cluster();
    let _counter = Replicas::of(&cluster, "counter", "counter", 1);
    let mut faulty = Replicas::of(&cluster, "faulty", "faulty", 1);
    cluster.run(&["send", "--instance", "faulty", "--method", "trap"]);
    assert_eq!(faulty.wait_for_end(0).0, 1);
    assert_eq!(cluster.send("counter", "add", json!([1])), 1);
    assert_eq!(cluster.status("counter")["state"], "running");
}

/// The exit makes a checkpoint due that can't be taken any more.
#[test]
fn an_exit_ends_with_its_code_although_a_checkpoint_is_due() {
    let cluster = cluster();
    let mut faulty = Replicas::of_with(&cluster, "faulty", "faulty", 1, &["--checkpoint-every", "1"]);
    // As long as the one of the start is being written, none is taken. Its end is an event of the replica, which answers
    // `status` by a later one.
    faulty.host(0).wait_for_word("took a checkpoint");
    cluster.status("faulty");
    let ran = cluster.run(&["send", "--instance", "faulty", "--method", "exit_with", "--args", "[7]"]);
    let (code, said) = faulty.wait_for_end(0);
    assert_eq!(code, 7, "{said}");
    let text = "instance faulty finished with exit code 7 at lsn";
    assert!(ran.code == 0 || ran.stderr.contains(text), "{}", ran.stderr);
    assert!(said.contains(text), "{said}");
}

#[test]
fn an_exit_ends_every_replica_with_its_code() {
    for (code, seen) in [(3, 3), (256, 1)] {
        let cluster = cluster();
        let mut faulty = Replicas::of(&cluster, "faulty", "faulty", 3);
        let arguments = json!([code]).to_string();
        let ran = cluster.run(&["send", "--instance", "faulty", "--method", "exit_with", "--args", &arguments]);
        let text = format!("instance faulty finished with exit code {code} at lsn");
        assert!(ran.code == 0 || ran.stderr.contains(&text), "{}", ran.stderr);
        (0..3).for_each(|replica| assert_eq!(faulty.wait_for_end(replica).0, seen));
        let status = cluster.status("faulty");
        assert_eq!((&status["state"], &status["outcome"]["code"]), (&json!("finished"), &json!(code)));
        let again = cluster.run(&["run", "--instance", "faulty", "--replica", "2"]);
        assert_eq!((again.code, again.stderr.contains(&text)), (seen, true), "{}", again.stderr);
        fails(&cluster, &["send", "--instance", "faulty", "--method", "ok"], &[&text]);
    }
}
