//! Values nested so deep that decoding them would exhaust the stack of a guest are refused to who sends them.

use serde_json::{Value, json};

use crate::support::{Replicas, Session, cluster};

/// How deep a value may be (`NESTING_MAX` of the SDK).
const NESTING_MAX: usize = 256;

const TOO_DEEP: &str = "nested deeper than 256 levels";

/// The only argument of a method, of so many levels around `innermost`.
fn arguments(level: &[u8], levels: usize, innermost: &[u8]) -> Vec<u8> {
    [&[0x91][..], &level.repeat(levels), innermost].concat()
}

/// A level of a tree, and of a list of wide structs in wide structs, which has two.
const NODE: &[u8] = b"\x81\xa4Node";
const WIDE: &[u8] = b"\x81\xa8children\x91";

#[test]
fn a_client_is_refused_what_is_nested_too_deep() {
    let cluster = cluster();
    let _nested = Replicas::of(&cluster, "nested", "nested", 1);
    let mut session = Session::new(&cluster, "nested");
    for (method, level, innermost, most) in
        [("tree", NODE, &b"\xa4Leaf"[..], NESTING_MAX), ("wide", WIDE, b"\x80", NESTING_MAX / 2 - 1)]
    {
        assert_eq!(session.call_bytes(method, &arguments(level, most, innermost)), Ok(json!(most)));
        for levels in [NESTING_MAX + 1, 1000, 5000, 100_000] {
            let error = session.call_bytes(method, &arguments(level, levels, innermost)).expect_err("too deep");
            assert!(error.contains(TOO_DEEP), "{method} of {levels}: {error}");
        }
        // What can't be read as it stands is read as people spell it, and then refused.
        for wrong in [&b"\x07"[..], b"\xa3abc", b"\x91\x01", b""] {
            let error = session.call_bytes(method, &arguments(level, most - 1, wrong)).expect_err("wrong");
            assert!(error.contains("doesn't decode"), "{error}");
        }
        // Nor is what follows the last argument decoded.
        let trailing = [arguments(level, 1, innermost), vec![0x91; 100_000]].concat();
        let error = session.call_bytes(method, &trailing).expect_err("too much");
        assert!(error.contains("bytes follow its last argument"), "{error}");
        assert_eq!(session.call("ok", json!([])), 42);
    }
}

#[test]
fn an_instance_is_refused_what_is_nested_too_deep() {
    let cluster = cluster();
    let _one = Replicas::of(&cluster, "one", "nested", 1);
    let _other = Replicas::of(&cluster, "other", "nested", 1);
    let mut session = Session::new(&cluster, "one");
    let mut refused = |method: &str, arguments: Value| {
        let result = session.call(method, arguments.clone());
        assert!(result["Err"].as_str().is_some_and(|error| error.contains(TOO_DEEP)), "{method} {arguments}: {result}");
        for instance in ["one", "other"] {
            assert_eq!(cluster.send(instance, "ok", json!([])), 42, "after {method} {arguments}");
        }
    };
    for levels in [1000, 5000, 100_000] {
        refused("pass_on", json!(["other", levels]));
    }
    // The way out: an answer, a fork, and an answer that its caller does not take.
    for levels in [NESTING_MAX + 1, 1000, 5000] {
        refused("ask", json!(["other", levels]));
        refused("fork_tree", json!(["other", levels]));
    }
    refused("ask_bad", json!(["other"]));
    assert_eq!(session.call("ask", json!(["other", NESTING_MAX])), json!({ "Ok": NESTING_MAX }));
    assert_eq!(session.call("fork_tree", json!(["other", NESTING_MAX])), json!({ "Ok": null }));
    assert!(session.call("pass_on", json!(["other", NESTING_MAX]))["Ok"].is_array());
}

#[test]
fn a_result_that_is_nested_too_deep_is_refused() {
    let cluster = cluster();
    let _nested = Replicas::of(&cluster, "nested", "nested", 1);
    let mut session = Session::new(&cluster, "nested");
    for (method, most) in [("tree_of", NESTING_MAX), ("wide_of", NESTING_MAX / 2 - 1)] {
        session.call(method, json!([most]));
        for levels in [most + 1, 1000, 2000] {
            let levels = u16::try_from(levels).expect("a few thousand");
            let arguments = [&[0x91, 0xcd][..], &levels.to_be_bytes()].concat();
            let error = session.call_bytes(method, &arguments).expect_err("too deep");
            assert!(error.contains(TOO_DEEP), "{method} of {levels}: {error}");
        }
    }
    assert_eq!(session.call("ok", json!([])), 42);
}
