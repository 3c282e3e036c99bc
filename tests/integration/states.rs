//! The state of an application at any record, as `debug` shows it.

use ambrosia_core::{InstanceName, Lsn};
use ambrosia_host::travel::{Traveller, with_stack_for_guests};
use ambrosia_storage::StorePlace;
use ambrosia_tests::{Cluster, LongMessage, write_long_log};
use serde_json::{Value, json};

use crate::{
    debugging::{debug, must, without_what_depends_on_the_build},
    support::{Replicas, Session, cluster, fails},
};

/// The guest itself, natively.
#[path = "../guests/examples/clearing.rs"]
mod clearing;

/// Anna, Bob and Carl have 100 each; a transfer from an account to itself makes money.
fn write_clearing(cluster: &Cluster, transfers: &[(&str, &str, i64)]) {
    let message = |method, arguments| LongMessage { method, arguments, request: None };
    let paid_in = ["anna", "bob", "carl"].map(|name| message("pay_in", json!([name, 100])));
    let transfers = transfers.iter().map(|transfer| message("transfer", json!(transfer)));
    let messages = paid_in.into_iter().chain(transfers);
    write_long_log(&cluster.store(), "clearing", &cluster.guest("clearing"), messages).expect("it can be written");
}

const ON: [&str; 2] = ["--instance", "clearing"];

fn answers(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

const LOOKED_AT: &str = r#"
state
.accounts["anna"]     # a part
state .last[2]
changes
goto 4
changes
goto start
state
changes
diff 5 end
"#;

const SEEN: &str = r#"lsn 7  deliver  epoch 1  2023-11-14T22:13:20.005000Z  N bytes  fuel N
    0 outside impulse transfer ["bob","anna",5]
lsn 7  the state, of version 1
{
  "accounts": {
    "anna": 95,
    "bob": 105,
    "carl": 100
  },
  "last": [
    "bob",
    "anna",
    5
  ],
  "transfers": 2
}
.accounts.anna 95
.last[2] 5
  ~ .accounts.anna 90 -> 95
  ~ .accounts.bob 110 -> 105
  ~ .last[0] "anna" -> "bob"
  ~ .last[1] "bob" -> "anna"
  ~ .last[2] 10 -> 5
  ~ .transfers 1 -> 2
lsn 4  deliver  epoch 1  2023-11-14T22:13:20.002000Z  N bytes  fuel N
    0 outside impulse pay_in ["bob",100]
  + .accounts.bob 100
lsn 1  genesis  epoch 0  2023-11-14T22:13:20.000000Z  N bytes
  instance clearing HASH module HASH
lsn 1  the state, of version 1
{
  "accounts": {},
  "last": null,
  "transfers": 0
}
the record changed nothing in the state
lsn 5 -> 7  N pages of N bytes differ, memory +0 bytes
  ~ .accounts.anna 100 -> 95
  ~ .accounts.bob 100 -> 105
  ~ .last null -> ["bob","anna",5]
  ~ .transfers 0 -> 2
"#;

#[test]
fn the_state_is_shown_at_any_record_and_what_changed_in_it() {
    let cluster = cluster();
    write_clearing(&cluster, &[("anna", "bob", 10), ("bob", "anna", 5)]);
    assert_eq!(without_what_depends_on_the_build(&must(&cluster, &ON, LOOKED_AT)), SEEN);
    let script = ".accounts\nchanges\ndiff 3 4\ndiff end end\n";
    let seen = answers(&must(&cluster, &[&ON[..], &["--json"]].concat(), script));
    let accounts = json!({ "anna": 95, "bob": 105, "carl": 100 });
    assert_eq!(
        seen[1],
        json!({ "state": { "lsn": 7, "version": 1, "path": ".accounts", "value": accounts, "waiting": [] } })
    );
    assert_eq!(seen[2]["changes"]["lsn"], 7);
    assert_eq!(seen[2]["changes"]["changes"][0], json!({ "path": ".accounts.anna", "was": 90, "is": 95 }));
    assert_eq!(seen[3]["diff"]["state"], json!([{ "path": ".accounts.bob", "is": 100 }]));
    assert_eq!(seen[4]["diff"]["state"], json!([]));
}

/// The guest of the journey itself does not notice: behind all these looks it is what it would be without.
#[test]
fn whoever_looks_at_the_state_changes_nothing() {
    let cluster = cluster();
    let _bank = Replicas::of(&cluster, "counter", "counter", 1);
    let mut session = Session::new(&cluster, "counter");
    for n in 1..=12 {
        session.call("see", json!([n]));
        if n % 4 == 0 {
            cluster.must(&["checkpoint", "--instance", "counter"]);
        }
    }
    let seen = with_stack_for_guests(|| {
        let store = StorePlace::from(cluster.store()).open().expect("there is a store");
        let name = InstanceName::new("counter").expect("plain");
        let begin = || Traveller::new(&store, &name).expect("there is a log");
        let (mut looking, mut passing) = (begin(), begin());
        let mut states = 0;
        while looking.step().expect("it goes on") {
            let state = looking.state().expect("the counter has one");
            assert_eq!(looking.state().expect("twice"), state);
            assert!(passing.step().expect("it goes on"));
            assert_eq!(looking.digests(), passing.digests(), "at {}", looking.lsn());
            states += 1;
        }
        // There and back, by snapshots that were taken on the way.
        let (middle, end) = (Lsn(looking.lsn().0 / 2), looking.lsn());
        looking.seek(middle).expect("it is in the log");
        let state = looking.state().expect("it has one");
        looking.seek(end).expect("it is in the log");
        assert_eq!(looking.digests(), passing.digests());
        passing.seek(middle).expect("it is in the log");
        assert_eq!(passing.state().expect("it has one"), state);
        assert!(looking.compared().values().all(Option::is_none), "{:?}", looking.compared());
        (looking.compared().len(), states)
    });
    let (digests, states) = seen.expect("there is a thread");
    assert!(digests >= 3 && states >= 12, "{digests} {states}");
}

/// Where there is none, that is told with what to do.
#[test]
fn why_there_is_no_state_is_told() {
    let cluster = cluster();
    let mut ended = Replicas::of(&cluster, "ended", "clearing", 1);
    let mut halted = Replicas::of(&cluster, "halted", "clearing", 1);
    let end = ["send", "--instance", "ended", "--method", "end", "--args", "[0]"];
    assert_eq!(cluster.run(&end).code, 0);
    fails(&cluster, &["send", "--instance", "halted", "--method", "end", "--args", "[null]"], &["halted at lsn 4"]);
    ended.wait_for_end(0);
    halted.wait_for_end(0);
    for (instance, at, words) in [
        (
            "ended",
            "end",
            "the instance finished at lsn 4, so its code gives no state any more: look at it before, at lsn 3",
        ),
        ("halted", "halted", "the instance halted at lsn 4, in the middle of its work"),
    ] {
        let ran = debug(&cluster, &["--instance", instance, "--at", at], "state");
        assert!(ran.code == 1 && ran.stderr.contains(words), "{}", ran.stderr);
        let before = must(&cluster, &["--instance", instance, "--at", at], "back\n.transfers\n");
        assert!(before.ends_with("\n.transfers 0\n"), "{before}");
        let without = must(&cluster, &["--instance", instance, "--at", at, "--json"], "diff 3 4");
        assert_eq!(answers(&without)[1]["diff"]["state"], Value::Null);
    }
    write_clearing(&cluster, &[]);
    for (script, words) in [
        (".total", "there is no `.total`: the state has .accounts, .last, .transfers"),
        (".accounts.dora", "there is no `.accounts.dora`: `.accounts` has .anna, .bob, .carl"),
        ("state accounts", "a path begins with a dot"),
        ("changes now", "changes takes nothing more"),
    ] {
        let ran = debug(&cluster, &ON, script);
        assert!(ran.code == 1 && ran.stderr.contains(words), "{script}: {}", ran.stderr);
    }
    let settled = |n| LongMessage { method: "add", arguments: json!([n]), request: None };
    write_long_log(&cluster.store(), "settled", &cluster.guest("settled"), (0..2).map(settled)).expect("it is written");
    let ran = debug(&cluster, &["--instance", "settled"], "state");
    assert!(ran.code == 1 && ran.stderr.contains("has no `interface upgrade`"), "{}", ran.stderr);
}

/// Handlers that wait are of the code: they are told beside the state, which is there all the same.
#[test]
fn a_state_is_there_while_handlers_wait() {
    let cluster = cluster();
    let _ticker = Replicas::of(&cluster, "ticker", "ticker", 1);
    let mut session = Session::new(&cluster, "ticker");
    assert_eq!(session.call("every", json!([5, 2])), 2);
    let at = ["--instance", "ticker", "--at", "start", "--json"];
    let seen = answers(&must(&cluster, &at, "next method every\nstate\n"));
    let waiting = &seen[2]["state"]["waiting"];
    assert_eq!((&waiting[0]["handler"], &waiting[1]), (&json!("every"), &Value::Null), "{}", seen[2]);
    assert!(waiting[0]["awaits"].as_str().is_some_and(|awaits| awaits.contains("timer")), "{waiting}");
    let file = cluster.file("ticker.state");
    let path = file.to_str().expect("text");
    let lsn = seen[2]["state"]["lsn"].to_string();
    let said = must(&cluster, &["--instance", "ticker", "--at", &lsn, "--save-state", path], "");
    assert!(said.contains("1 handler waits there, which is not in it"), "{said}");
}

/// A state from a log goes on in a test of the guest's own code.
#[test]
fn a_state_that_is_saved_loads_in_the_harness_of_the_sdk() {
    let cluster = cluster();
    write_clearing(&cluster, &[("anna", "bob", 10), ("carl", "carl", 50), ("bob", "anna", 5)]);
    let file = cluster.file("clearing.state");
    let path = file.to_str().expect("text");
    let said = must(&cluster, &[&ON[..], &["--at", "7", "--save-state", path]].concat(), "next # is not read");
    assert_eq!(said, format!("the state at lsn 7, of version 1, is in {path}\n"));
    let bytes = std::fs::read(&file).expect("it was written");
    let mut harness = ambrosia::testing::Harness::<clearing::Clearing>::load("clearing", &bytes);
    harness.state(|clearing| {
        let accounts = [("anna", 90), ("bob", 110), ("carl", 150)].map(|(name, amount)| (name.to_owned(), amount));
        assert_eq!(clearing.accounts, accounts.into());
        assert_eq!((clearing.transfers, &clearing.last), (2, &Some(("carl".to_owned(), "carl".to_owned(), 50))));
    });
    assert_eq!(harness.save(), bytes, "it is the file that the harness would have made");
    let json = must(&cluster, &[&ON[..], &["--at", "7", "--save-state", path, "--json"]].concat(), "");
    let saved = json!({ "lsn": 7, "version": 1, "bytes": bytes.len(), "file": path, "waiting": 0 });
    assert_eq!(answers(&json), [json!({ "saved": saved })]);
    let nowhere = debug(&cluster, &[&ON[..], &["--save-state", "/nowhere/state"]].concat(), "");
    assert!(nowhere.code == 1 && nowhere.stderr.contains("cannot write /nowhere/state"), "{}", nowhere.stderr);
}

/// As docs/time-travel.md shows it.
const WALK: &str = r#"
.accounts
why .accounts["carl"]
goto end
why .transfers
why .accounts["anna"]
"#;

const WALKED: &str = r#"lsn 9  deliver  epoch 1  2023-11-14T22:13:20.007000Z  N bytes  fuel N
    0 outside impulse transfer ["bob","anna",5]
.accounts {
  "anna": 85,
  "bob": 115,
  "carl": 150
}
.accounts.carl 100 -> 150
lsn 7  deliver  epoch 1  2023-11-14T22:13:20.005000Z  N bytes  fuel N
    0 outside impulse transfer ["carl","carl",50]
lsn 9  deliver  epoch 1  2023-11-14T22:13:20.007000Z  N bytes  fuel N
    0 outside impulse transfer ["bob","anna",5]
.transfers 3 -> 4
lsn 9  deliver  epoch 1  2023-11-14T22:13:20.007000Z  N bytes  fuel N
    0 outside impulse transfer ["bob","anna",5]
.accounts.anna 80 -> 85
lsn 9  deliver  epoch 1  2023-11-14T22:13:20.007000Z  N bytes  fuel N
    0 outside impulse transfer ["bob","anna",5]
"#;

/// Carl's account goes wrong, is what it was for a while after, and goes wrong no more.
fn write_wrong_clearing(cluster: &Cluster) {
    write_clearing(cluster, &[("anna", "bob", 10), ("carl", "carl", 50), ("anna", "bob", 10), ("bob", "anna", 5)]);
}

#[test]
fn a_number_that_went_wrong_is_found_by_going_back_to_where_it_did() {
    let cluster = cluster();
    write_wrong_clearing(&cluster);
    assert_eq!(without_what_depends_on_the_build(&must(&cluster, &ON, WALK)), WALKED);
    let why = &answers(&must(&cluster, &[&ON[..], &["--json"]].concat(), "why .accounts.carl\n"))[1]["why"];
    assert_eq!((&why["was"], &why["is"], &why["moment"]["lsn"]), (&json!(100), &json!(150), &json!(7)));
    let never = debug(&cluster, &ON, "why .accounts.dora\n");
    assert!(never.code == 1 && never.stderr.contains("dora"), "{}", never.stderr);
    let script = "goto 4\nwhy .transfers\n";
    let always = debug(&cluster, &ON, script);
    assert!(always.code == 1 && always.stderr.contains("at all records from 1 to 4"), "{}", always.stderr);
}

/// A change is not missed that is undone before the next look.
#[test]
fn watched_parts_of_the_state_stop_a_journey_where_they_change() {
    let cluster = cluster();
    write_clearing(&cluster, &[("anna", "bob", 10), ("bob", "anna", 10), ("carl", "bob", 1)]);
    let script = "goto 5\nwatch .accounts[\"anna\"]\nwatch .accounts.carl\nwatches\ncontinue\ncontinue\ncontinue\n";
    let seen = answers(&must(&cluster, &[&ON[..], &["--json"]].concat(), script));
    let lists = |value: &Value| value["watches"].as_array().map(Vec::len);
    assert_eq!(seen.iter().filter_map(lists).collect::<Vec<_>>(), [1, 2, 2]);
    let stops: Vec<_> = seen.iter().filter(|answer| !answer["moment"]["watched"].is_null()).collect();
    let stop = |at: usize| (&stops[at]["moment"]["lsn"], &stops[at]["moment"]["watched"][0]);
    let changed = |watch, path: &str, was, is| json!({ "watch": watch, "path": path, "was": was, "is": is });
    assert_eq!(stop(0), (&json!(6), &changed(1, ".accounts.anna", 100, 90)));
    assert_eq!(stop(1), (&json!(7), &changed(1, ".accounts.anna", 90, 100)));
    assert_eq!(stop(2), (&json!(8), &changed(2, ".accounts.carl", 100, 99)));
    // Beside breaks, and no more once they are taken away.
    let script = "goto 5\nwatch .transfers\nbreak method pay_in\ndelete 1\ndelete 2\nbreaks\nwatches\nwatch .accounts.dora\ncontinue\n";
    let ended = debug(&cluster, &ON, script);
    assert!(ended.code == 1 && ended.stderr.contains("no watched part of the state changes"), "{}", ended.stderr);
    assert!(ended.stdout.contains("no breaks") && ended.stdout.contains("no watches"), "{}", ended.stdout);
    let script = "goto 5\nwatch .accounts.carl\nuntil from outside\n";
    assert!(must(&cluster, &ON, script).contains("lsn 6"), "a condition stops it, too");
}
