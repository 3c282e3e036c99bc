//! Another directory comes to lie in the place of the store while replicas run.

use std::{path::Path, process::Command};

use ambrosia_tests::Cluster;
use serde_json::json;

use crate::support::{Replicas, Session, cluster};

/// What lies in the place of the store afterwards.
type Replace = fn(store: &Path, moved: &Path);

fn copy_back(store: &Path, moved: &Path) {
    let copied = Command::new("cp").arg("-a").arg(moved).arg(store).status().expect("there is a cp");
    assert!(copied.success());
}

#[test]
fn a_replica_whose_store_is_replaced_stops_and_says_so() {
    both_stop(copy_back);
}

#[test]
fn a_replica_whose_store_is_removed_stops_and_says_so() {
    both_stop(|_, _| {});
}

fn both_stop(replace: Replace) {
    let cluster = cluster();
    let mut replicas = Replicas::of(&cluster, "counter", "counter", 2);
    assert_eq!(Session::new(&cluster, "counter").call("add", json!([1])), 1);
    let moved = cluster.file("moved");
    std::fs::rename(cluster.store(), &moved).expect("both are there");
    replace(&cluster.store(), &moved);
    for replica in [0, 1] {
        let (code, said) = replicas.wait_for_end(replica);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("the store was replaced or removed under this replica"), "{said}");
        assert!(said.contains("control is not the file that it opened"), "{said}");
    }
    see_what_is_left(&cluster, &moved);
}

/// What was acknowledged is in the directory that the replicas had opened.
fn see_what_is_left(cluster: &Cluster, moved: &Path) {
    if cluster.store().exists() {
        std::fs::remove_dir_all(cluster.store()).expect("it is the test's own");
    }
    std::fs::rename(moved, cluster.store()).expect("both are there");
    let _host = cluster.start("counter", 0);
    assert_eq!(cluster.send("counter", "total", json!([])), 1);
}
