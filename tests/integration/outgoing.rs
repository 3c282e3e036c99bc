//! Requests to the world outside: at least once there, exactly once here.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use ambrosia_tests::{Asked, Cluster, PATIENCE, Signal, Stub};
use serde_json::{Value, json};

use crate::support::{Replicas, begin, cluster, wait_for_status};

/// A request to pay that may be repeated, with further fields.
fn payment(stub: &Stub, more: Value) -> Value {
    let mut request = json!({
        "method": "POST", "url": stub.url("/pay?a=b"), "body": "20 to anna", "idempotent": true, "tries": 20, "backoff_ms": 1,
    });
    let fields = request.as_object_mut().expect("it is a map");
    fields.extend(more.as_object().expect("a map of fields").clone());
    request
}

/// Replicas of a payer that may ask the stub.
fn payers<'a>(cluster: &'a Cluster, stub: &Stub, count: u16) -> Replicas<'a> {
    // The arguments of replicas live as long as the test program.
    let grant: &'static str = format!("{} secrets=KEY", stub.grant()).leak();
    let secret: &'static str = format!("KEY=file:{}", cluster.file("key").display()).leak();
    Replicas::of_with(cluster, "payer", "payer", count, &["--grant-http", grant, "--secret", secret])
}

/// Has the payer ask, and does not wait for what comes of it.
fn ask(cluster: &Cluster, request: &Value) {
    let arguments = json!([request]).to_string();
    cluster.must(&["send", "--instance", "payer", "--method", "ask", "--no-wait", "--args", &arguments]);
}

/// Status or kind of failure of each request that has an outcome.
fn ledger(cluster: &Cluster) -> Vec<(u64, String)> {
    let ledger = cluster.send("payer", "ledger", json!([]));
    let entry = |pair: &Value| {
        let (id, outcome) = (pair[0].as_u64().expect("a number"), &pair[1]);
        let what = outcome.get("status").or(outcome.get("kind")).expect("an outcome has one of them");
        (id, what.as_str().map_or_else(|| what.to_string(), str::to_owned))
    };
    ledger.as_array().expect("a list").iter().map(entry).collect()
}

/// How often each key was seen.
fn count(seen: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    seen.iter().for_each(|key| *counts.entry(key.as_str()).or_default() += 1);
    counts
}

#[test]
fn each_payment_is_made_whatever_the_server_does_and_is_in_the_ledger_once() {
    let (cluster, stub) = (cluster(), Stub::start());
    let replicas = payers(&cluster, &stub, 1);
    const PAYMENTS: usize = 20;
    for _ in 0..PAYMENTS {
        ask(&cluster, &payment(&stub, json!({"timeout_ms": 2000})));
    }
    let (mut seen, mut hanging, deadline) = (Vec::new(), Vec::new(), Instant::now() + PATIENCE);
    let has_all = || replicas.host(0).printed().iter().filter(|line| line.starts_with("has ")).count() == PAYMENTS;
    while !has_all() {
        assert!(Instant::now() < deadline, "the payments were not made in time: {:?}", replicas.host(0).printed());
        let Some(asked) = stub.next_within(Duration::from_millis(10)) else { continue };
        assert_eq!((asked.line.as_str(), asked.body.as_str()), ("POST /pay?a=b HTTP/1.1", "20 to anna"));
        seen.push(asked.key.clone());
        match seen.len() % 6 {
            0 => asked.answer(503, "later"),
            1 => drop(asked),
            2 => asked.say("\0\u{1}garbage\r\n\r\n"),
            3 if hanging.len() < 3 => hanging.push(asked), // its time runs out
            4 => asked.say("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"),
            _ => asked.answer(200, "paid"),
        }
    }
    let mut entries = ledger(&cluster);
    entries.sort();
    assert_eq!(entries, (1..=PAYMENTS as u64).map(|id| (id, "200".to_owned())).collect::<Vec<_>>());
    let uuid = cluster.status("payer")["uuid"].as_str().expect("a text").to_owned();
    let counts = count(&seen);
    let keys: Vec<String> = (1..=PAYMENTS).map(|id| format!("{uuid}-{id}")).collect();
    assert!(keys.iter().all(|key| counts.contains_key(key.as_str())), "each at least once: {counts:?}");
    assert_eq!(counts.len(), PAYMENTS, "and nothing else: {counts:?}");
}

/// Kills the primary with -9, and returns what the next one asks.
fn take_over(replicas: &mut Replicas<'_>, stub: &Stub) -> Asked {
    replicas.kill_primary();
    stub.next()
}

#[test]
fn a_primary_that_is_killed_before_it_has_reached_the_server_is_replaced_by_one_that_does() {
    let cluster = cluster();
    let address = Stub::nowhere();
    let origin: &'static str = format!("http://{address}/*").leak();
    let mut replicas = Replicas::of_with(&cluster, "payer", "payer", 2, &["--grant-http", origin]);
    let url = format!("http://{address}/pay");
    ask(&cluster, &json!({"method": "POST", "url": url, "tries": 1000, "backoff_ms": 1}));
    let tried = |status: &Value| status["outgoing"]["requests"][0]["last_error"].is_string();
    let status = wait_for_status(&cluster, "payer", tried);
    let request = &status["outgoing"]["requests"][0];
    assert_eq!((status["outgoing"]["pending"].as_u64(), request["id"].as_u64()), (Some(1), Some(1)));
    assert_eq!(request["request"], format!("POST {url}"));
    let error = request["last_error"].as_str().expect("it was seen above");
    assert!(error.contains("can't be connected to") && request["tries"].as_u64() > Some(0), "{request}");
    let shown = cluster.must(&["status", "--instance", "payer"]);
    assert!(shown.contains(&format!("request 1: POST {url}, ")), "{shown}");
    replicas.kill_primary();
    let stub = Stub::at(address);
    stub.next().answer(200, "paid");
    let survivor = replicas.primary();
    replicas.host(survivor).wait_for_print("has 1");
    assert_eq!(ledger(&cluster), [(1, "200".to_owned())]);
    assert_eq!(cluster.status("payer")["outgoing"]["pending"], 0);
}

#[test]
fn a_primary_that_is_killed_in_the_middle_is_replaced_by_one_that_asks_with_the_same_key() {
    let (cluster, stub) = (cluster(), Stub::start());
    let mut replicas = payers(&cluster, &stub, 2);
    let waiting = begin(
        &cluster,
        &["send", "--instance", "payer", "--method", "ask", "--args", &json!([payment(&stub, json!({}))]).to_string()],
    );
    let first = stub.next();
    let second = take_over(&mut replicas, &stub);
    assert_eq!(first.key, second.key);
    first.wait_for_end();
    second.answer(200, "paid");
    // Whoever waits for it is not failed by the takeover.
    let ended = waiting.end();
    assert!(ended.code == 0 && ended.stdout.contains("\"status\":200"), "{ended:?}");
    assert_eq!(ledger(&cluster), [(1, "200".to_owned())]);
    assert!(stub.is_quiet());
}

#[test]
fn a_primary_that_is_killed_between_the_answer_and_its_record_is_replaced_by_one_that_asks_again() {
    let (cluster, stub) = (cluster(), Stub::start());
    let mut replicas = payers(&cluster, &stub, 2);
    ask(&cluster, &payment(&stub, json!({})));
    let first = stub.next();
    let primary = replicas.primary();
    // It stands still from here on, so the answer is in its socket and nowhere else when it dies.
    replicas.host(primary).signal(Signal::Stop);
    let key = first.key.clone();
    first.answer(200, "paid");
    let second = take_over(&mut replicas, &stub);
    assert_eq!(second.key, key);
    second.answer(201, "paid already");
    let survivor = replicas.primary();
    replicas.host(survivor).wait_for_print("has 1");
    assert_eq!(ledger(&cluster), [(1, "201".to_owned())]);
}

#[test]
fn a_primary_that_is_killed_after_the_record_is_replaced_by_one_that_does_not_ask_again() {
    let (cluster, stub) = (cluster(), Stub::start());
    let mut replicas = payers(&cluster, &stub, 2);
    ask(&cluster, &payment(&stub, json!({})));
    let first = stub.next();
    let key = first.key.clone();
    first.answer(200, "paid");
    let primary = replicas.primary();
    // What is printed is durable.
    replicas.host(primary).wait_for_print("has 1");
    replicas.kill_primary();
    ask(&cluster, &payment(&stub, json!({})));
    let next = stub.next();
    assert_ne!(next.key, key, "the next thing that is asked is the next payment");
    next.answer(200, "paid");
    let survivor = replicas.primary();
    replicas.host(survivor).wait_for_print("has 2");
    assert_eq!(ledger(&cluster), [(1, "200".to_owned()), (2, "200".to_owned())]);
}

#[test]
fn a_primary_that_is_stopped_in_the_middle_hands_over_to_one_that_asks_again() {
    let (cluster, stub) = (cluster(), Stub::start());
    let mut replicas = payers(&cluster, &stub, 2);
    ask(&cluster, &payment(&stub, json!({})));
    let first = stub.next();
    let primary = replicas.primary();
    replicas.host(primary).signal(Signal::Terminate);
    let second = stub.next();
    assert_eq!(first.key, second.key);
    first.wait_for_end();
    second.answer(200, "paid");
    let survivor = replicas.next_reign().replica;
    replicas.host(survivor).wait_for_print("has 1");
    assert_eq!(ledger(&cluster), [(1, "200".to_owned())]);
}

#[test]
fn what_is_done_once_is_unknown_after_a_takeover_in_the_middle() {
    let (cluster, stub) = (cluster(), Stub::start());
    let mut replicas = payers(&cluster, &stub, 2);
    ask(&cluster, &payment(&stub, json!({"once": true})));
    let first = stub.next();
    replicas.kill_primary();
    first.wait_for_end();
    let survivor = replicas.primary();
    replicas.host(survivor).wait_for_print("has 1");
    ask(&cluster, &payment(&stub, json!({})));
    stub.next().answer(200, "paid");
    replicas.host(survivor).wait_for_print("has 2");
    assert_eq!(ledger(&cluster), [(1, "unknown".to_owned()), (2, "200".to_owned())]);
    assert!(stub.is_quiet());
}

#[test]
fn what_nobody_waits_for_any_more_is_ended() {
    let (cluster, stub) = (cluster(), Stub::start());
    let _replicas = payers(&cluster, &stub, 1);
    ask(&cluster, &payment(&stub, json!({})));
    let asked = stub.next();
    cluster.send("payer", "forget", json!([1]));
    asked.wait_for_end();
    let status = cluster.status("payer");
    assert_eq!(status["outgoing"]["pending"], 0);
    assert!(stub.is_quiet() && ledger(&cluster).is_empty());
}

#[test]
fn nothing_goes_out_without_a_grant() {
    let (cluster, stub) = (cluster(), Stub::start());
    cluster.register("payer", "payer", 1);
    let host = cluster.start("payer", 0);
    host.wait_until_primary();
    let outcome = cluster.send("payer", "ask", json!([payment(&stub, json!({}))]));
    assert_eq!((&outcome["kind"], &outcome["tries"]), (&json!("refused"), &json!(0)));
    let error = outcome["error"].as_str().expect("a text");
    assert!(error.contains(&format!("--grant-http '{}'", stub.grant())), "{error}");
    let outcome = cluster.send("payer", "ask", json!([{"no": "request"}]));
    assert_eq!(outcome["kind"], "refused");
    assert!(stub.is_quiet());
}

#[test]
fn a_secret_is_seen_by_the_server_and_nowhere_else() {
    let (cluster, stub) = (cluster(), Stub::start());
    const VALUE: &str = "sk_live_0123456789";
    std::fs::write(cluster.file("key"), format!("{VALUE}\n")).expect("the directory is there");
    let replicas = payers(&cluster, &stub, 1);
    // FNV-1a of `payerKEY`.
    let placeholder = "{{secret:KEY:431a3a5926fec869}}";
    let headers = json!([["Authorization", format!("Bearer {placeholder}")]]);
    ask(&cluster, &payment(&stub, json!({"headers": headers})));
    let asked = stub.next();
    assert!(asked.head.contains(&format!("\nauthorization: Bearer {VALUE}")), "{}", asked.head);
    asked.answer(200, &format!("you sent {VALUE}"));
    replicas.host(0).wait_for_print("has 1");
    cluster.must(&["checkpoint", "--instance", "payer"]);
    let found = files_that_hold(&cluster.store(), VALUE.as_bytes());
    assert!(found.is_empty(), "the secret is in {found:?}");
    assert!(!files_that_hold(&cluster.store(), placeholder.as_bytes()).is_empty(), "its placeholder is");
    assert!(!replicas.host(0).said().contains(VALUE));
}

/// All files below a directory in which these bytes are.
fn files_that_hold(directory: &std::path::Path, bytes: &[u8]) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).expect("the directory is there");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => files_that_hold(&path, bytes),
            false => {
                let content = std::fs::read(&path).expect("it can be read");
                let holds = content.windows(bytes.len()).any(|window| window == bytes);
                if holds { vec![path] } else { Vec::new() }
            }
        })
        .collect()
}
