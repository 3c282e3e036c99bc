//! Processes that may have little address space (`ulimit -v`).

use std::process::{Command, Output, Stdio};

use ambrosia_tests::{Cluster, Host};
use serde_json::json;

use crate::support::{Replicas, cluster};

/// Less than a memory of a guest takes where there is no limit.
const LIMIT_KIB: u32 = 3 << 20;

/// What the guide says is enough for a guest of 64 MiB.
const ENOUGH_FOR_64_MIB_KIB: u32 = 256 << 10;

/// The program, to be started within a limit.
fn within(kib: u32, cluster: &Cluster, arguments: &[&str]) -> Command {
    let program = cluster.program().to_str().expect("the path is text");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {kib} && exec \"$@\""), "sh", program]).args(arguments);
    command.env("AMBROSIA_STORE", cluster.store()).stdin(Stdio::null());
    command
}

fn output(mut command: Command) -> Output {
    command.output().expect("there is a shell")
}

fn run_within(kib: u32, cluster: &Cluster, replica: &str) -> Host {
    let run = ["run", "--instance", "counter", "--replica", replica];
    Host::start(within(kib, cluster, &run), |_| {}).expect("there is a shell")
}

/// Adds 1 and says how many there are now.
fn add(cluster: &Cluster) -> u64 {
    cluster.send("counter", "add", json!([1])).as_u64().expect("a number")
}

#[test]
fn who_needs_an_engine_names_the_limit_of_address_space_and_what_helps() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    let module = cluster.guest("counter").display().to_string();
    for verb in [&["run", "--instance", "counter"][..], &["register-instance", "--instance", "b", "--module", &module]]
    {
        let output = output(within(LIMIT_KIB, &cluster, verb));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        for word in ["this process can't reserve ", " MiB of address space", "4096 MiB", "ulimit -v", "--memory-mib"] {
            assert!(said.contains(word), "{said}");
        }
        assert!(!said.contains("the guest broke") && !said.contains("trapped"), "{said}");
    }
}

#[test]
fn send_log_and_status_need_no_engine() {
    let cluster = cluster();
    let _values = Replicas::of(&cluster, "values", "values", 1);
    for (arguments, word) in [
        (&["send", "--instance", "values", "--method", "text", "--args", "[\"hi\"]"][..], "hi"),
        (&["log", "--instance", "values"], "deliver"),
        (&["status"], "values: running"),
    ] {
        let output = output(within(LIMIT_KIB, &cluster, arguments));
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && printed.contains(word), "{arguments:?}: {output:?}");
    }
}

/// Replicas with and without a limit take over from each other, begin at each other's checkpoints, and compare what they are
/// at each of them.
#[test]
fn a_replica_within_a_limit_and_one_without_are_the_same() {
    let cluster = cluster();
    let module = cluster.guest("counter").display().to_string();
    let register = ["register-instance", "--instance", "counter", "--module", &module, "--memory-mib", "64"];
    let registered = output(within(ENOUGH_FOR_64_MIB_KIB, &cluster, &register));
    assert!(registered.status.success(), "{registered:?}");
    cluster.must(&["add-replica", "--instance", "counter", "--replica", "1"]);

    let mut limited = run_within(ENOUGH_FOR_64_MIB_KIB, &cluster, "0");
    limited.wait_until_primary();
    assert_eq!(add(&cluster), 1);
    let mut unlimited = cluster.start("counter", 1);
    unlimited.wait_until_caught_up();
    // Taken by the standby, from a digest of the primary that it compares its own with.
    assert!(cluster.must(&["checkpoint", "--instance", "counter"]).ends_with("by replica 1\n"));
    assert_eq!(add(&cluster), 2);
    limited.kill();
    unlimited.wait_until_primary();
    assert_eq!(add(&cluster), 3);

    let mut limited = run_within(ENOUGH_FOR_64_MIB_KIB, &cluster, "0");
    limited.wait_until_caught_up();
    assert!(limited.said().contains("restored a checkpoint"), "{}", limited.said());
    assert!(cluster.must(&["checkpoint", "--instance", "counter"]).ends_with("by replica 0\n"));
    assert_eq!(add(&cluster), 4);
    unlimited.kill();
    limited.wait_until_primary();
    assert_eq!(add(&cluster), 5);
    limited.kill();

    let unlimited = cluster.start("counter", 1);
    unlimited.wait_until_primary();
    assert!(unlimited.said().contains("restored a checkpoint"), "{}", unlimited.said());
    assert_eq!(add(&cluster), 6);
}
