//! `trace`: what a request brought about, in every instance, read off the logs.

use ambrosia_tests::Cluster;
use serde_json::{Value, json};

use crate::{
    door::door,
    support::{Replicas, cluster, curl, fails},
};

fn spans(cluster: &Cluster, arguments: &[&str]) -> Vec<Value> {
    let said = cluster.must(&[&["trace"], arguments, &["--json"]].concat());
    said.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

/// The chain of calls that `bounce` makes, from one instance to the other and back, with their answers.
fn check_chain(spans: &[Value], depth: u64) {
    let calls: Vec<_> = spans.iter().filter(|span| span["method"] == "bounce").collect();
    assert_eq!(calls.len() as u64, depth + 1, "{spans:#?}");
    let mut parent = Value::Null;
    for (at, call) in calls.iter().enumerate() {
        let instance = if at % 2 == 0 { "a" } else { "b" };
        let left = depth - at as u64;
        assert_eq!((&call["instance"], &call["parent"]), (&json!(instance), &parent), "{spans:#?}");
        assert_eq!(call["arguments"][1], json!(left));
        assert_eq!((&call["answer"]["value"], &call["answer"]["success"]), (&json!(left), &json!(true)), "{call:#?}");
        parent = call["number"].clone();
    }
    // Each answer but the last is a message too, brought about by the one before it.
    let replies: Vec<_> = spans.iter().filter(|span| span["kind"] == "reply").collect();
    assert_eq!(replies.len() as u64, depth);
    for reply in replies {
        assert_eq!(reply["parent"], parent);
        parent = reply["number"].clone();
    }
    assert!(spans.iter().all(|span| span["note"].is_null() && span["lsn"].is_u64()), "{spans:#?}");
}

#[test]
fn a_request_is_followed_from_instance_to_instance_through_a_takeover() {
    let cluster = cluster();
    let mut a = Replicas::of(&cluster, "a", "mutual", 2);
    let _b = Replicas::of(&cluster, "b", "mutual", 1);
    // Others that are under way at once, whose messages lie between.
    cluster.send("a", "start", json!(["b", 40]));
    for round in 0..4 {
        let id = format!("r{round}");
        let sent = ["send", "a", "bounce", "[\"b\", 6]", "--request-id", &id];
        assert_eq!(cluster.must(&sent), "6\n");
        if round == 1 {
            let dead = a.kill_primary();
            a.start_standby(dead);
        }
    }
    for round in 0..4 {
        let spans = spans(&cluster, &["a", &format!("r{round}")]);
        check_chain(&spans, 6);
        assert_eq!(spans[0]["request"], json!(format!("r{round}")));
        let (lsn, index) = (spans[0]["lsn"].as_u64(), spans[0]["index"].as_u64());
        let place = format!("{}.{}", lsn.expect("a number"), index.expect("a number"));
        check_chain(&self::spans(&cluster, &["a", "--message", &place]), 6);
    }
    let limited = cluster.run(&["trace", "a", "r0", "--limit", "3"]);
    assert_eq!((limited.code, limited.stdout.lines().count()), (0, 3));
    assert!(limited.stderr.contains("--limit shows more"), "{}", limited.stderr);
}

#[test]
fn spans_of_opentelemetry_are_the_same_each_time() {
    let cluster = cluster();
    let _replicas = [Replicas::of(&cluster, "a", "mutual", 1), Replicas::of(&cluster, "b", "mutual", 1)];
    cluster.must(&["send", "a", "bounce", "[\"b\", 2]", "--request-id", "r"]);
    let taken = cluster.must(&["trace", "a", "r", "--otlp", "-"]);
    assert_eq!(taken, cluster.must(&["trace", "a", "r", "--otlp", "-"]));
    let file = cluster.file("trace.json");
    let tree = cluster.must(&["trace", "a", "r", "--otlp", file.to_str().expect("text")]);
    assert!(tree.lines().next().is_some_and(|line| line.contains("bounce") && line.contains("request r →")), "{tree}");
    assert_eq!(std::fs::read_to_string(file).expect("it was written"), taken);
    let taken: Value = serde_json::from_str(&taken).expect("JSON");
    let resources = taken["resourceSpans"].as_array().expect("a list");
    let names = resources.iter().map(|one| one["resource"]["attributes"][0]["value"]["stringValue"].clone());
    assert_eq!(names.collect::<Vec<_>>(), [json!("a"), json!("b")]);
    let spans: Vec<_> =
        resources.iter().flat_map(|one| one["scopeSpans"][0]["spans"].as_array().expect("a list")).collect();
    assert_eq!(spans.len(), 5, "three calls and two replies");
    let ids: Vec<_> = spans.iter().map(|span| span["spanId"].as_str().expect("text")).collect();
    for span in &spans {
        assert_eq!(span["traceId"], spans[0]["traceId"]);
        assert_eq!(
            (span["traceId"].as_str().map(str::len), span["spanId"].as_str().map(str::len)),
            (Some(32), Some(16))
        );
        let time = |key: &str| span[key].as_str().expect("text").parse::<u64>().expect("nanoseconds");
        assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"));
        assert_eq!(ids.iter().filter(|id| span["spanId"] == **id).count(), 1);
        if let Some(parent) = span["parentSpanId"].as_str() {
            assert!(ids.contains(&parent));
        }
    }
    assert_eq!(spans.iter().filter(|span| span["parentSpanId"].is_null()).count(), 1);
}

#[test]
fn what_a_client_has_said_a_trace_for_is_a_part_of_it() {
    const BY_SEND: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const BY_HTTP: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let cluster = cluster();
    let mut a = Replicas::of(&cluster, "a", "mutual", 2);
    let _b = Replicas::of(&cluster, "b", "mutual", 1);
    cluster.must(&["send", "a", "bounce", "[\"b\", 2]", "--request-id", "s", "--traceparent", BY_SEND]);
    let (_host, address) = door(&cluster);
    for (request, context) in [("h", BY_HTTP), ("n", "nonsense")] {
        let (key, context) = (format!("Idempotency-Key: {request}"), format!("traceparent: {context}"));
        let posted = curl(address, "/v1/a/bounce", &["-H", &key, "-H", &context, "-d", "[\"b\", 2]"]);
        assert_eq!(posted.status, 200, "{posted:?}");
    }
    a.kill_primary();
    for (request, context) in [("s", BY_SEND), ("h", BY_HTTP)] {
        assert_eq!(spans(&cluster, &["a", request])[0]["traceparent"], json!(context));
        let taken: Value = serde_json::from_str(&cluster.must(&["trace", "a", request, "--otlp", "-"])).expect("JSON");
        let spans: Vec<_> = (0..2)
            .flat_map(|at| taken["resourceSpans"][at]["scopeSpans"][0]["spans"].as_array().expect("a list"))
            .collect();
        assert_eq!(spans.len(), 5, "three calls and two replies");
        assert!(spans.iter().all(|span| span["traceId"] == json!(context[3..35])), "{taken:#}");
        let roots = spans.iter().filter(|span| span["parentSpanId"] == json!(context[36..52]));
        assert_eq!(roots.map(|span| &span["name"]).collect::<Vec<_>>(), [&json!("bounce")]);
    }
    assert_eq!(spans(&cluster, &["a", "n"])[0]["traceparent"], Value::Null);
    let refused = cluster.run(&["send", "a", "bounce", "[\"b\", 1]", "--traceparent", "nonsense"]);
    assert!(refused.code == 2 && refused.stderr.contains("00-TRACE-SPAN-FLAGS"), "{refused:?}");
}

#[test]
fn what_was_not_delivered_or_is_not_there_is_said() {
    let cluster = cluster();
    let _a = Replicas::of(&cluster, "a", "mutual", 1);
    cluster.register("b", "mutual", 1);
    cluster.must(&["send", "a", "bounce", "[\"b\", 1]", "--request-id", "r", "--no-wait"]);
    cluster.must(&["send", "a", "bounce", "[\"nobody\", 1]", "--request-id", "n", "--no-wait"]);
    let waits = spans(&cluster, &["a", "r"]);
    assert_eq!((waits.len(), &waits[0]["answer"]), (2, &Value::Null), "{waits:#?}");
    assert!(waits[1]["note"].as_str().is_some_and(|note| note.contains("was not delivered")), "{waits:#?}");
    assert_eq!(
        (&waits[1]["instance"], &waits[1]["method"], &waits[1]["lsn"]),
        (&json!("b"), &json!("bounce"), &Value::Null)
    );
    let gone = spans(&cluster, &["a", "n"]);
    assert_eq!(gone[1]["note"], json!("is not in this store"), "{gone:#?}");
    fails(&cluster, &["trace", "a", "other"], &["have no request other", "instance a"]);
    fails(&cluster, &["trace", "nobody", "r"], &["nobody"]);
    fails(&cluster, &["trace", "a"], &["the id of a request, or --message"]);
    fails(&cluster, &["trace", "a", "r", "--message", "3.0"], &["leave out"]);
    fails(&cluster, &["trace", "a", "--message", "3.77"], &["record 3 of instance a has", "no 3.77"]);
    fails(&cluster, &["trace", "a", "--message", "3000.0"], &["3000"]);
}
