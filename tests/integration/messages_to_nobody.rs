//! What the host says of itself may reach nobody. That must change nothing of what it does.

use std::{
    io::{PipeReader, PipeWriter, Write, pipe},
    process::{Command, Stdio},
};

use ambrosia_tests::{Cluster, Signal};
use serde_json::json;

use crate::support::{BareHost, cluster, role, wait_for_status};

fn run(cluster: &Cluster, replica: &str, stderr: impl Into<Stdio>) -> Command {
    let mut command = cluster.command(&["run", "--instance", "counter", "--replica", replica]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    command
}

/// A pipe whose reader is gone.
fn broken() -> PipeWriter {
    pipe().expect("there are descriptors").1
}

/// A pipe that is full and that nobody reads, with its reader.
fn full() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().expect("there are descriptors");
    // The smallest size that the kernel gives, filled to its last byte.
    let capacity = ambrosia_tests::shrink_pipe(&writer).expect("a pipe can be made smaller");
    writer.write_all(&vec![b'\n'; capacity]).expect("there is room for so much");
    (reader, writer)
}

fn wait_for_primary(cluster: &Cluster, replica: u16) {
    wait_for_status(cluster, "counter", |status| role(status, replica) == "primary");
}

#[test]
fn a_standby_whose_stderr_is_broken_takes_over() {
    let cluster = cluster();
    cluster.register("counter", "counter", 2);
    let primary = BareHost::start(run(&cluster, "0", Stdio::null()));
    wait_for_primary(&cluster, 0);
    let standby = BareHost::start(run(&cluster, "1", broken()));
    wait_for_status(&cluster, "counter", |status| role(status, 1) == "standby");
    primary.signal(Signal::Kill);
    wait_for_primary(&cluster, 1);
    assert_eq!(cluster.send("counter", "add", json!([1])), 1);
    standby.signal(Signal::Terminate);
    assert_eq!(standby.exit_code(), 0);
}

#[test]
fn a_primary_whose_stderr_is_broken_obeys() {
    for ask in [Signal::Terminate, Signal::Interrupt] {
        let cluster = cluster();
        cluster.register("counter", "counter", 1);
        let primary = BareHost::start(run(&cluster, "0", broken()));
        wait_for_primary(&cluster, 0);
        assert_eq!(cluster.send("counter", "add", json!([1])), 1);
        primary.signal(ask);
        assert_eq!(primary.exit_code(), 0, "{ask:?}");
    }
}

#[test]
fn a_stderr_that_is_full_and_not_read_holds_up_nothing() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    let (_reader, writer) = full();
    let mut command = run(&cluster, "0", writer);
    command.env("AMBROSIA_LOG", "trace");
    let primary = BareHost::start(command);
    wait_for_primary(&cluster, 0);
    assert_eq!(cluster.send("counter", "add", json!([1])), 1);
    primary.signal(Signal::Terminate);
    assert_eq!(primary.exit_code(), 0);
}

#[test]
fn a_verb_that_fails_ends_with_its_own_code_though_nobody_hears_why() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    let (_reader, writer) = full();
    for stderr in [broken(), writer] {
        let mut command = cluster.command(&["run", "--instance", "nobody"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        assert_eq!(BareHost::start(command).exit_code(), 1);
    }
}
