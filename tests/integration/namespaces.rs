//! Hosts and clients that share a store and no network, as in two containers with one volume.

use std::process::{Command, Stdio};

use ambrosia_tests::{Cluster, Ran, skip};

use crate::support::{Replicas, cluster, way_apart};

/// Runs a verb in a network of its own.
fn run_apart(cluster: &Cluster, way: &[&str], arguments: &[&str]) -> Ran {
    let mut command = Command::new("unshare");
    command.args(way).arg(cluster.program()).args(arguments);
    let output = command.env("AMBROSIA_STORE", cluster.store()).stdin(Stdio::null()).output();
    let output = output.expect("it worked a moment ago");
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn a_client_in_another_network_is_told_that_the_primary_runs_and_where_it_could_be_reached() {
    let Some(way) = way_apart() else {
        return skip("a client in another network namespace", "`unshare -n` does not work here");
    };
    let cluster = cluster();
    let _counter = Replicas::of(&cluster, "counter", "counter", 1);
    let address = cluster.status("counter")["primary"]["address"].as_str().expect("it has one").to_owned();
    let send = ["send", "--instance", "counter", "--method", "total", "--timeout", "2"];
    let ran = run_apart(&cluster, way, &send);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
    let primary = format!("instance counter runs, but a primary at {address} can't be reached from here (");
    for words in [primary.as_str(), "use the network namespace of its host"] {
        assert!(ran.stderr.contains(words), "{words:?}: {}", ran.stderr);
    }
    assert!(!ran.stderr.contains("has no primary"), "{}", ran.stderr);
    let ran = run_apart(&cluster, way, &["status"]);
    let peers = format!("  peers: not known, a primary at {address} can't be reached from here (");
    assert!(ran.code == 0 && ran.stdout.contains(&peers), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(cluster.must(&send), "0\n", "from here it is reached");
}
