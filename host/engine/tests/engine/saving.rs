//! Components whose state can't be captured, but which save and load it themselves.

use ambrosia_core::Capture;
use ambrosia_engine::{CaptureError, Image, Module, RestoreError};

use crate::{Run, genesis, guests::Wat, module};

/// Counts what it was handed, in a memory that is lost and a table that hides.
pub(crate) const COUNT: &str = "(i32.store (i32.const 16) (i32.add (i32.load (i32.const 16)) (local.get $length)))
                     (call $answer (i32.const 16) (i32.const 4))";

const EXPORTS: &str = r#"
    (func (export "save") (result (list u8))
      (canon lift (core func $main "save") (memory $memory)))
    (func (export "load") (param "state" (list u8))
      (canon lift (core func $main "load") (memory $memory) (realloc $realloc)))
    (func (export "describe")"#;

/// A component whose `deliver` has that body, and which saves and loads like that.
pub(crate) fn saver(deliver: &str, save: &str, load: &str) -> Wat {
    let fields = format!(
        r#"(table 2 funcref) (func (table.set (i32.const 0) (ref.null func)))
           (func (export "save") (result i32) {save})
           (func (export "load") (param $at i32) (param $length i32) {load})"#
    );
    Wat::deliver(deliver).more(&fields).change(
        r#"
  (func (export "describe")"#,
        EXPORTS,
    )
}

pub(crate) const SAVE: &str =
    "(call $print (call $stdout) (i32.const 16) (i32.const 4)) (call $answer (i32.const 16) (i32.const 4))";
pub(crate) const LOAD: &str = "(call $print (call $stdout) (i32.const 16) (i32.const 4))
                    (i32.store (i32.const 16) (i32.load (local.get $at)))";

fn restore(module: &Module, capture: Capture) -> Result<Run, RestoreError> {
    assert_eq!(capture.memories, []);
    let image = Image { registers: capture.registers, memories: Vec::new() };
    Ok(Run::of(module.restore(&genesis(1), image)?))
}

#[test]
fn the_state_goes_through_save_and_load() {
    let wat = saver(COUNT, SAVE, LOAD);
    assert!(module(&wat).captures().is_err());
    let mut run = Run::new(&wat);
    run.deliver(b"abc").expect("it counts");
    let fuel = run.guest.fuel_used();
    assert!(run.guest.copy_ahead(1).expect("nothing to copy"));
    for capture in [run.guest.capture_all(), run.guest.capture_changes()] {
        let mut restored = restore(&module(&wat), capture.expect("it saves")).expect("it loads");
        assert_eq!((run.guest.digest(), restored.guest.digest()), (0, 0));
        assert_eq!(restored.guest.fuel_used(), 0);
        assert_eq!(restored.deliver(b"de"), Ok(vec![5, 0, 0, 0]));
        assert_eq!(restored.printed(), "");
    }
    assert_eq!(run.guest.fuel_used(), fuel);
    assert_eq!(run.deliver(b""), Ok(vec![3, 0, 0, 0]));
    assert_eq!(run.printed(), "");
}

#[test]
fn a_trap_in_save_poisons_and_says_so() {
    let mut run = Run::new(&saver(COUNT, "(unreachable)", LOAD));
    let error = run.guest.capture_all().expect_err("it traps");
    assert!(matches!(error, CaptureError::Save(_)) && error.to_string().contains("can't go on"), "{error}");
    assert!(matches!(run.guest.capture_all(), Err(CaptureError::Poisoned)));
    run.deliver(b"").expect_err("it is poisoned");
}

#[test]
fn a_trap_in_load_is_an_error() {
    let wat = saver(COUNT, SAVE, "(unreachable)");
    let capture = Run::new(&wat).guest.capture_all().expect("it saves");
    let error = restore(&module(&wat), capture).err().expect("it traps");
    assert!(matches!(&error, RestoreError::Load(_)) && error.to_string().contains("the guest aborted"), "{error}");
}

#[test]
fn what_another_kind_of_component_gave_is_refused() {
    let saved = Run::new(&saver(COUNT, SAVE, LOAD)).guest.capture_all().expect("it saves");
    let seen = module(&Wat::deliver(COUNT));
    assert!(matches!(restore(&seen, saved), Err(RestoreError::Registers(_))));
    let mut seen = Run::new(&Wat::deliver(COUNT)).guest.capture_all().expect("it can be captured");
    seen.memories.clear();
    assert!(matches!(restore(&module(&saver(COUNT, SAVE, LOAD)), seen), Err(RestoreError::Refused(_))));
}

#[test]
fn without_them_there_is_nothing_to_be_done() {
    let hides = Wat::deliver(COUNT).more("(table 2 funcref) (func (table.set (i32.const 0) (ref.null func)))");
    let error = Run::new(&hides).guest.capture_all().expect_err("it neither saves nor can be captured");
    assert!(matches!(&error, CaptureError::Refused(findings) if findings.len() == 1), "{error}");
    let saved = Run::new(&saver(COUNT, SAVE, LOAD)).guest.capture_all().expect("it saves");
    assert!(matches!(restore(&module(&hides), saved), Err(RestoreError::Refused(_))));
}
