//! Tokens: who may do what over HTTP.

use serde_json::json;

use crate::{
    door::{check_problem, house},
    support::{cluster, curl, fails, lines},
    tls::certify,
};

#[test]
fn with_a_token_in_the_store_nothing_is_done_without_one() {
    let cluster = cluster();
    let (_host, address) = house(&cluster, &[("counter", "counter"), ("values", "values")]);
    let add =
        |token: &str| curl(address, "/v1/counter/add", &["-H", &format!("Authorization: Bearer {token}"), "-d", "[1]"]);
    assert_eq!(curl(address, "/v1/counter/add", &["-d", "[1]"]).body, "1", "there are no tokens yet");
    let make = |arguments: &[&str]| cluster.must(&[&["token", "new"], arguments].concat()).trim().to_owned();
    let sender = make(&["--name", "sender", "--deed", "send", "--instance", "counter"]);
    assert!(sender.starts_with("ambrosia_") && sender.len() == 9 + 64, "{sender}");
    let refused = curl(address, "/v1/counter/add", &["-d", "[1]"]);
    check_problem(&refused, 401, "unauthorized");
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    check_problem(&add(&sender.replace("ambrosia_", "ambrosia_0")), 401, "unauthorized");
    assert_eq!(add(&sender).body, "2");
    let with = |token: &str, path: &str| curl(address, path, &["-H", &format!("Authorization: bearer {token}")]);
    let other = curl(address, "/v1/values/text", &["-H", &format!("Authorization: Bearer {sender}"), "-d", "[\"x\"]"]);
    check_problem(&other, 403, "forbidden");
    check_problem(&with(&sender, "/openapi.json"), 403, "forbidden");
    let reader = make(&["--name", "reader", "--deed", "read", "--instance", "values"]);
    let seen = with(&reader, "/openapi.json").json();
    assert_eq!(seen["tags"], json!([{ "name": "values" }]), "it sees what it is for");
    check_problem(&add(&reader), 403, "forbidden");
    // What is no secret; and who has a token may ask under any name.
    for path in ["/healthz", "/readyz", "/docs", "/docs/page.js"] {
        assert_eq!(curl(address, path, &[]).status, 200, "{path}");
    }
    assert_eq!(
        curl(address, "/readyz", &[]).json(),
        json!({ "status": "ready" }),
        "and how much there is it is not told"
    );
    assert_eq!(with(&reader, "/readyz").json()["instances"], 2);
    check_problem(&curl(address, "/metrics", &[]), 401, "unauthorized");
    let elsewhere = ["-H", "Host: shop.example.com", "-H", &format!("Authorization: Bearer {sender}"), "-d", "[1]"];
    assert_eq!(curl(address, "/v1/counter/add", &elsewhere).body, "3");
    // Agents see and do what their token allows.
    let say = |token: &str, method: &str, parameters: serde_json::Value| {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": parameters }).to_string();
        let authorization = format!("Authorization: Bearer {token}");
        curl(address, "/mcp", &["-H", "Content-Type: application/json", "-H", &authorization, "--data-raw", &message])
            .json()
    };
    let all = make(&["--name", "all", "--until", "2500-01-01"]);
    assert!(say(&all, "tools/list", json!({}))["result"]["tools"].as_array().is_some_and(|tools| tools.len() > 5));
    let run = say(&reader, "tools/call", json!({ "name": "values__text", "arguments": { "text": "x" } }));
    assert_eq!(run["error"]["data"]["status"], 403, "{run}");
    // What is listed has no secret in it, and so has the store.
    let listed = cluster.must(&["token", "list"]);
    let names: Vec<_> =
        lines(&listed).iter().map(|line| line.split("  ").take(4).collect::<Vec<_>>().join("  ")).collect();
    let expected = [
        "all  send, query, read  all instances  until 2500-01-01T00:00:00Z",
        "reader  read  values  no end",
        "sender  send  counter  no end",
    ];
    assert_eq!(names, expected);
    let kept = std::fs::read(cluster.store().join("registry/tokens:all")).expect("it is a file");
    assert!(!String::from_utf8_lossy(&kept).contains(all.trim_start_matches("ambrosia_")));
    cluster.must(&["token", "revoke", "--name", "sender"]);
    check_problem(&add(&sender), 401, "unauthorized");
    fails(&cluster, &["token", "revoke", "--name", "sender"], &["there is no token sender"]);
    fails(&cluster, &["token", "new", "--name", "all"], &["there is a token all already"]);
    fails(&cluster, &["token", "new", "--name", "late", "--until", "2001-01-01"], &["is in the past"]);
}

#[test]
fn other_machines_are_listened_to_only_by_tls_and_with_a_token() {
    let mut cluster = cluster();
    cluster.register("counter", "counter", 1);
    let any = ["run", "--instance", "counter", "--http", "0.0.0.0:0"];
    fails(&cluster, &any, &["0.0.0.0:0 is not a loopback address", "--tls-cert"]);
    certify(&mut cluster);
    fails(&cluster, &any, &["the store has no token", "ambrosia-host token new"]);
    cluster.must(&["token", "new", "--name", "all"]);
    let host = cluster.start_with("counter", 0, &["--http", "0.0.0.0:0"], |_| {});
    host.wait_for_word("HTTP at https://0.0.0.0:");
}
