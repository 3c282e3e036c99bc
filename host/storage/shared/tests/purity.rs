//! What decides is pure: nothing but the folder `shell` names a clock, thread, lock, socket or file, and the crate depends on no
//! engine.

use std::{fs, path::Path};

/// Crates that it may use: none of them is a runtime, or the client of an engine.
const DEPENDENCIES: [&str; 4] = ["ambrosia-core", "ambrosia-storage", "bytes", "thiserror"];

/// What must not stand in the source.
const BANNED: [&str; 14] = [
    "std::fs",
    "std::net",
    "std::time",
    "std::thread",
    "std::process",
    "std::env",
    "std::io",
    "std::sync",
    "HashMap",
    "HashSet",
    "SystemTime",
    "Instant",
    "println!",
    "unsafe",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Names in the table of dependencies.
fn dependencies(manifest: &str) -> Vec<&str> {
    let table = manifest.split_once("[dependencies]\n").map_or("", |(_, rest)| rest);
    let lines = table.lines().take_while(|line| !line.starts_with('['));
    lines.filter(|line| !line.is_empty()).map(|line| line.split(['.', '=', ' ']).next().unwrap_or("")).collect()
}

/// Banned words in `source`, with their lines; a group of `use std::{fs, time}` counts, too.
fn banned(source: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    let mut is_group = false;
    for (at, line) in source.lines().enumerate() {
        let code = line.split("//").next().unwrap_or("");
        is_group |= code.contains("use std::{");
        for word in BANNED {
            let part = word.strip_prefix("std::").filter(|_| is_group);
            let mut names = code.split(|c: char| !c.is_alphanumeric());
            if code.contains(word) || part.is_some_and(|part| names.any(|name| name == part)) {
                found.push((at + 1, word));
            }
        }
        is_group &= !code.contains(';');
    }
    found
}

#[test]
fn it_depends_on_no_runtime_and_no_engine() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("it is here");
    assert_eq!(dependencies(&manifest), DEPENDENCIES);
}

#[test]
fn what_decides_names_no_clock_thread_lock_socket_or_file() {
    let files =
        fs::read_dir(root().join("src")).expect("the source is here").map(|entry| entry.expect("readable").path());
    let mut seen = 0;
    for path in files.filter(|path| path.is_file()) {
        let source = fs::read_to_string(&path).expect("readable");
        assert_eq!(banned(&source), [], "in {}", path.display());
        seen += 1;
    }
    assert!(seen > 8, "the source is found");
}

#[test]
fn the_reader_sees_what_it_looks_for() {
    assert_eq!(
        dependencies("[dependencies]\nbytes.workspace = true\ntokio = \"1\"\n\n[features]\nx = []"),
        ["bytes", "tokio"]
    );
    let source = "use std::{\n    collections::BTreeMap,\n    sync::Arc,\n};\nlet x = std::time::Instant::now(); // std::net\nsync";
    assert_eq!(banned(source), [(3, "std::sync"), (5, "std::time"), (5, "Instant")]);
}
