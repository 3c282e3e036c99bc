//! What the files in `deploy/` give to the program, the program takes: flags of `serve`, and variables.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All texts of a folder, those below it too.
fn texts(folder: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).expect("it is a folder") {
        let path = entry.expect("it can be read").path();
        // What somebody has made beside them is not theirs.
        if path.ends_with("secrets") || path.ends_with("modules") {
            continue;
        }
        if path.is_dir() {
            all += &texts(&path);
        } else {
            all += &fs::read_to_string(&path).expect("it is a text");
        }
    }
    all
}

/// Words that begin so and go on with these letters.
fn words<'a>(text: &'a str, begin: &str, goes_on: fn(char) -> bool) -> BTreeSet<&'a str> {
    let ends = |from: usize| text[from + begin.len()..].find(|letter| !goes_on(letter));
    let word = |(from, _)| &text[from..ends(from).map_or(text.len(), |length| from + begin.len() + length)];
    text.match_indices(begin).map(word).collect()
}

/// What is given to `ambrosia-host serve` there.
fn arguments_of_serve() -> String {
    let read = |name: &str| fs::read_to_string(root().join("deploy").join(name)).expect("it is there");
    let [unit, compose, kubernetes, environment] =
        ["ambrosia-host.service", "compose.yaml", "kubernetes.yaml", "host.env"].map(read);
    let lines = unit.lines().chain(compose.lines()).filter(|line| line.contains("serve"));
    let lines = lines.chain(environment.lines().filter(|line| line.contains("ambrosia-host serve")));
    lines.chain(kubernetes.lines().filter(|line| line.trim_start().starts_with("- --"))).collect()
}

#[test]
fn flags_of_serve_in_the_files_for_operators_are_there() {
    let arguments = texts(&root().join("cli/src/arguments"));
    let flags = arguments_of_serve();
    let flags = words(&flags, "--", |letter| letter.is_ascii_lowercase() || letter == '-');
    assert!(flags.len() >= 4, "they are not found: {flags:?}");
    for flag in flags {
        let field = flag.trim_start_matches('-').replace('-', "_");
        assert!(arguments.contains(&format!(" {field}: ")), "deploy/ gives {flag}, and no verb takes it");
    }
}

#[test]
fn variables_in_the_files_for_operators_are_read() {
    let program = texts(&root().join("cli/src"));
    let deploy = texts(&root().join("deploy"));
    let variables = words(&deploy, "AMBROSIA_", |letter| letter.is_ascii_uppercase() || letter == '_');
    // These are of the files themselves.
    let own = ["AMBROSIA_IMAGE", "AMBROSIA_USER", "AMBROSIA_HOST"];
    let variables: Vec<_> = variables.into_iter().filter(|name| !own.contains(name)).collect();
    assert!(variables.len() >= 5, "they are not found: {variables:?}");
    for name in variables {
        assert!(program.contains(&format!("\"{name}\"")), "deploy/ sets {name}, and the program does not read it");
    }
}
