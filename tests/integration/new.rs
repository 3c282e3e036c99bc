//! `new`: a project that a stranger makes outside of this repository, built by the real cargo.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use ambrosia_tests::{Cluster, Host, Signal};
use serde_json::json;

use crate::support::{cluster, fails, succeeds};

/// The first build has crates to compile, on a machine that may be busy.
const BUILD_PATIENCE: Duration = Duration::from_secs(900);

/// One directory for all runs, so that the crates are compiled once.
fn target(cluster: &Cluster) -> PathBuf {
    let release = cluster.program().parent().expect("it lies in the build directory");
    release.parent().expect("the profile's directory lies in the build directory").join("new-project")
}

fn in_project(cluster: &Cluster, directory: &Path, arguments: &[&str]) -> Command {
    let mut command = cluster.command(arguments);
    command.current_dir(directory).env_remove("AMBROSIA_STORE").env("CARGO_TARGET_DIR", target(cluster));
    command
}

#[test]
fn a_new_project_is_built_survives_a_kill_and_is_swapped_when_its_source_changes() {
    let cluster = cluster();
    let directory = cluster.file("made");
    succeeds(
        &cluster,
        &["new", "my-counter", "--directory", directory.to_str().expect("text")],
        &["made the project my-counter"],
    );
    let run = |arguments: &[&str]| {
        let output = in_project(&cluster, &directory, arguments).output().expect("the program can be started");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let mut up = Host::start(in_project(&cluster, &directory, &["up", "--watch", "--http", "off"]), |_| {})
        .expect("the program can be started");
    let became = up.stderr.wait_for(0, BUILD_PATIENCE, |line| line.contains("became primary"));
    assert!(became.is_some(), "it was not built: {}", up.said());
    let add = |n: u64| {
        let sent = run(&["send", "--instance", "my-counter", "--method", "add", "--args", &json!([n]).to_string()]);
        sent.trim().to_owned()
    };
    assert_eq!(add(2), "2");
    // Both were started at once, so either may be the primary.
    up.wait_for_print(" | the total is 2");
    let printed = up.printed();
    let primary = if printed.iter().any(|line| line.contains("my-counter/0 | the total is 2")) { 0 } else { 1 };
    up.wait_for_word(&format!("my-counter/{} |", 1 - primary));
    let killed = run(&["kill", "--instance", "my-counter", "--primary"]);
    assert!(killed.contains(&format!("killed replica {primary} of my-counter, the primary")), "{killed}");
    assert_eq!(add(3), "5");

    up.wait_for_word("watches the sources");
    let source = directory.join("src/lib.rs");
    let text = fs::read_to_string(&source).expect("it was made");
    fs::write(&source, text.replace("self.total += n;", "self.total += 10 * n;")).expect("it can be written");
    let swapped = up.stdout.wait_for(0, BUILD_PATIENCE, |line| line.contains("runs the new module since lsn"));
    assert!(swapped.is_some(), "it was not swapped: {}", up.said());
    assert_eq!(add(1), "15");
    up.signal(Signal::Interrupt);
    assert_eq!(up.exit_code(), 0, "{}", up.said());
}

#[test]
fn nothing_that_is_there_is_overwritten() {
    let cluster = cluster();
    let there = cluster.file("there");
    fs::create_dir(&there).expect("the directory is new");
    let there = there.to_str().expect("text");
    fails(&cluster, &["new", "shop", "--directory", there], &["can't make the directory", "there"]);
    fails(&cluster, &["new", "My Shop"], &["`My Shop` can't be the name of a project"]);
    assert_eq!(fs::read_dir(there).expect("it is there").count(), 0);
}
