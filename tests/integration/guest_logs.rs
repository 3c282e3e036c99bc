//! What guests log, as JSON lines: each at least once, whoever dies.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use ambrosia_tests::{Host, PATIENCE, Signal};
use serde_json::{Value, json};

use crate::support::{Replicas, Session, cluster, fails};

/// The lines of a file, once as many values are in it.
fn wait_for_values(path: &Path, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        if by_value(&lines).len() >= count {
            return lines;
        }
        assert!(Instant::now() < deadline, "{count} values do not come: {text}");
        thread::park_timeout(Duration::from_millis(10));
    }
}

/// The id of each value; one that comes again comes with the same line.
fn by_value(lines: &[Value]) -> BTreeMap<u64, Value> {
    let mut found: BTreeMap<u64, Value> = BTreeMap::new();
    for line in lines {
        let value = line["fields"]["value"].as_u64().unwrap_or_else(|| panic!("{line}"));
        let before = found.insert(value, line.clone());
        assert!(before.is_none_or(|before| before == *line), "{line}");
    }
    found
}

#[test]
fn each_line_is_in_the_file_at_least_once_through_the_death_of_primaries() {
    let cluster = cluster();
    let path = cluster.file("guest.jsonl");
    let argument: &'static str = Box::leak(path.to_str().expect("text").to_owned().into_boxed_str());
    let mut replicas = Replicas::of_with(&cluster, "outside", "outside", 2, &["--guest-log", argument]);
    let mut session = Session::new(&cluster, "outside");
    let mut values = 0..;
    for _ in 0..3 {
        for value in values.by_ref().take(20) {
            session.call("emit", json!(["a", value]));
        }
        let dead = replicas.kill_primary();
        replicas.start_standby(dead);
    }
    let lines = wait_for_values(&path, 60);
    let found = by_value(&lines);
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), (0..60).collect::<Vec<_>>());
    let uuid = cluster.status("outside")["uuid"].as_str().expect("a uuid").to_owned();
    let mut ids: Vec<_> = found.values().map(|line| line["id"].as_str().expect("a text").to_owned()).collect();
    assert!(ids.iter().all(|id| id.starts_with(&format!("{uuid}/")) && id.ends_with("/1")), "{ids:?}");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 60, "each has one of its own, behind the event of the same record");
    let first = &found[&0];
    assert_eq!(
        (&first["level"], &first["message"], &first["instance"]),
        (&json!("info"), &json!("emitted"), &json!("outside"))
    );
    assert_eq!((&first["target"], &first["fields"]), (&json!("outside"), &json!({ "topic": "a", "value": 0 })));
    // Whoever moves the file away gets a new one.
    fs::rename(&path, cluster.file("guest.jsonl.1")).expect("it is there");
    session.call("emit", json!(["a", 60]));
    assert_eq!(wait_for_values(&path, 1).len(), 1);
}

#[test]
fn what_a_primary_could_not_write_the_next_one_writes() {
    let cluster = cluster();
    cluster.register("outside", "outside", 2);
    let mut first = cluster.start_with("outside", 0, &["--guest-log", "/dev/full"], |_| {});
    first.wait_until_primary();
    let path = cluster.file("guest.jsonl");
    let second = cluster.start_with("outside", 1, &["--guest-log", path.to_str().expect("text")], |_| {});
    second.wait_until_caught_up();
    let mut session = Session::new(&cluster, "outside");
    (0..5).for_each(|value| {
        session.call("emit", json!(["a", value]));
    });
    first.wait_for_word("what guests log can't be written");
    assert_eq!(fs::read_to_string(&path).expect("it was made"), "", "a standby writes nothing");
    first.kill();
    assert_eq!(by_value(&wait_for_values(&path, 5)).len(), 5);
    session.call("emit", json!(["a", 5]));
    assert_eq!(wait_for_values(&path, 6).len(), 6, "and nothing twice that is in the file");
}

#[test]
fn a_process_shows_what_its_guest_logs_and_up_in_front_of_all() {
    let cluster = cluster();
    let module = cluster.guest("outside");
    let project = format!("[instances.outside]\nmodule = {:?}\nreplicas = 1\n", module.to_str().expect("text"));
    fs::write(cluster.file("ambrosia.toml"), project).expect("the directory is there");
    let mut command = cluster.command(&["up", "--http", "off"]);
    command.current_dir(cluster.directory());
    let mut up = Host::start(command, |_| {}).expect("the program can be started");
    up.wait_for_word("became primary");
    cluster.send("outside", "emit", json!(["a", 7]));
    up.wait_for_word("\"message\":\"emitted\",\"fields\":{\"topic\":\"a\",\"value\":7}}");
    assert!(up.said().lines().any(|line| line.starts_with("outside/0 | {\"time\":\"")), "{}", up.said());
    up.signal(Signal::Terminate);
    up.wait();
    let refused = ["run", "--instance", "outside", "--guest-log", "/no/such/directory/log"];
    fails(&cluster, &refused, &["can't be written to /no/such/directory/log"]);
}

#[test]
fn the_crates_log_and_tracing_write_lines_too() {
    let cluster = cluster();
    let path = cluster.file("guest.jsonl");
    let argument: &'static str = Box::leak(path.to_str().expect("text").to_owned().into_boxed_str());
    let mut replicas = Replicas::of_with(&cluster, "logging", "logging", 2, &["--guest-log", argument]);
    let mut session = Session::new(&cluster, "logging");
    session.call("record", json!([1]));
    session.call("event", json!(["order-1", 2]));
    // What was set up in the memory of the guest is there on a replica that has taken over.
    let dead = replicas.kill_primary();
    replicas.start_standby(dead);
    session.call("record", json!([4]));
    session.call("event", json!(["order-2", 5]));
    let found = by_value(&wait_for_values(&path, 6));
    let shown = |value: u64| {
        let Value::Object(line) = &found[&value] else { panic!("{found:?}") };
        (line["level"].clone(), line["message"].clone(), line["fields"].clone())
    };
    assert_eq!(shown(1), (json!("info"), json!("an order of 1"), json!({"value": 1, "paid": true})));
    let fields = |order, value| json!({"value": value, "order": order, "span": "order"});
    assert_eq!(shown(2), (json!("warn"), json!("it is late"), fields("order-1", 2)));
    assert_eq!(shown(3), (json!("info"), json!("it has come"), fields("order-1", 3)));
    assert_eq!(shown(4), (json!("info"), json!("an order of 4"), json!({"value": 4, "paid": true})));
    assert_eq!(shown(6), (json!("info"), json!("it has come"), fields("order-2", 6)));
    assert_eq!(found[&2]["target"], json!("logging"));
}
