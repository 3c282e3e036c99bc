//! Modules that are none, names that are nobody's, arguments that don't decode.

use ambrosia_core::RequestId;
use ambrosia_tests::{Cluster, PATIENCE};
use serde_json::{Value, json};

use crate::support::{Replicas, Session, cluster, fails, wat_module};

/// Registering that file must fail with those words, and leave no instance.
fn check_refused(cluster: &Cluster, file: &std::path::Path, words: &[&str]) {
    let file = file.to_str().expect("the path is text");
    fails(cluster, &["register-instance", "--instance", "bad", "--module", file], words);
    let status = cluster.run(&["status", "--instance", "bad"]);
    assert_eq!(status.code, 1, "{}", status.stdout);
}

#[test]
fn a_file_that_is_not_there_or_no_component_is_refused() {
    let cluster = cluster();
    check_refused(&cluster, &cluster.file("nothing.wasm"), &["can't read the module", "nothing.wasm", "No such file"]);
    for (name, bytes) in [("text.wasm", &b"#!/bin/sh\n"[..]), ("empty.wasm", b"")] {
        std::fs::write(cluster.file(name), bytes).expect("the directory is there");
        check_refused(&cluster, &cluster.file(name), &[name, "this is not WebAssembly", "--target wasm32-wasip2"]);
    }
}

#[test]
fn a_core_module_is_refused() {
    let cluster = cluster();
    let file = wat_module(&cluster, "core.wasm", "(module)");
    check_refused(&cluster, &file, &["core.wasm", "core WebAssembly module and not a component", "wasm32-wasip2"]);
}

#[test]
fn a_component_cut_short_is_refused() {
    let cluster = cluster();
    let whole = std::fs::read(cluster.guest("counter")).expect("it was built");
    let file = cluster.file("half.wasm");
    std::fs::write(&file, &whole[..whole.len() / 2]).expect("the directory is there");
    check_refused(&cluster, &file, &["half.wasm", "the component can't be compiled; it is damaged"]);
}

#[test]
fn a_component_without_our_exports_is_refused() {
    let cluster = cluster();
    let file = wat_module(&cluster, "none.wasm", "(component)");
    check_refused(&cluster, &file, &["not an immortal", "does not export deliver, describe"]);
}

#[test]
fn a_component_whose_exports_have_other_types_is_refused() {
    let cluster = cluster();
    let text = r#"(component
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f")))
        (export "deliver" (func $f)) (export "describe" (func $f)))"#;
    let file = wat_module(&cluster, "types.wasm", text);
    check_refused(&cluster, &file, &["the component's export `deliver` is not that of the world ambrosia:runtime"]);
}

#[test]
fn a_component_that_imports_what_there_is_not_is_refused_with_all_the_names() {
    let cluster = cluster();
    let text = r#"(component
        (import "wasi:sockets/tcp@0.2.0" (instance $tcp (export "connect" (func))))
        (import "wasi:http/outgoing-handler@0.2.0" (instance $http (export "handle" (func))))
        (import "my:own/thing" (func $own))
        (core module $m
            (memory (export "memory") 1)
            (func (export "deliver") (param i32 i32) (result i32) unreachable)
            (func (export "describe") (result i32) unreachable)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable))
        (core instance $i (instantiate $m))
        (type $method (record
            (field "id" u32) (field "name" string) (field "arguments" (list string)) (field "message-pack" bool)))
        (import "method" (type $named (eq $method)))
        (func $deliver (param "runs" (list u8)) (result (list u8))
            (canon lift (core func $i "deliver") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
        (func $describe (result (list $named))
            (canon lift (core func $i "describe") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
        (export "deliver" (func $deliver)) (export "describe" (func $describe)))"#;
    let file = wat_module(&cluster, "imports.wasm", text);
    let names = ["wasi:sockets/tcp@0.2.0", "wasi:http/outgoing-handler@0.2.0", "my:own/thing"];
    check_refused(&cluster, &file, &[&["imports what an immortal can't have"], &names[..]].concat());
}

#[test]
fn an_unknown_instance_is_an_error_of_every_verb() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    for verb in [
        &["run"][..],
        &["add-replica", "--replica", "1"],
        &["deregister-instance", "--yes"],
        &["status"],
        &["log"],
        &["send", "--method", "add"],
    ] {
        let arguments = [verb, &["--instance", "nobody"]].concat();
        fails(&cluster, &arguments, &["there is no instance nobody: register it first"]);
    }
    assert_eq!(cluster.log("counter").len(), 1);
}

#[test]
fn without_a_store_every_verb_but_register_says_so() {
    let cluster = cluster();
    for verb in [
        &["run", "--instance", "a"][..],
        &["add-replica", "--instance", "a", "--replica", "1"],
        &["deregister-instance", "--instance", "a", "--yes"],
        &["status"],
        &["log", "--instance", "a"],
        &["send", "--instance", "a", "--method", "m"],
    ] {
        fails(&cluster, verb, &["there is no ambrosia store in", "register an instance first"]);
    }
    assert!(!cluster.store().exists(), "nothing was made");
}

#[test]
fn a_directory_of_something_else_is_not_made_a_store() {
    let cluster = cluster();
    std::fs::create_dir(cluster.store()).expect("the directory is there");
    std::fs::write(cluster.store().join("letter.txt"), "dear").expect("the directory is there");
    let module = cluster.guest("counter");
    let module = module.to_str().expect("the path is text");
    let arguments = ["register-instance", "--instance", "a", "--module", module];
    fails(&cluster, &arguments, &["is neither empty nor an ambrosia store: name another directory"]);
    let files: Vec<_> = std::fs::read_dir(cluster.store()).expect("it is there").collect();
    assert_eq!(files.len(), 1);
}

/// The log of a counter that has nothing more to do.
fn settled_log(cluster: &Cluster) -> Vec<Value> {
    assert_eq!(cluster.send("counter", "total", json!([])), 0);
    cluster.log("counter")
}

#[test]
fn an_unknown_method_is_an_error_that_lists_the_methods_and_is_not_logged() {
    let cluster = cluster();
    let _counter = Replicas::of(&cluster, "counter", "counter", 1);
    let before = settled_log(&cluster);
    let words = ["there is no method \"subtract\"; the module has add, total, echo, see, seen"];
    fails(&cluster, &["send", "--instance", "counter", "--method", "subtract"], &words);
    assert_eq!(cluster.log("counter"), before);
}

#[test]
fn stdin_for_an_unknown_method_is_an_error_before_anything_runs() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    let words = ["--stdin: there is no method \"subtract\"; the module has add, total, echo, see, seen"];
    fails(&cluster, &["run", "--instance", "counter", "--stdin", "subtract"], &words);
    assert_eq!(cluster.log("counter").len(), 1);
}

#[test]
fn arguments_that_are_no_json_array_are_an_error_and_not_logged() {
    let cluster = cluster();
    let _counter = Replicas::of(&cluster, "counter", "counter", 1);
    let before = settled_log(&cluster);
    for (arguments, word) in [("[1", "not JSON"), ("1", "must be a JSON array"), ("{\"n\":1}", "must be a JSON array")]
    {
        let send = ["send", "--instance", "counter", "--method", "add", "--args", arguments];
        fails(&cluster, &send, &["--args", word]);
    }
    assert_eq!(cluster.log("counter"), before);
}

#[test]
fn arguments_that_the_method_does_not_take_fail_alike_each_time_and_change_nothing() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 2);
    // `send` looks at the types before; another client may not.
    let mut session = Session::new(&cluster, "counter");
    for (at, (arguments, refused, word)) in [
        (json!(["x"]), "expected u64, not \"x\"", "its argument `n: u64` doesn't decode"),
        (json!([1, 2]), "2 arguments are given", "it takes 1 argument, not 2"),
        (json!([]), "no argument is given", "it takes 1 argument, not 0"),
    ]
    .into_iter()
    .enumerate()
    {
        let send = ["send", "--instance", "counter", "--method", "add", "--args", &arguments.to_string()];
        fails(&cluster, &send, &["--args", "n: u64", refused]);
        let id = RequestId::new(at.to_string()).expect("a short id");
        let mut ask = || session.try_call(&id, "add", &arguments, PATIENCE).expect_err("refused").to_string();
        let first = ask();
        assert!(first.contains("the request failed: method `add`") && first.contains(word), "{first}");
        let dead = counter.kill_primary();
        counter.start_standby(dead);
        assert_eq!(ask(), first);
    }
    assert_eq!(cluster.send("counter", "total", json!([])), 0);
}

#[test]
fn listening_on_anything_but_loopback_is_refused() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:7000"] {
        let words = ["is not a loopback address", "give --tls-cert, --tls-key and --tls-ca"];
        fails(&cluster, &["run", "--instance", "counter", "--listen", address], &words);
    }
    assert_eq!(cluster.log("counter").len(), 1);
}

#[test]
fn an_address_that_is_taken_is_an_error_that_names_it() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let address = taken.local_addr().expect("it is bound").to_string();
    let words = [&format!("can't listen on {address}"), "--listen"];
    fails(&cluster, &["run", "--instance", "counter", "--listen", &address], &words);
    drop(taken);
    let host = cluster.start_with("counter", 0, &["--listen", &address], |_| {});
    host.wait_until_primary();
    assert_eq!(cluster.status("counter")["primary"]["address"], json!(address));
}
