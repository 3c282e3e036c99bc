//! What a program links that links a crate of this project, by `Cargo.lock`: it names every crate that any build of it,
//! its tests among them, may have.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Crates of the lock file, each with those that it depends on.
type Graph = BTreeMap<String, BTreeSet<String>>;

fn locked() -> Graph {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders up");
    read(&fs::read_to_string(root.join("Cargo.lock")).expect("the lock file is kept with the sources"))
}

/// Versions of one crate are one here: what any of them depends on counts.
fn read(lock: &str) -> Graph {
    let mut graph = Graph::new();
    for package in lock.split("[[package]]").skip(1) {
        let name = package.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
        let name = name.expect("a package has a name").to_owned();
        let dependencies = package.lines().filter_map(|line| line.strip_prefix(" \"")?.strip_suffix("\","));
        let names = dependencies.filter_map(|text| text.split(' ').next()).map(str::to_owned);
        graph.entry(name).or_default().extend(names);
    }
    graph
}

/// All crates that come with `name`, itself among them.
fn with(graph: &Graph, name: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![name.to_owned()];
    while let Some(next) = open.pop() {
        let dependencies = graph.get(&next).unwrap_or_else(|| panic!("{next} is in the lock file"));
        if found.insert(next) {
            open.extend(dependencies.iter().cloned());
        }
    }
    found
}

/// The crates among `linked` that have an engine, a store or a host in them.
fn heavy(linked: &BTreeSet<String>) -> Vec<&str> {
    let is_heavy = |name: &str| {
        let ours = ["ambrosia-engine", "ambrosia-storage", "ambrosia-host", "ambrosia-cli"];
        ours.contains(&name) || name.starts_with("wasmtime") || name.starts_with("cranelift")
    };
    linked.iter().map(String::as_str).filter(|name| is_heavy(name)).collect()
}

#[test]
fn a_client_links_no_engine_and_no_store() {
    let graph = locked();
    for name in ["ambrosia-client", "ambrosia-door", "ambrosia-wire"] {
        let linked = with(&graph, name);
        assert!(linked.contains("ambrosia-core") && linked.contains("tokio"), "{name} is understood");
        assert_eq!(heavy(&linked), [""; 0], "{name} links that");
    }
}

/// Who decides about a log on an engine has to run in a simulation as well as above any engine.
#[test]
fn the_log_on_an_engine_links_no_runtime_and_no_engine() {
    let linked = with(&locked(), "ambrosia-shared-log");
    assert!(linked.contains("ambrosia-core") && linked.contains("ambrosia-storage"), "it is understood");
    let is_runtime = |name: &&String| {
        ["tokio", "hyper", "async-std", "smol", "mio", "postgres", "etcd-client", "object_store", "sqlx"].iter().any(
            |word| {
                name.as_str() == *word || name.starts_with(&format!("{word}-")) || name.ends_with(&format!("-{word}"))
            },
        )
    };
    assert_eq!(linked.iter().filter(is_runtime).collect::<Vec<_>>(), [""; 0]);
}

/// The test would be no test if it found nothing anywhere.
#[test]
fn a_host_is_seen_to_link_them() {
    let graph = locked();
    let linked = with(&graph, "ambrosia-host");
    let heavy = heavy(&linked);
    for name in ["ambrosia-engine", "ambrosia-host", "ambrosia-storage", "wasmtime"] {
        assert!(heavy.contains(&name), "{name}");
    }
}
