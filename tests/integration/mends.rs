//! Instances that have halted go on: by other code, or without some messages.

use std::fs;

use ambrosia_storage::BlobHash;
use ambrosia_tests::{Cluster, Signal};
use serde_json::{Value, json};

use crate::support::{
    BareHost, Pending, Replicas, Session, begin, cluster, fails, register_with, succeeds, wait_for_status,
};

fn path(cluster: &Cluster, guest: &str) -> String {
    cluster.guest(guest).to_str().expect("the path is text").to_owned()
}

fn hash(cluster: &Cluster, guest: &str) -> String {
    BlobHash::of(&fs::read(cluster.guest(guest)).expect("`make guests` has built it")).to_string()
}

/// `upgrade` of the mill to a guest.
fn to<'a>(module: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["upgrade", "--instance", "mill", "--module", module, "--yes"], more].concat()
}

/// `skip` of messages of the mill.
fn skip<'a>(lsn: &'a str, messages: &[&'a str]) -> Vec<&'a str> {
    let messages = messages.iter().flat_map(|message| ["--message", *message]);
    ["skip", "--instance", "mill", "--lsn", lsn, "--yes"].into_iter().chain(messages).collect()
}

/// A farm has had `grain`, a stone and `hay` ground by a mill that can't grind stones: what it asked for waits.
struct Halted<'a> {
    mill: Replicas<'a>,
    _farm: Replicas<'a>,
    /// What waits for the answers.
    asked: Option<Pending>,
    /// Where the mill stands.
    lsn: u64,
}

impl<'a> Halted<'a> {
    fn new(cluster: &'a Cluster, more: &[&'static str]) -> Halted<'a> {
        let mut mill = Replicas::of_with(cluster, "mill", "mill_brittle", 1, more);
        let farm = Replicas::of(cluster, "farm", "mill_sound", 1);
        let mut session = Session::new(cluster, "mill");
        assert_eq!(session.call("grind", json!(["rye"])), json!([1, 1]));
        let arguments = json!(["mill", ["grain", "stone", "hay"]]).to_string();
        let ask = ["send", "--instance", "farm", "--method", "have_ground", "--args", &arguments, "--timeout", "120"];
        let asked = begin(cluster, &ask);
        let (code, said) = mill.wait_for_end(0);
        assert!(code == 1 && said.contains("skip --instance mill --lsn"), "{said}");
        let lsn = cluster.status("mill")["outcome"]["lsn"].as_u64().expect("it has halted");
        Halted { mill, _farm: farm, asked: Some(asked), lsn }
    }

    /// Messages of the record that it stands at: what they ask to be ground.
    fn messages(&self, cluster: &Cluster) -> Vec<String> {
        let log = cluster.log("mill");
        let record = log.iter().find(|record| record["lsn"] == self.lsn).expect("it is there");
        let messages = record["messages"].as_array().expect("it is a delivery");
        messages.iter().map(|message| message["arguments"][0].as_str().expect("a text").to_owned()).collect()
    }

    /// What became of what was asked for.
    fn answers(&mut self) -> Value {
        let ran = self.asked.take().expect("it was asked for once").end();
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        serde_json::from_str(&ran.stdout).expect("it is JSON")
    }

    /// Where the stone is in that record.
    fn stone(&self, cluster: &Cluster) -> String {
        let messages = self.messages(cluster);
        messages.iter().position(|what| what == "stone").expect("it is there").to_string()
    }
}

fn fails_with_text(cluster: &Cluster, arguments: &[&str], words: &[&str]) {
    let ran = cluster.run(arguments);
    assert_eq!(ran.code, 1, "{arguments:?} printed:\n{}\nand said:\n{}", ran.stdout, ran.stderr);
    words
        .iter()
        .for_each(|word| assert!(ran.stderr.contains(word), "{arguments:?} did not say {word:?}:\n{}", ran.stderr));
}

/// Records of that kind.
fn of_kind(cluster: &Cluster, kind: &str) -> Vec<Value> {
    cluster.log("mill").into_iter().filter(|record| record["kind"] == kind).collect()
}

/// `verify` comes to every digest, and `debug` shows both the record that is void and the one that mends it.
fn check_journeys(cluster: &Cluster, lsn: u64, mended: &str) {
    cluster.must(&["verify", "--instance", "mill"]);
    let mend = of_kind(cluster, "mend").first().expect("it is there")["lsn"].to_string();
    // Elsewhere too, by what is exported of it: that begins before the record that is void.
    let copy = cluster.file("copy");
    let copy = copy.to_str().expect("text");
    cluster.must(&["export", "--instance", "mill", "--from", &mend, "--output", copy]);
    cluster.must(&["--store", copy, "verify", "--instance", "mill"]);
    cluster.must(&["--store", copy, "debug", "--instance", "mill", "--at", &mend, "--plain"]);
    let at = |lsn: &str| cluster.must(&["debug", "--instance", "mill", "--at", lsn, "--plain"]);
    let void = at(&lsn.to_string());
    assert!(void.contains("void: the guest could not handle it"), "{void}");
    let mend = at(&mend);
    assert!(mend.contains(mended) && mend.contains("grind") && mend.contains("[\"hay\"]"), "{mend}");
    let log = cluster.must(&["log", "--instance", "mill"]);
    assert!(log.contains("void, mended at lsn") && log.contains(mended), "{log}");
    let alone = cluster.must(&["log", "--instance", "mill", "--from", &lsn.to_string(), "--to", &lsn.to_string()]);
    assert!(alone.contains("void, mended at lsn"), "{alone}");
}

#[test]
fn an_instance_that_has_halted_goes_on_with_mended_code() {
    let cluster = cluster();
    let mut halted = Halted::new(&cluster, &["--keep-log"]);
    let sound = path(&cluster, "mill_sound");
    let lsn = halted.lsn;
    let stands = format!("halted at lsn {lsn}, whose messages are delivered to the new code");
    let verb = begin(&cluster, &to(&sound, &[]));
    verb.wait_until_said("no replica of instance mill runs");
    halted.mill.start(0);
    let ran = verb.end();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for word in [&stands, "runs the new module since lsn"] {
        assert!(ran.stdout.contains(word) || ran.stderr.contains(word), "{word}: {} {}", ran.stdout, ran.stderr);
    }
    halted.mill.next_reign();
    let answers = halted.answers();
    assert_eq!(answers, json!([{"Ok": [2, 2]}, {"Ok": [2, 3]}, {"Ok": [2, 4]}]), "all by the new code, each once");
    assert_eq!(cluster.send("mill", "ground", json!([])), json!(["rye", "grain", "stone", "hay"]));
    let status = cluster.status("mill");
    assert_eq!((&status["state"], &status["outcome"]), (&json!("running"), &Value::Null));
    assert_eq!(status["module"], hash(&cluster, "mill_sound"));
    let printed = halted.mill.printed();
    assert_eq!(printed.iter().filter(|line| line.contains("a mill for stones")).count(), 1, "{printed:?}");
    check_journeys(&cluster, lsn, &format!("mend of lsn {lsn}: upgrade "));
    // A new replica replays all of it, and one that was there before does not take it for halted.
    let late = halted.mill.add(&["--ignore-checkpoints"]);
    halted.mill.host(late).wait_until_caught_up();
    halted.mill.kill(0);
    halted.mill.next_reign();
    assert_eq!(cluster.send("mill", "grind", json!(["stone"])), json!([2, 5]));
    succeeds(&cluster, &to(&sound, &[]), &["runs it already"]);
}

#[test]
fn an_instance_that_has_halted_goes_on_without_a_message() {
    let cluster = cluster();
    let mut halted = Halted::new(&cluster, &["--keep-log"]);
    let (lsn, stone) = (halted.lsn.to_string(), halted.stone(&cluster));
    let before = cluster.log("mill");
    let list = ["skip", "--instance", "mill", "--lsn", &lsn];
    let named = format!("The guest failed at message {stone}");
    succeeds(&cluster, &list, &["stands at lsn", "a stone can't be ground", "grind", &named, "nothing was changed"]);
    let listed: Value = serde_json::from_str(&cluster.must(&[&list[..], &["--json"]].concat())).expect("it is JSON");
    let messages = listed["messages"].as_array().expect("a list");
    let positions: Vec<_> = messages.iter().map(|message| message["position"].to_string()).collect();
    assert_eq!(positions, (0..messages.len()).map(|at| at.to_string()).collect::<Vec<_>>());
    assert!(messages.iter().all(|message| message["is_named"] == (message["position"].as_u64() == stone.parse().ok())));
    // What can't be.
    let (other, beyond) = ((halted.lsn - 1).to_string(), messages.len().to_string());
    fails_with_text(&cluster, &skip(&other, &["0"]), &[&format!("stands at lsn {lsn}, not at lsn {other}")]);
    fails_with_text(&cluster, &skip(&lsn, &[&beyond]), &[&format!("has no message {beyond}")]);
    fails_with_text(&cluster, &["skip", "--instance", "nobody", "--lsn", "3"], &["there is no instance nobody"]);
    fails_with_text(&cluster, &["skip", "--instance", "farm", "--lsn", "3"], &["farm has not halted"]);
    let unsure = ["skip", "--instance", "mill", "--lsn", &lsn, "--message", &stone];
    fails_with_text(&cluster, &unsure, &["repeat it with --yes"]);
    assert_eq!(cluster.log("mill"), before, "nothing was changed");
    assert!(cluster.status("mill")["wanted"].is_null());
    // A wish that stands, taken back.
    fails_with_text(&cluster, &[&skip(&lsn, &[&stone])[..], &["--timeout", "0"]].concat(), &["is not done yet"]);
    let status = cluster.status("mill");
    let skipped = json!({"lsn": halted.lsn, "messages": [stone.parse::<u32>().expect("a number")]});
    assert_eq!(status["wanted"]["skip"], skipped);
    let sound = path(&cluster, "mill_sound");
    let words = ["another skip of instance mill is under way", "skip --instance mill --cancel"];
    fails_with_text(&cluster, &to(&sound, &["--last", "0"]), &words);
    let text = cluster.must(&["status", "--instance", "mill"]);
    assert!(text.contains(&format!("skip of message {stone} of lsn {lsn} under way")), "{text}");
    succeeds(&cluster, &["skip", "--instance", "mill", "--cancel"], &["took back the skip of message"]);
    // The real one.
    let verb = begin(&cluster, &skip(&lsn, &[&stone]));
    wait_for_status(&cluster, "mill", |status| !status["wanted"].is_null());
    halted.mill.start(0);
    let ran = verb.end();
    assert!(ran.code == 0 && ran.stdout.contains("goes on without message"), "{} {}", ran.stdout, ran.stderr);
    halted.mill.next_reign();
    let answers = halted.answers();
    assert_eq!((&answers[0], &answers[2]), (&json!({"Ok": [1, 2]}), &json!({"Ok": [1, 3]})));
    let error = answers[1]["Err"].as_str().expect("it was skipped");
    assert!(error.contains("skipped by an operator"), "{error}");
    assert_eq!(cluster.send("mill", "ground", json!([])), json!(["rye", "grain", "hay"]));
    check_journeys(&cluster, halted.lsn, &format!("mend of lsn {lsn}: skip {stone}"));
    let mend = of_kind(&cluster, "mend")[0]["lsn"].to_string();
    let shown = cluster.must(&["debug", "--instance", "mill", "--at", &mend, "--plain"]);
    let error = shown.lines().find(|line| line.contains("skipped by an operator")).expect("it was answered");
    assert!(error.contains(&format!("skipped {stone} -> error to farm")), "{shown}");
    let text = cluster.must(&["status", "--instance", "mill"]);
    assert!(text.contains(&format!("last skip of message {stone} of lsn {lsn} done at lsn")), "{text}");
    succeeds(&cluster, &skip(&lsn, &[&stone]), &["goes on without message"]);
}

#[test]
fn a_request_that_is_skipped_is_answered_with_an_error() {
    let cluster = cluster();
    let mut mill = Replicas::of(&cluster, "mill", "mill_brittle", 1);
    let send = ["send", "--instance", "mill", "--method", "grind", "--args", "[\"stone\"]", "--request-id", "one"];
    fails(&cluster, &send, &["instance mill halted at lsn"]);
    mill.wait_for_end(0);
    let lsn = cluster.status("mill")["outcome"]["lsn"].to_string();
    fails_with_text(&cluster, &[&skip(&lsn, &["0"])[..], &["--timeout", "0"]].concat(), &["is not done yet"]);
    // Whoever asks meanwhile waits, although it is noted that the instance has halted.
    let waits = begin(
        &cluster,
        &["send", "--instance", "mill", "--method", "grind", "--args", "[\"rye\"]", "--timeout", "120"],
    );
    mill.start(0);
    mill.next_reign();
    wait_for_status(&cluster, "mill", |status| status["wanted"].is_null());
    let waited = waits.end();
    assert_eq!((waited.code, waited.stdout.trim()), (0, "[1,1]"), "{}", waited.stderr);
    // It was done, as an error: the same request gets that again and again.
    fails(&cluster, &send, &["skipped by an operator"]);
    assert_eq!(cluster.send("mill", "grind", json!(["rye"])), json!([1, 2]));
    fails(&cluster, &send, &["skipped by an operator"]);
}

#[test]
fn serve_takes_along_what_is_to_be_mended_and_leaves_what_stands() {
    let cluster = cluster();
    for name in ["mill", "other"] {
        cluster.register(name, "mill_brittle", 1);
        let mut host = cluster.start(name, 0);
        host.wait_until_primary();
        fails(
            &cluster,
            &["send", "--instance", name, "--method", "grind", "--args", "[\"stone\"]"],
            &["halted at lsn"],
        );
        host.exit_code();
    }
    fails_with_text(&cluster, &to(&path(&cluster, "mill_sound"), &["--timeout", "0"]), &["is not done yet"]);
    let served = BareHost::start(cluster.command(&["serve", "--all"]));
    wait_for_status(&cluster, "mill", |status| status["state"] == "running" && status["wanted"].is_null());
    assert_eq!(cluster.send("mill", "ground", json!([])), json!(["stone"]));
    assert_eq!(cluster.status("other")["state"], "halted");
    served.signal(Signal::Terminate);
    assert_eq!(served.exit_code(), 0);
    let both = ["serve", "--instance", "mill", "--instance", "other"];
    let served = BareHost::start(cluster.command(&both));
    wait_for_status(&cluster, "mill", |status| status["state"] == "running");
    assert_eq!(cluster.send("mill", "grind", json!(["stone"])), json!([2, 2]));
    served.signal(Signal::Terminate);
    assert_eq!(served.exit_code(), 1, "the other one has halted");
}

/// Records without those that begin reigns.
fn without_epochs(log: Vec<Value>) -> Vec<Value> {
    log.into_iter().filter(|record| record["kind"] != "epoch").collect()
}

#[test]
fn a_fix_that_does_not_help_leaves_the_instance_standing() {
    let cluster = cluster();
    let mut halted = Halted::new(&cluster, &[]);
    let (lsn, stone) = (halted.lsn.to_string(), halted.stone(&cluster));
    let before = without_epochs(cluster.log("mill"));
    // The trial would have said so.
    let brittle = fs::read(cluster.guest("mill_brittle")).expect("it is there");
    // The same code under another hash: a custom section behind it.
    let other = cluster.file("other.wasm");
    fs::write(&other, [&brittle[..], &[0, 3, 1, b'x', 0]].concat()).expect("writable");
    let other = other.to_str().expect("text").to_owned();
    fails_with_text(&cluster, &to(&other, &[]), &["in the trial the new code fails"]);
    let wrong = if stone == "0" { "1" } else { "0" };
    let skip = skip(&lsn, &[wrong]);
    let attempts = [(to(&other, &["--last", "0"]), "since the upgrade can't be done"), (skip, "can't go on without")];
    for (attempt, word) in attempts {
        let verb = begin(&cluster, &attempt);
        wait_for_status(&cluster, "mill", |status| !status["wanted"].is_null());
        halted.mill.start(0);
        let (code, said) = halted.mill.wait_for_end(0);
        assert!(code == 1 && said.contains(&format!("instance mill halted at lsn {lsn}")), "{said}");
        let ran = verb.end();
        assert_eq!(ran.code, 1, "{}", ran.stdout);
        for word in [word, "a stone can't be ground", &format!("stands at lsn {lsn} as before")] {
            assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
        }
        assert_eq!(without_epochs(cluster.log("mill")), before, "nothing of it is in the log");
        let status = cluster.status("mill");
        assert_eq!((&status["state"], status["outcome"]["lsn"].to_string()), (&json!("halted"), lsn.clone()));
        assert_eq!(status["answered"]["outcome"], "refused");
    }
    // Nothing stands, so nothing runs.
    fails(&cluster, &["run", "--instance", "mill"], &["halted at lsn", "skip --instance mill --lsn"]);
    cluster.must(&["verify", "--instance", "mill"]);
}

#[test]
fn a_primary_that_dies_before_it_has_said_so_has_mended_it_all_the_same() {
    let cluster = cluster();
    let mut halted = Halted::new(&cluster, &[]);
    // As the registry would be if it had died right after the record.
    let entry = cluster.store().join("registry/instances:mill");
    let (sound, noted) = (path(&cluster, "mill_sound"), fs::read(&entry).expect("it is there"));
    let verb = begin(&cluster, &to(&sound, &[]));
    wait_for_status(&cluster, "mill", |status| !status["wanted"].is_null());
    let wished = fs::read(&entry).expect("it is there");
    halted.mill.start(0);
    assert_eq!(verb.end().code, 0);
    halted.mill.next_reign();
    for note in [wished, noted] {
        halted.mill.kill(0);
        fs::write(&entry, note).expect("writable");
        assert_eq!(cluster.status("mill")["state"], "halted", "so the registry says");
        halted.mill.start(0);
        halted.mill.next_reign();
        let status = wait_for_status(&cluster, "mill", |status| status["outcome"].is_null());
        assert_eq!(status["state"], "running");
        assert_eq!(of_kind(&cluster, "mend").len(), 1, "it is mended once");
        assert_eq!(cluster.send("mill", "ground", json!([])), json!(["rye", "grain", "stone", "hay"]));
        wait_for_status(&cluster, "mill", |status| status["wanted"].is_null());
    }
    assert_eq!(halted.answers(), json!([{"Ok": [2, 2]}, {"Ok": [2, 3]}, {"Ok": [2, 4]}]));
}

#[test]
fn a_standby_that_comes_late_does_not_undo_a_mend() {
    let cluster = cluster();
    cluster.register("mill", "mill_brittle", 2);
    let mut mill = Replicas::none(&cluster, "mill", &["--keep-log"]);
    mill.start_all(2);
    assert_eq!(cluster.send("mill", "grind", json!(["rye"])), json!([1, 1]));
    mill.host(1).signal(Signal::Stop);
    let send = ["send", "--instance", "mill", "--method", "grind", "--args", "[\"stone\"]"];
    fails(&cluster, &send, &["instance mill halted at lsn"]);
    mill.wait_for_end(0);
    let sound = path(&cluster, "mill_sound");
    fails_with_text(&cluster, &to(&sound, &["--timeout", "0"]), &["is not done yet"]);
    mill.start(0);
    wait_for_status(&cluster, "mill", |status| status["wanted"].is_null() && status["state"] == "running");
    mill.host(1).signal(Signal::Continue);
    // It meets the record with the old code, finds the mend, and begins anew.
    mill.host(1).wait_for_word("is left out");
    assert_eq!(cluster.status("mill")["state"], "running");
    assert_eq!(cluster.send("mill", "grind", json!(["stone"]))[0], 2);
    let status = wait_for_status(&cluster, "mill", |status| {
        let replica = &status["replicas"][1];
        replica["role"] == "standby" && replica["applied_lsn"] == status["durable_lsn"]
    });
    assert_eq!((&status["state"], &status["outcome"]), (&json!("running"), &Value::Null));
    mill.kill(0);
    mill.next_reign();
    assert_eq!(cluster.send("mill", "grind", json!(["stone"]))[0], 2);
    assert_eq!(cluster.status("mill")["outcome"], Value::Null);
}

#[test]
fn more_fuel_mends_an_instance_that_ran_out_of_it() {
    let cluster = cluster();
    register_with(&cluster, "mill", "mill_brittle", &["--fuel", "10000000"]);
    let mut mill = Replicas::none(&cluster, "mill", &[]);
    mill.start_all(1);
    assert_eq!(cluster.send("mill", "grind", json!(["rye"])), json!([1, 1]));
    let send = ["send", "--instance", "mill", "--method", "toil", "--args", "[10000000]", "--request-id", "long"];
    fails(&cluster, &send, &["halted at lsn"]);
    let (_, said) = mill.wait_for_end(0);
    assert!(said.contains("ran out of fuel"), "{said}");
    let same = ["upgrade", "--instance", "mill", "--yes", "--fuel", "10000000"];
    fails_with_text(&cluster, &same, &["stands at lsn", "with them"]);
    let more = ["upgrade", "--instance", "mill", "--yes", "--fuel", "20000000000"];
    let verb = begin(&cluster, &more);
    wait_for_status(&cluster, "mill", |status| !status["wanted"].is_null());
    mill.start(0);
    let ran = verb.end();
    assert!(ran.code == 0 && ran.stdout.contains("has the new limits since lsn"), "{} {}", ran.stdout, ran.stderr);
    mill.next_reign();
    assert_eq!(cluster.must(&send).trim(), "5000000");
    assert_eq!(cluster.send("mill", "ground", json!([])), json!(["rye"]), "it has kept its memory");
}
