//! Stores, registrations, and verbs that end well or badly.

use std::path::PathBuf;

use ambrosia_tests::{Cluster, Host, Ran, Signal};

use super::begin;

/// A store of its own for one test.
pub(crate) fn cluster() -> Cluster {
    Cluster::new()
}

/// Processes on the store of that URL, which is made.
pub(crate) fn cluster_on(url: &str) -> Cluster {
    cluster_with(url, &[])
}

/// The same, with further variables of the environment.
pub(crate) fn cluster_with(url: &str, variables: &[(String, String)]) -> Cluster {
    let mut cluster = Cluster::new();
    variables.iter().for_each(|(name, value)| cluster.set_env(name, value));
    cluster.set_env("AMBROSIA_STORE", url);
    cluster.set_env("AMBROSIA_CACHE", cluster.file("cache"));
    cluster.must(&["store", "init"]);
    cluster
}

/// Registers `instance` with a guest and further options.
pub(crate) fn register_with(cluster: &Cluster, instance: &str, guest: &str, more: &[&str]) {
    let module = cluster.guest(guest);
    let module = module.to_str().expect("the path is text");
    let mut arguments = vec!["register-instance", "--instance", instance, "--module", module];
    arguments.extend(more);
    cluster.must(&arguments);
}

/// A file with a module made from its text.
pub(crate) fn wat_module(cluster: &Cluster, name: &str, text: &str) -> PathBuf {
    let file = cluster.file(name);
    std::fs::write(&file, wat::parse_str(text).expect("the text is right")).expect("the directory is there");
    file
}

/// Ends a host in order.
pub(crate) fn end(mut host: Host) {
    host.signal(Signal::Terminate);
    assert_eq!(host.exit_code(), 0, "{}", host.said());
}

/// Runs a verb that must fail with exit code 1 and say each of `words`; returns what it said.
pub(crate) fn fails(cluster: &Cluster, arguments: &[&str], words: &[&str]) -> String {
    ends(cluster, arguments, 1, words)
}

/// Runs a verb that must succeed, and print each of `words`.
pub(crate) fn succeeds(cluster: &Cluster, arguments: &[&str], words: &[&str]) {
    let printed = cluster.must(arguments);
    words.iter().for_each(|word| assert!(printed.contains(word), "{arguments:?} did not print {word:?}:\n{printed}"));
}

fn ends(cluster: &Cluster, arguments: &[&str], expected: i32, words: &[&str]) -> String {
    let Ran { code, stdout, stderr } = begin(cluster, arguments).end();
    assert_eq!((code, stdout.as_str()), (expected, ""), "{arguments:?} said:\n{stderr}");
    words.iter().for_each(|word| assert!(stderr.contains(word), "{arguments:?} did not say {word:?}:\n{stderr}"));
    stderr
}

/// `text` as lines, without the empty first one that makes a raw string readable.
pub(crate) fn lines(text: &str) -> Vec<String> {
    text.strip_prefix('\n').unwrap_or(text).lines().map(|line| line.trim_start().to_owned()).collect()
}
