//! Components that other components are composed of, and modules of which there are several instances.

use ambrosia_engine::ModuleError;

use crate::{
    ENGINE, Run,
    capturing::all,
    genesis,
    guests::{ECHO, Wat},
    kept::ENGINES,
    module,
};

/// A component that counts in a global and in a memory, in two instances of one module. The memory of the second one grows.
const COUNTER: &str = r#"(component $counter
  (core module $m (memory 1 8) (global $calls (mut i32) (i32.const 0))
    (func (export "next") (param $grow i32) (result i32)
      (drop (memory.grow (local.get $grow)))
      (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
      (i32.store (i32.const 4096) (i32.add (i32.load (i32.const 4096)) (i32.const 100)))
      (i32.add (global.get $calls) (i32.load (i32.const 4096)))))
  (core instance $first (instantiate $m)) (core instance $second (instantiate $m))
  (func (export "first") (param "grow" u32) (result u32) (canon lift (core func $first "next")))
  (func (export "second") (param "grow" u32) (result u32) (canon lift (core func $second "next"))))"#;

/// Two such components with an instance of a module of another size between them.
const COUNTERS: &str = r#"
  (instance $left (instantiate $counter))
  (core module $own (memory 3) (data (i32.const 70000) "own")) (core instance (instantiate $own))
  (instance $right (instantiate $counter))"#;

const GIVEN: &str = r#"(with "left" (func $left "first")) (with "right" (func $right "second"))"#;

/// Prints, and answers with what both say: of `left` the first counter and of `right` the second one, which grows.
fn asks_counters() -> Wat {
    let body = "(call $print (call $stdout) (i32.const 512) (i32.const 4))
                (i32.store (i32.const 64) (call $left (i32.const 0)))
                (drop (call $right (i32.const 0)))
                (i32.store (i32.const 68) (call $right (i32.const 1)))
                (call $answer (i32.const 64) (i32.const 8))";
    let imports = r#"(import "left" (func $left (param "grow" u32) (result u32)))
        (import "right" (func $right (param "grow" u32) (result u32)))
        (core func $left (canon lower (func $left))) (core func $right (canon lower (func $right)))
        (core module $libc"#;
    Wat::deliver(body)
        .more(r#"(data (i32.const 512) "line")"#)
        .change("(core module $libc", imports)
        .change(
            r#"(import "host" "directories""#,
            r#"(import "host" "left" (func $left (param i32) (result i32)))
               (import "host" "right" (func $right (param i32) (result i32))) (import "host" "directories""#,
        )
        .change(
            r#"(export "directories""#,
            r#"(export "left" (func $left)) (export "right" (func $right)) (export "directories""#,
        )
        .inside(&format!("{COUNTER} {COUNTERS}"), GIVEN)
}

#[test]
fn all_instances_of_a_composed_component_go_on_the_same_after_a_restore() {
    for engine in &*ENGINES {
        let module = engine.load(&asks_counters().bytes()).expect("an immortal");
        assert_eq!(module.captures(), Ok(()));
        let mut run = Run::of(module.instantiate(&genesis(1)).expect("it starts"));
        for expected in [[101, 202], [202, 404], [303, 606]] {
            let kept = all(&mut run.guest);
            let mut restored = Run::of(module.restore(&genesis(1), kept.image()).expect("the image is whole"));
            restored.world = run.world.clone();
            assert_eq!(restored.guest.digest(), run.guest.digest());
            assert_eq!(run.deliver(b""), Ok(expected.map(u32::to_le_bytes).concat()));
            restored.deliver(b"").expect("harmless");
            assert_eq!(run.delivered, restored.delivered);
            assert_eq!(run.printed(), "1:line");
            assert_eq!(run.guest.digest(), restored.guest.digest());
            assert_eq!(run.guest.memory_bytes(), restored.guest.memory_bytes());
        }
    }
}

#[test]
fn a_module_that_is_instantiated_twice_is_captured() {
    let twice = "(core instance $libc (instantiate $libc)) (core instance $other (instantiate $libc))";
    let wat = Wat::deliver(ECHO).change("(core instance $libc (instantiate $libc))", twice);
    let module = module(&wat);
    assert_eq!(module.captures(), Ok(()));
    let mut run = Run::of(module.instantiate(&genesis(1)).expect("it starts"));
    run.deliver(&[7; 70_000]).expect("harmless");
    let kept = all(&mut run.guest);
    let mut restored = Run::of(module.restore(&genesis(1), kept.image()).expect("the image is whole"));
    assert_eq!(run.guest.digest(), restored.guest.digest());
    assert_eq!(restored.deliver(b"runs").as_deref(), Ok(&b"runs"[..]));
}

fn finding(wat: &Wat) -> String {
    let module = module(wat);
    let findings = module.captures().expect_err("its handles can't be told apart");
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings[0].to_string()
}

#[test]
fn handles_in_two_instances_can_not_be_told_apart() {
    let second = r#"(component $second (import "wasi:io/streams@0.2.6" (instance $streams
          (export "output-stream" (type $output (sub resource)))))
        (alias export $streams "output-stream" (type $output)) (core func (canon resource.drop $output)))
      (instance (instantiate $second (with "wasi:io/streams@0.2.6" (instance $streams))))"#;
    let found = finding(&Wat::deliver(ECHO).inside(second, ""));
    assert!(found.starts_with("2 instances of components inside of the component have handles"), "{found}");
}

#[test]
fn a_component_that_is_given_another_stream_than_its_import_says() {
    assert_eq!(module(&Wat::deliver(ECHO).inside("", "")).captures(), Ok(()));
    let wrong = r#"(alias export $stderr "get-stderr" (func $get-stderr))
        (instance $wrong (export "output-stream" (type $output)) (export "get-stdout" (func $get-stderr)))"#;
    let found = finding(&Wat::deliver(ECHO).inside(wrong, r#"(with "wasi:cli/stdout@0.2.6" (instance $wrong))"#));
    assert!(found.contains("is given another `wasi:cli/stdout@0.2`"), "{found}");
}

#[test]
fn components_that_double_are_refused_before_they_are_compiled() {
    let mut fields = "(component $c0)".to_owned();
    for level in 1..=22 {
        let before = level - 1;
        fields += &format!(
            "(component $c{level} (alias outer 1 $c{before} (component $b))
               (instance (instantiate $b)) (instance (instantiate $b)))"
        );
    }
    fields += "(instance (instantiate $c22))";
    let error = ENGINE.load(&Wat::deliver(ECHO).inside(&fields, "").bytes()).err().expect("it is too much");
    assert!(matches!(error, ModuleError::Nesting { .. }), "{error}");
    assert!(error.to_string().contains("more than 1000 instances"), "{error}");
}
