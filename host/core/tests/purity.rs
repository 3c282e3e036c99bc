//! The core depends on nothing that could tell one run from another.

use std::{fs, path::Path};

/// Crates that the core may use: none of them does anything by itself.
const DEPENDENCIES: [&str; 6] = ["bytes", "crc32c", "sha2", "thiserror", "uuid", "xxhash-rust"];

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

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
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

fn sources(folder: &Path) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("the source is here") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            all.extend(sources(&path));
        } else if path.file_name().is_some_and(|name| name != "tests.rs") {
            all.push((path.display().to_string(), fs::read_to_string(&path).expect("readable")));
        }
    }
    all
}

#[test]
fn the_core_depends_on_nothing_that_does_something_by_itself() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("it is here");
    let found = dependencies(&manifest);
    assert!(!found.is_empty(), "the manifest is understood");
    for name in found {
        assert!(DEPENDENCIES.contains(&name.as_str()), "{name} is no dependency for the core");
    }
}

#[test]
fn the_core_names_no_clock_file_socket_thread_or_random_source() {
    let sources = sources(&root().join("src"));
    assert!(sources.len() > 15, "the source is found");
    for (path, source) in sources {
        assert_eq!(banned(&source), [], "in {path}");
    }
}

#[test]
fn the_two_readers_see_what_they_look_for() {
    let manifest = "[dependencies]\nbytes.workspace = true\nrand = \"1\"\n[dev-dependencies]\nproptest = \"1\"\n\
                    [target.'cfg(unix)'.dependencies]\nlibc = \"1\"\n[dependencies.tokio]\nversion = \"1\"";
    assert_eq!(dependencies(manifest), ["bytes", "rand", "libc", "tokio"]);
    let source =
        "use std::{\n    collections::BTreeMap,\n    fs,\n};\nlet x = std::time::Instant::now(); // std::net\nfs";
    assert_eq!(banned(source), [(3, "std::fs"), (5, "std::time"), (5, "Instant")]);
}
