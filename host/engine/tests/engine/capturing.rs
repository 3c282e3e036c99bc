//! What is captured is what there is, whatever was captured before.

use std::{ops::Range, sync::LazyLock};

use ambrosia_core::{MemoryCapture, PAGE_BYTES};
use ambrosia_engine::{CaptureError, Engine, Module, WasmGuest};
use proptest::prelude::*;

use crate::{
    Run, genesis,
    guests::{ECHO, Wat},
    kept::{ENGINES, Kept},
};

/// Takes pairs of numbers: an address and what to store there, or `GROW` and a number of wasm pages. Without any it
/// answers with all of its memory.
pub(crate) const WRITER: &str = "
    (if (i32.eqz (local.get $length))
      (then (return (call $answer (i32.const 0) (i32.mul (memory.size) (i32.const 65536))))))
    (loop $again
      (if (i32.eq (i32.load (local.get $at)) (i32.const -1))
        (then (drop (memory.grow (i32.load (i32.add (local.get $at) (i32.const 4))))))
        (else (i32.store (i32.load (local.get $at)) (i32.load (i32.add (local.get $at) (i32.const 4))))))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (local.get $length))))
    (call $answer (i32.const 0) (i32.const 0))";

const GROW: u32 = u32::MAX;

/// The runs for [`WRITER`].
pub(crate) fn writes(pairs: &[(u32, u32)]) -> Vec<u8> {
    pairs.iter().flat_map(|(address, value)| [address.to_le_bytes(), value.to_le_bytes()].concat()).collect()
}

pub(crate) fn start(engine: &Engine, wat: &Wat) -> Run {
    let module = engine.load(&wat.bytes()).expect("the component is an immortal");
    assert_eq!(module.captures(), Ok(()));
    Run::of(module.instantiate(&genesis(1)).expect("the component starts"))
}

pub(crate) fn all(guest: &mut WasmGuest) -> Kept {
    Kept::all(&guest.capture_all().expect("it can be captured"))
}

fn pages(capture: &MemoryCapture) -> &[Range<u32>] {
    &capture.pages
}

#[test]
fn all_is_what_is_not_zero_and_changes_are_what_was_written() {
    for engine in &*ENGINES {
        let mut run = start(engine, &Wat::deliver(WRITER).more(r#"(data (i32.const 40000) "x")"#));
        let capture = run.guest.capture_all().expect("it can be captured");
        assert_eq!(pages(&capture.memories[0]), std::slice::from_ref(&(9..10)));
        run.deliver(&writes(&[(20_000, 7), (GROW, 1), (70_000, 1), (40_000, 0)])).expect("within memory");
        let capture = run.guest.capture_changes().expect("there was one of all");
        assert_eq!(capture.memories[0].bytes, 2 << 16);
        assert_eq!(pages(&capture.memories[0]), [0..1, 4..5, 9..10, 17..18]);
        let zeros = capture.memories[0].iter().nth(2).expect("page 9");
        assert_eq!((zeros.0, zeros.1, zeros.2), (9, 0, &[0; PAGE_BYTES][..]));
        let capture = run.guest.capture_changes().expect("there was one of all");
        assert_eq!(pages(&capture.memories[0]), []);
    }
}

#[test]
fn changes_need_something_since_which_they_are_counted() {
    let mut run = Run::new(&Wat::deliver(ECHO));
    assert!(matches!(run.guest.capture_changes(), Err(CaptureError::NoBase)));
    run.guest.digest();
    run.guest.copy_ahead(usize::MAX).expect("it is alive");
    assert!(matches!(run.guest.capture_changes(), Err(CaptureError::NoBase)));
    run.guest.capture_all().expect("it can be captured");
    run.guest.capture_changes().expect("there was one of all");
}

#[test]
fn a_guest_with_a_fault_is_not_captured() {
    let mut run = Run::new(&Wat::silent("(unreachable)"));
    run.deliver(b"").expect_err("it aborts");
    assert!(matches!(run.guest.capture_all(), Err(CaptureError::Poisoned)));
    assert!(matches!(run.guest.copy_ahead(1), Err(CaptureError::Poisoned)));
    assert_eq!((run.guest.digest(), run.guest.page_hashes()), (0, Vec::new()));
}

#[test]
fn capturing_takes_no_fuel() {
    let mut run = Run::new(&Wat::deliver(ECHO));
    run.deliver(b"abc").expect("an echo");
    let fuel = run.guest.fuel_used();
    run.guest.digest();
    run.guest.capture_all().expect("it can be captured");
    assert_eq!(run.guest.fuel_used(), fuel);
    run.deliver(b"abc").expect("an echo");
    assert_eq!(run.guest.fuel_used(), fuel);
}

#[test]
fn digests_tell_differences_in_memory_in_globals_and_in_size() {
    let wat = Wat::deliver(WRITER).more("(global $g (mut i64) (i64.const 0))");
    let with_global = Wat::deliver(&WRITER.replacen("(loop", "(global.set $g (i64.const 1)) (loop", 1))
        .more("(global $g (mut i64) (i64.const 0))");
    let digest = |wat: &Wat, pairs: &[(u32, u32)]| {
        let mut run = start(&ENGINES[0], wat);
        // The runs lie in memory, so they are equally long.
        run.deliver(&writes(pairs)).expect("within memory");
        run.deliver(&writes(&[(8, 0), (8, 0)])).expect("within memory");
        run.guest.digest()
    };
    let base = digest(&wat, &[(9000, 1), (8, 0)]);
    assert_ne!(base, 0);
    assert_eq!(base, digest(&wat, &[(9000, 1), (8, 0)]));
    for other in [
        digest(&wat, &[(9000, 2), (8, 0)]),
        digest(&wat, &[(9000 + 4096, 1), (8, 0)]),
        digest(&wat, &[(9000, 1), (GROW, 1)]),
        digest(&with_global, &[(9000, 1), (8, 0)]),
    ] {
        assert_ne!(base, other);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Deliver(Vec<(u32, u32)>),
    CopyAhead(usize),
    Digest,
    All,
    Changes,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few pages, so that they meet often, and some values are zeros.
    let store = (256u32..6000, 0u32..3).prop_map(|(place, value)| (place * 16, value));
    let grow = (0u32..3).prop_map(|pages| (GROW, pages));
    let pairs = prop::collection::vec(prop_oneof![8 => store, 1 => grow], 1..20);
    let step = prop_oneof![
        6 => pairs.prop_map(Step::Deliver),
        3 => (0usize..40_000).prop_map(Step::CopyAhead),
        1 => Just(Step::Digest),
        1 => Just(Step::All),
        2 => Just(Step::Changes),
    ];
    prop::collection::vec(step, 1..40)
}

/// Does what the step says, but stores beyond the end of memory.
fn take(run: &mut Run, kept: &mut Kept, step: &Step) {
    match step {
        Step::Deliver(pairs) => {
            let mut bytes = run.guest.memory_bytes() as u32;
            let within = |pair: &&(u32, u32)| match pair {
                (GROW, pages) => {
                    bytes = (bytes + (pages << 16)).min(1 << 20);
                    true
                }
                (address, _) => address + 4 <= bytes,
            };
            let pairs: Vec<(u32, u32)> = pairs.iter().filter(within).copied().collect();
            if !pairs.is_empty() {
                run.deliver(&writes(&pairs)).expect("within memory");
            }
        }
        Step::CopyAhead(bytes) => drop(run.guest.copy_ahead(*bytes).expect("it is alive")),
        Step::Digest => drop(run.guest.digest()),
        Step::All => *kept = all(&mut run.guest),
        Step::Changes => kept.change(&run.guest.capture_changes().expect("there was one of all")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn captures_put_together_are_the_memory(steps in steps()) {
        static MODULES: LazyLock<Vec<Module>> = LazyLock::new(|| {
            let bytes = Wat::deliver(WRITER).more(r#"(data (i32.const 30000) "some data")"#).bytes();
            ENGINES.iter().map(|engine| engine.load(&bytes).expect("an immortal")).collect()
        });
        for module in &*MODULES {
            let start = || Run::of(module.instantiate(&genesis(1)).expect("it starts"));
            let (mut run, mut untouched) = (start(), start());
            let mut kept = all(&mut run.guest);
            for step in &steps {
                take(&mut run, &mut kept, step);
                if let Step::Deliver(_) = step {
                    take(&mut untouched, &mut Kept::default(), step);
                }
            }
            let memory = run.deliver(b"").expect("all of its memory");
            prop_assert_eq!(&memory, &untouched.deliver(b"").expect("all of its memory"));
            prop_assert_eq!(run.guest.digest(), untouched.guest.digest());
            kept.change(&run.guest.capture_changes().expect("there was one of all"));
            prop_assert!(kept.memories == [memory]);
            prop_assert_eq!(kept.hashes(), run.guest.page_hashes());
            let again = all(&mut run.guest);
            prop_assert!(again.memories == kept.memories);
            prop_assert_eq!(again.registers, kept.registers);
        }
    }
}
