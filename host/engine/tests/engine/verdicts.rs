//! Which components can be captured without their help, and what is said of the others.

use crate::{
    ENGINE, Run,
    guests::{ECHO, Wat},
    module,
};

/// The findings for a component that is an immortal in all else. It runs all the same.
fn findings(wat: &Wat) -> Vec<String> {
    let module = module(wat);
    let findings = module.captures().expect_err("it could hide state");
    assert!(!Run::new(wat).guest.capture_all().expect_err("it can't be captured").to_string().is_empty());
    assert_eq!(Run::new(wat).guest.digest(), 0);
    assert_eq!(Run::new(wat).deliver(b"runs").as_deref(), Ok(&b"runs"[..]));
    findings.iter().map(ToString::to_string).collect()
}

fn finding_of(fields: &str) -> String {
    let found = findings(&Wat::deliver(ECHO).more(fields));
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().expect("one")
}

fn finding_around(from: &str, to: &str) -> String {
    findings(&Wat::deliver(ECHO).change(from, to)).into_iter().next().expect("at least one")
}

#[test]
fn an_immortal_of_memory_and_numbers_can_be_captured() {
    assert_eq!(module(&Wat::deliver(ECHO)).captures(), Ok(()));
    let harmless = r#"(table 2 funcref) (elem (i32.const 0) $answer) (elem declare func $answer)
                      (data $passive "abc") (global $fixed funcref (ref.func $answer))
                      (func (memory.init $passive (i32.const 0) (i32.const 0) (i32.const 3)))"#;
    assert_eq!(module(&Wat::deliver(ECHO).more(harmless)).captures(), Ok(()));
}

#[test]
fn functions_that_change_tables_or_drop_segments() {
    let fields = r#"(table $t 2 funcref) (elem $e func $answer) (data $d "abc")"#;
    for (instruction, text) in [
        ("table.set", "(table.set $t (i32.const 0) (ref.null func))"),
        ("table.grow", "(drop (table.grow $t (ref.null func) (i32.const 1)))"),
        ("table.fill", "(table.fill $t (i32.const 0) (ref.null func) (i32.const 1))"),
        ("table.copy", "(table.copy $t $t (i32.const 0) (i32.const 0) (i32.const 1))"),
        ("table.init", "(table.init $t $e (i32.const 0) (i32.const 0) (i32.const 1))"),
        ("data.drop", "(data.drop $d)"),
        ("elem.drop", "(elem.drop $e)"),
    ] {
        let finding = finding_of(&format!("{fields} (func $hides {text} {text})"));
        assert!(finding.contains(instruction), "{finding}");
        assert!(finding.starts_with("core module 1, function ") && finding.contains("(`hides`)"), "{finding}");
    }
}

#[test]
fn globals_that_are_no_numbers() {
    for (ty, value) in [("funcref", "(ref.null func)"), ("v128", "(v128.const i64x2 1 2)")] {
        let finding = finding_of(&format!("(global (mut {ty}) {value})"));
        assert!(finding.starts_with("core module 1 has the mutable global 0"), "{finding}");
    }
}

#[test]
fn too_many_globals() {
    let globals = "(global (mut i32) (i32.const 0))".repeat(17_000);
    assert!(finding_of(&globals).contains("17001 mutable globals"));
}

#[test]
fn modules_that_came_from_elsewhere() {
    let from_elsewhere = r#"(component $lender (core module $m (memory 1)) (export "m" (core module $m)))
        (instance $lender (instantiate $lender)) (alias export $lender "m" (core module $lent))
        (core instance (instantiate $lent)) (core module $libc"#;
    let finding = finding_around("(core module $libc", from_elsewhere);
    assert_eq!(finding, "the component instantiates a core module that it does not contain itself");
}

#[test]
fn functions_inside_of_a_component_inside_of_the_component() {
    let inner = "(component (core module) (core module $m (table 1 funcref)
                   (func $hides (table.set (i32.const 0) (ref.null func)))))";
    let finding = finding_around("(core module $libc", &format!("{inner} (core module $libc"));
    let expected = "core module 1 of component 1 inside of the component, function 0 (`hides`): `table.set`";
    assert!(finding.starts_with(expected), "{finding}");
}

#[test]
fn resources_of_the_component_itself() {
    let finding = finding_around("(core module $libc", "(type $own (resource (rep i32))) (core module $libc");
    assert!(finding.contains("resource type"), "{finding}");
}

#[test]
fn streams_that_can_not_be_told_apart() {
    let twice = r#"(import "wasi:cli/stdout@0.2.3" (instance
                     (alias outer 1 $output (type $outer-output))
                     (export "output-stream" (type $output (eq $outer-output)))
                     (export "get-stdout" (func (result (own $output))))))
                   (import "wasi:cli/exit@0.2.6""#;
    let finding = finding_around(r#"(import "wasi:cli/exit@0.2.6""#, twice);
    assert!(finding.contains("imports `wasi:cli/stdout@0.2` twice"), "{finding}");
}

#[test]
fn all_that_is_found_is_said_up_to_a_limit() {
    let fields = "(table $t 2 funcref) (global (mut funcref) (ref.null func))";
    let functions = "(func (table.set $t (i32.const 0) (ref.null func)))".repeat(200);
    let found = findings(&Wat::deliver(ECHO).more(fields).more(&functions));
    assert_eq!(found.len(), 100);
    assert!(found[0].contains("mutable global") && found[99].contains("table.set"), "{found:?}");
}

#[test]
fn a_name_of_ours_that_is_taken_costs_captures_and_no_more() {
    let export = r#"(func (export "ambrosia:global-0"))"#;
    let wat = Wat::deliver(ECHO).more(&format!("(global (mut i32) (i32.const 0)) {export}"));
    assert!(findings(&wat)[0].contains("can't be added"));
}

#[test]
fn the_verdict_is_in_the_cache() {
    let directory = tempfile::tempdir().expect("a directory");
    let hides = Wat::deliver(ECHO).more("(table 2 funcref) (func (table.set (i32.const 0) (ref.null func)))");
    for wat in [Wat::deliver(ECHO), hides] {
        let load = || ENGINE.load_cached(&wat.bytes(), directory.path()).expect("an immortal");
        let (first, second) = (load(), load());
        assert_eq!(first.captures(), second.captures());
        assert_eq!(first.captures(), module(&wat).captures());
        let mut guest = second.instantiate(&crate::genesis(1)).expect("it starts");
        assert_eq!(guest.capture_all().is_ok(), second.captures().is_ok());
    }
}
