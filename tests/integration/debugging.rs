//! Journeys by the commands of `debug`, as scripts; and `verify`.

use std::{io::Write, process::Stdio};

use ambrosia_core::{
    DigestBody, Epoch, EpochBody, InstanceName, Lsn, Record, RecordHeader, RecordKind, ReplicaIndex, Timestamp,
};
use ambrosia_storage::{Instances, StorePlace};
use ambrosia_tests::{Cluster, LongMessage, Ran, write_long_log};
use serde_json::{Value, json};

use crate::support::{Replicas, Session, cluster, fails};

/// Runs a script through `debug`, with further arguments.
pub(crate) fn debug(cluster: &Cluster, more: &[&str], script: &str) -> Ran {
    let mut arguments = vec!["debug", "--plain"];
    arguments.extend(more);
    let mut command = cluster.command(&arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program can be started");
    // It may have ended before it has read everything.
    let _unread = child.stdin.take().expect("it is piped").write_all(script.as_bytes());
    let output = child.wait_with_output().expect("it can be waited for");
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub(crate) fn must(cluster: &Cluster, more: &[&str], script: &str) -> String {
    let ran = debug(cluster, more, script);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.stdout
}

/// A text with `N` in the place of what is counted in fuel, bytes and pages, and `HASH` in that of each long hexadecimal
/// number.
pub(crate) fn without_what_depends_on_the_build(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let kept = words.iter().enumerate().map(|(at, word)| {
            let before = at.checked_sub(1).map_or("", |before| words[before]);
            let is_hex = word.len() >= 16 && word.chars().all(|digit| digit.is_ascii_hexdigit() || digit == '-');
            let after = words.get(at + 1).map_or("", |after| *after);
            let is_counted = before == "fuel" || matches!(after, "bytes" | "pages");
            let is_number = is_counted && word.chars().all(|digit| digit.is_ascii_digit());
            if is_number {
                "N"
            } else if is_hex {
                "HASH"
            } else {
                word
            }
        });
        out += &kept.collect::<Vec<_>>().join(" ");
        out.push('\n');
    }
    out
}

fn counted(cluster: &Cluster, messages: u64) {
    let message = |n| LongMessage {
        method: if n % 3 == 1 { "see" } else { "add" },
        arguments: json!([n]),
        request: Some(format!("request-{n}")),
    };
    let messages = (0..messages).map(message);
    write_long_log(&cluster.store(), "counter", &cluster.guest("counter"), messages).expect("it can be written");
}

const JOURNEY: &str = r#"
next                  # the first delivery
next method see
back
goto 22:13:20.005     # made by then
next 2 method add
inspect 0
list 2
diff 3 7
goto end
back method see
break method see
break kind epoch
breaks
delete 2
goto start
continue
"#;

const SEEN: &str = "\
lsn 2  epoch  epoch 1  2023-11-14T22:13:20.000000Z  N bytes
  replica 0 became primary
lsn 3  deliver  epoch 1  2023-11-14T22:13:20.001000Z  N bytes  fuel N
    0 outside start
    1 outside primary
    2 outside impulse add id 1 request request-0 [0]
        -> reply id 1 0
lsn 4  deliver  epoch 1  2023-11-14T22:13:20.002000Z  N bytes  fuel N
    0 outside impulse see id 2 request request-1 [1]
        -> reply id 2
lsn 3  deliver  epoch 1  2023-11-14T22:13:20.001000Z  N bytes  fuel N
    0 outside start
    1 outside primary
    2 outside impulse add id 1 request request-0 [0]
        -> reply id 1 0
lsn 7  deliver  epoch 1  2023-11-14T22:13:20.005000Z  N bytes  fuel N
    0 outside impulse see id 5 request request-4 [4]
        -> reply id 5
lsn 9  deliver  epoch 1  2023-11-14T22:13:20.007000Z  N bytes  fuel N
    0 outside impulse add id 7 request request-6 [6]
        -> reply id 7 16
0 outside impulse add id 7 request request-6 [6]
    [
      6
    ]
    -> reply id 7 16
      10  deliver  epoch 1    2023-11-14T22:13:20.008000Z  N bytes
          outside impulse see id 8 request request-7 [7]
      11  deliver  epoch 1    2023-11-14T22:13:20.009000Z  N bytes
          outside impulse add id 9 request request-8 [8]
lsn 3 -> 7  N pages of N bytes differ, memory +0 bytes
  + .seen[0] 1
  + .seen[1] 4
  ~ .total 0 -> 5
lsn 14  deliver  epoch 1  2023-11-14T22:13:20.012000Z  N bytes  fuel N
    0 outside impulse add id 12 request request-11 [11]
        -> reply id 12 44
lsn 13  deliver  epoch 1  2023-11-14T22:13:20.011000Z  N bytes  fuel N
    0 outside impulse see id 11 request request-10 [10]
        -> reply id 11
break 1: method see
break 1: method see
break 2: kind epoch
break 1: method see
break 2: kind epoch
break 1: method see
lsn 1  genesis  epoch 0  2023-11-14T22:13:20.000000Z  N bytes
  instance counter HASH module HASH
lsn 4  deliver  epoch 1  2023-11-14T22:13:20.002000Z  N bytes  fuel N
    0 outside impulse see id 2 request request-1 [1]
        -> reply id 2
";

#[test]
fn a_script_shows_the_same_every_time() {
    let cluster = cluster();
    counted(&cluster, 12);
    let on = ["--instance", "counter", "--at", "2"];
    let seen = without_what_depends_on_the_build(&must(&cluster, &on, JOURNEY));
    assert_eq!(seen, SEEN);
    let script = cluster.file("script");
    std::fs::write(&script, JOURNEY).expect("it can be written");
    let from_file = must(&cluster, &[&on[..], &["--script", script.to_str().expect("text")]].concat(), "");
    assert_eq!(without_what_depends_on_the_build(&from_file), SEEN);
    assert!(!from_file.contains('\x1b'), "there is no terminal");
}

#[test]
fn json_says_what_a_record_did_and_left() {
    let cluster = cluster();
    counted(&cluster, 3);
    let script = "inspect 0\nbreak fault\ndiff 3 4\nverify\n";
    let seen = must(&cluster, &["--instance", "counter", "--json"], script);
    let answers: Vec<Value> = seen.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    let moment = &answers[0]["moment"];
    assert_eq!((&moment["lsn"], &moment["record"]["kind"]), (&json!(5), &json!("deliver")));
    assert_eq!(moment["record"]["messages"][0]["method"], "add");
    assert_eq!(moment["effects"], json!([{ "cause": 0, "kind": "reply", "to": "outside", "id": 3, "value": 2 }]));
    assert!(moment["fuel"].as_u64().is_some_and(|fuel| fuel > 0), "{moment}");
    assert_eq!(moment["now"]["timers"], json!([]));
    assert_eq!(answers[1]["inspect"]["message"]["arguments"], json!([2]));
    assert_eq!(answers[2]["breaks"], json!([{ "number": 1, "condition": "fault" }]));
    assert_eq!((&answers[3]["diff"]["from"], &answers[3]["diff"]["to"]), (&json!(3), &json!(4)));
    assert_eq!((&answers[4]["verify"]["last_lsn"], &answers[4]["verify"]["digests"]), (&json!(5), &json!(0)));
}

/// Messages between instances, calls, timers and prints of guests that run meanwhile.
#[test]
fn what_a_live_instance_did_is_seen() {
    let cluster = cluster();
    let _receiver = Replicas::of(&cluster, "receiver", "receiver", 1);
    let _ticker = Replicas::of(&cluster, "ticker", "ticker", 1);
    let _faulty = Replicas::of(&cluster, "faulty", "faulty", 1);
    let mut session = Session::new(&cluster, "ticker");
    assert_eq!(session.call("every", json!([5, 2])), 2);
    let seen = must(&cluster, &["--instance", "ticker", "--at", "start"], "next method every\nnext\ngoto end\n");
    let (_, every) = seen.split_once("outside impulse every").expect("it is shown");
    assert!(every.contains("-> timer id") && every.contains("behind it: 1 timer: "), "{seen}");
    assert!(every.contains("outside timer id"), "{seen}");
    assert!(every.contains("-> reply id 1 2"), "{seen}");
    Session::new(&cluster, "faulty").call("fork_with", json!([3]));
    let faulty = ["--instance", "faulty", "--at", "start"];
    let seen =
        must(&cluster, &faulty, "next method fork_with\nuntil print ~ \"is not handled\"\nback method fork_with");
    let (first, _) = seen.split_once("stderr: ").expect("something is printed");
    assert!(first.contains("-> fork to faulty ok"), "{seen}");
    assert!(seen.contains("faulty#1 fork ok"), "{seen}");
}

#[test]
fn a_halted_instance_is_looked_at_where_it_halted() {
    let cluster = cluster();
    let mut faulty = Replicas::of(&cluster, "faulty", "faulty", 1);
    fails(&cluster, &["send", "--instance", "faulty", "--method", "trap"], &["halted at lsn 4"]);
    faulty.wait_for_end(0);
    let seen = must(&cluster, &["--instance", "faulty", "--at", "halted"], "back\nuntil fault\nbacktrace\n");
    let (halted, rest) = seen.split_once("lsn 3").expect("it went back");
    let reason =
        "the guest panicked in message 0 of the delivery (an impulse of `trap`): it was asked to, at tests/guests/";
    assert!(halted.contains(&format!("  halted: {reason}")), "{seen}");
    let (again, backtrace) = rest.split_once("   0: ").expect("there is a backtrace");
    assert!(again.contains(halted.lines().next().expect("it has lines")), "{seen}");
    assert!(backtrace.contains("trap at tests/guests/examples/faulty.rs:"), "{seen}");
}

#[test]
fn what_can_not_be_done_is_told() {
    let cluster = cluster();
    counted(&cluster, 3);
    let on = |more: &[&'static str]| [&["--instance", "counter"], more].concat();
    for (more, script, words) in [
        (&["--at", "99"][..], "", &["record 99 is outside the log, which can be travelled from lsn 1 to 5"][..]),
        (&["--at", "soon"], "", &["--at: `soon` is no place"]),
        (&["--at", "halted"], "", &["instance counter has not halted"]),
        (&["--to", "4"], "goto 5", &["stdin, line 1", "record 5 is behind record 4, and --to goes no further"]),
        (&[], "show\nnxt", &["stdin, line 2", "did you mean `next`?"]),
        (&[], "next", &["this is the last record"]),
        (&["--at", "start"], "back", &["the log goes back no further"]),
        (&[], "next method ad", &["ad"]),
        (&["--at", "start"], "until print ~ tick", &["no record up to 5 is print ~ \"tick\""]),
        (&[], "back from stranger", &["no record from 1 on is from stranger"]),
        (&[], "inspect 7", &["the record has no message 7: its messages are 0 to 0"]),
        (&[], "backtrace", &["the guest did not fail at this record"]),
        (&[], "continue", &["there is no break to stop at"]),
        (&[], "delete 3", &["there is no break or watch 3"]),
        (&["--script", "/nowhere/script"], "", &["cannot read /nowhere/script"]),
    ] {
        let ran = debug(&cluster, &on(more), script);
        assert_eq!(ran.code, 1, "{more:?} {script}: {}", ran.stdout);
        words.iter().for_each(|word| assert!(ran.stderr.contains(word), "{more:?} {script}: {}", ran.stderr));
    }
    let ran = debug(&cluster, &["--instance", "nobody"], "");
    assert!(ran.code == 1 && ran.stderr.contains("there is no instance nobody"), "{}", ran.stderr);
}

#[test]
fn a_log_is_verified_against_its_digests() {
    let cluster = cluster();
    counted(&cluster, 100);
    let said = cluster.must(&["verify", "--instance", "counter"]);
    assert_eq!(said, "records 1 to 102 were replayed; no digest is written there, so nothing was compared\n");
    let _counter = Replicas::of_with(&cluster, "other", "counter", 1, &["--keep-log"]);
    for n in 1..=3 {
        assert_eq!(cluster.send("other", "add", json!([1])), n);
        cluster.must(&["checkpoint", "--instance", "other"]);
    }
    let said = cluster.must(&["verify", "--instance", "other"]);
    assert!(said.contains("and all 3 digests there agree"), "{said}");
    let json: Value = serde_json::from_str(&cluster.must(&["verify", "--instance", "other", "--json"])).expect("JSON");
    assert_eq!((&json["first_lsn"], &json["digests"], &json["differences"]), (&json!(1), &json!(3), &json!([])));
    let wrong = append_wrong_digest(&cluster, "counter");
    let ran = cluster.run(&["verify", "--instance", "counter"]);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    let words =
        format!("and 1 of 1 digests differ, from lsn {wrong} on\nthis replica differs from the primary of epoch 2");
    assert!(ran.stdout.contains(&words), "{}", ran.stdout);
}

/// As a primary would write that is not what its log makes it.
fn append_wrong_digest(cluster: &Cluster, instance: &str) -> Lsn {
    let store = StorePlace::from(cluster.store()).open().expect("there is a store");
    let log = store.log_of(&InstanceName::new(instance).expect("plain")).expect("it is registered");
    let tail = store.log(log).expect("there is a log").tail(Lsn(1)).expect("it begins there");
    let me = EpochBody { replica: ReplicaIndex(0), engine: [0; 32] };
    let acquired = tail.acquire(Epoch(1), me, Timestamp(0), Box::new(|_, _| {})).expect("nobody reigns");
    let last = *acquired.records.last().expect("there is one of the epoch").header();
    let mut body = Vec::new();
    DigestBody { state: 1, memory: 1, checkpoint_by: None }.encode(&mut body);
    let mut header = RecordHeader::new(RecordKind::Digest, acquired.epoch, last.lsn.next(), last.time);
    header.previous = last.link();
    let mut writer = acquired.writer;
    writer.append(Record::seal(header, &body)).expect("the reign goes on");
    writer.close();
    header.lsn
}

/// What a person sees who does what the documentation says.
#[test]
fn the_first_journey_of_the_documentation_goes_as_it_says() {
    let document = include_str!("../../docs/time-travel.md");
    let (_, block) =
        document.split_once("```\n$ ambrosia-host debug --instance counter --at start\n").expect("it is there");
    let (block, _) = block.split_once("```").expect("it ends");
    let command = |line: &str| Some(line.split_once("> ")?.1.to_owned()).filter(|_| !line.starts_with(' '));
    let (mut script, mut expected) = (String::new(), String::new());
    for line in block.lines() {
        match command(line) {
            Some(command) => script += &format!("{command}\n"),
            None => expected += &format!("{line}\n"),
        }
    }
    assert!(script.lines().count() >= 3, "{script}");
    let cluster = cluster();
    let _counter = Replicas::of(&cluster, "counter", "counter", 1);
    for (request, n) in [("order-1", 2), ("order-1", 2), ("order-2", 3)] {
        let arguments = json!([n]).to_string();
        cluster.must(&[
            "send",
            "--instance",
            "counter",
            "--method",
            "add",
            "--args",
            &arguments,
            "--request-id",
            request,
        ]);
    }
    let seen = must(&cluster, &["--instance", "counter", "--at", "start"], &script);
    assert_eq!(without_what_depends_on_the_run(&seen), without_what_depends_on_the_run(&expected));
}

/// The same without times and identities, which documents shorten.
fn without_what_depends_on_the_run(text: &str) -> String {
    let text = without_what_depends_on_the_build(text);
    let word = |word: &str| {
        let is_time = word.ends_with('Z') && word.contains('T');
        let is_cut = word.ends_with('…') || word.ends_with("-…");
        if is_time {
            "TIME".to_owned()
        } else if is_cut {
            "HASH".to_owned()
        } else {
            word.to_owned()
        }
    };
    let line = |line: &str| line.split(' ').map(word).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}
