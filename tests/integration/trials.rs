//! An upgrade is tried on the log before it is wished for.

use ambrosia_tests::{Cluster, Signal};
use serde_json::{Value, json};

use crate::support::{Replicas, begin, cluster, files, register_with, succeeds};

fn path(cluster: &Cluster, guest: &str) -> String {
    cluster.guest(guest).to_str().expect("the path is text").to_owned()
}

/// `upgrade` of the ledger to a guest.
fn to<'a>(module: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["upgrade", "--instance", "ledger", "--module", module], more].concat()
}

/// Runs a verb whose exit code is to be that, and which must leave the store of an instance that is down as it is. Returns
/// what it printed and said.
fn leaves_the_store(cluster: &Cluster, arguments: &[&str], code: i32) -> (String, String) {
    let before = files(&cluster.store());
    let ran = cluster.run(arguments);
    assert_eq!(ran.code, code, "{arguments:?} printed:\n{}\nand said:\n{}", ran.stdout, ran.stderr);
    let after = files(&cluster.store());
    assert!(before.keys().eq(after.keys()), "no file came or went: {:?}", after.keys());
    before.iter().for_each(|(file, contents)| assert!(*contents == after[file], "{file} was changed"));
    (ran.stdout, ran.stderr)
}

fn says(text: &str, words: &[&str]) {
    words.iter().for_each(|word| assert!(text.contains(word), "it did not say {word:?}:\n{text}"));
}

fn stop(ledger: &mut Replicas<'_>) {
    ledger.host(0).signal(Signal::Terminate);
    assert_eq!(ledger.wait_for_end(0).0, 0);
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).expect("it is JSON")
}

#[test]
fn what_the_new_code_does_otherwise_is_told_and_stops_nobody() {
    let cluster = cluster();
    let mut ledger = Replicas::of(&cluster, "ledger", "ledger1", 1);
    (1..=3).for_each(|n| assert_eq!(cluster.send("ledger", "add", json!(["anna", 1])), json!([1, n])));
    cluster.send("ledger", "set_fate", json!([""]));
    stop(&mut ledger);
    let two = path(&cluster, "ledger2");
    let (printed, _) = leaves_the_store(&cluster, &to(&two, &["--dry-run"]), 0);
    let words = [
        "plan     ",
        "by both, ",
        "  handed over ",
        " messages bring about the same\n",
        " #0 outside impulse add [\"anna\",1]: answer [1,3] -> [2,3]\n",
        "set_fate [\"\"]: answer null -> error \"",
    ];
    says(&printed, &words);
    let (printed, _) = leaves_the_store(&cluster, &to(&two, &["--dry-run", "--json", "--last", "2"]), 0);
    let trial = &json_of(&printed)["trial"];
    assert_eq!((&trial["deliveries"], &trial["messages"], &trial["different"]), (&json!(2), &json!(2), &json!(2)));
    assert!(
        trial["handover"]["load_fuel"].as_u64() > Some(0) && trial["handover"]["bytes"].as_u64() > Some(0),
        "{trial}"
    );
    let change = &trial["differences"][0]["changes"][0];
    assert_eq!((&change["before"]["value"], &change["after"]["value"]), (&json!([1, 3]), &json!([2, 3])));
    assert_eq!((&trial["trap"], &trial["waiting"]), (&Value::Null, &json!([])));
    ledger.start(0);
    succeeds(&cluster, &to(&two, &["--yes"]), &["answer [1,1] -> [2,1]", "runs the new module since lsn"]);
    let record = cluster.log("ledger").into_iter().find(|record| record["kind"] == "upgrade").expect("it is there");
    assert_eq!(record["to"], cluster.status("ledger")["module"]);
    // Behind an upgrade only what the module at hand has handled is tried on.
    assert_eq!(cluster.send("ledger", "add", json!(["anna", 1])), json!([2, 4]));
    let (faulty, more) = (path(&cluster, "ledger_faulty"), ["--dry-run", "--json"]);
    let trial = json_of(&cluster.run(&to(&faulty, &more)).stdout)["trial"].clone();
    assert!(trial["refused"]["reason"].as_str().is_some_and(|reason| reason.contains("version 2")), "{trial}");
}

#[test]
fn what_the_new_code_fails_at_in_the_trial_needs_an_operator_who_insists() {
    let cluster = cluster();
    let mut ledger = Replicas::of(&cluster, "ledger", "ledger1", 1);
    cluster.send("ledger", "add", json!(["anna", 5]));
    cluster.send("ledger", "set_fate", json!(["handle-trap"]));
    cluster.send("ledger", "add", json!(["anna", 1]));
    stop(&mut ledger);
    let faulty = path(&cluster, "ledger_faulty");
    let trap = "#0 outside impulse set_fate [\"handle-trap\"]: the new code traps: the guest panicked in message 0";
    let (printed, said) = leaves_the_store(&cluster, &to(&faulty, &["--yes"]), 1);
    says(&printed, &["answer [1,5] -> [3,5]", trap, "it was asked to handle-trap, at "]);
    says(&said, &["nothing was changed: in the trial the new code fails", "--despite-trial"]);
    let (printed, _) = leaves_the_store(&cluster, &to(&faulty, &["--yes", "--json"]), 1);
    let told = json_of(&printed);
    assert_eq!((&told["outcome"], &told["trial"]["trap"]["message"]["method"]), (&json!("tried"), &json!("set_fate")));
    leaves_the_store(&cluster, &to(&faulty, &["--dry-run"]), 1);
    // The last delivery alone says nothing against it, and neither does no trial.
    let (printed, _) = leaves_the_store(&cluster, &to(&faulty, &["--dry-run", "--last", "1"]), 0);
    says(&printed, &["1 delivery of 1 message by both", "answer [1,6] -> [3,6]"]);
    let (printed, _) = leaves_the_store(&cluster, &to(&faulty, &["--dry-run", "--last", "0"]), 0);
    assert!(!printed.contains("trial"), "{printed}");
    let (printed, _) = leaves_the_store(&cluster, &to(&faulty, &["--dry-run", "--last", "0", "--json"]), 0);
    assert_eq!(json_of(&printed)["trial"], Value::Null);
    ledger.start(0);
    succeeds(&cluster, &to(&faulty, &["--yes", "--despite-trial"]), &[trap, "runs the new module since lsn"]);
    assert_eq!(cluster.send("ledger", "add", json!(["anna", 1])), json!([3, 7]));
}

#[test]
fn a_state_that_the_new_code_can_not_take_is_found_before_anybody_waits_for_it() {
    for (word, said) in [("load-trap", "it was asked to load-trap"), ("load-loop", "fuel"), ("save-trap", "save-trap")]
    {
        let cluster = cluster();
        register_with(&cluster, "ledger", "ledger1", &["--fuel", "500000000", "--memory-mib", "32"]);
        let mut ledger = Replicas::none(&cluster, "ledger", &[]);
        ledger.start_all(1);
        cluster.send("ledger", "set_fate", json!([word]));
        cluster.send("ledger", "add", json!(["anna", 5]));
        stop(&mut ledger);
        let faulty = path(&cluster, "ledger_faulty");
        let (printed, _) = leaves_the_store(&cluster, &to(&faulty, &["--yes", "--last", "1"]), 1);
        says(&printed, &["the new code can't take over: ", said]);
        // Where it began the new code could take over.
        let (printed, _) = leaves_the_store(&cluster, &to(&faulty, &["--yes"]), 1);
        says(&printed, &["the new code can't take over the state as it is now: ", said, "answer [1,5] -> [3,5]"]);
        ledger.start(0);
        let ran = cluster.run(&to(&faulty, &["--yes", "--last", "1", "--despite-trial"]));
        assert!(ran.code == 1 && ran.stderr.contains("goes on as it was"), "{word}: {}", ran.stderr);
        assert_eq!(cluster.send("ledger", "add", json!(["anna", 1])), json!([1, 6]));
    }
}

#[test]
fn where_handlers_wait_all_the_time_there_is_no_trial_and_the_upgrade_is_not_stopped_by_that() {
    let cluster = cluster();
    let _ledger = Replicas::of(&cluster, "ledger", "ledger1", 1);
    // Nobody of that name answers.
    let waiting =
        begin(&cluster, &["send", "--instance", "ledger", "--method", "add_there", "--args", "[\"nobody\", 1]"]);
    let waits = |status: &Value| status["waiting_handlers"] == 1;
    crate::support::wait_for_status(&cluster, "ledger", waits);
    succeeds(&cluster, &["status", "--instance", "ledger"], &["\n  1 handler waits\n"]);
    assert_eq!(cluster.send("ledger", "add", json!(["anna", 1])), json!([1, 1]));
    let two = path(&cluster, "ledger2");
    let none = "trial    none: handlers wait at each of the last records";
    succeeds(&cluster, &to(&two, &["--dry-run", "--last", "1"]), &["  waits  1 handler\n", none]);
    succeeds(&cluster, &to(&two, &["--dry-run", "--last", "0"]), &["  waits  1 handler\n"]);
    // From before it began, both codes do the same, and at the end it waits.
    let words = ["waits  1 handler: add_there awaits add of nobody (", "answer [1,1] -> [2,1]"];
    succeeds(&cluster, &to(&two, &["--dry-run"]), &words);
    succeeds(&cluster, &to(&two, &["--yes", "--last", "1", "--end-waiting"]), &["runs the new module since lsn"]);
    assert_ne!(waiting.end().code, 0, "its caller is told");
    crate::support::wait_for_status(&cluster, "ledger", |status| status["waiting_handlers"] == 0);
}

#[test]
fn a_trial_follows_calls_and_their_answers_and_ends_where_only_one_code_calls() {
    let cluster = cluster();
    let _ledger = Replicas::of(&cluster, "ledger", "ledger1", 1);
    let _other = Replicas::of(&cluster, "other", "ledger1", 1);
    assert_eq!(cluster.send("ledger", "attach_one", json!(["other"])), Value::Null);
    let there = |method: &str| cluster.send("ledger", method, json!(["other", 1]));
    there("add_there");
    there("ask_there");
    cluster.must(&["checkpoint", "--instance", "ledger"]);
    (0..3).for_each(|_| assert_eq!(cluster.send("ledger", "report", json!([])), json!([1, 0, 0])));
    let two = path(&cluster, "ledger2");
    let trial = json_of(&cluster.must(&to(&two, &["--dry-run", "--json"])))["trial"].clone();
    assert_eq!((&trial["ended"], &trial["trap"]), (&Value::Null, &Value::Null), "{trial}");
    let last = json_of(&cluster.must(&to(&two, &["--dry-run", "--json", "--last", "3"])))["trial"].clone();
    assert_eq!((&last["deliveries"], &last["different"]), (&json!(3), &json!(3)), "{last}");
    let sends = &last["handover"]["changes"][0]["after"];
    assert_eq!((&sends["kind"], &sends["to"], &sends["method"]), (&json!("fork"), &json!("other"), &json!("add")));
    // A build without the method answers with an error, and calls nobody.
    let faulty = path(&cluster, "ledger_faulty");
    let words =
        ["no more call to other add [1]", "only the old code calls other there, so the log does not tell the answer"];
    succeeds(&cluster, &to(&faulty, &["--dry-run"]), &words);
}

#[test]
fn the_same_messages_are_given_to_another_build_up_to_the_first_difference() {
    let cluster = cluster();
    let _ledger = Replicas::of(&cluster, "ledger", "ledger1", 1);
    (1..=3).for_each(|n| assert_eq!(cluster.send("ledger", "add", json!(["anna", 1])), json!([1, n])));
    let (one, two) = (path(&cluster, "ledger1"), path(&cluster, "ledger2"));
    let debug = |module: &str, more: &[&str]| {
        let arguments = [&["debug", "--instance", "ledger", "--module", module], more].concat();
        let ran = cluster.run(&arguments);
        (ran.code, ran.stdout)
    };
    let (code, printed) = debug(&one, &["--at", "start"]);
    assert_eq!(code, 0, "{printed}");
    says(&printed, &["its memory and its handlers stay; 5 messages bring about the same"]);
    let (code, printed) = debug(&two, &["--at", "start"]);
    assert_eq!(code, 1, "{printed}");
    says(&printed, &[" stdout: upgrade 1 with 0 totals\n", "answer [1,1] -> [2,1]"]);
    assert!(!printed.contains("[2,2]"), "only the first difference is told: {printed}");
    // From the last message on.
    let (code, printed) = debug(&two, &["--at", "end", "--json"]);
    let trial = json_of(&printed)["trial"].clone();
    assert_eq!((code, &trial["differences"][0]["changes"][0]["after"]["value"]), (1, &json!([2, 3])), "{trial}");
    // And no further than up to the record before: nothing is delivered there.
    let first = trial["differences"][0]["lsn"].as_u64().expect("a record") - 2;
    let (code, printed) = debug(&two, &["--at", "start", "--to", &(first - 1).to_string()]);
    assert_eq!(code, 0, "{printed}");
    let (_, said) = leaves_the_registry(&cluster, &["debug", "--instance", "ledger", "--module", "abababab"]);
    says(&said, &["there is no module abababab in the store, and no such file"]);
}

/// Runs a verb that fails and must leave the registry as it is.
fn leaves_the_registry(cluster: &Cluster, arguments: &[&str]) -> (String, String) {
    let before = files(&cluster.store().join("registry"));
    let ran = cluster.run(arguments);
    assert_eq!(ran.code, 1, "{arguments:?} printed:\n{}", ran.stdout);
    assert_eq!(files(&cluster.store().join("registry")), before);
    (ran.stdout, ran.stderr)
}

#[test]
fn that_a_build_handles_what_the_instance_has_halted_at_is_seen_before_it_is_used() {
    let cluster = cluster();
    let mut ledger = Replicas::of(&cluster, "ledger", "ledger_faulty", 1);
    cluster.send("ledger", "add", json!(["anna", 1]));
    let asked =
        begin(&cluster, &["send", "--instance", "ledger", "--method", "set_fate", "--args", "[\"handle-trap\"]"]);
    assert_eq!(ledger.wait_for_end(0).0, 1);
    assert_ne!(asked.end().code, 0);
    let one = path(&cluster, "ledger1");
    let ran = cluster.run(&["debug", "--instance", "ledger", "--at", "halted", "--module", &one]);
    assert_eq!(ran.code, 1, "it is a difference: {}", ran.stderr);
    let words =
        ["set_fate [\"handle-trap\"]: the old code traps, and the new one does not: the guest panicked in message 0"];
    says(&ran.stdout, &words);
}

#[test]
fn tickers_that_end_with_their_code_drown_no_difference() {
    let cluster = cluster();
    let _ledger = Replicas::of(&cluster, "ledger", "ledger1", 1);
    cluster.send("ledger", "tick", json!([5]));
    let mut session = crate::support::Session::new(&cluster, "ledger");
    session.call_until("ticks", |ticks| ticks.as_u64() > Some(2));
    assert_eq!(session.call("add", json!(["anna", 1])), json!([1, 1]));
    let since = session.call("ticks", json!([])).as_u64().expect("a number");
    session.call_until("ticks", |ticks| ticks.as_u64() > Some(since + 20));
    // From there on it ticks already, and the new code hears of none of the old one's ticks.
    let deliveries = cluster.log("ledger").into_iter().filter(|record| record["kind"] == "deliver");
    let last = deliveries.skip_while(|record| !record.to_string().contains("\"add\"")).count().to_string();
    let two = path(&cluster, "ledger2");
    let trial = json_of(&cluster.must(&to(&two, &["--dry-run", "--json", "--last", &last])))["trial"].clone();
    assert!(trial["left_out"].as_u64() > Some(5), "{trial}");
    let differences = trial["differences"].as_array().expect("a list");
    let of_timers = |difference: &&Value| difference["message"]["kind"] == "timer";
    assert_eq!(differences.iter().filter(of_timers).count(), 0, "{trial}");
    assert_eq!(trial["ended"], Value::Null, "{trial}");
}
