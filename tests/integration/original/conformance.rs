//! The table in docs/conformance.md says what is there.

use std::{collections::BTreeMap, fs, path::PathBuf};

/// Tests of the original.
const ORIGINAL_TESTS: usize = 175;

/// Root of the checkout.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The lines of all tables, as cells.
fn rows(document: &str) -> Vec<Vec<&str>> {
    let tables = document.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    tables.map(|line| line.split(" | ").map(str::trim).collect()).collect()
}

fn number(cell: &str) -> usize {
    cell.parse().unwrap_or_else(|error| panic!("{cell}: {error}"))
}

/// What stands between backticks.
fn quoted(document: &str) -> impl Iterator<Item = &str> {
    document.split('`').skip(1).step_by(2)
}

#[test]
fn every_test_and_file_that_the_table_names_exists() {
    let document = read("docs/conformance.md");
    for name in quoted(&document) {
        if let Some((module, test)) = name.rsplit_once("::") {
            let source = read(&format!("tests/integration/{}.rs", module.replace("::", "/")));
            assert!(source.contains(&format!("#[test]\nfn {test}()")), "there is no test {name}");
        } else if name.contains('/') {
            assert!(root().join(name).exists(), "there is no {name}");
        }
    }
}

#[test]
fn every_test_of_these_modules_is_in_the_table() {
    let document = read("docs/conformance.md");
    let modules = read("tests/integration/original/mod.rs");
    let modules = modules.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    for module in modules.filter(|module| *module != "conformance") {
        let source = read(&format!("tests/integration/original/{module}.rs"));
        for test in source.split("#[test]\nfn ").skip(1).filter_map(|rest| rest.split('(').next()) {
            let name = format!("original::{module}::{test}");
            assert!(quoted(&document).any(|quoted| quoted == name), "{name} is not in the table");
        }
    }
}

#[test]
fn the_numbers_of_the_table_add_up() {
    let document = read("docs/conformance.md");
    let mut counted: BTreeMap<&str, usize> = BTreeMap::from([("all", ORIGINAL_TESTS)]);
    let mut totals: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows(&document) {
        match row[..] {
            [originals, tests, outcome, here] => {
                let tests = number(tests);
                let whole_group = originals.ends_with('…');
                assert!(whole_group || originals.split(", ").count() == tests, "{originals} are not {tests}");
                let needs_a_test = matches!(outcome, "ported" | "covered");
                assert!(!needs_a_test || here.starts_with('`'), "{originals}: which test?");
                *counted.entry(outcome).or_default() += tests;
            }
            [outcome, tests] => assert_eq!(totals.insert(outcome, number(tests)), None, "{outcome} stands there twice"),
            _ => {} // the head of a table
        }
    }
    assert_eq!(totals, counted);
    assert_eq!(counted.values().sum::<usize>(), 2 * ORIGINAL_TESTS, "all, and all by their outcomes");
}
