//! Paths of their own, at which instances are asked over HTTP.

use ambrosia_tests::Signal;
use serde_json::json;

use crate::{
    door::{check_problem, door, house},
    serving::{serve, wait_for_primaries},
    support::{Replicas, cluster, curl, fails, http_address, post, wat_module},
};

#[test]
fn methods_are_asked_at_paths_of_their_own() {
    let cluster = cluster();
    let (_host, address) = house(&cluster, &[("it", "routed"), ("counter", "counter")]);
    let get = |path: &str| curl(address, path, &[]);
    // What is left is the body: whole where it is one argument, and by names where it is more.
    assert_eq!(post(address, "/it/numbers/a", None, "2").body, "2");
    for body in [r#"{"n": 40, "name": "b"}"#, r#"["b", 40]"#] {
        assert_eq!(curl(address, "/it/numbers", &["-X", "PUT", "-d", body]).body, "null");
    }
    assert_eq!((get("/it/numbers/a").body.as_str(), get("/it/numbers/total").body.as_str()), ("2", "42"));
    assert_eq!(get("/it/numbers/a/times/3").body, "6", "a number is a number");
    // The URL's query says what the path does not.
    assert_eq!(get("/it/numbers/none").body, "null");
    let answer = get("/it/numbers/none?otherwise=7&at_least=2");
    assert_eq!(answer.body, "7");
    assert!(answer.header("ambrosia-lsn").is_some() && answer.header("idempotency-key").is_none(), "{answer:?}");
    for path in ["/it", "/it/", "/it/numbers"] {
        assert_eq!(get(path).json(), json!(["a", "b"]), "{path}");
    }
    // A segment is decoded, and then it is a text, whatever that looks like.
    assert_eq!(post(address, "/it/numbers/a%2Fb%20%C3%A4+%22", None, "5").body, "5");
    assert_eq!(post(address, "/it/numbers/7", None, "1").body, "1");
    assert_eq!(get("/it/n%75mbers/a%2fb%20ä+\"").body, "5");
    assert_eq!(cluster.send("it", "names", json!([])), json!(["7", "a", "a/b ä+\"", "b"]));
    assert_eq!(curl(address, "/it/numbers/7", &["-X", "DELETE"]).body, "true");
    for head in [&["-I"][..], &["-I", "--http2-prior-knowledge"]] {
        let head = curl(address, "/it/numbers/a", head);
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{head:?}");
    }
    assert_eq!(curl(address, "/it/numbers/a", &["--http2-prior-knowledge"]).body, "2");
    // A result is asked for later where all are.
    let begun = curl(address, "/it/numbers/a", &["-H", "Prefer: respond-async", "-H", "Idempotency-Key: k", "-d", "1"]);
    assert_eq!((begun.status, begun.header("location")), (202, Some("/v1/it/requests/k")), "{begun:?}");
    assert_eq!(get("/v1/it/requests/k?wait=60").body, "3");
}

#[test]
fn a_key_is_one_request_by_a_path_and_by_a_name_and_through_a_takeover() {
    let cluster = cluster();
    let (_door, address) = door(&cluster);
    let mut replicas = Replicas::of(&cluster, "it", "routed", 2);
    let add = |key: &str| post(address, "/it/numbers/a", Some(key), "2");
    assert_eq!((add("one").body.as_str(), add("one").body.as_str()), ("2", "2"));
    assert_eq!(add("one").header("idempotency-key"), Some("one"));
    // The same method with the same arguments is the same request, however it is asked.
    assert_eq!(post(address, "/v1/it/add", Some("one"), r#"["a", 2]"#).body, "2");
    check_problem(&post(address, "/it/numbers/b", Some("one"), "2"), 422, "key-reused");
    assert_eq!(add("two").body, "4");
    replicas.kill_primary();
    assert_eq!((add("two").body.as_str(), add("three").body.as_str()), ("4", "6"), "it is held, and done once");
    assert_eq!(curl(address, "/it/numbers/a", &[]).body, "6");
}

#[test]
fn what_is_not_there_or_can_not_be_asked_so_says_why() {
    let cluster = cluster();
    let (_host, address) = house(&cluster, &[("it", "routed"), ("counter", "counter")]);
    let get = |path: &str| curl(address, path, &[]);
    let problem = check_problem(&get("/it/gone"), 404, "not-found");
    assert_eq!(problem["routes"][0], "GET /", "{problem}");
    // One without routes is asked by the names of its methods, as ever.
    let problem = check_problem(&get("/counter/total"), 404, "not-found");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("POST /v1/counter/METHOD")), "{problem}");
    assert_eq!(post(address, "/v1/counter/add", None, "[1]").body, "1");
    let long = format!("/it{}", "/x".repeat(1000));
    for path in ["/nobody/numbers", "/", "/it/numbers/", "/it/numbers//times/2", "/it/numbers/a/times", &long] {
        check_problem(&get(path), 404, "not-found");
    }
    for (path, verb, allowed) in [
        ("/it/numbers/a", "PATCH", "GET, HEAD, POST, DELETE"),
        ("/it/numbers/a", "OPTIONS", "GET, HEAD, POST, DELETE"),
        ("/it/numbers", "POST", "GET, HEAD, PUT"),
        ("/it", "DELETE", "GET, HEAD"),
    ] {
        let refused = curl(address, path, &["-X", verb]);
        check_problem(&refused, 405, "method-not-allowed");
        assert_eq!(refused.header("allow"), Some(allowed), "{verb} {path}");
    }
    let wrong = check_problem(&get("/it/numbers/a/times/two"), 400, "bad-arguments");
    assert_eq!(
        (&wrong["argument"], &wrong["expected"], &wrong["found"]),
        (&json!("factor"), &json!("u64"), &json!("\"two\""))
    );
    for (path, argument) in [
        ("/it/numbers/a/times/-1", "factor"),
        ("/it/numbers/a?otherwise=x", "otherwise"),
        ("/it/numbers/a?name=b", "name"),
        ("/it/numbers/a?m=1", "m"),
    ] {
        assert_eq!(check_problem(&get(path), 400, "bad-arguments")["argument"], argument, "{path}");
    }
    check_problem(&get("/it/numbers/%ff"), 400, "bad-arguments");
    for (body, kind) in
        [("[2]", "bad-arguments"), ("", "bad-arguments"), ("\"2\"x", "not-json"), ("null", "bad-arguments")]
    {
        check_problem(&post(address, "/it/numbers/a", None, body), 400, kind);
    }
    check_problem(&curl(address, "/it/numbers", &["-X", "PUT", "-d", "[\"a\"]"]), 400, "bad-arguments");
    check_problem(&curl(address, "/it/numbers/a", &["-X", "DELETE", "-d", "[1]"]), 400, "bad-arguments");
    check_problem(&post(address, "/it/numbers/a", Some(&"x".repeat(129)), "1"), 400, "bad-idempotency-key");
    check_problem(
        &curl(address, "/it/numbers/a", &["-H", "Content-Type: text/plain", "-d", "1"]),
        415,
        "unsupported-type",
    );
    check_problem(&curl(address, "/it/numbers/a", &["-H", "Host: example.com"]), 421, "other-name");
    assert_eq!(get("/it").json(), json!([]), "none of it was done");
}

#[test]
fn a_token_is_looked_at_by_what_is_asked_at_a_path() {
    let cluster = cluster();
    let (_host, address) = house(&cluster, &[("it", "routed"), ("other", "routed")]);
    let make = |arguments: &[&str]| cluster.must(&[&["token", "new"], arguments].concat()).trim().to_owned();
    let sender = make(&["--name", "sender", "--deed", "send", "--instance", "it"]);
    let asker = make(&["--name", "asker", "--deed", "query", "--instance", "it"]);
    let with = |token: &str, path: &str, more: &[&str]| {
        let authorization = format!("Authorization: Bearer {token}");
        curl(address, path, &[&["-H", &authorization], more].concat())
    };
    check_problem(&curl(address, "/it/numbers/a", &[]), 401, "unauthorized");
    check_problem(&curl(address, "/it/numbers/a", &["-d", "1"]), 401, "unauthorized");
    assert_eq!(with(&sender, "/it/numbers/a", &["-d", "1"]).body, "1");
    check_problem(&with(&sender, "/it/numbers/a", &[]), 403, "forbidden");
    assert_eq!(with(&asker, "/it/numbers/a", &[]).body, "1");
    check_problem(&with(&asker, "/it/numbers/a", &["-d", "1"]), 403, "forbidden");
    // Nor is it told what another instance has.
    for path in ["/other/numbers/a", "/other/gone", "/nobody/gone"] {
        check_problem(&with(&asker, path, &[]), 403, "forbidden");
    }
    assert_eq!(with(&asker, "/it/numbers/a", &[]).body, "1", "once");
}

#[test]
fn routes_are_below_a_path_of_the_operator_too() {
    let cluster = cluster();
    for (name, guest) in [("it", "routed"), ("docs", "routed"), ("counter", "counter")] {
        cluster.register(name, guest, 1);
    }
    let at = ["--all", "--http", "127.0.0.1:0", "--route", "/=it", "--route", "/api/docs=docs"];
    let host = serve(&cluster, &at);
    wait_for_primaries(&host, &["it", "docs", "counter"]);
    let address = http_address(&host);
    let get = |path: &str| curl(address, path, &[]);
    assert_eq!(post(address, "/numbers/a", None, "1").body, "1");
    assert_eq!(post(address, "/api/docs/numbers/a", None, "2").body, "2");
    assert_eq!(post(address, "/it/numbers/a", None, "3").body, "4", "its name leads there, too");
    assert_eq!((get("/").json(), get("/numbers/a").body.as_str(), get("/api/docs/").status), (json!(["a"]), "4", 200));
    // The host's own come first, whatever is there.
    assert!(get("/docs").body.contains("<html"));
    assert_eq!(get("/healthz").json()["status"], "alive");
    check_problem(&get("/docs/numbers/a"), 404, "not-found");
    check_problem(&get("/v1/numbers/a/b/c"), 404, "not-found");
    check_problem(&get("/%76%31/numbers/a/b/c"), 404, "not-found");
    let problem = check_problem(&get("/counter/x"), 404, "not-found");
    assert!(
        problem["detail"].as_str().is_some_and(|text| text.starts_with("instance counter has no route")),
        "{problem}"
    );
    // It is described where it is.
    let paths = get("/openapi.json").json()["paths"].clone();
    assert_eq!(paths["/numbers/{name}"]["post"]["parameters"][0]["in"], "path");
    assert_eq!(paths["/api/docs/numbers/{name}"]["post"]["tags"], json!(["docs"]));
    assert_eq!(paths["/v1/it/add"]["post"]["x-ambrosia-routes"], json!(["POST /numbers/{name}"]));
    assert!(paths["/it/numbers/{name}"].is_null() && paths["/docs/numbers/{name}"].is_null(), "{paths}");
    host.signal(Signal::Terminate);
    let run = |more: &[&'static str]| [&["serve", "--all", "--http", "127.0.0.1:0"], more].concat();
    fails(&cluster, &run(&["--route", "/x=nobody"]), &["the routes of instance nobody can't be at /x", "nobody"]);
    fails(
        &cluster,
        &run(&["--route", "/x=it", "--route", "/x=docs"]),
        &["--route can't be taken", "/x is given twice"],
    );
}

#[test]
fn what_the_host_has_for_itself_is_told_when_an_instance_is_called_so() {
    let cluster = cluster();
    let module = cluster.guest("routed");
    let registered = cluster.run(&["register-instance", "metrics", module.to_str().expect("text")]);
    assert!(registered.stderr.contains("what begins with /metrics is the host's own"), "{}", registered.stderr);
}

#[test]
fn routes_that_a_component_can_not_have_are_refused_when_it_is_registered() {
    let cluster = cluster();
    let text = include_str!("../../host/engine/tests/engine/routing.wat");
    let file = |path: &str| {
        assert!(path.len() == 8, "as long as the text says");
        wat_module(&cluster, "routes.wasm", &text.replace("/go/PATH", path)).display().to_string()
    };
    for (path, said) in [
        ("go/there", "the route POST \"go/there\" of the method `go` has no path: it does not begin with `/`"),
        ("/go/{no}", "has a placeholder `{no}`, and the method go() has no such argument"),
        ("/go/../x", "a segment can't be `..`"),
    ] {
        fails(&cluster, &["register-instance", "it", &file(path)], &["can't be registered", said]);
    }
    cluster.must(&["register-instance", "it", &file("/go/away")]);
    assert!(cluster.must(&["status", "--methods"]).contains("POST /go/away"));
}
