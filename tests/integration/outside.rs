//! What a guest of the SDK asks of the world outside is understood by the host, byte for byte.

use serde_json::Value;

use crate::support::{Replicas, Session, cluster, curl, fails, http_address, lines};

#[test]
fn what_a_guest_asks_of_the_world_outside_is_understood() {
    let cluster = cluster();
    let _outside = Replicas::of(&cluster, "outside", "outside", 2);
    let send = |method: &str, arguments: &str| -> Value {
        let shown = cluster.must(&["send", "--instance", "outside", "--method", method, "--args", arguments]);
        serde_json::from_str(&shown).expect("`send` shows JSON")
    };
    assert_eq!(send("emit", r#"["paid", 7]"#), Value::Null);
    assert_eq!(send("configured", r#"["limit"]"#), serde_json::json!({"Ok": null}));
    // Nothing is allowed to go out, which the guest is told as the outcome of its request.
    let outcome = send("post", r#"["http://127.0.0.1:9/", "hi", 3, false]"#);
    let outcome = outcome.as_str().expect("a text");
    assert!(outcome.starts_with("the request was not sent: "), "{outcome}");
    // It waits for somebody outside, so there is no answer; the URL is there.
    let waiting = ["send", "--instance", "outside", "--method", "promise", "--timeout", "1"];
    let promised = cluster.run(&waiting);
    assert_ne!(promised.code, 0, "nobody has fulfilled it");
    let url = send("url", "[]");
    let url = url.as_str().expect("a text").to_owned();
    let (id, token) = url.strip_prefix("/v1/outside/promises/").and_then(|rest| rest.split_once('.')).expect("a path");
    assert!(id.parse::<u64>().is_ok() && token.len() == 32, "{url}");
    assert_eq!(send("outcomes", "[]"), serde_json::json!([outcome]));
}

#[test]
fn a_promise_is_fulfilled_over_http_by_who_has_its_url_also_after_a_takeover() {
    let cluster = cluster();
    let more = &["--http", "127.0.0.1:0", "--public-url", "https://shop.example"];
    let mut replicas = Replicas::of_with(&cluster, "outside", "outside", 2, more);
    let mut session = Session::new(&cluster, "outside");
    // It is durable, and has no answer yet.
    let asking = ["send", "--instance", "outside", "--method", "promise", "--request-id", "p-1"];
    cluster.must(&[&asking[..], &["--no-wait"]].concat());
    let url = session.call_until("url", |url| url != "");
    let url = url.as_str().expect("a text").to_owned();
    let path = url.strip_prefix("https://shop.example").expect("the address from outside").to_owned();
    let standby = 1 - replicas.primary();
    let address = http_address(replicas.host(standby));
    let fulfil = |path: &str, body: &str| curl(address, path, &["-d", body]);
    let last = if path.ends_with('0') { "1" } else { "0" };
    let guessed = format!("{}{last}", &path[..path.len() - 1]);
    for wrong in [&guessed, "/v1/outside/promises/1", "/v1/nobody/promises/1.00000000000000000000000000000000"] {
        assert_eq!(fulfil(wrong, "\"mine\"").status, 404, "{wrong}");
    }
    assert_eq!(fulfil(&path, "no JSON").status, 400);
    replicas.kill_primary();
    assert_eq!(fulfil(&path, "\"paid\"").status, 204);
    assert_eq!(fulfil(&path, "\"twice\"").status, 204, "what is fulfilled stays so, and a repetition harms nobody");
    assert_eq!(cluster.must(&asking).trim(), "\"paid\"");
}

#[test]
fn a_guest_finds_what_the_operator_has_set_and_finds_it_changed_after_a_restart() {
    let cluster = cluster();
    let mut replicas = Replicas::of_with(&cluster, "outside", "outside", 1, &["--config", "city=\"Berlin\""]);
    let mut session = Session::new(&cluster, "outside");
    let mut city = || session.call("configured", serde_json::json!(["city"]));
    assert_eq!(city(), serde_json::json!({ "Ok": "Berlin" }));
    replicas.kill(0);
    let host = cluster.start_with("outside", 0, &["--config", "city=\"Ulm\""], |_| {});
    assert_eq!(city(), serde_json::json!({ "Ok": "Ulm" }));
    drop(host);
    let log = cluster.must(&["log", "--instance", "outside"]);
    let written: Vec<_> = lines(&log).into_iter().filter(|line| line.contains("configuration")).collect();
    assert_eq!(written.len(), 2, "it is written down when it differs:\n{log}");
    assert!(written[0].contains("city = \"Berlin\"") && written[1].contains("city = \"Ulm\""), "{written:?}");
    let run = ["run", "--instance", "outside", "--config"];
    let misused = |words: &[&'static str], said: &str| {
        let ran = cluster.run(&[&run[..], words].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
        assert!(ran.stderr.contains(said), "{ran:?}");
    };
    misused(&["city"], "write NAME=JSON");
    misused(&["city=Berlin"], "the value is not JSON");
    misused(&["ambrosia.x=1"], "the host's own");
    misused(&["a=1", "--public-url", "shop.example"], "write scheme, host and port");
    fails(&cluster, &[&run[..], &["a=1", "--config", "a=2"]].concat(), &["sets a twice"]);
}
