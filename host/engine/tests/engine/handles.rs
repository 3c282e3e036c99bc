//! A guest finds its handles under the numbers that it knows, after a restore too.

use std::sync::LazyLock;

use ambrosia_engine::{CaptureError, Module, NotNow};
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
        (i32.store (local.get $place) (call $subscribe (i32.load (i32.const 64))))))
      (if (i32.eq (local.get $what) (i32.const 8)) (then
        (i32.store (local.get $place) (i32.const 0)) (call $drop-pollable (local.get $handle))))
      (if (i32.eq (local.get $what) (i32.const 9)) (then
        (i32.store (local.get $place) (call $subscribe-input (i32.load (i32.const 64)))))))"#;

const OPEN_STDOUT: u8 = 1;
const OPEN_STDERR: u8 = 2;
const DROP_OUTPUT: u8 = 4;
const PRINT: u8 = 5;
/// Of the output stream in place 0.
const KEEP_POLLABLE: u8 = 7;
const DROP_POLLABLE: u8 = 8;
/// Of the input stream in place 0.
const KEEP_INPUT_POLLABLE: u8 = 9;

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

/// As the libc of the wasip2 target that rustup installs does: it keeps the pollable of each stream that it has written to.
#[test]
fn a_guest_that_keeps_the_pollables_of_its_streams_finds_them_again() {
    for engine in &*ENGINES {
        let module = engine.load(&juggler().bytes()).expect("an immortal");
        let mut run = start(engine, &juggler());
        run.deliver(&[OPEN_STDOUT, 0, KEEP_POLLABLE, 1, OPEN_STDERR, 2, KEEP_POLLABLE, 3, DROP_POLLABLE, 1])
            .expect("harmless");
        let mut restored = restored(&module, &mut run);
        check_same(&mut run, &mut restored, &[PRINT, 0, PRINT, 2, OPEN_STDERR, 4, KEEP_POLLABLE, 5, DROP_POLLABLE, 3]);
        check_same(&mut run, &mut restored, &[OPEN_STDOUT, 6, OPEN_STDOUT, 7, PRINT, 7]);
    }
}

/// Then another stream must be opened to subscribe to, and must leave nothing behind.
#[test]
fn pollables_of_streams_that_are_gone_come_back_too() {
    let module = ENGINE.load(&juggler().bytes()).expect("an immortal");
    let mut run = start(&ENGINE, &juggler());
    run.deliver(&[OPEN_STDOUT, 0, KEEP_POLLABLE, 1, DROP_OUTPUT, 0]).expect("harmless");
    run.deliver(&[0, 0, KEEP_INPUT_POLLABLE, 2, 3, 0]).expect("harmless");
    let mut restored = restored(&module, &mut run);
    check_same(&mut run, &mut restored, &[OPEN_STDERR, 3, OPEN_STDERR, 4, OPEN_STDERR, 5, DROP_POLLABLE, 2]);
    check_same(&mut run, &mut restored, &[DROP_POLLABLE, 1, OPEN_STDERR, 6, OPEN_STDERR, 7, PRINT, 7]);
}

#[test]
fn a_guest_that_holds_too_many_is_not_captured() {
    let body = "(loop $again (drop (call $stdout))
                  (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5000))))";
    let mut run = start(&ENGINE, &Wat::silent(body));
    run.deliver(b"").expect("harmless");
    let error = run.guest.capture_all().expect_err("more than a capture holds");
    assert!(matches!(error, CaptureError::NotNow(NotNow::TooMany { places: 5000, .. })), "{error}");
}

/// What to do to random places, as far as it makes sense to do it.
fn sensible(wishes: &[(u8, u8)], open: &mut [Held; 16]) -> Vec<u8> {
    let mut runs = Vec::new();
    for (wish, place) in wishes {
        let in_the_first = open[0];
        let held = &mut open[*place as usize];
        let (what, then) = match (wish, *held) {
            (0, Held::Nothing) => (0, Held::Input),
            (1 | 2, Held::Nothing) => (*wish, Held::Output),
            (7.., Held::Nothing) if in_the_first == Held::Output => (KEEP_POLLABLE, Held::Pollable),
            (7.., Held::Nothing) if in_the_first == Held::Input => (KEEP_INPUT_POLLABLE, Held::Pollable),
            (3.., Held::Input) => (3, Held::Nothing),
            (3 | 4, Held::Output) => (DROP_OUTPUT, Held::Nothing),
            (3 | 4, Held::Pollable) => (DROP_POLLABLE, Held::Nothing),
            (5 | 6, Held::Output) => (*wish, Held::Output),
            _ => continue,
        };
        *held = then;
        runs.extend([what, *place]);
    }
    runs
}

/// What a place of the guest holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Nothing,
    Input,
    Output,
    Pollable,
}

proptest! {
    #[test]
    fn whatever_was_opened_and_dropped_goes_on_the_same(
        before in prop::collection::vec((0u8..9, 0u8..16), 0..60),
        after in prop::collection::vec((0u8..9, 0u8..16), 0..60),
    ) {
        static MODULE: LazyLock<Module> = LazyLock::new(|| ENGINE.load(&juggler().bytes()).expect("an immortal"));
        let mut run = Run::of(MODULE.instantiate(&genesis(1)).expect("it starts"));
        let mut open = [Held::Nothing; 16];
        run.deliver(&sensible(&before, &mut open)).expect("it makes sense");
        let mut restored = restored(&MODULE, &mut run);
        let runs = sensible(&after, &mut open);
        run.deliver(&runs).expect("it makes sense");
        restored.deliver(&runs).expect("the handles are there");
        prop_assert_eq!(&run.delivered, &restored.delivered);
        prop_assert_eq!(run.guest.digest(), restored.guest.digest());
    }
}
