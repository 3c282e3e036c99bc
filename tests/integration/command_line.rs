//! Names, exit codes and texts that scripts depend on.

use std::{fs, os::unix::fs::PermissionsExt};

use ambrosia_tests::{Cluster, Host, Signal};
use serde_json::{Value, json};

use crate::support::{Replicas, Session, cluster, fails, succeeds, wait_for_status};

const VERBS: [&str; 16] = [
    "register-instance",
    "add-replica",
    "upgrade",
    "skip",
    "deregister-instance",
    "run",
    "serve",
    "drain",
    "status",
    "send",
    "log",
    "debug",
    "export",
    "verify",
    "copy-store",
    "accept-rollback",
];

#[test]
fn the_help_of_every_verb_has_an_example_that_names_it() {
    let cluster = cluster();
    succeeds(&cluster, &["--help"], &["Example:\n", "--store", "AMBROSIA_STORE", "./ambrosia-data"]);
    for verb in VERBS {
        let help = cluster.must(&[verb, "--help"]);
        let (_, example) = help.split_once("Example").unwrap_or_else(|| panic!("{verb} has no example:\n{help}"));
        assert!(example.contains(&format!("ambrosia-host {verb}")), "{help}");
    }
}

#[test]
fn wrong_usage_ends_with_code_2_and_says_what_is_wrong() {
    let cluster = cluster();
    for (arguments, word) in [
        (&["frobnicate"][..], "frobnicate"),
        (&["run"], "INSTANCE is missing: write it as a word, or with --instance <NAME>"),
        (&["run", "a", "b"], "unexpected argument 'b'"),
        (&["run", "--instance", "a", "--replica", "64"], "64"),
        (&["run", "--instance", "a", "--replica", "-1"], "-1"),
        (&["run", "--instance", "a", "--listen", "here"], "here"),
        (&["run", "--instance", "a/b"], "a/b"),
        (&["run", "--instance", ""], "--instance"),
        (&["add-replica", "--instance", "a"], "--replica"),
        (&["register-instance", "--instance", "a"], "--module"),
        (&["register-instance", "--instance", "a", "--module", "m", "--replicas", "65"], "--replicas"),
        (&["serve", "--replica", "1"], "--all"),
        (&["serve", "--all", "--host-name", "a"], "--host-name"),
        (&["drain", "--host", "a/b"], "a/b"),
        (&["register-instance", "--instance", "a", "--module", "m", "--fuel", "1"], "--fuel"),
        (&["register-instance", "--instance", "a", "--module", "m", "--memory-mib", "0"], "--memory-mib"),
        (&["send", "--instance", "a"], "--method"),
        (&["send", "--instance", "a", "--method", "m", "--timeout", "soon"], "soon"),
        (&["log", "--instance", "a", "--from", "x"], "--from"),
        (&["status", "--xml"], "--xml"),
        (&["debug"], "--instance"),
        (&["export", "--instance", "a"], "--output"),
        (&["debug", "--instance", "a", "--to", "there"], "--to"),
    ] {
        let ran = cluster.run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(word), "{arguments:?}: {}", ran.stderr);
    }
    let ran = cluster.run(&[]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("Usage:"), "{}", ran.stderr);
}

#[test]
fn the_name_of_an_instance_needs_no_flag() {
    let cluster = cluster();
    let module = cluster.guest("counter").display().to_string();
    succeeds(&cluster, &["register-instance", "counter", &module], &["registered instance counter"]);
    succeeds(&cluster, &["add-replica", "counter", "1"], &["added replica 1 of instance counter"]);
    let start = |words: &[&str]| {
        let host = Host::start(cluster.command(words), |_| {}).expect("the program can be started");
        host.wait_for_word("caught up");
        host
    };
    let mut first = start(&["run", "counter"]);
    first.wait_until_primary();
    let _second = start(&["serve", "counter:1"]);
    assert_eq!(cluster.must(&["send", "counter", "add", "[2]"]), "2\n");
    assert_eq!(cluster.must(&["send", "--instance", "counter", "add", "[3]"]), "5\n");
    assert_eq!(cluster.must(&["send", "counter", "total"]), "5\n");
    succeeds(&cluster, &["status", "counter"], &["counter: running, epoch 1"]);
    succeeds(&cluster, &["checkpoint", "counter"], &["checkpoint at lsn "]);
    assert_eq!(cluster.must(&["log", "counter"]), cluster.must(&["log", "--instance", "counter"]));
    succeeds(&cluster, &["debug", "counter", "--at", "start", "--save-state", "/dev/null"], &[]);
    succeeds(&cluster, &["upgrade", "counter", &module, "--dry-run"], &["counter"]);
    succeeds(&cluster, &["kill", "counter", "--primary"], &["killed replica 0 of counter, the primary", "took over"]);
    assert_eq!(first.exit_code(), -1, "a signal ended it");
    succeeds(&cluster, &["verify", "counter"], &[]);
    fails(&cluster, &["deregister-instance", "counter"], &["repeat it with --yes"]);
}

#[test]
fn the_store_is_named_by_the_option_or_the_environment() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    let store = cluster.store();
    let option = ["--store", store.to_str().expect("text"), "status"];
    let by_option = cluster.command(&option).env("AMBROSIA_STORE", "/nowhere").output().expect("it can be started");
    assert!(by_option.status.success(), "the option outweighs the environment");
    assert_eq!(String::from_utf8_lossy(&by_option.stdout), cluster.must(&["status"]));

    let default = store.parent().expect("it lies in a directory").join("default");
    std::fs::create_dir(&default).expect("it is new");
    let mut command = cluster.command(&["status"]);
    let ran = command.env_remove("AMBROSIA_STORE").current_dir(&default).output().expect("it can be started");
    assert!(String::from_utf8_lossy(&ran.stderr).contains("./ambrosia-data"), "{ran:?}");
}

#[test]
fn registering_again_says_that_there_is_nothing_to_do_or_that_it_takes_an_upgrade() {
    let cluster = cluster();
    let [counter, printer] = ["counter", "printer"].map(|guest| cluster.guest(guest));
    let register = |module: &std::path::Path| {
        ["register-instance", "--instance", "counter", "--module"]
            .map(str::to_owned)
            .into_iter()
            .chain([module.display().to_string()])
            .collect::<Vec<_>>()
    };
    let (same, other) = (register(&counter), register(&printer));
    let [same, other] = [&same, &other].map(|arguments| arguments.iter().map(String::as_str).collect::<Vec<_>>());
    succeeds(&cluster, &same, &["registered instance counter", "(methods: add, total, echo, see, seen)"]);
    let before = cluster.status("counter");
    succeeds(&cluster, &same, &["instance counter is registered with this module already: nothing to do"]);
    fails(&cluster, &other, &["instance counter is registered with another module", "upgrade it", "deregister it"]);
    assert_eq!(cluster.status("counter"), before);
}

#[test]
fn adding_a_replica_again_says_that_there_is_nothing_to_do() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    let add = ["add-replica", "--instance", "counter", "--replica", "7"];
    succeeds(
        &cluster,
        &add,
        &["added replica 7 of instance counter", "ambrosia-host run --instance counter --replica 7"],
    );
    succeeds(&cluster, &add, &["instance counter has replica 7 already: nothing to do"]);
    let replicas = cluster.status("counter")["replicas"].clone();
    let numbers: Vec<&Value> = replicas.as_array().expect("a list").iter().map(|replica| &replica["replica"]).collect();
    assert_eq!(numbers, [0, 7]);
}

#[test]
fn deregistering_needs_yes_and_an_instance_that_does_not_run() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 2);
    fails(&cluster, &["deregister-instance", "--instance", "counter"], &["for ever", "repeat it with --yes"]);
    let yes = ["deregister-instance", "--instance", "counter", "--yes"];
    fails(&cluster, &yes, &["replica 0 of instance counter is running: end it first"]);
    counter.kill(0);
    counter.next_reign();
    fails(&cluster, &yes, &["replica 1 of instance counter is running: end it first"]);
    assert_eq!(cluster.send("counter", "add", json!([1])), 1, "nothing was harmed");
    counter.kill_all();
    succeeds(&cluster, &yes, &["deregistered instance counter"]);
    succeeds(&cluster, &["status"], &["no instances"]);
    fails(&cluster, &yes, &["there is no instance counter"]);
    assert_eq!(std::fs::read_dir(cluster.store().join("logs")).expect("it is there").count(), 0, "its log is gone");
}

#[test]
fn an_instance_registered_again_under_its_old_name_starts_afresh() {
    let cluster = cluster();
    let mut uuids = Vec::new();
    for _ in 0..2 {
        let mut counter = Replicas::of(&cluster, "counter", "counter", 1);
        let add = ["send", "--instance", "counter", "--method", "add", "--args", "[1]", "--request-id", "same"];
        assert_eq!(cluster.must(&add), "1\n");
        assert_eq!(cluster.send("counter", "total", json!([])), 1);
        uuids.push(cluster.status("counter")["uuid"].clone());
        counter.kill_all();
        cluster.must(&["deregister-instance", "--instance", "counter", "--yes"]);
    }
    assert_ne!(uuids[0], uuids[1]);
}

#[test]
fn log_shows_every_record_with_names_and_decoded_arguments() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 1);
    let add = ["send", "--instance", "counter", "--method", "add", "--args", "[5]", "--request-id", "order 1"];
    cluster.must(&add);
    counter.kill(0);
    counter.start(0);
    counter.next_reign();
    // The word to the guest that it is primary may still be on its way to the disk.
    wait_for_status(&cluster, "counter", |status| status["durable_lsn"] == 6);
    let log = cluster.log("counter");
    let kinds: Vec<&str> = log.iter().map(|record| record["kind"].as_str().expect("a text")).collect();
    assert_eq!(kinds, ["genesis", "epoch", "deliver", "deliver", "epoch", "deliver"]);
    let epochs: Vec<u64> = log.iter().map(|record| record["epoch"].as_u64().expect("a number")).collect();
    assert_eq!(epochs, [0, 1, 1, 1, 2, 2]);
    let message = &log[3]["messages"][0];
    assert_eq!(
        *message,
        json!({"source": "outside", "kind": "impulse", "method": "add", "call_id": message["call_id"],
               "request": "order 1", "arguments": [5]})
    );
    succeeds(&cluster, &["log", "--instance", "counter"], &["genesis", "outside impulse add", "request order 1 [5]"]);
}

#[test]
fn log_shows_the_part_asked_for() {
    let cluster = cluster();
    let _counter = Replicas::of(&cluster, "counter", "counter", 1);
    let mut session = Session::new(&cluster, "counter");
    (0..10).for_each(|_| drop(session.call("add", json!([1]))));
    let all = cluster.must(&["log", "--instance", "counter", "--json"]);
    assert_eq!(all.lines().count(), 13);
    let part = cluster.must(&["log", "--instance", "counter", "--json", "--from", "5", "--to", "7"]);
    assert_eq!(part.lines().collect::<Vec<_>>(), all.lines().skip(4).take(3).collect::<Vec<_>>());
    let open = cluster.must(&["log", "--instance", "counter", "--json", "--from", "12", "--to", "99"]);
    assert_eq!(open.lines().collect::<Vec<_>>(), all.lines().skip(11).collect::<Vec<_>>());
    fails(&cluster, &["log", "--instance", "counter", "--from", "14"], &["has records 1 to 13 only"]);
}

#[test]
fn send_takes_a_time_above_zero_and_a_short_request_id() {
    let cluster = cluster();
    let _counter = Replicas::of(&cluster, "counter", "counter", 1);
    let send = ["send", "--instance", "counter", "--method", "total"];
    for time in ["0", "-1", "nan", "inf"] {
        let timeout = format!("--timeout={time}");
        let ran = cluster.run(&[&send[..], &[&timeout]].concat());
        assert!(ran.code != 0 && ran.stderr.contains("--timeout"), "{time}: {}", ran.stderr);
    }
    let long = "x".repeat(1000);
    fails(&cluster, &[&send[..], &["--request-id", &long]].concat(), &["--request-id"]);
    fails(&cluster, &[&send[..], &["--request-id", ""]].concat(), &["--request-id"]);
}

#[test]
fn status_as_text_names_instances_states_and_replicas() {
    let cluster = cluster();
    let _counter = Replicas::of(&cluster, "counter", "counter", 2);
    cluster.register("idle", "counter", 1);
    let text = cluster.must(&["status"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 7, "{text}");
    assert!(lines[0].starts_with("counter: running, epoch 1, durable lsn 3"), "{text}");
    assert!(lines[1].contains(" on the disk, log from lsn 1; no checkpoint yet; replay about"), "{text}");
    assert!(lines[2].starts_with("  replica 0   primary") && lines[2].contains("at 127.0.0.1:"), "{text}");
    assert!(lines[3].starts_with("  replica 1   standby") && lines[3].contains(" lag "), "{text}");
    assert_eq!(lines[4], "idle: down, epoch 0, durable lsn 1");
    assert!(lines[5].ends_with(" on the disk, log from lsn 1; no checkpoint yet"), "{text}");
    assert_eq!(lines[6].trim_end(), "  replica 0   down");
}

#[test]
fn a_store_is_a_path_or_a_file_url_and_other_urls_are_refused_without_their_password() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    let url = format!("file://{}", cluster.store().display());
    succeeds(&cluster, &["status", "--store", &url], &["counter: down"]);
    for (url, reasons) in [
        ("mysql://me:secret@host/db", ["no store for mysql: URLs", "file:PATH"]),
        ("postgres://me:secret@host/db?sslmode=require", ["host is not this machine", "verify-full"]),
        ("postgres://me:secret@localhost/db", ["everybody on this machine sees", "AMBROSIA_STORE"]),
        ("postgres://me:secret@localhost:nonsense/db", ["can't be read", "postgres://USER@"]),
    ] {
        let said = fails(&cluster, &["status", "--store", url], &["--store", reasons[0], reasons[1]]);
        assert!(!said.contains("secret"), "{said}");
    }
}

#[test]
fn a_store_is_what_the_line_of_a_file_says_and_a_password_in_it_is_for_its_owner_alone() {
    let mut cluster = cluster();
    cluster.register("counter", "counter", 1);
    let path = cluster.file("place");
    let (place, flag) = (path.to_str().expect("plain").to_owned(), ["status", "--store-file"]);
    let write = |text: &str, mode: u32| {
        fs::write(&path, text).expect("there is room");
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("it is the test's own");
    };
    // The flag counts, and not the variable of the other one.
    write(&format!("{}\n", cluster.store().display()), 0o644);
    succeeds(&cluster, &[&flag[..], &[&place]].concat(), &["counter: down"]);
    let with_password = "postgres://me:secret@127.0.0.1:1/db";
    for (text, mode, words) in [
        (with_password, 0o600, ["no database answers at 127.0.0.1:1/db", "127.0.0.1"]),
        ("postgres://me@127.0.0.1:1/db\r\n", 0o644, ["no database answers at 127.0.0.1:1/db", "127.0.0.1"]),
        (with_password, 0o644, ["--store-file: others than its owner can read", "chmod 600"]),
        (with_password, 0o660, ["--store-file: others than its owner can read", "chmod 600"]),
        ("", 0o600, ["--store-file", "is to have one line"]),
        ("a\nb\n", 0o600, ["--store-file", "is to have one line"]),
        ("mysql://me:secret@host/db", 0o600, ["--store-file", "no store for mysql: URLs"]),
        ("postgres://me:secret@host/db?sslmode=require", 0o600, ["--store-file", "host is not this machine"]),
    ] {
        write(text, mode);
        let said = fails(&cluster, &[&flag[..], &[&place]].concat(), &words);
        assert!(!said.contains("secret"), "{said}");
    }
    fails(&cluster, &["status", "--store-file", "/nowhere"], &["--store-file: can't read /nowhere"]);
    let both = ["status", "--store", "a", "--store-file", &place];
    fails(&cluster, &both, &["--store and --store-file", "give one of the two"]);
    cluster.set_env("AMBROSIA_STORE_FILE", &place);
    fails(&cluster, &["status"], &["AMBROSIA_STORE_FILE", "give one of the two"]);
    let store = cluster.store();
    let store = ["status", "--store", store.to_str().expect("plain")];
    succeeds(&cluster, &store, &["counter: down"]);
}

#[test]
fn a_store_is_made_in_a_database_alone_and_its_sql_is_printed_without_one() {
    let mut cluster = cluster();
    fails(&cluster, &["store", "init"], &["is a directory", "AMBROSIA_STORE"]);
    // Nobody is there, and nobody is asked.
    cluster.set_env("AMBROSIA_STORE", "postgres://me:secret@127.0.0.1:1/db?schema=shop");
    let printed = cluster.must(&["store", "init", "--print"]);
    assert!(printed.contains("create schema if not exists shop;") && !printed.contains("secret"), "{printed}");
    for verb in [&["store", "init"][..], &["status"]] {
        let said = fails(&cluster, verb, &["no database answers at 127.0.0.1:1/db"]);
        assert!(!said.contains("secret"), "{said}");
    }
}

/// What bash offers for the last of these words.
fn offered(cluster: &Cluster, words: &[&str]) -> Vec<String> {
    let quoted = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let script = format!(
        "source <(ambrosia-host completion bash); COMP_WORDS=({quoted}); COMP_CWORD={}; COMP_TYPE=9; \
         _clap_complete_ambrosia_host ambrosia-host \"${{COMP_WORDS[COMP_CWORD]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.len() - 1
    );
    let path = std::env::var("PATH").expect("it is text");
    let program = cluster.program().parent().expect("it lies in a directory").display().to_string();
    let mut bash = std::process::Command::new("bash");
    bash.args(["-c", &script]).env("AMBROSIA_STORE", cluster.store()).env("PATH", format!("{program}:{path}"));
    let output = bash.output().expect("bash is there");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn a_shell_completes_verbs_flags_and_names_of_instances() {
    let cluster = cluster();
    for name in ["counter", "counter2", "other"] {
        cluster.register(name, "counter", 1);
    }
    assert_eq!(offered(&cluster, &["ambrosia-host", "che"]), ["checkpoint"]);
    assert_eq!(offered(&cluster, &["ambrosia-host", "status", "--met"]), ["--methods"]);
    assert_eq!(offered(&cluster, &["ambrosia-host", "status", "cou"]), ["counter", "counter2"]);
    assert_eq!(offered(&cluster, &["ambrosia-host", "send", "--instance", "o"]), ["other"]);
    let elsewhere = ["ambrosia-host", "--store", "/nowhere", "status", "cou"];
    assert_eq!(offered(&cluster, &elsewhere), [""], "another store has others");
    for shell in ["zsh", "fish"] {
        succeeds(&cluster, &["completion", shell], &["AMBROSIA_COMPLETE", "ambrosia-host"]);
    }
}

#[test]
fn there_is_a_page_of_the_manual_for_each_verb() {
    let cluster = cluster();
    let directory = cluster.file("man1");
    succeeds(&cluster, &["man", directory.to_str().expect("text")], &["wrote pages of the manual"]);
    for verb in VERBS {
        let page = std::fs::read_to_string(directory.join(format!("ambrosia-host-{verb}.1")));
        let page = page.unwrap_or_else(|error| panic!("{verb}: {error}"));
        assert!(page.starts_with(".ie") && page.contains(".SH OPTIONS") && page.contains("Example"), "{verb}:\n{page}");
    }
    let page = std::fs::read_to_string(directory.join("ambrosia-host.1")).expect("it was written");
    assert!(page.contains("kill") && page.contains("AMBROSIA_STORE"), "{page}");
}

#[test]
fn what_is_missing_in_a_store_is_told_with_the_store() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    let store = format!("(in the store {})", cluster.store().display());
    for verb in [
        &["status", "nobody"][..],
        &["send", "nobody", "add", "[1]"],
        &["log", "nobody"],
        &["run", "nobody"],
        &["kill", "counter", "--primary"],
        &["upgrade", "nobody", "--fuel", "1000000"],
        &["token", "revoke", "--name", "nobody"],
    ] {
        let said = fails(&cluster, verb, &[&store]);
        assert_eq!(said.matches(&store).count(), 1, "{said}");
    }
    let said = fails(&cluster, &["send", "counter", "add", "[1", "--timeout", "1"], &["JSON"]);
    assert!(!said.contains("in the store"), "the store is no cause of it: {said}");
}

#[test]
fn colours_are_there_when_they_are_wanted_and_change_no_word() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    let without_colours = |text: &str| {
        let mut parts = text.split("\x1b[");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| text + part.split_once('m').expect("a colour ends").1)
    };
    for verb in ["status", "log"] {
        let plain = cluster.must(&[verb, "counter"]);
        let coloured = cluster.must(&[verb, "counter", "--color", "always"]);
        assert!(!plain.contains('\x1b') && coloured.contains('\x1b'), "{coloured}");
        assert_eq!(without_colours(&coloured), plain);
        assert_eq!(cluster.must(&["--color", "never", verb, "counter"]), plain);
    }
}

#[test]
fn the_log_is_followed_until_ctrl_c_or_the_end_of_the_instance() {
    let cluster = cluster();
    let mut replicas = Replicas::of(&cluster, "counter", "counter", 1);
    let follow = |instance: &str, more: &[&str]| {
        let command = cluster.command(&[&["log", instance, "--follow"], more].concat());
        Host::start(command, |_| {}).expect("the program can be started")
    };
    let (mut text, mut json) = (follow("counter", &[]), follow("counter", &["--json", "--from", "4"]));
    text.wait_for_print("became primary");
    assert_eq!(cluster.send("counter", "add", json!([5])), 5);
    text.wait_for_print("outside impulse add");
    json.wait_for_print("\"lsn\":4");
    replicas.kill(0);
    replicas.start(0);
    text.wait_for_print("epoch 2");
    for follower in [&mut text, &mut json] {
        follower.signal(Signal::Interrupt);
        assert_eq!(follower.exit_code(), 0, "{}", follower.said());
    }
    let printed = json.printed();
    assert!(
        printed
            .iter()
            .all(|line| serde_json::from_str::<Value>(line).is_ok_and(|record| record["lsn"].as_u64() >= Some(4))),
        "{printed:?}"
    );
    assert!(text.printed()[0].contains("genesis"));

    cluster.register("job", "client2", 1);
    let mut job = cluster.start("job", 0);
    let mut following = follow("job", &[]);
    job.wait_until_primary();
    cluster.send("job", "receive_keyboard_input", json!([""]));
    assert_eq!(job.exit_code(), 0);
    assert_eq!(following.exit_code(), 0, "the instance has ended");
    assert!(following.printed().iter().any(|line| line.contains("receive_keyboard_input")));
}

#[test]
fn the_status_is_watched_until_ctrl_c() {
    let cluster = cluster();
    let mut replicas = Replicas::of(&cluster, "counter", "counter", 1);
    let watch = |more: &[&str]| {
        let command = cluster.command(&[&["status", "counter", "--watch"], more].concat());
        Host::start(command, |_| {}).expect("the program can be started")
    };
    let (mut json, mut text) = (watch(&["--json"]), watch(&[]));
    text.wait_for_print("counter: running, epoch 1, durable lsn 3");
    json.wait_for_print("\"state\":\"running\"");
    assert_eq!(cluster.send("counter", "add", json!([5])), 5);
    text.wait_for_print("counter: running, epoch 1, durable lsn 4");
    json.wait_for_print("\"durable_lsn\":4");
    replicas.kill(0);
    text.wait_for_print("counter: down");
    json.wait_for_print("\"state\":\"down\"");
    for watching in [&mut json, &mut text] {
        watching.signal(Signal::Interrupt);
        assert_eq!(watching.exit_code(), 0, "{}", watching.said());
    }
    let states: Vec<Value> =
        json.printed().iter().map(|line| serde_json::from_str(line).expect("a state is a line")).collect();
    let lsn = |state: &Value| (state["instances"][0]["state"].clone(), state["instances"][0]["durable_lsn"].clone());
    assert!(states.windows(2).all(|two| two[0] != two[1]) && states.len() >= 3, "{states:?}");
    assert_eq!(lsn(&states[states.len() - 1]), (json!("down"), json!(4)));
}
