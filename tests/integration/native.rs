//! `debug --native`: gdb follows a guest through one delivery, line by line.

use std::process::{Command, Stdio};

use ambrosia_tests::{Cluster, LongMessage, Ran, skip, write_long_log};
use serde_json::json;

use crate::{
    support::{cluster, fails},
    travel::tree,
};

const COUNTER: &str = include_str!("../guests/examples/counter.rs");
const TALLY: &str = include_str!("../guests/debugged/src/lib.rs");

/// An instance that is asked to add 0, 1, 2 and so on, each by a record of its own: n by record n + 3.
fn counted(cluster: &mut Cluster, module: &std::path::Path, messages: u64) {
    let directory = cluster.directory().to_owned();
    cluster.set_env("TMPDIR", directory); // the script for gdb goes there
    let message = |n| LongMessage { method: "add", arguments: json!([n]), request: Some(format!("request-{n}")) };
    write_long_log(&cluster.store(), "counter", module, (0..messages).map(message)).expect("it can be written");
}

/// The line of a source that adds.
fn adding(source: &str) -> usize {
    source.lines().position(|line| line.contains("self.total += n")).expect("it adds") + 1
}

/// The line that is to be typed for record `lsn`.
fn told(cluster: &Cluster, lsn: u64) -> String {
    let said = cluster.must(&["debug", "--instance", "counter", "--at", &lsn.to_string(), "--native"]);
    said.lines().find(|line| line.starts_with("  gdb ")).expect("it is told").trim().to_owned()
}

/// Whether there is a gdb that can run a program, and has Python. If not, that is said.
fn has_gdb() -> bool {
    let arguments = ["-q", "-nx", "-batch", "-ex", "python print(7 * 191)", "-ex", "run", "--args", "true"];
    let output = match Command::new("gdb").args(arguments).stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) => {
            skip("native debugging", &format!("gdb can't be started: {error}"));
            return false;
        }
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let works = said.contains("1337") && said.contains("exited normally");
    if !works {
        skip("native debugging", &format!("this gdb has no Python, or may not run a program: {said}"));
    }
    works
}

/// Types the line that is told for record `lsn`, and `commands` at gdb's prompt.
fn gdb(cluster: &Cluster, lsn: u64, commands: &[&str]) -> Ran {
    let typed: String = commands.iter().map(|command| format!(" -ex '{command}'")).collect();
    let line = told(cluster, lsn).replacen("gdb -q", "gdb -q -nx -batch", 1);
    let line = line.replacen("-ex run", &format!("-ex run{typed}"), 1);
    let mut command = Command::new("sh");
    command.args(["-c", &line]).env("TMPDIR", cluster.directory()).stdin(Stdio::null());
    let output = command.output().expect("there is a shell");
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn contains(ran: &Ran, words: &[&str]) {
    words.iter().for_each(|word| assert!(ran.stdout.contains(word), "{word}:\n{}\n{}", ran.stdout, ran.stderr));
}

#[test]
fn gdb_stops_at_a_line_of_a_debug_build_and_shows_what_is_there() {
    let mut cluster = cluster();
    if !has_gdb() {
        return;
    }
    let module = cluster.guest("tally");
    counted(&mut cluster, &module, 5);
    let before = tree(&cluster.store());
    let place = format!("tests/guests/debugged/src/lib.rs:{}", adding(TALLY));
    let stop = format!("break {place} if n == 3");
    let commands =
        [&stop[..], "continue", "print n", "backtrace", "print $guest(self).total", "next", "print self", "continue"];
    let ran = gdb(&cluster, 6, &commands);
    contains(
        &ran,
        &[
            "the delivery of record 6 comes next",
            "tally::Tally::add (self=guest 0x",
            "$1 = 3\n",
            &format!(", n=3) at {place}"),
            // What wraps the handler is of the SDK.
            "at guest-sdk/src/",
            "$2 = 3\n",
            // Behind the line: 0 + 1 + 2 + 3.
            "tally::Tally {total: 6, largest: 3}",
            "record 6 did the same as without a debugger: fuel ",
        ],
    );
    assert!(tree(&cluster.store()) == before, "something was written into the store");
    let meddled = gdb(&cluster, 6, &[&stop, "continue", "print $guest(self).total = 40", "continue"]);
    contains(
        &meddled,
        &[
            "record 6 did not do the same as without a debugger",
            "what it brought about",
            "the memory of the guest",
            "code 01",
        ],
    );
}

#[test]
fn gdb_stops_at_a_line_of_a_release_build() {
    let mut cluster = cluster();
    if !has_gdb() {
        return;
    }
    let module = cluster.guest("counter");
    counted(&mut cluster, &module, 2);
    let place = format!("counter.rs:{}", adding(COUNTER));
    let ran = gdb(&cluster, 4, &[&format!("break {place}"), "continue", "backtrace 1", "delete", "continue"]);
    contains(&ran, &[&format!("at tests/guests/examples/{place}\n"), "record 4 did the same as without a debugger"]);
}

#[test]
fn without_a_debugger_it_is_told_what_to_type_and_what_can_not_be_looked_into() {
    let mut cluster = cluster();
    let module = cluster.guest("counter");
    counted(&mut cluster, &module, 3);
    let (store, before) = (cluster.store(), tree(&cluster.store()));
    let line = told(&cluster, 5);
    let (start, end) = line.split_once(" -ex run --args ").expect("gdb is to run it");
    let script = start.strip_prefix("gdb -q -x ").expect("a script comes with it");
    let script = std::fs::read_to_string(script).expect("the script is there");
    assert_eq!(script, include_str!("../../scripts/ambrosia-gdb.py"));
    let command =
        format!("{} --store {} debug --instance counter --at 5 --native", cluster.program().display(), store.display());
    assert_eq!(end, command);
    assert_eq!(told(&cluster, 5), line, "the script is written once");
    let at = |lsn| ["debug", "--instance", "counter", "--native", "--at", lsn];
    fails(&cluster, &at("2"), &["record 2 is of kind epoch", "in deliveries only"]);
    fails(&cluster, &at("1"), &["record 1 is outside the log, which can be travelled from lsn 2 to 5"]);
    fails(&cluster, &at("6"), &["record 6 is outside the log"]);
    let ran = cluster.run(&[&at("5")[..], &["--json"]].concat());
    assert!(ran.code == 2 && ran.stderr.contains("--json"), "{}", ran.stderr);
    assert!(tree(&store) == before, "something was written into the store");
}

#[test]
fn a_module_without_debug_information_is_told() {
    let mut cluster = cluster();
    let mut module = std::fs::read(cluster.guest("counter")).expect("it was built");
    let name = b".debug_";
    for at in 0..module.len() - name.len() {
        if module[at..].starts_with(name) {
            module[at..at + name.len()].copy_from_slice(b".other_");
        }
    }
    let stripped = cluster.file("stripped.wasm");
    std::fs::write(&stripped, module).expect("it can be written");
    counted(&mut cluster, &stripped, 1);
    fails(
        &cluster,
        &["debug", "--instance", "counter", "--at", "3", "--native"],
        &["carries no debug information", "build it with `debug = true`"],
    );
}
