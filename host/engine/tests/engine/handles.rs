//! A guest finds its handles under the numbers that it knows, after a restore too.

use std::sync::LazyLock;

use ambrosia_engine::{CaptureError, Module};
use proptest::prelude::*;

use crate::{
    ENGINE, Run,
    capturing::{all, start},
    genesis,
    guests::Wat,
    kept::ENGINES,
};

/// Takes pairs of bytes, what to do and which of 16 places is meant, and answers with the handles in all places. A place
/// is four bytes from 64 on; what is not open is 0.
const JUGGLER: &str = "
    (block $done (loop $again
      (br_if $done (i32.ge_u (local.get $i) (local.get $length)))
      (call $do
        (i32.load8_u (i32.add (local.get $at) (local.get $i)))
        (i32.add (i32.const 64)
          (i32.shl (i32.load8_u (i32.add (local.get $at) (i32.add (local.get $i) (i32.const 1)))) (i32.const 2))))
      (local.set $i (i32.add (local.get $i) (i32.const 2)))
      (br $again)))
    (call $answer (i32.const 64) (i32.const 64))";

const DO: &str = r#"
    (data (i32.const 512) "line")
    (func $do (param $what i32) (param $place i32) (local $handle i32)
      (local.set $handle (i32.load (local.get $place)))
      (if (i32.eq (local.get $what) (i32.const 0)) (then (i32.store (local.get $place) (call $stdin))))
      (if (i32.eq (local.get $what) (i32.const 1)) (then (i32.store (local.get $place) (call $stdout))))
      (if (i32.eq (local.get $what) (i32.const 2)) (then (i32.store (local.get $place) (call $stderr))))
      (if (i32.eq (local.get $what) (i32.const 3)) (then
        (i32.store (local.get $place) (i32.const 0)) (call $drop-input (local.get $handle))))
      (if (i32.eq (local.get $what) (i32.const 4)) (then
        (i32.store (local.get $place) (i32.const 0)) (call $drop-output (local.get $handle))))
      (if (i32.eq (local.get $what) (i32.const 5)) (then
        (call $print (local.get $handle) (i32.const 512) (i32.const 4))))
      (if (i32.eq (local.get $what) (i32.const 6)) (then
        (call $drop-pollable (call $subscribe (local.get $handle)))))
      (if (i32.eq (local.get $what) (i32.const 7)) (then
        (i32.store (i32.const 128) (call $subscribe (local.get $handle)))))
      (if (i32.eq (local.get $what) (i32.const 8)) (then
        (call $drop-pollable (i32.load (i32.const 128))))))"#;

const OPEN_STDOUT: u8 = 1;
const OPEN_STDERR: u8 = 2;
const DROP_OUTPUT: u8 = 4;
const PRINT: u8 = 5;
const KEEP_POLLABLE: u8 = 7;
const DROP_POLLABLE: u8 = 8;

fn juggler() -> Wat {
    Wat::deliver(JUGGLER).more(DO)
}

fn restored(module: &Module, run: &mut Run) -> Run {
    let kept = all(&mut run.guest);
    let mut restored = Run::of(module.restore(&genesis(1), kept.image()).expect("the image is whole"));
    assert_eq!(restored.guest.digest(), run.guest.digest());
    restored.world = run.world.clone();
    restored
}

fn check_same(run: &mut Run, restored: &mut Run, runs: &[u8]) {
    assert_eq!(run.deliver(runs), restored.deliver(runs));
    assert_eq!(run.delivered, restored.delivered);
    assert_eq!(run.guest.digest(), restored.guest.digest());
}

#[test]
fn a_guest_that_has_printed_prints_on_to_both_streams() {
    for engine in &*ENGINES {
        let module = engine.load(&juggler().bytes()).expect("an immortal");
        let mut run = start(engine, &juggler());
        run.deliver(&[OPEN_STDERR, 0, OPEN_STDOUT, 1, PRINT, 0, PRINT, 1]).expect("printing is harmless");
        let mut restored = restored(&module, &mut run);
        restored.deliver(&[PRINT, 1, PRINT, 0]).expect("the handles are there");
        assert_eq!(restored.printed(), "1:line 2:line");
    }
}

#[test]
fn a_handle_dropped_in_the_middle_leaves_the_others_where_they_are() {
    let module = ENGINE.load(&juggler().bytes()).expect("an immortal");
    let mut run = start(&ENGINE, &juggler());
    run.deliver(&[OPEN_STDOUT, 0, OPEN_STDERR, 1, OPEN_STDOUT, 2, DROP_OUTPUT, 1]).expect("harmless");
    let mut restored = restored(&module, &mut run);
    check_same(&mut run, &mut restored, &[PRINT, 2, OPEN_STDERR, 3, OPEN_STDERR, 4, PRINT, 4, PRINT, 0]);
    let handles = run.deliver(b"").expect("harmless");
    let handles: Vec<u8> = handles.chunks(4).map(|handle| handle[0]).collect();
    assert_eq!(handles[..5], [1, 0, 3, 2, 4]);
}

#[test]
fn handles_of_the_initialisers_are_replaced_by_those_of_the_capture() {
    let start_with = "(func $start (call $do (i32.const 1) (i32.const 64)) (call $do (i32.const 1) (i32.const 68))
                        (call $do (i32.const 0) (i32.const 72)) (call $do (i32.const 4) (i32.const 64)))
                      (start $start)";
    let wat = juggler().more(start_with);
    let module = ENGINE.load(&wat.bytes()).expect("an immortal");
    let mut run = start(&ENGINE, &wat);
    let mut at_once = restored(&module, &mut run);
    check_same(&mut run, &mut at_once, &[OPEN_STDERR, 0, OPEN_STDERR, 5]);
    run.deliver(&[DROP_OUTPUT, 1, DROP_OUTPUT, 0, OPEN_STDERR, 6]).expect("harmless");
    let mut later = restored(&module, &mut run);
    check_same(&mut run, &mut later, &[PRINT, 6, OPEN_STDERR, 0, OPEN_STDERR, 1, OPEN_STDOUT, 2, PRINT, 2, PRINT, 0]);
}

#[test]
fn a_guest_that_opens_and_drops_for_each_line_has_the_same_registers_each_time() {
    let mut run = start(&ENGINE, &juggler());
    let line = [OPEN_STDOUT, 0, OPEN_STDERR, 1, 6, 0, PRINT, 0, DROP_OUTPUT, 1, DROP_OUTPUT, 0];
    run.deliver(&line).expect("harmless");
    let (registers, digest) = (all(&mut run.guest).registers, run.guest.digest());
    for _ in 0..100 {
        run.deliver(&line).expect("harmless");
    }
    assert_eq!((all(&mut run.guest).registers, run.guest.digest()), (registers, digest));
}

#[test]
fn a_guest_that_holds_something_else_is_captured_when_it_has_let_go() {
    let mut run = start(&ENGINE, &juggler());
    run.deliver(&[OPEN_STDOUT, 0, KEEP_POLLABLE, 0]).expect("harmless");
    let error = run.guest.capture_all().expect_err("a pollable can't be opened again");
    assert!(matches!(error, CaptureError::NotNow(_)), "{error}");
    assert_ne!(run.guest.digest(), 0);
    run.deliver(&[DROP_POLLABLE, 0]).expect("harmless");
    run.guest.capture_all().expect("it holds a stream only");
}

#[test]
fn a_guest_that_holds_too_many_is_not_captured() {
    let body = "(loop $again (drop (call $stdout))
                  (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5000))))";
    let mut run = start(&ENGINE, &Wat::silent(body));
    run.deliver(b"").expect("harmless");
    assert!(matches!(run.guest.capture_all(), Err(CaptureError::NotNow(_))));
}

/// What to do to random places, as far as it makes sense to do it.
fn sensible(wishes: &[(u8, u8)], open: &mut [u8; 16]) -> Vec<u8> {
    let mut runs = Vec::new();
    for (wish, place) in wishes {
        let what = match (wish, &mut open[*place as usize]) {
            (0..=2, held @ 0) => {
                *held = wish + 1;
                *wish
            }
            (3.., held @ 1) => {
                *held = 0;
                3
            }
            (3 | 4, held @ 2..) => {
                *held = 0;
                DROP_OUTPUT
            }
            (5 | 6, 2..) => *wish,
            _ => continue,
        };
        runs.extend([what, *place]);
    }
    runs
}

proptest! {
    #[test]
    fn whatever_was_opened_and_dropped_goes_on_the_same(
        before in prop::collection::vec((0u8..7, 0u8..16), 0..60),
        after in prop::collection::vec((0u8..7, 0u8..16), 0..60),
    ) {
        static MODULE: LazyLock<Module> = LazyLock::new(|| ENGINE.load(&juggler().bytes()).expect("an immortal"));
        let mut run = Run::of(MODULE.instantiate(&genesis(1)).expect("it starts"));
        let mut open = [0; 16];
        run.deliver(&sensible(&before, &mut open)).expect("it makes sense");
        let mut restored = restored(&MODULE, &mut run);
        let runs = sensible(&after, &mut open);
        run.deliver(&runs).expect("it makes sense");
        restored.deliver(&runs).expect("the handles are there");
        prop_assert_eq!(&run.delivered, &restored.delivered);
        prop_assert_eq!(run.guest.digest(), restored.guest.digest());
    }
}
