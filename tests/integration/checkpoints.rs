//! Checkpoints: recovery from them, who takes them, what is removed behind them, and what happens when they are damaged.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::Stdio,
};

use ambrosia_core::{DigestBody, Record};
use ambrosia_tests::{Cluster, PATIENCE};
use serde_json::{Value, json};

use crate::support::{Replicas, Session, cluster, fails, succeeds, wait_for_status};

/// Checkpoints are taken when a test asks for one, and by nothing else.
const BY_HAND: &[&str] = &["--checkpoint-every", "100GiB", "--recovery-target", "60min", "--history", "0"];

/// Has a checkpoint taken; returns what is said of it.
fn checkpoint(cluster: &Cluster, instance: &str) -> String {
    cluster.must(&["checkpoint", "--instance", instance])
}

fn checkpoint_lsns(cluster: &Cluster, instance: &str) -> Vec<u64> {
    let status = cluster.status(instance);
    let checkpoints = status["checkpoints"].as_array().expect("a list");
    checkpoints.iter().map(|checkpoint| checkpoint["lsn"].as_u64().expect("a number")).collect()
}

/// Files in the directory of the only log, by the end of their names, in order.
fn files(cluster: &Cluster, ending: &str) -> Vec<PathBuf> {
    let log = std::fs::read_dir(cluster.store().join("logs")).expect("works").next().expect("one log").expect("works");
    let entries = std::fs::read_dir(log.path()).expect("works").map(|entry| entry.expect("works").path());
    let mut files: Vec<_> = entries.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    files.sort();
    files
}

fn damage(file: &PathBuf) {
    let mut bytes = std::fs::read(file).expect("works");
    bytes[100] ^= 1;
    // In its place and not over it: a file that may be mapped is never written.
    std::fs::remove_file(file).expect("works");
    std::fs::write(file, bytes).expect("works");
}

/// An instance of the counter that has counted to 10 and been captured, and to 30 after that.
fn counted<'a>(cluster: &'a Cluster, more: &[&'static str]) -> Replicas<'a> {
    cluster.register("counter", "counter", 1);
    let more = [BY_HAND, more].concat();
    let mut counter = Replicas::none(cluster, "counter", &more);
    counter.start_all(1);
    let mut session = Session::new(cluster, "counter");
    for n in 1..=30 {
        assert_eq!(session.call("add", json!([1])), n);
        session.call("see", json!([n]));
        if n == 10 {
            checkpoint(cluster, "counter");
        }
    }
    counter
}

fn check_counted(cluster: &Cluster) {
    assert_eq!(cluster.send("counter", "total", json!([])), 30);
    assert_eq!(cluster.send("counter", "seen", json!([])), json!((1..=30).collect::<Vec<_>>()));
}

#[test]
fn a_replica_goes_on_from_a_checkpoint_after_kill_9() {
    let cluster = cluster();
    let mut counter = counted(&cluster, &[]);
    counter.restart(0);
    counter.next_reign();
    counter.host(0).wait_for_word("restored a checkpoint");
    check_counted(&cluster);
}

#[test]
fn a_request_answered_before_the_checkpoint_is_not_done_again_after_it() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    let mut counter = Replicas::none(&cluster, "counter", BY_HAND);
    counter.start_all(1);
    let mut session = Session::new(&cluster, "counter");
    assert_eq!(session.call_as("first", "add", json!([5])), 5);
    checkpoint(&cluster, "counter");
    counter.restart(0);
    counter.next_reign();
    assert_eq!(session.call_as("first", "add", json!([5])), 5);
    assert_eq!(session.call_as("second", "add", json!([5])), 10);
}

#[test]
fn a_standby_takes_the_checkpoint_and_if_it_dies_another_replica_does() {
    let cluster = cluster();
    let mut bank = Replicas::of(&cluster, "bank", "bank", 3);
    assert!(!checkpoint(&cluster, "bank").ends_with("by replica 0\n"), "there are two standbys");
    bank.kill(1);
    assert!(checkpoint(&cluster, "bank").ends_with("by replica 2\n"));
    bank.kill(2);
    assert!(checkpoint(&cluster, "bank").ends_with("by replica 0\n"));
    bank.start_standby(1);
    bank.host(1).wait_for_word("restored a checkpoint");
    bank.kill_primary();
    assert!(checkpoint(&cluster, "bank").ends_with("by replica 1\n"));
}

/// The standby stands still from before it is asked, so that it can't have taken one, and is killed then.
#[test]
fn if_the_standby_that_was_asked_dies_another_replica_is_asked_at_once() {
    let cluster = cluster();
    cluster.register("counter", "counter", 2);
    let mut counter = Replicas::none(&cluster, "counter", BY_HAND);
    counter.start_all(2);
    let asks = || {
        let log = cluster.log("counter");
        log.iter().filter(|record| record["kind"] == "digest" && !record["checkpoint_by"].is_null()).count()
    };
    let verb = ["checkpoint", "--instance", "counter", "--timeout", "300"];
    // The primary takes it itself if it hears of the standby's silence before it is asked.
    loop {
        let before = asks();
        counter.host(1).signal(ambrosia_tests::Signal::Stop);
        let operator = crate::support::begin(&cluster, &verb);
        wait_for_status(&cluster, "counter", |_| asks() > before);
        counter.kill(1);
        let ran = operator.end();
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.trim_end().ends_with("taken by replica 0"), "{}", ran.stdout);
        let is_gone = "the replica that was asked for a checkpoint is gone";
        if counter.host(0).stderr.all().iter().any(|line| line.contains(is_gone)) {
            return;
        }
        counter.start_standby(1);
    }
}

#[test]
fn a_replica_added_while_the_primary_runs_takes_checkpoints_too() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 1);
    let added = counter.add(&[]);
    counter.host(added).wait_until_caught_up();
    assert!(checkpoint(&cluster, "counter").ends_with("by replica 1\n"));
}

#[test]
fn calls_and_timers_that_were_under_way_go_on_after_a_restore() {
    let cluster = cluster();
    let mut one = Replicas::of(&cluster, "one", "bank", 1);
    let mut two = Replicas::of(&cluster, "two", "bank", 1);
    // The other bank stands still, so that the transfer is under way at the checkpoint.
    two.host(0).signal(ambrosia_tests::Signal::Stop);
    let send = ["send", "--instance", "one", "--method", "transfer", "--args", "[1, 1, \"two\", 100, 3]"];
    let transfer = crate::support::begin(&cluster, &send);
    wait_for_status(&cluster, "one", |_| report(&cluster, "one")["under way"] == 1);
    checkpoint(&cluster, "one");
    one.restart(0);
    one.next_reign();
    one.host(0).wait_for_word("restored a checkpoint");
    assert_eq!(report(&cluster, "one")["under way"], 1);
    let ticks = report(&cluster, "one")["ticks"].clone();
    two.host(0).signal(ambrosia_tests::Signal::Continue);
    let ran = transfer.end();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let after = wait_for_status(&cluster, "one", |_| report(&cluster, "one")["ticks"] != ticks);
    assert_eq!(after["state"], "running");
    let (one_has, two_has) = (report(&cluster, "one"), report(&cluster, "two"));
    let balance = |report: &Value| report["balance"].as_i64().expect("a number");
    assert_eq!((balance(&one_has) + balance(&two_has), &one_has["under way"]), (0, &json!(0)));
    two.kill_all();
}

fn report(cluster: &Cluster, instance: &str) -> Value {
    cluster.send(instance, "report", json!([]))
}

#[test]
fn a_guest_that_has_printed_prints_on_after_a_restore() {
    let cluster = cluster();
    let mut printer = Replicas::of(&cluster, "printer", "printer", 1);
    let mut session = Session::new(&cluster, "printer");
    session.call("say", json!(["before"]));
    checkpoint(&cluster, "printer");
    printer.restart(0);
    printer.next_reign();
    printer.host(0).wait_for_word("restored a checkpoint");
    session.call("complain", json!(["after on stderr"]));
    session.call("say", json!(["after"]));
    printer.host(0).wait_for_print("3 after");
    printer.host(0).wait_for_word("2 after on stderr");
}

/// The walkthrough's own guest, by the README's own commands.
#[test]
fn the_server_of_hello_world_has_checkpoints() {
    let cluster = cluster();
    let mut server = Replicas::of(&cluster, "server", "server", 1);
    assert_eq!(cluster.send("server", "receive_message", json!(["before"])), 1);
    checkpoint(&cluster, "server");
    server.restart(0);
    server.next_reign();
    server.host(0).wait_for_word("restored a checkpoint");
    assert_eq!(cluster.send("server", "receive_message", json!(["after"])), 2);
    server.host(0).wait_for_print("!! SERVER Received message from a client: after");
}

/// As little is kept as two checkpoints need.
const TIGHT: &[&str] = &["--checkpoint-every", "1MiB", "--keep-checkpoints", "2", "--history", "0"];

/// What is needed no more, but for the history that is wanted.
#[test]
fn history_stays_and_status_says_how_far_back_it_goes() {
    let cluster = cluster();
    let more = ["--checkpoint-every", "100", "--keep-checkpoints", "1", "--history", "64KiB"];
    let _counter = Replicas::of_with(&cluster, "counter", "counter", 1, &more);
    let mut session = Session::new(&cluster, "counter");
    let back = || cluster.status("counter")["history_from_lsn"].as_u64().expect("a number");
    let (mut sent, mut most) = (0, 0);
    // All of it is history, until that is too much.
    while back() == 1 {
        sent += 1;
        assert_eq!(session.call("add", json!([1])), sent);
        most = most.max(cluster.status("counter")["checkpoints"].as_array().map_or(0, Vec::len));
        assert!(sent < 100_000, "nothing is ever removed");
    }
    assert!(most > 2, "older checkpoints are kept as long as there is room for them, and there were {most}");
    let debug = ["debug", "--instance", "counter", "--at", "start", "--plain"];
    let seen = cluster.must(&debug);
    assert!(seen.starts_with("lsn ") && seen.contains("a checkpoint: the log goes back no further"), "{seen}");
}

#[test]
fn the_log_is_trimmed_behind_the_checkpoints_that_are_kept() {
    let cluster = cluster();
    cluster.register("bank", "bank", 2);
    let mut bank = Replicas::none(&cluster, "bank", TIGHT);
    bank.start_all(2);
    let mut session = Session::new(&cluster, "bank");
    let bytes = vec![7; 500_000];
    let mut put = 0;
    let deadline = std::time::Instant::now() + PATIENCE;
    while cluster.status("bank")["first_lsn"] == 1 || put < 40 {
        session.call_raw("put", &bytes);
        put += 1;
        assert!(std::time::Instant::now() < deadline, "it was not trimmed:\n{}", bank.host(1).said());
    }
    let first = cluster.status("bank")["first_lsn"].as_u64().expect("a number");
    let shown = cluster.log("bank");
    assert_eq!(shown[0]["lsn"], first);
    let log = ["log", "--instance", "bank", "--from", "1"];
    fails(&cluster, &log, &[&format!("has records {first} to")]);
    bank.kill_all();
    bank.start_all(1);
    bank.host(0).wait_for_word("restored a checkpoint");
    assert_eq!(report(&cluster, "bank")["received bytes"], 0);
    assert_eq!(report(&cluster, "bank")["serial"], put);
}

/// Whoever reads a long log slowly, as by a pager, must not be told that it is damaged or gone.
#[test]
fn a_log_that_is_trimmed_while_it_is_shown_is_shown_on_from_where_it_begins() {
    let cluster = cluster();
    cluster.register("bank", "bank", 1);
    let mut bank = Replicas::none(&cluster, "bank", &[BY_HAND, &["--keep-checkpoints", "1"]].concat());
    bank.start_all(1);
    let mut session = Session::new(&cluster, "bank");
    // More than is read at once, and each record more than a pipe takes.
    let bytes = vec![7; 500_000];
    for _ in 0..2 {
        (0..12).for_each(|_| drop(session.call_raw("put", &bytes)));
        bank.restart(0); // which begins another segment, so that those before can go
        bank.next_reign();
    }
    let mut shows = cluster.command(&["log", "--instance", "bank", "--json"]);
    let mut shows = shows.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program can be started");
    let mut shown = BufReader::new(shows.stdout.take().expect("it is piped"));
    let mut line = String::new();
    shown.read_line(&mut line).expect("the log begins to be shown");
    checkpoint(&cluster, "bank");
    let trimmed = wait_for_status(&cluster, "bank", |status| status["first_lsn"].as_u64() > Some(20));
    let mut lsns = Vec::new();
    while !line.is_empty() {
        let record: Value = serde_json::from_str(&line).expect("log prints JSON lines");
        lsns.push(record["lsn"].as_u64().expect("a number"));
        line.clear();
        shown.read_line(&mut line).expect("the log is shown to its end");
    }
    let ended = shows.wait_with_output().expect("works");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
    let gap = lsns.windows(2).position(|two| two[1] != two[0] + 1).expect("it was shown on from where it begins") + 1;
    // Segments are removed one after the other, so more of them may be gone by then.
    let first = lsns[gap];
    assert!(trimmed["first_lsn"].as_u64() <= Some(first), "{first} is gone: {trimmed}");
    let note = format!("records {} to {} were trimmed while the log was read", lsns[gap - 1] + 1, first - 1);
    assert!(said.contains(&note), "{note:?} is not in {said:?}");
    assert!(lsns[..gap].is_sorted() && lsns[gap..].windows(2).all(|two| two[1] == two[0] + 1), "{lsns:?}");
}

#[test]
fn the_whole_log_is_kept_if_asked_for() {
    let cluster = cluster();
    let _counter = counted(&cluster, &["--keep-log", "--keep-checkpoints", "1"]);
    let before = checkpoint_lsns(&cluster, "counter");
    for _ in 0..5 {
        checkpoint(&cluster, "counter");
    }
    // Of a chain the base stays as long as it is needed, and a chain does not become long.
    wait_for_status(&cluster, "counter", |status| status["checkpoints"][0]["lsn"].as_u64() > before.first().copied());
    assert_eq!(cluster.status("counter")["first_lsn"], 1);
}

/// Each try makes a record, which must not fill the disk that was too full for a checkpoint.
#[test]
fn a_checkpoint_that_can_not_be_written_is_not_tried_again_at_once() {
    let cluster = cluster();
    cluster.register("bank", "bank", 1);
    let mut bank = Replicas::none(&cluster, "bank", &["--checkpoint-every", "1KiB"]);
    bank.start_all(1);
    let in_the_way = files(&cluster, "lock")[0].with_file_name("checkpoint.replica0.tmp");
    // It may be just there.
    while std::fs::create_dir(&in_the_way).is_err() {
        std::thread::yield_now();
    }
    bank.host(0).wait_for_word("no checkpoint: cannot create");
    let before = cluster.log("bank").len();
    wait_for_status(&cluster, "bank", |status| status["durable_lsn"].as_u64() >= Some(before as u64 + 40));
    let log = cluster.log("bank");
    let since = &log[before..];
    let tries = since.iter().filter(|record| record["kind"] == "digest").count();
    assert!(tries * 10 < since.len(), "{tries} tries in {} records", since.len());
}

#[test]
fn after_a_checkpoint_that_failed_an_idle_instance_writes_nothing() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    let mut counter = Replicas::none(&cluster, "counter", &["--checkpoint-every", "1KiB"]);
    counter.start_all(1);
    let in_the_way = files(&cluster, "lock")[0].with_file_name("checkpoint.replica0.tmp");
    std::fs::create_dir(&in_the_way).expect("it is not there yet");
    let mut session = Session::new(&cluster, "counter");
    while !counter.host(0).said().contains("no checkpoint: cannot create") {
        session.call("add", json!([1]));
    }
    let before = cluster.log("counter").len();
    // Each look takes a process that starts and ends, so time passes.
    for _ in 0..100 {
        cluster.status("counter");
    }
    assert!(cluster.log("counter").len() <= before + 1, "there was one try under way at most");
}

#[test]
fn a_damaged_checkpoint_is_told_and_the_one_before_is_used() {
    let cluster = cluster();
    let mut counter = counted(&cluster, &[]);
    checkpoint(&cluster, "counter");
    let lsns = checkpoint_lsns(&cluster, "counter");
    assert_eq!(lsns.len(), 2);
    counter.kill_all();
    for file in files(&cluster, "base").into_iter().chain(files(&cluster, "delta")) {
        if file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{:020}", lsns[1]))) {
            damage(&file);
        }
    }
    counter.start_all(1);
    counter.host(0).wait_for_word("a checkpoint can't be used: the checkpoint");
    counter.host(0).wait_for_word("restored a checkpoint in");
    assert!(counter.host(0).said().contains(&format!("lsn={}", lsns[0])));
    check_counted(&cluster);
}

#[test]
fn without_a_good_checkpoint_the_whole_log_is_replayed_while_it_is_there() {
    let cluster = cluster();
    let mut counter = counted(&cluster, &[]);
    counter.kill_all();
    files(&cluster, "base").iter().for_each(damage);
    counter.start_all(1);
    counter.host(0).wait_for_word("is damaged");
    check_counted(&cluster);
}

#[test]
fn if_neither_checkpoints_nor_log_reach_it_is_said_what_is_missing() {
    let cluster = cluster();
    let mut counter = counted(&cluster, &["--keep-checkpoints", "1"]);
    counter.restart(0); // which begins another segment, so that those before can go
    counter.next_reign();
    checkpoint(&cluster, "counter");
    let epochs: Vec<_> = cluster.log("counter").into_iter().filter(|record| record["kind"] == "epoch").collect();
    let first = epochs.last().expect("there was a takeover")["lsn"].as_u64().expect("a number");
    wait_for_status(&cluster, "counter", |status| status["first_lsn"] == first);
    counter.kill_all();
    let kept: Vec<_> = files(&cluster, "seg").iter().map(|file| std::fs::read(file).expect("works")).collect();
    for file in files(&cluster, "base").into_iter().chain(files(&cluster, "delta")) {
        damage(&file);
    }
    let missing =
        format!("Restore from a backup either a checkpoint at lsn {} or later, or the part of the log", first - 1);
    let begins = format!("its log was trimmed and begins at lsn {first}");
    fails(&cluster, &["run", "--instance", "counter"], &[&begins, &missing, "is damaged"]);
    let now: Vec<_> = files(&cluster, "seg").iter().map(|file| std::fs::read(file).expect("works")).collect();
    assert!(now == kept, "nothing was changed");
}

/// Replaces the last digest in the log by another one, as a primary with a damaged memory would have written it.
fn falsify_last_digest(cluster: &Cluster) -> u64 {
    let log = cluster.log("counter");
    let lsn = log.last().expect("not empty")["lsn"].as_u64().expect("a number");
    let file = files(cluster, "seg").pop().expect("there is one");
    let bytes = std::fs::read(&file).expect("works");
    // The first bytes of a record are mixed with the salt of its segment (docs/formats.md).
    let mixed = |record: &[u8]| {
        let mut mixed = record.to_vec();
        mixed.iter_mut().zip(&bytes[80..88]).for_each(|(byte, salt)| *byte ^= salt);
        bytes::Bytes::from(mixed)
    };
    for at in (0..bytes.len() - 64).step_by(8) {
        let mut rest = mixed(&bytes[at..(at + 200).min(bytes.len())]);
        let Ok(record) = Record::split_from(&mut rest) else { continue };
        let Ok(right) = DigestBody::decode(record.body()) else { continue };
        if record.lsn().0 != lsn {
            continue;
        }
        let mut body = Vec::new();
        DigestBody { memory: right.memory ^ 1, ..right }.encode(&mut body);
        let wrong = Record::seal(*record.header(), &body);
        let mut changed = bytes.clone();
        changed[at..at + wrong.stored().len()].copy_from_slice(&mixed(wrong.stored()));
        // The mark behind it says that it was durable, and of which record it says so.
        changed.truncate(at + wrong.stored().len());
        changed.resize(bytes.len(), 0);
        std::fs::write(&file, changed).expect("works");
        return lsn;
    }
    panic!("the log has no digest at its end");
}

#[test]
fn a_replica_that_is_not_what_the_log_says_stops_and_says_so() {
    let cluster = cluster();
    let mut counter = counted(&cluster, &[]);
    checkpoint(&cluster, "counter");
    counter.kill_all();
    let lsn = falsify_last_digest(&cluster);
    // The newest checkpoint was taken at that very record, and belongs to the log as it was.
    let words = [
        "it does not belong to this log",
        &format!("differs from the primary of epoch 1 at lsn {}", lsn - 1),
        "they were equal at lsn",
        "A replay of the log agrees with this replica",
        "No page of the memory differs from the replay",
        "The log and all files are as they were",
        &format!("--allow-divergence {}", lsn - 1),
    ];
    fails(&cluster, &["run", "--instance", "counter"], &words);
    let accepted = (lsn - 1).to_string();
    let mut accepting = Replicas::none(&cluster, "counter", &[]);
    accepting.add(&["--allow-divergence", Box::leak(accepted.into_boxed_str())]);
    check_counted(&cluster);
}

#[test]
fn a_checkpoint_that_cannot_be_is_refused_with_the_reason() {
    let cluster = cluster();
    let unknown = ["checkpoint", "--instance", "nobody"];
    cluster.register("counter", "counter", 1);
    fails(&cluster, &unknown, &["there is no instance nobody"]);
    let idle = ["checkpoint", "--instance", "counter", "--timeout", "0.3"];
    fails(&cluster, &idle, &["instance counter has no primary", "ambrosia-host run --instance counter"]);
}

#[test]
fn options_of_checkpoints_have_units_and_limits() {
    let cluster = cluster();
    for (option, value, words) in [
        ("--checkpoint-every", "0", "such as 64MiB"),
        ("--checkpoint-every", "many", "such as 64MiB"),
        ("--recovery-target", "5", "such as 500ms"),
        ("--keep-checkpoints", "0", "0 is not in 1.."),
        ("--history", "much", "such as 64MiB"),
    ] {
        let ran = cluster.run(&["run", "--instance", "counter", option, value]);
        assert_eq!(ran.code, 2);
        assert!(ran.stderr.contains(words), "{option} {value}: {}", ran.stderr);
    }
    succeeds(
        &cluster,
        &["run", "--help"],
        &["--checkpoint-every", "--recovery-target", "--keep-checkpoints", "--keep-log", "--history"],
    );
    succeeds(&cluster, &["checkpoint", "--help"], &["ambrosia-host checkpoint server"]);
}
