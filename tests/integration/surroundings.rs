//! What a machine has too little of, or holds back.

use std::process::{Command, Stdio};

use ambrosia_tests::{Cluster, LockedBytes, PATIENCE};
use serde_json::json;

use crate::support::{Replicas, Session, cluster};

/// Runs the counter with what `limit` says in the shell before; it has to fail. Returns what it says.
fn fails_with(cluster: &Cluster, limit: &str) -> String {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{limit}; exec \"$0\" run --instance counter")]).arg(cluster.program());
    command.env("AMBROSIA_STORE", cluster.store()).env_remove("AMBROSIA_LOG").stdin(Stdio::null());
    let output = command.output().expect("there is a shell");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[test]
fn too_few_descriptors_are_an_error_that_names_the_limit() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    for limit in [5, 8, 12, 16, 20] {
        let said = fails_with(&cluster, &format!("ulimit -n {limit}"));
        assert!(said.contains("ulimit -n"), "{limit}: {said}");
    }
}

#[test]
fn too_few_threads_are_an_error_that_names_the_limit() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    // Not even root gets a thread whose stack does not fit into the address space.
    let said = fails_with(&cluster, "export RUST_MIN_STACK=1125899906842624");
    assert!(said.contains("a thread can't be started") && said.contains("pids.max"), "{said}");
}

/// The compiler would take a thread for each processor, and panics if there is none.
#[test]
fn a_module_is_compiled_and_registered_without_another_thread() {
    let cluster = cluster();
    let mut command = Command::new(cluster.program());
    command.args(["register-instance", "--instance", "counter", "--module"]).arg(cluster.guest("counter"));
    command.env("AMBROSIA_STORE", cluster.store()).env("RUST_MIN_STACK", "1125899906842624").stdin(Stdio::null());
    let output = command.output().expect("the program can be started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !said.contains("panicked"), "{said}");
}

#[test]
fn peers_take_no_thread_each() {
    const PEERS: usize = 300;
    let cluster = cluster();
    cluster.register("receiver0", "receiver", 1);
    let sender = Replicas::of(&cluster, "sender", "sender", 1);
    let mut session = Session::new(&cluster, "sender");
    for peer in 0..PEERS {
        session.call("start", json!([format!("receiver{peer}"), 1, 1, 8]));
    }
    let tasks = format!("/proc/{}/task", sender.host(0).pid());
    let threads = std::fs::read_dir(tasks).expect("it runs").count();
    assert!(threads < 40, "{threads} threads with {PEERS} peers");

    // And who comes later is found by the one thread that there is.
    let receiver = cluster.start("receiver0", 0);
    receiver.wait_until_primary();
    Session::new(&cluster, "receiver0").call_until("report", |report| *report == json!([1, 0]));
}

#[test]
fn a_primary_that_hangs_in_the_system_is_deposed() {
    let cluster = cluster();
    let mut faulty = Replicas::of(&cluster, "faulty", "faulty", 2);
    let mut session = Session::new(&cluster, "faulty");
    // At its end the driver writes down how the instance ended, and waits for whoever holds this lock.
    let lock = LockedBytes::take(&cluster.store().join("registry/.lock"), 0..1).expect("nobody else holds it");
    session.call("exit_with", json!([7]));
    let next = faulty.next_reign();
    assert_eq!(next.replica, 1, "the other one has taken over while the first one hangs");
    faulty.host(0).wait_for_word("this replica stands still and is silent");
    drop(lock);
    for replica in [0, 1] {
        assert_eq!(faulty.wait_for_end(replica).0, 7, "within {PATIENCE:?}");
    }
}
