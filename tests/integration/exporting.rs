//! A part of an instance's life in a store of its own.

use std::path::Path;

use ambrosia_tests::{Cluster, LongMessage, write_long_log};
use serde_json::json;

use crate::support::{Replicas, Session, cluster, fails};

/// Arguments that name another store.
fn on<'a>(store: &'a Path, arguments: &[&'a str]) -> Vec<&'a str> {
    [&["--store", store.to_str().expect("text")], arguments].concat()
}

fn must_on(cluster: &Cluster, store: &Path, arguments: &[&str]) -> String {
    cluster.must(&on(store, arguments))
}

fn export(cluster: &Cluster, more: &[&str], output: &Path) -> String {
    let output = output.to_str().expect("text");
    cluster.must(&[&["export", "--instance", "counter", "--output", output], more].concat())
}

/// What `debug` shows of some records.
fn shown(cluster: &Cluster, store: &Path, lsns: &[u64]) -> String {
    let script = cluster.file("script");
    let goto: String = lsns.iter().map(|lsn| format!("goto {lsn}\n")).collect();
    std::fs::write(&script, goto).expect("it can be written");
    let script = script.to_str().expect("text");
    let at = lsns[0].to_string();
    let debug = ["debug", "--instance", "counter", "--at", &at, "--plain", "--script", script];
    must_on(cluster, store, &debug)
}

/// Reigns, checkpoints, and a log that goes on meanwhile.
#[test]
fn an_export_shows_what_the_instance_showed_and_goes_on_by_itself() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 2);
    let mut session = Session::new(&cluster, "counter");
    for n in 1..=20 {
        assert_eq!(session.call("add", json!([1])), n);
        session.call("see", json!([n]));
        if n % 5 == 0 {
            cluster.must(&["checkpoint", "--instance", "counter"]);
        }
        if n == 12 {
            counter.kill_primary();
        }
    }
    let last = cluster.status("counter")["durable_lsn"].as_u64().expect("a number");
    let checkpoints = cluster.status("counter")["checkpoints"].clone();
    let checkpoint = checkpoints[1]["lsn"].as_u64().expect("there are some");
    let to = last - 3;
    let (whole, part) = (cluster.file("whole"), cluster.file("part"));
    let said = export(&cluster, &["--to", &last.to_string()], &whole);
    assert!(said.contains(&format!("records 1 to {last} of counter are in ")), "{said}");
    let from = (checkpoint + 2).to_string();
    let said = export(&cluster, &["--from", &from, "--to", &to.to_string()], &part);
    assert!(said.contains(&format!("they go on behind the checkpoint at lsn {checkpoint}")), "{said}");
    let (store, all) = (cluster.store(), [last, 1, last / 2, 5]);
    assert_eq!(shown(&cluster, &whole, &all), shown(&cluster, &store, &all));
    let some = [to, checkpoint + 2, to - 1];
    assert_eq!(shown(&cluster, &part, &some), shown(&cluster, &store, &some));
    let verified = must_on(&cluster, &whole, &["verify", "--instance", "counter"]);
    assert!(verified.contains("digests there agree"), "{verified}");
    let behind = on(&part, &["debug", "--instance", "counter", "--at", "1"]);
    fails(&cluster, &behind, &[&format!("which can be travelled from lsn {checkpoint} to {to}")]);
    // A copy is an instance of its own.
    let mut command = cluster.command(&on(&whole, &["run", "--instance", "counter", "--replica", "0"]));
    command.env("AMBROSIA_STORE", &whole);
    let host = ambrosia_tests::Host::start(command, |_| {}).expect("the program can be started");
    host.wait_until_primary();
    let send = ["send", "--instance", "counter", "--method", "total"];
    assert_eq!(must_on(&cluster, &whole, &send), "20\n");
    assert_eq!(session.call("add", json!([1])), 21, "the other one goes on by itself");
}

#[test]
fn what_can_not_be_exported_is_told() {
    let cluster = cluster();
    let message = |n: u64| LongMessage { method: "add", arguments: json!([n]), request: None };
    let last = write_long_log(&cluster.store(), "counter", &cluster.guest("counter"), (0..20).map(message));
    let last = last.expect("it can be written").0;
    let (output, there) = (cluster.file("new"), cluster.file("there"));
    std::fs::create_dir(&there).expect("it can be made");
    std::fs::write(there.join("thesis.tex"), "").expect("it can be written");
    let (output, there) = (output.to_str().expect("text"), there.to_str().expect("text"));
    let beyond = (last + 1).to_string();
    for (instance, more, words) in [
        ("nobody", &["--output", output][..], "there is no instance nobody"),
        ("counter", &["--output", there], "is there already: name a new directory"),
        ("counter", &["--output", output, "--to", &beyond], "is outside the log"),
        ("counter", &["--output", output, "--from", "7", "--to", "6"], "begin at record 7 and end before, at record 6"),
    ] {
        fails(&cluster, &[&["export", "--instance", instance], more].concat(), &[words]);
    }
    assert!(!Path::new(output).exists(), "what is refused leaves nothing behind");
    cluster.must(&["export", "--instance", "counter", "--output", output]);
    fails(&cluster, &["export", "--instance", "counter", "--output", output], &["is there already"]);
}
