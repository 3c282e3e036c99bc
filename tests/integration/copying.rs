//! Instances that go on in another store.

use ambrosia_test_database::Server;
use ambrosia_tests::{Cluster, Signal};
use serde_json::json;

use crate::support::{cluster, fails, succeeds};

const ADD: [&str; 5] = ["send", "counter", "add", "[4]", "--request-id"];

/// The same files and programs, on another store.
fn at<'a>(place: &'a str, words: &[&'a str]) -> Vec<&'a str> {
    [words, &["--store", place]].concat()
}

/// Runs the counter there, with its requests of before, and ends it in order.
fn goes_on(cluster: &Cluster, place: &str, total: u64) {
    let mut host = cluster.start_with("counter", 0, &["--store", place], |_| {});
    host.wait_until_primary();
    for id in ["the first", "the second"] {
        let again = cluster.must(&at(place, &[&ADD[..], &[id]].concat()));
        assert_eq!(again, if id == "the first" { "7\n" } else { "11\n" }, "it was done in the other store");
    }
    assert_eq!(cluster.must(&at(place, &["send", "counter", "total"])), format!("{total}\n"));
    let added = cluster.must(&at(place, &["send", "counter", "add", "[1]"]));
    assert_eq!(added, format!("{}\n", total + 1));
    host.signal(Signal::Terminate);
    assert_eq!(host.exit_code(), 0, "{}", host.said());
}

/// An instance with a checkpoint, requests before and after it, and a token.
fn registered() -> Cluster {
    let mut cluster = cluster();
    cluster.set_env("AMBROSIA_CACHE", cluster.file("cache"));
    cluster.register("counter", "counter", 2);
    cluster.register("idle", "counter", 1);
    let mut host = cluster.start("counter", 0);
    host.wait_until_primary();
    assert_eq!(cluster.send("counter", "add", json!([3])), 3);
    assert_eq!(cluster.must(&[&ADD[..], &["the first"]].concat()), "7\n");
    cluster.must(&["checkpoint", "counter"]);
    assert_eq!(cluster.must(&[&ADD[..], &["the second"]].concat()), "11\n");
    let to = cluster.file("refused");
    let refused = ["copy-store", "--to", to.to_str().expect("plain")];
    fails(&cluster, &refused, &["can't copy counter", "replica 0 of instance counter is running"]);
    host.signal(Signal::Terminate);
    assert_eq!(host.exit_code(), 0);
    cluster.must(&["token", "new", "--name", "laptop"]);
    cluster
}

#[test]
fn instances_go_on_in_a_copy_on_files_with_all_that_they_know() {
    let cluster = registered();
    let (here, there) = (cluster.store(), cluster.file("copy"));
    let (here, there) = (here.to_str().expect("plain"), there.to_str().expect("plain"));
    let copy = ["copy-store", "--from", here, "--to", there];
    succeeds(
        &cluster,
        &copy,
        &["copied counter: records 1 to", "and the checkpoint at lsn", "copied idle: records 1 to 1", "copied 1 token"],
    );
    succeeds(&cluster, &copy, &["counter is there already", "idle is there already"]);
    succeeds(&cluster, &at(there, &["verify", "counter"]), &["were replayed"]);
    succeeds(&cluster, &at(there, &["token", "list"]), &["laptop"]);
    goes_on(&cluster, there, 11);
    fails(&cluster, &copy, &["can't copy counter", "which is not this one as it is"]);
    let one = cluster.file("one");
    let one = one.to_str().expect("plain");
    succeeds(&cluster, &["copy-store", "--to", one, "--instance", "idle"], &["copied idle"]);
    fails(&cluster, &at(one, &["status", "counter"]), &["no instance counter"]);
    fails(&cluster, &["copy-store", "--to", here], &["can't be copied into itself"]);
}

#[test]
fn instances_go_on_in_a_database_and_back_on_files() {
    let Some(server) = Server::begin(&[]) else { return };
    let cluster = registered();
    let (url, back) = (server.url("shop"), cluster.file("back"));
    let back = back.to_str().expect("plain");
    fails(&cluster, &["copy-store", "--to", &url], &["can't copy to", "store init"]);
    cluster.must(&at(&url, &["store", "init"]));
    succeeds(&cluster, &["copy-store", "--to", &url], &["copied counter: records 1 to", "copied 1 token"]);
    goes_on(&cluster, &url, 11);
    succeeds(&cluster, &["copy-store", "--from", &url, "--to", back], &["copied counter: records 1 to", "copied idle"]);
    goes_on(&cluster, back, 12);
    // What it has come to in the meantime is not taken over by what it was.
    fails(&cluster, &["copy-store", "--to", &url], &["can't copy counter", "which is not this one as it is"]);
}
