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
