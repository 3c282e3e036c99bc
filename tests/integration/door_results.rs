//! Requests over HTTP whose results are asked for later.

use ambrosia_tests::Cluster;
use serde_json::json;

use crate::{
    door::{check_problem, door, house},
    support::{Replicas, Response, begin, cluster, curl, fails, post},
};

/// A request that comes to its result once somebody runs the counter.
const CALL_ALL: &str = "[\"counter\", 1]";

/// Sends it, and does not wait for the result.
fn post_async(address: std::net::SocketAddr, key: &str, prefer: &str) -> Response {
    let (key, prefer) = (format!("Idempotency-Key: {key}"), format!("Prefer: {prefer}"));
    curl(address, "/v1/sender/call_all", &["-H", &key, "-H", &prefer, "-d", CALL_ALL])
}

fn lsn(response: &Response) -> u64 {
    response.header("ambrosia-lsn").and_then(|lsn| lsn.parse().ok()).unwrap_or_else(|| panic!("{response:?}"))
}

#[track_caller]
fn check_under_way(response: &Response, key: &str) {
    assert_eq!(response.status, 202, "{response:?}");
    assert_eq!(response.header("ambrosia-request-id"), Some(key));
    assert_eq!(response.header("retry-after"), Some("1"));
    let body = response.json();
    assert_eq!(body, json!({ "request": key, "status": "under-way", "lsn": lsn(response) }));
}

#[test]
fn a_request_is_accepted_once_it_is_durable_and_its_result_is_asked_for_later() {
    let cluster = cluster();
    let (_host, address) = house(&cluster, &[("sender", "sender"), ("values", "values")]);
    cluster.register("counter", "counter", 1);
    let accepted = post_async(address, "a/b", "respond-async");
    check_under_way(&accepted, "a/b");
    assert_eq!(accepted.header("preference-applied"), Some("respond-async"));
    assert_eq!(accepted.header("location"), Some("/v1/sender/requests/a%2Fb"));
    let durable = cluster.log("sender").iter().any(|record| record["lsn"] == lsn(&accepted));
    assert!(durable, "its record is in the log by then: {accepted:?}");
    check_under_way(&post_async(address, "a/b", "respond-async, wait=1"), "a/b");
    check_under_way(&curl(address, "/v1/sender/requests/a%2Fb", &[]), "a/b");
    check_under_way(&curl(address, "/v1/sender/requests/a%2Fb?wait=1", &[]), "a/b");
    // Who waits for it and hears nothing is told where to ask, too.
    let late = post_async(address, "a/b", "wait=1");
    check_problem(&late, 504, "timeout");
    assert_eq!(late.header("location"), Some("/v1/sender/requests/a%2Fb"));
    let waiting = std::thread::spawn(move || curl(address, "/v1/sender/requests/a%2Fb?wait=600", &[]));
    let _counter = cluster.start("counter", 0);
    let result = waiting.join().expect("it has an answer");
    assert_eq!((result.status, result.body.as_str()), (200, "1"), "{result:?}");
    assert_eq!(result.header("cache-control"), Some("no-store"));
    assert!(lsn(&result) > lsn(&accepted), "the record of the result");
    assert_eq!(curl(address, "/v1/sender/requests/a%2Fb", &[]).body, "1");
    assert_eq!(post_async(address, "a/b", "respond-async, wait=60").body, "1", "it is there at once");
    assert_eq!(cluster.send("counter", "total", json!([])), 1, "it was done once");
    // What is known of others.
    let unknown = curl(address, "/v1/sender/requests/nobodys?wait=600", &[]);
    let problem = check_problem(&unknown, 404, "unknown-request");
    assert_eq!(problem["request"], "nobodys");
    check_problem(&curl(address, "/v1/nobody/requests/a", &[]), 404, "unknown-instance");
    check_problem(&curl(address, "/v1/sender/requests/a?wait=soon", &[]), 400, "bad-arguments");
    check_problem(&curl(address, "/v1/sender/requests/a?weit=1", &[]), 400, "bad-arguments");
    check_problem(&curl(address, "/v1/sender/requests/a?method=nothing", &[]), 404, "unknown-method");
    let refused = curl(address, "/v1/sender/requests/a", &["-X", "POST"]);
    check_problem(&refused, 405, "method-not-allowed");
    // A problem is a result, and so are raw bytes.
    check_problem(&post(address, "/v1/values/place", Some("bad"), "[{\"Buy\": {}}]"), 422, "failed");
    let failed = curl(address, "/v1/values/requests/bad", &[]);
    let problem = check_problem(&failed, 422, "failed");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("item")), "{problem}");
    let raw = ["-H", "Idempotency-Key: raw", "-H", "Prefer: respond-async", "-d", "[\"a\"]"];
    let raw = curl(address, "/v1/values/raw", &raw);
    assert_eq!(raw.header("location"), Some("/v1/values/requests/raw?method=raw"), "{raw:?}");
    assert_eq!(curl(address, "/v1/values/requests/raw?method=raw&wait=60", &[]).body, "\"a\"");
}

#[test]
fn a_result_comes_once_although_the_primary_is_killed_between_the_acceptance_and_the_result() {
    let cluster = cluster();
    let (_host, address) = door(&cluster);
    cluster.register("counter", "counter", 1);
    let mut sender = Replicas::of(&cluster, "sender", "sender", 2);
    let accepted = post_async(address, "call", "respond-async");
    check_under_way(&accepted, "call");
    let waiting = std::thread::spawn(move || curl(address, "/v1/sender/requests/call?wait=600", &[]));
    let dead = sender.kill_primary();
    let after = curl(address, "/v1/sender/requests/call", &[]);
    check_under_way(&after, "call");
    assert_eq!(lsn(&after), lsn(&accepted), "the same record holds it");
    sender.start_standby(dead);
    let _counter = cluster.start("counter", 0);
    let result = waiting.join().expect("it has an answer");
    assert_eq!((result.status, result.body.as_str()), (200, "1"), "{result:?}");
    let dead = sender.kill_primary();
    sender.start_standby(dead);
    let again = curl(address, "/v1/sender/requests/call", &[]);
    assert_eq!((again.body.as_str(), lsn(&again)), ("1", lsn(&result)));
    assert_eq!(cluster.send("counter", "total", json!([])), 1, "it was done once");
}

fn result<'a>(id: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["result", id, "--instance", "sender"], more].concat()
}

fn send_async(cluster: &Cluster, more: &[&str]) -> String {
    let send = ["send", "--instance", "sender", "--method", "call_all", "--args", CALL_ALL, "--async"];
    cluster.must(&[&send[..], more].concat())
}

#[test]
fn on_the_command_line_a_request_is_sent_and_its_result_asked_for_later() {
    let cluster = cluster();
    let _sender = Replicas::of(&cluster, "sender", "sender", 1);
    cluster.register("counter", "counter", 1);
    assert_eq!(send_async(&cluster, &["--request-id", "mine"]), "mine\n");
    let given = send_async(&cluster, &[]);
    let given = given.trim_end();
    assert!(!given.is_empty() && given != "mine");
    for id in ["mine", given] {
        let ran = begin(&cluster, &result(id, &[])).end();
        assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{}", ran.stderr);
        assert!(ran.stderr.contains("is under way since lsn"), "{}", ran.stderr);
    }
    fails(&cluster, &result("nobodys", &["--wait", "60"]), &["nothing is known of request nobodys"]);
    let waiting = begin(&cluster, &result("mine", &["--wait", "600"]));
    let _counter = cluster.start("counter", 0);
    let ran = waiting.end();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let mut results = [ran.stdout.clone(), cluster.must(&result(given, &["--wait", "600"])).trim_end().to_owned()];
    results.sort();
    assert_eq!(results, ["1", "2"], "each was done once");
    assert_eq!(cluster.must(&result("mine", &[])).trim_end(), ran.stdout);
    let both = ["send", "--instance", "sender", "--method", "progress", "--async", "--no-wait"];
    assert_eq!(begin(&cluster, &both).end().code, 2, "one of them says what is to be printed");
}
