//! The code of an instance is swapped while it runs, and while processes die.

use std::fs;

use ambrosia_storage::BlobHash;
use ambrosia_tests::{Caller, Cluster, PATIENCE, Signal};
use serde_json::{Value, json};

use crate::support::{
    Pending, Replicas, Session, begin, cluster, fails, files, register_with, role, succeeds, wat_module,
};

/// The name of a guest's module in the store.
fn hash(cluster: &Cluster, guest: &str) -> String {
    BlobHash::of(&fs::read(cluster.guest(guest)).expect("`make guests` has built it")).to_string()
}

/// `upgrade` of the ledger to a guest.
fn to<'a>(module: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["upgrade", "--instance", "ledger", "--module", module, "--yes"], more].concat()
}

fn path(cluster: &Cluster, guest: &str) -> String {
    cluster.guest(guest).to_str().expect("the path is text").to_owned()
}

/// Upgrades that are in the log: their modules, as hashes.
fn upgrades(cluster: &Cluster) -> Vec<String> {
    let log = cluster.log("ledger");
    let upgrades = log.iter().filter(|record| record["kind"] == "upgrade");
    upgrades.map(|record| record["to"].as_str().expect("it is a hash").to_owned()).collect()
}

/// A client that adds 1 to a total, again and again; each answer is the build that gave it, and the total.
fn adder(cluster: &Cluster) -> Caller {
    let store = cluster.store();
    let connect = move || ambrosia_tests::client(&store, "ledger");
    Caller::start("adder", connect, "add", |_| json!(["anna", 1]))
}

/// Each message was handled once, and by the builds in that order.
fn check_answers(caller: Caller, builds: &[u64]) {
    let answers = caller.stop().expect("each call is answered");
    let totals: Vec<_> = answers.iter().map(|answer| answer.value[1].clone()).collect();
    let expected: Vec<_> = (1..=answers.len()).map(|total| json!(total)).collect();
    assert_eq!(totals, expected, "each call is done once, and nothing is forgotten");
    let mut by: Vec<_> = answers.iter().map(|answer| answer.value[0].as_u64().expect("a build")).collect();
    by.dedup();
    assert_eq!(by, builds, "a build that was replaced answers no more");
}

/// Waits until a verb has said that.
fn ended_well(verb: Pending) -> String {
    let ran = verb.end();
    assert_eq!(ran.code, 0, "it failed:\n{}\n{}", ran.stdout, ran.stderr);
    ran.stdout
}

#[test]
fn an_instance_is_swapped_while_a_client_calls_it() {
    let cluster = cluster();
    let mut ledger = Replicas::of(&cluster, "ledger", "ledger1", 3);
    let caller = adder(&cluster);
    caller.wait_for(50);
    let two = path(&cluster, "ledger2");
    let words = ["plan     ", "version 1 => 2, by code", "+ limit", "- only_in_one()", "runs the new module since lsn"];
    succeeds(&cluster, &to(&two, &[]), &words);
    let since = caller.count();
    caller.wait_for(since + 50);
    assert_eq!(ledger.reign().epoch, 1, "nobody was deposed");
    for _ in 0..2 {
        ledger.kill_primary();
        caller.wait_for(caller.count() + 20);
    }
    check_answers(caller, &[1, 2]);
    assert_eq!(upgrades(&cluster), [hash(&cluster, "ledger2")]);
    let status = cluster.status("ledger");
    assert_eq!((&status["module"], &status["wanted"]), (&json!(hash(&cluster, "ledger2")), &Value::Null));
    assert_eq!(cluster.send("ledger", "upgrades", json!([])), 1);
    let printed = ledger.printed();
    let swaps = printed.iter().filter(|line| line.starts_with("upgrade 1 with ")).count();
    assert_eq!(swaps, 1, "what the new code prints while it takes over is printed once: {printed:?}");
    // The same command once more.
    succeeds(&cluster, &to(&two, &[]), &["runs it already"]);
    // The first build can't read what the second has made of the state.
    let one = path(&cluster, "ledger1");
    fails_with_plan(&cluster, &to(&one, &["--last", "0"]), &["goes on as it was", "the state has version 2"]);
    assert_eq!(cluster.send("ledger", "report", json!([]))[0], 2);
    assert_eq!(upgrades(&cluster).len(), 1, "what was refused has left no trace in the log");
}

/// Runs a verb that must fail with exit code 1 after it has shown a plan, and say each of `words`.
fn fails_with_plan(cluster: &Cluster, arguments: &[&str], words: &[&str]) {
    let ran = cluster.run(arguments);
    assert_eq!(ran.code, 1, "{arguments:?} printed:\n{}\nand said:\n{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.starts_with("plan "), "{}", ran.stdout);
    words
        .iter()
        .for_each(|word| assert!(ran.stderr.contains(word), "{arguments:?} did not say {word:?}:\n{}", ran.stderr));
}

/// When a primary dies in an upgrade, by what it has said.
const DEATHS: [&str; 3] = ["an upgrade is wished for", "an upgrade is wished for", "runs the new module"];

#[test]
fn there_and_back_while_primaries_die_before_at_and_after_the_record() {
    let cluster = cluster();
    let mut ledger = Replicas::of(&cluster, "ledger", "ledger1", 3);
    let caller = adder(&cluster);
    caller.wait_for(20);
    let builds = ["ledger_faulty", "ledger1"];
    let mut expected = Vec::new();
    for (turn, word) in DEATHS.iter().chain(&DEATHS).enumerate() {
        let build = path(&cluster, builds[turn % 2]);
        let primary = ledger.primary();
        let before = ledger.host(primary).stderr.all().len();
        let verb = begin(&cluster, &to(&build, &["--timeout", "120"]));
        let is_said = ledger.host(primary).stderr.wait_for(before, PATIENCE, |line| line.contains(word));
        assert!(is_said.is_some(), "it was not said that {word}:\n{}", ledger.host(primary).said());
        if turn % 3 == 1 {
            // Some calls later, wherever the upgrade is by then.
            caller.wait_for(caller.count() + 1);
        }
        ledger.kill(primary);
        ledger.next_reign();
        ledger.start_standby(primary);
        ended_well(verb);
        expected.push(hash(&cluster, builds[turn % 2]));
        caller.wait_for(caller.count() + 20);
    }
    check_answers(caller, &[1, 3, 1, 3, 1, 3, 1]);
    assert_eq!(upgrades(&cluster), expected, "each was done once, whoever died");
}

#[test]
fn an_instance_that_is_down_is_swapped_at_its_next_run_before_anything_is_delivered() {
    let cluster = cluster();
    let mut ledger = Replicas::of(&cluster, "ledger", "ledger1", 1);
    assert_eq!(cluster.send("ledger", "add", json!(["anna", 5])), json!([1, 5]));
    ledger.host(0).signal(Signal::Terminate);
    assert_eq!(ledger.wait_for_end(0).0, 0);
    let two = path(&cluster, "ledger2");
    let words = ["no replica of instance ledger runs", "is not done yet", "--cancel"];
    fails_with_plan(&cluster, &to(&two, &["--timeout", "0"]), &words);
    let wanted = cluster.status("ledger")["wanted"].clone();
    assert_eq!((&wanted["attempt"], &wanted["to"]), (&json!(1), &json!(hash(&cluster, "ledger2"))));
    ledger.start(0);
    assert_eq!(cluster.send("ledger", "add", json!(["anna", 1])), json!([2, 6]), "nothing more for the old code");
    // The answer is written down a moment after the instance runs it.
    crate::support::wait_for_status(&cluster, "ledger", |status| status["wanted"].is_null());
    succeeds(&cluster, &to(&two, &[]), &["runs it already"]);
    // And back by its hash, to what can take it: nobody.
    let first = hash(&cluster, "ledger1");
    fails_with_plan(&cluster, &to(&first[..12], &["--last", "0"]), &["the state has version 2"]);
}

/// A disk loses what it holds: whoever is to run it says so, and goes on with what it has.
#[test]
fn a_new_module_that_is_damaged_in_the_store_is_refused_and_one_that_runs_is_told_of() {
    let cluster = cluster();
    let mut ledger = Replicas::of(&cluster, "ledger", "ledger1", 1);
    assert_eq!(cluster.send("ledger", "add", json!(["anna", 5])), json!([1, 5]));
    ledger.host(0).signal(Signal::Terminate);
    assert_eq!(ledger.wait_for_end(0).0, 0);
    fails_with_plan(&cluster, &to(&path(&cluster, "ledger2"), &["--timeout", "0"]), &["is not done yet"]);
    let damage = |guest: &str| {
        let name = hash(&cluster, guest);
        let mut damaged = 0;
        for (file, mut bytes) in files(cluster.directory()).into_iter().filter(|(file, _)| file.contains(&name)) {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&file, bytes).expect("it can be written");
            damaged += 1;
        }
        assert!(damaged > 0, "the module is in the store, and compiled beside it");
    };
    damage("ledger2");
    ledger.start(0);
    let status = crate::support::wait_for_status(&cluster, "ledger", |status| status["wanted"].is_null());
    let report = status["answered"].to_string();
    assert!(report.contains("refused") && report.contains(&hash(&cluster, "ledger2")), "{report}");
    assert_eq!(cluster.send("ledger", "add", json!(["anna", 1])), json!([1, 6]), "it goes on as it was");
    assert_eq!(upgrades(&cluster), [""; 0]);
    ledger.host(0).signal(Signal::Terminate);
    assert_eq!(ledger.wait_for_end(0).0, 0);
    damage("ledger1");
    fails(&cluster, &["run", "--instance", "ledger"], &[&hash(&cluster, "ledger1")]);
}

#[test]
fn a_standby_started_later_replays_the_log_from_its_beginning_across_upgrades() {
    let cluster = cluster();
    let mut ledger = Replicas::of_with(&cluster, "ledger", "ledger1", 1, &["--keep-log"]);
    let mut session = Session::new(&cluster, "ledger");
    (1..=20).for_each(|n| assert_eq!(session.call("add", json!(["anna", 1])), json!([1, n])));
    cluster.must(&to(&path(&cluster, "ledger_faulty"), &[]));
    cluster.must(&to(&path(&cluster, "ledger1"), &[]));
    (21..=40).for_each(|n| assert_eq!(session.call("add", json!(["anna", 1])), json!([1, n])));
    cluster.must(&to(&path(&cluster, "ledger2"), &[]));
    (41..=60).for_each(|n| assert_eq!(session.call("add", json!(["anna", 1])), json!([2, n])));
    let late = ledger.add(&["--ignore-checkpoints"]);
    ledger.host(late).wait_until_caught_up();
    ledger.kill(0);
    ledger.next_reign();
    assert_eq!(session.call("add", json!(["anna", 1])), json!([2, 61]));
    // From a checkpoint that the second build is in.
    cluster.must(&["checkpoint", "--instance", "ledger"]);
    ledger.restart(late);
    ledger.next_reign();
    assert_eq!(session.call("report", json!([])), json!([2, 61, 61]));
}

#[test]
fn what_the_new_code_can_t_take_is_refused_and_nothing_has_changed() {
    for (word, said) in [
        ("load-trap", "it was asked to load-trap"),
        ("load-refuse", "it was asked to load-refuse"),
        ("load-loop", "fuel"),
        ("load-eat", "memory"),
        ("load-stranger", "peer"),
        ("load-exit", "exit"),
        ("save-trap", "it was asked to save-trap"),
    ] {
        let cluster = cluster();
        register_with(&cluster, "ledger", "ledger1", &["--fuel", "500000000", "--memory-mib", "32"]);
        cluster.must(&["add-replica", "--instance", "ledger", "--replica", "1"]);
        let mut ledger = Replicas::none(&cluster, "ledger", &[]);
        ledger.start_all(2);
        assert_eq!(cluster.send("ledger", "add", json!(["anna", 5])), json!([1, 5]));
        cluster.send("ledger", "set_fate", json!([word]));
        let before = cluster.log("ledger");
        let faulty = path(&cluster, "ledger_faulty");
        fails_with_plan(&cluster, &to(&faulty, &["--last", "0"]), &["goes on as it was", said]);
        assert_eq!(cluster.log("ledger"), before, "{word}: nothing of it is in the log");
        let status = cluster.status("ledger");
        assert_eq!(status["module"], json!(hash(&cluster, "ledger1")), "{word}");
        assert!(status["answered"]["report"].as_str().is_some_and(|report| report.contains(said)), "{status}");
        assert_eq!(cluster.send("ledger", "add", json!(["anna", 1])), json!([1, 6]), "{word}");
        ledger.kill_primary();
        assert_eq!(cluster.send("ledger", "add", json!(["anna", 1])), json!([1, 7]), "{word}");
        cluster.send("ledger", "set_fate", json!([""]));
        cluster.must(&to(&path(&cluster, "ledger2"), &[]));
        assert_eq!(
            cluster.send("ledger", "add", json!(["anna", 1])),
            json!([2, 8]),
            "{word}: it can be upgraded still"
        );
    }
}

#[test]
fn a_handler_that_waits_holds_an_upgrade_up_until_the_operator_ends_it() {
    let cluster = cluster();
    let _ledger = Replicas::of(&cluster, "ledger", "ledger1", 1);
    // Nobody of that name answers.
    let waiting =
        begin(&cluster, &["send", "--instance", "ledger", "--method", "add_there", "--args", "[\"nobody\", 1]"]);
    let mut session = Session::new(&cluster, "ledger");
    while cluster.status("ledger")["peers"].as_array().is_none_or(Vec::is_empty) {
        std::thread::yield_now();
    }
    let two = path(&cluster, "ledger2");
    fails_with_plan(
        &cluster,
        &to(&two, &["--wait", "1s"]),
        &["handlers waited all the time", "add_there", "--end-waiting"],
    );
    assert_eq!(session.call("add", json!(["anna", 1])), json!([1, 1]), "nobody was held up");
    cluster.must(&to(&two, &["--end-waiting"]));
    let ran = waiting.end();
    assert!(ran.code != 0 && ran.stderr.contains("upgrade"), "its caller is told: {} {}", ran.stdout, ran.stderr);
    assert_eq!(session.call("add", json!(["anna", 1])), json!([2, 2]));
}

#[test]
fn of_two_operators_one_has_an_upgrade_and_it_can_be_taken_back() {
    let cluster = cluster();
    let mut ledger = Replicas::of(&cluster, "ledger", "ledger1", 1);
    assert_eq!(cluster.send("ledger", "add", json!(["anna", 1])), json!([1, 1]));
    ledger.kill(0);
    let (two, faulty) = (path(&cluster, "ledger2"), path(&cluster, "ledger_faulty"));
    fails_with_plan(&cluster, &to(&two, &["--timeout", "0"]), &["is not done yet"]);
    let words = ["another upgrade of instance ledger is under way", &hash(&cluster, "ledger2"), "--cancel"];
    fails_with_plan(&cluster, &to(&faulty, &["--timeout", "0"]), &words);
    fails_with_plan(&cluster, &to(&two, &["--timeout", "0"]), &["the same upgrade is under way already, as attempt 1"]);
    succeeds(&cluster, &["upgrade", "--instance", "ledger", "--cancel"], &["took back the upgrade"]);
    succeeds(
        &cluster,
        &["upgrade", "--instance", "ledger", "--cancel"],
        &["no upgrade of instance ledger is under way"],
    );
    ledger.start(0);
    ledger.next_reign();
    assert_eq!(cluster.send("ledger", "report", json!([]))[0], 1);
    assert!(upgrades(&cluster).is_empty());
    // Whoever waits is told that it was taken back.
    ledger.kill(0);
    let verb = begin(&cluster, &to(&two, &[]));
    while cluster.status("ledger")["wanted"].is_null() {
        std::thread::yield_now();
    }
    cluster.must(&["upgrade", "--instance", "ledger", "--cancel"]);
    let ran = verb.end();
    assert!(ran.code == 1 && ran.stderr.contains("was taken back"), "{}", ran.stderr);
}

#[test]
fn more_fuel_and_memory_for_the_same_module_keep_its_memory_and_its_handlers() {
    let cluster = cluster();
    let mut ledger = Replicas::of(&cluster, "ledger", "ledger1", 2);
    assert_eq!(cluster.send("ledger", "add", json!(["anna", 5])), json!([1, 5]));
    cluster.send("ledger", "tick", json!([50]));
    let limits = ["upgrade", "--instance", "ledger", "--yes", "--fuel", "30000000000", "--memory-mib", "100"];
    succeeds(
        &cluster,
        &limits,
        &["the module stays", "fuel: 20000000000 => 30000000000", "has the new limits since lsn"],
    );
    succeeds(&cluster, &limits, &["runs it already"]);
    let mut session = Session::new(&cluster, "ledger");
    let ticks = session.call("ticks", json!([])).as_u64().expect("a number");
    session.call_until("ticks", |now| now.as_u64() > Some(ticks + 3));
    let record = cluster.log("ledger").into_iter().find(|record| record["kind"] == "upgrade").expect("it is there");
    assert_eq!((&record["fuel"], &record["memory_bytes"]), (&json!(30_000_000_000_u64), &json!(100 << 20)));
    ledger.kill_primary();
    assert_eq!(session.call("add", json!(["anna", 1])), json!([1, 6]));
}

#[test]
fn a_dry_run_shows_the_plan_and_leaves_the_store_as_it_was() {
    let cluster = cluster();
    let mut ledger = Replicas::of(&cluster, "ledger", "ledger1", 1);
    cluster.send("ledger", "add", json!(["anna", 1]));
    ledger.host(0).signal(Signal::Terminate);
    ledger.wait_for_end(0);
    let before = files(&cluster.store());
    let two = path(&cluster, "ledger2");
    let dry = ["upgrade", "--instance", "ledger", "--module", &two, "--dry-run"];
    succeeds(&cluster, &dry, &["plan     ", "~ add(name: string, n: u64)"]);
    let printed = cluster.must(&[&dry[..], &["--json"]].concat());
    let told: Value = serde_json::from_str(&printed).expect("it is JSON");
    assert_eq!((&told["outcome"], &told["plan"]["to"]), (&json!("planned"), &json!(hash(&cluster, "ledger2"))));
    let after = files(&cluster.store());
    assert!(before.keys().eq(after.keys()), "no file came or went: {:?}", after.keys());
    before.iter().for_each(|(file, contents)| assert!(*contents == after[file], "{file} was changed"));
}

#[test]
fn what_can_t_be_an_upgrade_is_told_and_changes_nothing() {
    let cluster = cluster();
    let two = path(&cluster, "ledger2");
    cluster.must(&["register-instance", "--instance", "other", "--module", &path(&cluster, "counter")]);
    fails(&cluster, &to(&two, &[]), &["there is no instance ledger"]);
    let _ledger = Replicas::of(&cluster, "ledger", "ledger1", 1);
    let before = files(&cluster.store().join("registry"));
    fails(&cluster, &to("nowhere.wasm", &[]), &["can't read the module nowhere.wasm"]);
    fails(&cluster, &to(&"ab".repeat(32), &[]), &["there is no module abab", &hash(&cluster, "ledger1")]);
    let core = wat_module(&cluster, "core.wasm", "(module)");
    fails(
        &cluster,
        &to(core.to_str().expect("text"), &[]),
        &["can't be run, so nothing is changed", "core WebAssembly"],
    );
    fs::write(cluster.file("text.wasm"), "no module").expect("the directory is there");
    let text = cluster.file("text.wasm");
    fails(&cluster, &to(text.to_str().expect("text"), &[]), &["this is not WebAssembly"]);
    fails(&cluster, &["upgrade", "--instance", "ledger", "--yes"], &["nothing to be done: give --module"]);
    let unasked = ["upgrade", "--instance", "ledger", "--module", &two];
    fails_with_plan(&cluster, &unasked, &["nothing was changed: repeat it with --yes"]);
    let settled = path(&cluster, "settled");
    fails(&cluster, &to(&settled, &[]), &["settled", "ambrosia::state"]);
    assert_eq!(files(&cluster.store().join("registry")), before);
    assert_eq!(cluster.send("ledger", "report", json!([])), json!([1, 0, 0]));
    let waits = ["--timeout", "nan"];
    let ran = cluster.run(&to(&two, &waits));
    assert!(ran.code == 1 && ran.stderr.contains("--timeout must be a number of seconds"), "{}", ran.stderr);
    assert_eq!(role(&cluster.status("ledger"), 0), "primary");
}
