//! What decides is pure: the core, and of the log on an engine all but the folder `shell`, depend on nothing and name nothing that could tell one run from
//! another.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Crates that the core may use: none of them does anything by itself.
const OF_THE_CORE: [&str; 6] = ["bytes", "crc32c", "sha2", "thiserror", "uuid", "xxhash-rust"];

/// Crates that the log on an engine uses: none of them is a runtime, or the client of an engine.
const OF_THE_SHARED_LOG: [&str; 7] =
    ["ambrosia-core", "ambrosia-storage", "bincode", "bytes", "serde", "sha2", "thiserror"];

/// What must not stand in the source, outside of tests.
const BANNED: [&str; 17] = [
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
    "RandomState",
    "rand::",
    "tokio",
    "SystemTime",
    "Instant",
    "println!",
    "unsafe",
];

/// The folder of a crate.
fn root(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(of)
}

/// Names in the tables of dependencies that are built into the crate.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut table = String::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            table = header.trim_end_matches(']').to_owned();
            // [dependencies.name]
            if let Some(name) = table.strip_prefix("dependencies.") {
                names.push(name.to_owned());
            }
        } else if table.ends_with("dependencies") && table != "dev-dependencies" && !line.is_empty() {
            let name = line.split(['.', '=', ' ']).next().expect("split gives one part at least");
            if !name.starts_with('#') {
                names.push(name.to_owned());
            }
        }
    }
    names
}

/// Banned words in `source`, with their lines. `use std::{fs, time}` is spelled out first.
fn banned(source: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    let mut nested = false;
    for (at, line) in source.lines().enumerate() {
        let code = line.split("//").next().expect("split gives one part at least");
        nested |= code.contains("use std::{");
        for word in BANNED {
            let part = word.strip_prefix("std::").filter(|_| nested);
            let in_group = part.is_some_and(|part| code.split(|c: char| !c.is_alphanumeric()).any(|name| name == part));
            if code.contains(word) || in_group {
                found.push((at + 1, word));
            }
        }
        nested &= !code.contains(';');
    }
    found
}

/// The sources in a folder, and in those in it but the one of that name.
fn sources(folder: &Path, but: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("the source is here") {
        let path = entry.expect("readable").path();
        let is_left_out = |name| path.file_name().is_some_and(|of| of == name);
        if path.is_dir() && !is_left_out(but) {
            all.extend(sources(&path, but));
        } else if path.is_file() && !is_left_out("tests.rs") {
            all.push((path.display().to_string(), fs::read_to_string(&path).expect("readable")));
        }
    }
    all
}

fn manifest(of: &str) -> String {
    fs::read_to_string(root(of).join("Cargo.toml")).expect("it is here")
}

#[test]
fn the_core_depends_on_nothing_that_does_something_by_itself() {
    let found = dependencies(&manifest("host/core"));
    assert!(!found.is_empty(), "the manifest is understood");
    for name in found {
        assert!(OF_THE_CORE.contains(&name.as_str()), "{name} is no dependency for the core");
    }
}

#[test]
fn the_log_on_an_engine_depends_on_no_runtime_and_no_engine() {
    assert_eq!(dependencies(&manifest("host/storage/shared")), OF_THE_SHARED_LOG);
}

#[test]
fn the_core_names_no_clock_file_socket_thread_or_random_source() {
    let sources = sources(&root("host/core").join("src"), "");
    assert!(sources.len() > 15, "the source is found");
    for (path, source) in sources {
        assert_eq!(banned(&source), [], "in {path}");
    }
}

#[test]
fn what_decides_about_a_log_on_an_engine_names_no_clock_thread_lock_socket_or_file() {
    let sources = sources(&root("host/storage/shared").join("src"), "shell");
    assert!(sources.len() > 8, "the source is found");
    for (path, source) in sources {
        assert_eq!(banned(&source), [], "in {path}");
    }
}

#[test]
fn the_two_readers_see_what_they_look_for() {
    let manifest = "[dependencies]\nbytes.workspace = true\nrand = \"1\"\n[dev-dependencies]\nproptest = \"1\"\n\
                    [target.'cfg(unix)'.dependencies]\nlibc = \"1\"\n[dependencies.tokio]\nversion = \"1\"";
    assert_eq!(dependencies(manifest), ["bytes", "rand", "libc", "tokio"]);
    let manifest = "[dependencies]\nbytes.workspace = true\ntokio = \"1\"\n\n[features]\nx = []";
    assert_eq!(dependencies(manifest), ["bytes", "tokio"]);
    let source =
        "use std::{\n    collections::BTreeMap,\n    fs,\n};\nlet x = std::time::Instant::now(); // std::net\nfs";
    assert_eq!(banned(source), [(3, "std::fs"), (5, "std::time"), (5, "Instant")]);
    let source = "use std::{\n    collections::BTreeMap,\n    sync::Arc,\n};\nlet x = std::time::Instant::now(); // std::net\nsync";
    assert_eq!(banned(source), [(3, "std::sync"), (5, "std::time"), (5, "Instant")]);
}
