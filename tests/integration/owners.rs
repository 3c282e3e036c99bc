//! A store of one user, in which root has worked.

use std::{
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    process::Command,
};

use ambrosia_tests::{Cluster, Host, skip};
use serde_json::json;

use crate::support::cluster;

/// A user who is not root.
const OWNER: u32 = 65534;

/// The same command as that user.
fn as_owner(mut command: Command) -> Command {
    command.uid(OWNER).gid(OWNER);
    command
}

fn run_as_owner(cluster: &Cluster) -> Host {
    let command = as_owner(cluster.command(&["run", "--instance", "counter"]));
    let host = Host::start(command, |_| {}).expect("the program can be started");
    host.wait_until_primary();
    host
}

/// Everything in the store belongs to its owner, and has the bits of its mode.
fn see_owners(cluster: &Cluster) {
    let mut waiting = vec![cluster.store()];
    while let Some(path) = waiting.pop() {
        let metadata = std::fs::metadata(&path).expect("it is there");
        let mode = metadata.mode() & 0o777;
        let expected = if metadata.is_dir() { 0o750 } else { 0o640 };
        assert_eq!((metadata.uid(), metadata.gid(), mode), (OWNER, OWNER, expected), "{}: {mode:o}", path.display());
        if metadata.is_dir() {
            waiting
                .extend(std::fs::read_dir(&path).expect("it can be listed").map(|entry| entry.expect("works").path()));
        }
    }
}

#[test]
fn what_root_does_in_a_store_of_another_user_does_not_lock_the_owner_out() {
    let mut cluster = cluster();
    if std::fs::metadata(cluster.directory()).expect("it is there").uid() != 0 {
        return skip("root in a store of another user", "only root may be both");
    }
    cluster.open_to_all();
    if !as_owner(cluster.command(&["--version"])).output().is_ok_and(|tried| tried.status.success()) {
        return skip("root in a store of another user", "another user can't start the program here");
    }
    std::fs::create_dir(cluster.store()).expect("it is not there yet");
    std::fs::set_permissions(cluster.store(), PermissionsExt::from_mode(0o750)).expect("it is the test's own");
    chown(cluster.store(), Some(OWNER), Some(OWNER)).expect("root may");

    // Root is the first in everything: it registers, runs, takes a checkpoint, and is killed.
    cluster.register("counter", "counter", 1);
    let mut root = cluster.start("counter", 0);
    root.wait_until_primary();
    assert_eq!(cluster.send("counter", "add", json!([1])), 1);
    cluster.must(&["checkpoint", "--instance", "counter"]);
    see_owners(&cluster);
    root.kill();

    let mut owner = run_as_owner(&cluster);
    assert_eq!(cluster.send("counter", "add", json!([1])), 2);
    cluster.must(&["checkpoint", "--instance", "counter"]);
    owner.kill();
    let mut root = cluster.start("counter", 0);
    root.wait_until_primary();
    assert_eq!(cluster.send("counter", "add", json!([1])), 3);
    see_owners(&cluster);
    root.kill();

    let mut owner = run_as_owner(&cluster);
    assert_eq!(cluster.send("counter", "total", json!([])), 3);
    owner.kill();
    let deregistered = as_owner(cluster.command(&["deregister-instance", "--instance", "counter", "--yes"])).output();
    assert!(deregistered.is_ok_and(|ran| ran.status.success()), "all of it is the owner's");
}
