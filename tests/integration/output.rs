//! An output that takes nothing, or not just now, or never again.

use std::{
    fs::OpenOptions,
    io::{PipeReader, PipeWriter, Write, pipe},
    process::Stdio,
    sync::mpsc::{Receiver, channel},
};

use ambrosia_tests::{Cluster, Lines, PATIENCE, Signal, make_nonblocking, shrink_pipe};
use serde_json::json;

use crate::support::{BareHost, cluster, role, wait_for_status};

/// Lines of [`LINE_BYTES`] that are more than the host keeps of prints.
const MANY: usize = 10_000;
/// What a line is filled up to.
const LINE_BYTES: usize = 4000;

/// The first replica of a printer, whose output is the test's own.
struct Shown {
    host: BareHost,
    said: Lines,
    stdin: PipeWriter,
}

impl Shown {
    fn start(cluster: &Cluster, stdout: impl Into<Stdio>) -> Shown {
        let (typed, stdin) = pipe().expect("there are descriptors");
        let (said, stderr) = pipe().expect("there are descriptors");
        let mut command = cluster.command(&["run", "--instance", "printer", "--replica", "0", "--stdin", "say"]);
        command.stdin(typed).stdout(stdout).stderr(stderr);
        let shown = Shown { host: BareHost::start(command), said: Lines::of(said, |_| {}), stdin };
        shown.wait_for_word("became primary");
        shown
    }

    /// Types that many lines, as fast as the host takes them.
    fn type_lines(&self, count: usize) -> Typing {
        let mut stdin = self.stdin.try_clone().expect("there are descriptors");
        let (done, is_done) = channel();
        std::thread::spawn(move || {
            for line in 1..=count {
                // The host may have been ended by the test.
                if writeln!(stdin, "line {line} {:x<LINE_BYTES$}", "").is_err() {
                    return;
                }
            }
            // It fails only if nobody waits for it.
            let _unheard = done.send(());
        });
        Typing(is_done)
    }

    fn wait_for_word(&self, word: &str) {
        let found = self.said.wait_for(0, PATIENCE, |line| line.contains(word));
        assert!(found.is_some(), "the host has not said {word:?}; it said:\n{}", self.said.all().join("\n"));
    }

    fn ends_when_asked(self) -> Lines {
        let Shown { host, said, .. } = self;
        host.signal(Signal::Terminate);
        assert_eq!(host.exit_code(), 0);
        assert!(said.wait_for_end(PATIENCE));
        said
    }
}

/// Lines that are being typed.
struct Typing(Receiver<()>);

impl Typing {
    fn wait(self) {
        self.0.recv_timeout(PATIENCE).expect("the host takes all lines");
    }
}

/// A pipe that holds little.
fn small_pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = pipe().expect("there are descriptors");
    shrink_pipe(&writer).expect("a pipe can be made smaller");
    (reader, writer)
}

fn say(cluster: &Cluster, text: &str) {
    cluster.send("printer", "say", json!([text]));
}

#[test]
fn a_primary_whose_output_is_not_read_steps_down_for_a_standby() {
    let cluster = cluster();
    cluster.register("printer", "printer", 2);
    let (unread, stdout) = small_pipe();
    let shown = Shown::start(&cluster, stdout);
    let standby = cluster.start("printer", 1);
    standby.wait_until_caught_up();
    shown.type_lines(MANY);
    standby.wait_until_primary();
    shown.wait_for_word("the output takes nothing, so this replica steps down");
    say(&cluster, "and on");
    standby.wait_for_print("and on");
    wait_for_status(&cluster, "printer", |status| role(status, 0) == "standby" && role(status, 1) == "primary");

    // What had waited is shown once it is read, and nothing of it twice.
    let read = Lines::of(unread, |_| {});
    read.wait_for(3000, PATIENCE, |_| true).expect("more than 3000 lines had waited");
    shown.ends_when_asked();
    let all = read.all();
    let numbers: Vec<u64> = all.iter().filter_map(|line| line.split_once(' ')?.0.parse().ok()).collect();
    assert!(numbers.len() >= 2999 && numbers.is_sorted_by(|a, b| a < b), "{} numbers", numbers.len());
}

#[test]
fn a_primary_that_is_alone_and_whose_output_is_not_read_goes_on() {
    let cluster = cluster();
    cluster.register("printer", "printer", 1);
    let (unread, stdout) = small_pipe();
    let shown = Shown::start(&cluster, stdout);
    shown.type_lines(MANY).wait();
    shown.wait_for_word("prints are dropped until it does");
    say(&cluster, "and on");
    let said = shown.ends_when_asked().all().join("\n");
    assert!(said.contains("handed over") && said.contains("is not shown"), "{said}");
    assert!(said.contains("prints of the guest were lost"), "{said}");
    drop(unread);
}

#[test]
fn a_replica_whose_output_is_not_read_takes_over_if_nobody_else_does() {
    let cluster = cluster();
    cluster.register("printer", "printer", 2);
    let (_unread, stdout) = small_pipe();
    let shown = Shown::start(&cluster, stdout);
    let mut standby = cluster.start("printer", 1);
    standby.wait_until_caught_up();
    shown.type_lines(MANY);
    standby.wait_until_primary();
    wait_for_status(&cluster, "printer", |status| role(status, 0) == "standby");
    standby.kill();
    wait_for_status(&cluster, "printer", |status| role(status, 0) == "primary");
    shown.wait_for_word("nobody else took over, so this replica does");
    say(&cluster, "and on");
    shown.ends_when_asked();
}

#[test]
fn a_few_prints_that_nobody_reads_do_not_keep_the_process() {
    let cluster = cluster();
    cluster.register("printer", "printer", 1);
    let (_unread, stdout) = small_pipe();
    let shown = Shown::start(&cluster, stdout);
    (0..6).for_each(|_| say(&cluster, &"x".repeat(1000)));
    let said = shown.ends_when_asked().all().join("\n");
    assert!(said.contains("what the guest printed last is not shown"), "{said}");
}

#[test]
fn an_output_that_is_not_ready_gets_all_of_it_in_the_end() {
    let cluster = cluster();
    cluster.register("printer", "printer", 1);
    let (unread, stdout) = small_pipe();
    make_nonblocking(&stdout).expect("the mode of a pipe can be set");
    let shown = Shown::start(&cluster, stdout);
    (1..=100).for_each(|_| shown.type_lines(30).wait());
    say(&cluster, "the last one");
    let read = Lines::of(unread, |_| {});
    read.wait_for(0, PATIENCE, |line| line.starts_with("3001 ")).expect("all is printed");
    let numbers = read.all().into_iter().filter_map(|line| line.split_once(' ')?.0.parse::<u64>().ok());
    assert!(numbers.eq(1..=3001));
    shown.ends_when_asked();
}

#[test]
fn a_full_disk_under_the_output_is_said_and_tried_again() {
    let cluster = cluster();
    cluster.register("printer", "printer", 1);
    let full = OpenOptions::new().write(true).open("/dev/full").expect("Linux has one");
    let shown = Shown::start(&cluster, full);
    say(&cluster, "one");
    shown.wait_for_word("the disk takes no more of what the guest prints");
    say(&cluster, "two");
    let said = shown.ends_when_asked().all().join("\n");
    assert_eq!(said.matches("the disk takes no more").count(), 1, "it is said once:\n{said}");
    assert!(said.contains("is not shown"), "{said}");
}

#[test]
fn prints_without_a_reader_are_counted_and_the_instance_lives_on() {
    let cluster = cluster();
    cluster.register("printer", "printer", 1);
    let broken = pipe().expect("there are descriptors").1;
    let shown = Shown::start(&cluster, broken);
    ["one", "two", "three"].iter().for_each(|text| say(&cluster, text));
    let said = shown.ends_when_asked().all().join("\n");
    assert_eq!(said.matches("can't be written any more, and is dropped").count(), 1, "{said}");
    assert!(said.contains("prints of the guest were lost"), "{said}");
}
