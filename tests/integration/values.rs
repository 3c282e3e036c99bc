//! What is shown is what the guest was given and gave, and can be given again.

use std::process::Stdio;

use ambrosia_tests::Cluster;
use serde_json::{Value, json};

use crate::support::{Replicas, cluster, fails};

/// What `send` prints, word by word.
fn printed(cluster: &Cluster, method: &str, arguments: &str) -> String {
    cluster.must(&["send", "--instance", "values", "--method", method, "--args", arguments])
}

#[test]
fn each_value_is_shown_as_it_is_and_can_be_sent_as_it_is_shown() {
    let cluster = cluster();
    let _values = Replicas::of(&cluster, "values", "values", 1);
    for (method, arguments, shown) in [
        ("raw", r#"["A"]"#, r#""A""#), // not 65
        ("raw", r#"["5"]"#, r#""5""#),
        ("raw", r#"["0x00ff"]"#, r#""0x00ff""#),
        ("raw", "[]", "null"),
        ("keyed", r#"[{"7":{"-1":true}}]"#, r#"{"7":{"-1":true}}"#),
        ("keyed", r#"[{"18446744073709551615":{}}]"#, r#"{"18446744073709551615":{}}"#),
        (
            "long",
            r#"["18446744073709551615","-9223372036854775808"]"#,
            r#"["18446744073709551615","-9223372036854775808"]"#,
        ),
        ("long", "[9007199254740991,-9007199254740991]", "[9007199254740991,-9007199254740991]"),
        ("floats", r#"[["NaN","inf","-inf",0.1,1.0]]"#, r#"["NaN","inf","-inf",0.1,1.0]"#),
        ("wide", r#"["42",-1]"#, r#"["0x0000000000000000000000000000002a","0xffffffffffffffffffffffffffffffff"]"#),
        (
            "wide",
            r#"["0x0000000000000000000000000000002a","0xffffffffffffffffffffffffffffffff"]"#,
            r#"["0x0000000000000000000000000000002a","0xffffffffffffffffffffffffffffffff"]"#,
        ),
        ("text", r#"["0x41"]"#, r#""0x41""#),
        ("text", r#"["NaN \u001b[2J \u009b"]"#, r#""NaN \u001b[2J \u009b""#),
    ] {
        assert_eq!(printed(&cluster, method, arguments), format!("{shown}\n"), "{method} {arguments}");
    }
    fails(&cluster, &["send", "--instance", "values", "--method", "raw", "--args", "[65]"], &["takes raw bytes"]);
}

#[test]
fn the_log_shows_the_same_values() {
    let cluster = cluster();
    let _values = Replicas::of(&cluster, "values", "values", 1);
    printed(&cluster, "raw", r#"["A"]"#);
    printed(&cluster, "raw", r#"["0xff"]"#);
    printed(&cluster, "keyed", r#"[{"7":{}}]"#);
    let send = ["send", "--instance", "values", "--method", "text", "--args", r#"["\u001b"]"#, "--request-id"];
    cluster.must(&[&send[..], &["a\n\u{1b}[2J"]].concat());
    let records = cluster.log("values");
    let messages: Vec<&Value> = records.iter().filter_map(|record| record["messages"].as_array()).flatten().collect();
    let of = |method: &str| -> Vec<&Value> {
        messages.iter().filter(|message| message["method"] == method).map(|message| &message["arguments"]).collect()
    };
    assert_eq!(of("raw"), [&json!("A"), &json!("0xff")]);
    assert_eq!(of("keyed"), [&json!([{"7": {}}])]);
    assert!(messages.iter().any(|message| message["request"] == "a\n\u{1b}[2J"), "{messages:#?}");
    let text = cluster.must(&["log", "--instance", "values"]);
    assert!(text.contains(r"request a\u000a\u001b[2J"), "{text}");
    assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text:?}");
}

#[test]
fn a_value_too_deep_to_be_shown_is_said_to_be_so() {
    let cluster = cluster();
    let _values = Replicas::of(&cluster, "values", "values", 1);
    // Raw, it is shown as what it is: bytes.
    let shown = printed(&cluster, "nested", r#"["2000"]"#);
    assert_eq!(shown.trim_end(), format!("\"0x{}\"", "91".repeat(2000)));
    fails(
        &cluster,
        &["send", "--instance", "values", "--method", "text", "--args", &"[".repeat(200)],
        &["not JSON", "recursion limit"],
    );
}

#[test]
fn arguments_come_from_a_file_or_from_stdin_and_may_be_large() {
    let cluster = cluster();
    let _values = Replicas::of(&cluster, "values", "values", 1);
    // More than the kernel lets a command line have.
    let text = "ä".repeat(1 << 20);
    let json = json!([text]).to_string();
    let file = cluster.file("arguments.json");
    std::fs::write(&file, &json).expect("the directory is there");
    let file = file.to_str().expect("the path is text");
    let send = ["send", "--instance", "values", "--method", "length", "--args"];
    assert_eq!(cluster.must(&[&send[..], &[&format!("@{file}")]].concat()), "2097152\n");

    let input = std::fs::File::open(file).expect("it was just written");
    let output = cluster.command(&[&send[..], &["-"]].concat()).stdin(Stdio::from(input)).output();
    let output = output.expect("the program can be started");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2097152\n", "{output:?}");

    let missing = format!("@{file}.not");
    fails(&cluster, &[&send[..], &[&missing]].concat(), &["--args", &missing, "No such file"]);
    std::fs::write(file, "[1").expect("the directory is there");
    fails(&cluster, &[&send[..], &[&format!("@{file}")]].concat(), &["--args", file, "not JSON"]);
}

#[test]
fn arguments_are_encoded_and_checked_by_the_types_that_the_module_describes() {
    let cluster = cluster();
    let _values = Replicas::of(&cluster, "values", "values", 1);
    for (method, arguments, shown) in [
        ("place", r#"[{"Buy":{"item":"tea","price":"inf"}}]"#, r#"{"Ok":{"Buy":{"item":"tea","price":"inf"}}}"#),
        ("order", r#"["Nothing"]"#, r#"{"Ok":"Nothing"}"#), // as it was called before
        ("bytes", r#"["0x00ff"]"#, "[0,255]"),
        ("bytes", "[[0,255]]", "[0,255]"),
    ] {
        assert_eq!(printed(&cluster, method, arguments), format!("{shown}\n"), "{method} {arguments}");
    }
    let records = cluster.log("values").len();
    let order = "`order: variant { Nothing, Buy(record { item: string, price: option<f64> }) }`";
    for (method, arguments, words) in [
        (
            "place",
            r#"[{"Buy":{"item":"tea","price":"dear"}}]"#,
            [order, r#"at .Buy.price expected option<f64>, not "dear""#],
        ),
        ("place", r#"["Sell"]"#, [order, r#"not "Sell""#]),
        ("long", "[1]", ["long(unsigned: u64, signed: s64) -> tuple<u64, s64>", "1 argument is given"]),
        ("long", r#"[1, "x"]"#, ["`signed: s64`", r#"expected s64, not "x""#]),
    ] {
        let send = ["send", "--instance", "values", "--method", method, "--args", arguments];
        fails(&cluster, &send, &[&["--args"][..], &words].concat());
    }
    assert_eq!(cluster.log("values").len(), records, "what is of another type is never logged");
}

#[test]
fn status_shows_what_methods_take_and_give() {
    let cluster = cluster();
    cluster.register("values", "values", 1);
    let text = cluster.must(&["status", "--methods"]);
    let line = "  query  place(order: variant { Nothing, Buy(record { item: string, price: option<f64> }) }) -> \
                result<variant { Nothing, Buy(record { item: string, price: option<f64> }) }, string>  (formerly order)\n\
                \x20        Gives back an order as it was placed.\n         \n         Even one of nothing.\n";
    assert!(text.contains(line), "{text}");
    assert!(text.contains("  raw    raw(bytes: list<u8>) -> list<u8>\n"), "{text}");
    let json: Value = serde_json::from_str(&cluster.must(&["status", "--methods", "--json"])).expect("JSON");
    let methods = json["instances"][0]["methods"].as_array().expect("they were asked for");
    let wide = methods.iter().find(|method| method["name"] == "wide").expect("it is there");
    let argument = |name: &str, ty: &str| json!({"name": name, "type": ty});
    assert_eq!(wide["arguments"], json!([argument("unsigned", "u128"), argument("signed", "s128")]));
    assert_eq!((&wide["kind"], &wide["result"]), (&json!("update"), &json!("tuple<u128, s128>")));
    let plain: Value = serde_json::from_str(&cluster.must(&["status", "--json"])).expect("JSON");
    assert_eq!(plain["instances"][0]["methods"], Value::Null, "nobody asked");
}

#[test]
fn records_can_be_read_and_sent_when_the_module_is_gone() {
    let cluster = cluster();
    let _values = Replicas::of(&cluster, "values", "values", 1);
    let blobs = cluster.store().join("blobs");
    let files = || std::fs::read_dir(&blobs).expect("it is there").map(|file| file.expect("readable").path());
    for module in files().filter(|path| path.extension().is_none()) {
        std::fs::remove_file(module).expect("it is there");
    }
    assert_eq!(printed(&cluster, "long", r#"["9007199254740992", 1]"#), "[\"9007199254740992\",1]\n");
    let sent = |records: &[Value]| -> Option<Value> {
        let messages = records.iter().filter_map(|record| record["messages"].as_array()).flatten();
        messages.filter(|message| message["kind"] == "impulse").map(|message| message["arguments"].clone()).next()
    };
    assert_eq!(sent(&cluster.log("values")), Some(json!(["9007199254740992", 1])));
    // What nothing describes any more is shown as bytes.
    files().for_each(|file| std::fs::remove_file(file).expect("it is there"));
    let shown = sent(&cluster.log("values")).expect("the record is there");
    assert!(shown.as_str().is_some_and(|bytes| bytes.starts_with("0x92cf0020")), "{shown}");
    fails(&cluster, &["send", "--instance", "values", "--method", "long"], &["there is no blob"]);
}

#[test]
fn the_first_run_finds_what_the_registration_compiled() {
    let cluster = cluster();
    cluster.register("values", "values", 1);
    let compiled = cluster.store().join("compiled");
    let files = || -> Vec<_> {
        let files = std::fs::read_dir(&compiled).expect("it is there").map(|file| file.expect("readable"));
        files.map(|file| (file.file_name(), file.metadata().expect("a file").modified().expect("a time"))).collect()
    };
    let kept = files();
    assert_eq!(kept.len(), 1, "registration keeps what it compiled");
    cluster.register("twin", "values", 1);
    let _replica = Replicas::of(&cluster, "values", "values", 1);
    printed(&cluster, "text", r#"["it runs"]"#);
    assert_eq!(files(), kept, "nobody compiled it once more");
}

#[test]
fn a_store_that_does_not_list_the_methods_of_a_module_is_given_the_list() {
    let cluster = cluster();
    cluster.register("values", "values", 1);
    let blobs = cluster.store().join("blobs");
    let listed = || -> Vec<_> {
        let files = std::fs::read_dir(&blobs).expect("it is there").map(|file| file.expect("readable").path());
        files.filter(|path| path.extension().is_some_and(|extension| extension == "methods")).collect()
    };
    let [file] = &listed()[..] else { panic!("one module is registered: {:?}", listed()) };
    let written = std::fs::read(file).expect("it is there");
    for damage in [None, Some(&b"ambrosia-methods 1 00000000\n[]\n"[..])] {
        match damage {
            None => std::fs::remove_file(file).expect("it is there"),
            Some(bytes) => std::fs::write(file, bytes).expect("it can be written"),
        }
        let words = ["there is no method \"none\"; the module has raw, keyed, wide"];
        fails(&cluster, &["send", "--instance", "values", "--method", "none"], &words);
        assert_eq!(std::fs::read(file).expect("it is there again"), written);
    }
    cluster.must(&["deregister-instance", "--instance", "values", "--yes"]);
    assert_eq!(listed(), Vec::<std::path::PathBuf>::new(), "it goes with its module");
}
