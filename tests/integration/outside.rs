//! What a guest of the SDK asks of the world outside is understood by the host, byte for byte.

use serde_json::Value;

use crate::support::{Replicas, cluster};

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
