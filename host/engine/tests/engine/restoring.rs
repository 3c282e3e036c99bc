//! A restored guest goes on as the one that was captured.

use std::sync::LazyLock;

use ambrosia_core::{MemoryCapture, PAGE_BYTES};
use ambrosia_engine::{Engine, Image, Module, RestoreError};
use proptest::prelude::*;

use crate::{
    Run,
    capturing::{WRITER, all, start, writes},
    genesis,
    guests::Wat,
    kept::{ENGINES, Kept},
};

const GLOBALS: &str = "
    (global $a (mut i32) (i32.const 1)) (global $b (mut i64) (i64.const 2))
    (global $c (mut f32) (f32.const 3)) (global $d (mut f64) (f64.const 4)) (global $fixed i32 (i32.const 5))";

/// Gives the globals when it is handed nothing, else sets them to what can't be told apart but by bits.
const SET_AND_GET: &str = "
    (if (local.get $length) (then
      (global.set $a (i32.const -2)) (global.set $b (i64.const -3))
      (global.set $c (f32.reinterpret_i32 (i32.const 0xffa00001)))
      (global.set $d (f64.reinterpret_i64 (i64.const 0x7ff0000000000001)))))
    (i32.store (i32.const 16) (global.get $a)) (i64.store (i32.const 24) (global.get $b))
    (f32.store (i32.const 32) (global.get $c)) (f64.store (i32.const 40) (global.get $d))
    (call $answer (i32.const 16) (i32.const 32))";

fn load(engine: &Engine, wat: &Wat) -> Module {
    engine.load(&wat.bytes()).expect("the component is an immortal")
}

fn restore(module: &Module, image: Image) -> Run {
    Run::of(module.restore(&genesis(1), image).expect("the image is whole"))
}

/// The restored guest does the same as the one that ran on, with those deliveries.
fn check_same(run: &mut Run, restored: &mut Run, deliveries: &[&[u8]]) {
    assert_eq!(run.guest.digest(), restored.guest.digest());
    assert_eq!(run.guest.memory_bytes(), restored.guest.memory_bytes());
    restored.world = run.world.clone();
    for runs in deliveries {
        assert_eq!(run.deliver(runs), restored.deliver(runs));
        assert_eq!(run.delivered, restored.delivered);
        assert_eq!(run.guest.fuel_used(), restored.guest.fuel_used());
        assert_eq!(run.world, restored.world);
        assert_eq!(run.guest.digest(), restored.guest.digest());
    }
    assert_eq!(run.guest.page_hashes(), restored.guest.page_hashes());
}

/// As [`check_same`], after each way to restore: by pages, by mapping, and by both.
fn check_restores(engine: &Engine, wat: &Wat, before: &[&[u8]], after: &[&[u8]]) {
    let mut run = start(engine, wat);
    let older = all(&mut run.guest);
    for runs in before {
        run.deliver(runs).expect("harmless");
    }
    let mut kept = older.clone();
    kept.change(&run.guest.capture_changes().expect("there was one of all"));
    let module = load(engine, wat);
    for image in [kept.image(), kept.image_over(&older), kept.image_over(&kept)] {
        let mut restored = restore(&module, image);
        let mut twin = restore(&module, kept.image());
        check_same(&mut twin, &mut restored, after);
        let mut again = kept.clone();
        again.change(&restored.guest.capture_changes().expect("there was a restore"));
        let mut restored_again = restore(&module, again.image());
        check_same(&mut restored, &mut restored_again, after);
    }
    let mut restored = restore(&module, kept.image());
    check_same(&mut run, &mut restored, after);
}

#[test]
fn every_kind_of_global_comes_back_bit_by_bit() {
    for engine in &*ENGINES {
        check_restores(engine, &Wat::deliver(SET_AND_GET).more(GLOBALS), &[b"x"], &[b"", b"x"]);
    }
}

#[test]
fn a_global_that_two_modules_share_is_captured_once() {
    let shared = |wat: Wat| {
        wat.change("(global $next (mut i32)", r#"(global $next (export "next") (mut i32)"#).change(
            r#"(import "libc" "reset""#,
            r#"(import "libc" "next" (global $shared (mut i32))) (import "libc" "reset""#,
        )
    };
    let wat = shared(Wat::silent("(global.set $shared (i32.add (global.get $shared) (i32.const 64)))"));
    let registers = all(&mut start(&ENGINES[0], &wat).guest).registers;
    assert_eq!(registers[2..6], [1, 0, 0, 0]);
    check_restores(&ENGINES[0], &wat, &[b"", b""], &[b"x", b""]);
}

#[test]
fn memory_comes_back_whatever_the_component_starts_with() {
    // One page is overwritten with zeros, one with something else, and the memory has grown.
    let wat = Wat::deliver(WRITER).more(r#"(data (i32.const 30000) "abcd") (data (i32.const 50000) "efgh")"#);
    let before = writes(&[(30_000, 0), (50_000, 9), (u32::MAX, 3), (200_000, 5)]);
    let after = writes(&[(100_000, 1), (u32::MAX, 2), (390_000, 1)]);
    for engine in &*ENGINES {
        check_restores(engine, &wat, &[&before], &[b"", &after, b""]);
    }
}

#[test]
fn what_initialisers_do_to_memory_is_undone() {
    let start = "(func $start (drop (memory.grow (i32.const 2))) (i32.store (i32.const 150000) (i32.const 7)))
                 (start $start)";
    let before = writes(&[(150_000, 0), (u32::MAX, 1), (20_000, 1)]);
    for engine in &*ENGINES {
        check_restores(engine, &Wat::deliver(WRITER).more(start), &[&before], &[b"", &before, b""]);
    }
}

#[test]
fn several_memories_come_back_each_for_itself() {
    let body =
        "(i32.store $second (i32.const 70000) (i32.add (local.get $length) (i32.load $second (i32.const 70000))))
                (drop (memory.grow $third (local.get $length)))
                (i32.store (i32.const 16) (i32.load $second (i32.const 70000)))
                (i32.store (i32.const 20) (memory.size $third)) (call $answer (i32.const 16) (i32.const 8))";
    let more = "(memory $second 2 2) (memory $third 0 5)";
    for engine in &*ENGINES {
        check_restores(engine, &Wat::deliver(body).more(more), &[b"xx", b"x"], &[b"x", b""]);
    }
}

#[test]
fn the_world_and_the_seed_are_as_before() {
    let body = "(call $seed (i32.const 16)) (i64.store (i32.const 32) (call $random))
                (i32.store (i32.const 40) (call $attach (i32.const 512) (i32.const 6)))
                (call $answer (i32.const 16) (i32.const 28))";
    check_restores(&ENGINES[0], &Wat::deliver(body).more(r#"(data (i32.const 512) "client")"#), &[b""], &[b"", b""]);
}

#[test]
fn the_limit_of_memory_counts_what_was_restored() {
    let body =
        "(i32.store (i32.const 16) (memory.grow (local.get $length))) (call $answer (i32.const 16) (i32.const 4))";
    check_restores(&ENGINES[0], &Wat::deliver(body), &[&[0; 10]], &[&[0; 6], &[0; 5], &[0; 1]]);
}

#[test]
fn a_component_without_any_state_comes_back() {
    let bytes = wat::parse_str(
        r#"(component
          (import "ambrosia:runtime/description@0.1.0" (instance $description
            (type $method (record
              (field "id" u32) (field "name" string) (field "arguments" (list string)) (field "message-pack" bool)))
            (export "method" (type (eq $method)))))
          (alias export $description "method" (type $method))
          (core module $m (memory (export "memory") 0)
            (func (export "f") (param i32 i32) (result i32) (i32.const 0))
            (func (export "d") (result i32) (i32.const 0))
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
          (core instance $m (instantiate $m))
          (alias core export $m "memory" (core memory $memory))
          (func (export "deliver") (param "runs" (list u8)) (result (list u8))
            (canon lift (core func $m "f") (memory $memory) (realloc (core func $m "realloc"))))
          (func (export "describe") (result (list $method))
            (canon lift (core func $m "d") (memory $memory))))"#,
    );
    let module = ENGINES[0].load(&bytes.expect("valid")).expect("an immortal");
    let mut guest = module.instantiate(&genesis(1)).expect("it starts");
    let mut restored = restore(&module, all(&mut guest).image());
    assert_eq!(restored.guest.digest(), guest.digest());
}

/// A guest that has done something, with its module.
fn grown() -> (Module, Kept) {
    static GROWN: LazyLock<(Module, Kept)> = LazyLock::new(|| {
        let wat = Wat::deliver(WRITER).more(GLOBALS);
        let mut run = start(&ENGINES[0], &wat);
        run.deliver(&writes(&[(u32::MAX, 1), (100_000, 1)])).expect("within memory");
        (load(&ENGINES[0], &wat), all(&mut run.guest))
    });
    GROWN.clone()
}

fn error(module: &Module, image: Image) -> RestoreError {
    module.restore(&genesis(1), image).err().expect("the image is damaged")
}

#[test]
fn images_that_can_not_be_are_refused() {
    let (module, kept) = grown();
    let damaged = |damage: &dyn Fn(&mut Image)| {
        let mut image = kept.image_over(&kept);
        image.memories[0].pages = kept.image().memories.remove(0).pages;
        damage(&mut image);
        error(&module, image).to_string()
    };
    type Damage<'a> = &'a dyn Fn(&mut Image);
    let cases: [(Damage<'_>, &str); 17] = [
        (&|image| image.memories.clear(), "another number of memories"),
        (&|image| image.memories[0].bytes += 1, "no memory has that size"),
        (&|image| image.memories[0].bytes = 5 << 30, "limit of the instance"),
        (&|image| image.memories[0].bytes = 0, "one hash a page"),
        (&|image| image.memories[0].hashes.push(0), "one hash a page"),
        (&|image| image.memories[0].pages.bytes = 0, "another size"),
        (&|image| image.memories[0].pages.hashes[0] ^= 1, "other hashes"),
        (&|image| image.memories[0].pages.hashes.truncate(1), "not as many"),
        (&|image| image.memories[0].pages.contents.truncate(PAGE_BYTES), "not as many"),
        (&|image| image.memories[0].pages.pages[0] = 5..5, "out of order"),
        (&|image| image.memories[0].pages.pages.push(0..1), "out of order"),
        (&|image| image.memories[0].pages.pages[0].end = u32::MAX, "out of order or out of bounds"),
        (&|image| image.memories[0].mapped.as_mut().expect("a file").offset += 1, "whole pages"),
        (&|image| image.memories[0].mapped.as_mut().expect("a file").offset += 4096, "too short"),
        (&|image| image.memories[0].mapped.as_mut().expect("a file").offset = u64::MAX - 4095, "too short"),
        (&|image| image.memories[0].mapped.as_mut().expect("a file").bytes += 4096, "more is mapped"),
        (&|image| (image.memories[0].mapped, image.memories[0].hashes[3]) = (None, 7), "without contents"),
    ];
    for (damage, expected) in cases {
        let text = damaged(damage);
        assert!(text.contains(expected), "{text}, and not {expected}");
    }
}

#[test]
fn a_memory_of_less_than_the_component_starts_with_is_refused() {
    let (module, kept) = grown();
    let mut smaller = kept.clone();
    smaller.memories[0].clear();
    assert!(error(&module, smaller.image()).to_string().contains("smaller"));
    let limited = load(&ENGINES[0], &Wat::deliver(WRITER).more(GLOBALS).change(r#""memory") 1"#, r#""memory") 1 2"#));
    let mut larger = kept;
    larger.memories[0].resize(3 << 16, 0);
    assert!(error(&limited, larger.image()).to_string().contains("larger than the component allows"));
}

#[test]
fn registers_of_another_component_are_refused() {
    let (_, kept) = grown();
    let other = load(&ENGINES[0], &Wat::deliver(WRITER));
    assert!(matches!(error(&other, kept.image()), RestoreError::Registers(_)));
    let mut saved = kept;
    saved.registers = vec![1, 2, 3];
    saved.memories.clear();
    assert!(matches!(error(&other, saved.image()), RestoreError::Registers(_)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_registers_never_panic(at in 0usize..80, byte: u8, cut in 0usize..400) {
        let (module, kept) = grown();
        let mut image = kept.image();
        if let Some(place) = image.registers.get_mut(at) {
            *place = byte;
        }
        image.registers.truncate(cut);
        if let Ok(mut guest) = module.restore(&genesis(1), image) {
            guest.digest();
        }
    }

    #[test]
    fn damaged_images_never_panic(
        bytes in 0u64..5,
        hashes in 0usize..70,
        ranges in prop::collection::vec((0u32..80, 0u32..80), 0..4),
        contents in 0usize..10,
    ) {
        let (module, kept) = grown();
        let mut image = kept.image();
        let memory = &mut image.memories[0];
        memory.bytes = bytes << 16;
        memory.hashes.resize(hashes, 1);
        memory.pages = MemoryCapture {
            bytes: memory.bytes,
            pages: ranges.into_iter().map(|(start, end)| start..end).collect(),
            hashes: vec![1; contents],
            contents: vec![1; contents * PAGE_BYTES],
        };
        if let Ok(mut guest) = module.restore(&genesis(1), image) {
            guest.digest();
        }
    }
}
