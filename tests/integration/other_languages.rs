//! Immortals in other languages than Rust: what each of their toolchains makes is run, captured, killed and taken over.
//!
//! Those in JavaScript and C are committed (`tests/fixtures`). The one in Python is twenty megabytes, so it is built where the
//! tool for it is (`scripts/build-other-guests.sh`), and skipped elsewhere.

use std::path::{Path, PathBuf};

use ambrosia_tests::{Cluster, skip};
use serde_json::{Value, json};

use crate::support::{Replicas, Session, cluster, fails, succeeds};

/// Directory of guests that `scripts/build-other-guests.sh` has built.
const BUILT_VARIABLE: &str = "AMBROSIA_OTHER_GUESTS";

/// Checkpoints are taken when a test asks for one, and by nothing else.
const BY_HAND: &[&str] = &["--checkpoint-every", "100GiB", "--recovery-target", "60min"];

pub(crate) fn javascript() -> PathBuf {
    fixture("counter-javascript.wasm")
}

pub(crate) fn c() -> PathBuf {
    fixture("counter-c.wasm")
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// `None` where it was not built, which is said.
pub(crate) fn python() -> Option<PathBuf> {
    let built = std::env::var_os(BUILT_VARIABLE).map(|directory| PathBuf::from(directory).join("counter-python.wasm"));
    let built = built.filter(|file| file.exists());
    if built.is_none() {
        skip("guests in Python", "componentize-py is not here: see scripts/build-other-guests.sh");
    }
    built
}

#[test]
fn a_counter_in_javascript_counts_on_whatever_dies() {
    check_counter("JavaScript", &javascript());
}

#[test]
fn a_counter_in_c_counts_on_whatever_dies() {
    check_counter("C", &c());
}

#[test]
fn a_counter_in_python_counts_on_whatever_dies() {
    if let Some(python) = python() {
        check_counter("Python", &python);
    }
}

fn register(cluster: &Cluster, module: &Path, replicas: u16) {
    let module = module.to_str().expect("the path is text");
    cluster.must(&["register-instance", "--instance", "counter", "--module", module]);
    for replica in 1..replicas {
        cluster.must(&["add-replica", "--instance", "counter", "--replica", &replica.to_string()]);
    }
}

/// Counts to 10 on the first primary, of which 6 are in a checkpoint, to 20 on the standby that takes over, and to 30 after
/// both were killed and started again from checkpoints.
fn check_counter(language: &str, module: &Path) {
    let cluster = cluster();
    register(&cluster, module, 2);
    let mut counter = Replicas::none(&cluster, "counter", BY_HAND);
    counter.start_all(2);
    let mut session = Session::new(&cluster, "counter");

    count(&mut session, 1..=6);
    cluster.must(&["checkpoint", "--instance", "counter"]);
    count(&mut session, 7..=10);
    let before = luck(&mut session);
    // What a primary has answered, and not printed before it dies, nobody prints.
    counter.host(0).wait_for_print("total 10");
    assert_eq!(counter.kill_primary(), 0);
    counter.host(1).wait_for_print("at 10");
    count(&mut session, 11..=20);
    assert!(luck(&mut session)[0].as_i64() >= before[0].as_i64(), "time does not go back");

    counter.host(1).wait_for_print("total 20");
    cluster.must(&["checkpoint", "--instance", "counter"]);
    counter.start_standby(0);
    counter.host(0).wait_for_word("restored a checkpoint");
    counter.kill_all();
    counter.start(1);
    counter.next_reign();
    counter.host(1).wait_for_word("restored a checkpoint");
    counter.start_standby(0);
    count(&mut session, 21..=30);
    assert_eq!(session.call("total", json!([])), 30);
    assert_eq!(session.call("noted", json!([])), json!((1..=30).map(|n| format!("{n} ✓")).collect::<Vec<_>>()));

    check_errors(&cluster);

    counter.host(1).wait_for_print("total -270");
    let expected = (1..=30).chain([-270]).map(|n| format!("total {n}"));
    let printed = counter.printed();
    assert_eq!(printed[0], format!("counting in {language}"));
    let counted: Vec<_> = printed.iter().filter(|line| line.starts_with("total ")).cloned().collect();
    assert_eq!(counted, expected.collect::<Vec<_>>());
    let reigns: Vec<_> = printed.iter().filter(|line| line.starts_with("at ")).cloned().collect();
    assert_eq!(reigns, ["at 0", "at 10", "at 20"]);
}

fn count(session: &mut Session, to: std::ops::RangeInclusive<u64>) {
    for n in to {
        assert_eq!(session.call("add", json!([1])), n);
        session.call("note", json!([format!("{n} ✓")]));
    }
}

/// What a clock and a generator gave, which no replica may see otherwise than the others: the digests in the log tell.
fn luck(session: &mut Session) -> Value {
    let luck = session.call("luck", json!([]));
    assert!(luck[0].as_i64().is_some_and(|time| time > 1_000_000_000_000) && luck[1].is_u64(), "{luck}");
    luck
}

/// What a handler throws is the error of who asked, and the instance goes on.
fn check_errors(cluster: &Cluster) {
    let add = ["send", "--instance", "counter", "--method", "add", "--args"];
    fails(cluster, &[&add[..], &[r#"["much"]"#]].concat(), &["whole number"]);
    fails(cluster, &[&add[..], &["[]"]].concat(), &["argument"]);
    assert_eq!(cluster.send("counter", "add", json!([-300])), -270);
    assert_eq!(cluster.send("counter", "total", json!([])), -270);
}

/// What a component was when it was built is the same in all instances, and random numbers must not be.
#[test]
fn instances_of_one_component_draw_other_numbers() {
    for module in [javascript(), c()] {
        let drawn = [(); 2].map(|()| {
            let cluster = cluster();
            register(&cluster, &module, 1);
            let mut counter = Replicas::none(&cluster, "counter", BY_HAND);
            counter.start_all(1);
            luck(&mut Session::new(&cluster, "counter"))[1].clone()
        });
        assert_ne!(drawn[0], drawn[1], "{}", module.display());
    }
}

#[test]
fn a_program_in_c_that_opens_files_is_told_at_registration_and_is_denied() {
    let cluster = cluster();
    let module = c();
    let module = module.to_str().expect("the path is text");
    let registration = ["register-instance", "--instance", "counter", "--module", module];
    let words = ["--strict-imports", "wasi:filesystem/types@0.2", "descriptor.open-at"];
    fails(&cluster, &[&registration[..], &["--strict-imports"]].concat(), &words);
    let ran = cluster.run(&registration);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("denied what it asks for:\n  wasi:filesystem/types@0.2"), "{}", ran.stderr);
    let mut counter = Replicas::none(&cluster, "counter", BY_HAND);
    counter.start_all(1);
    let denied = cluster.send("counter", "peek", json!([]));
    assert!(denied.as_str().is_some_and(|text| !text.is_empty()), "{denied}");
}

#[test]
fn a_program_in_javascript_has_nothing_that_is_denied() {
    let module = javascript();
    let module = module.to_str().expect("the path is text");
    let registration = ["register-instance", "--instance", "counter", "--module", module, "--strict-imports"];
    succeeds(&cluster(), &registration, &["add, total, note, noted, luck"]);
}
