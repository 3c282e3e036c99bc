//! A query sees what the guest is, and leaves no trace.

use std::collections::BTreeMap;

use ambrosia_core::{Delivered, Fault, Guest, InstanceName, limits::QUERY_FUEL_SHARE};
use ambrosia_engine::Captures;
use proptest::prelude::*;

use crate::{
    LIMITS, Run,
    capturing::{WRITER, all, start, writes},
    genesis,
    guests::Wat,
    kept::ENGINES,
};

const GROW: u32 = u32::MAX;

impl Run {
    fn query(&mut self, runs: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut delivered = Delivered::default();
        self.guest.query(runs, &self.world, &mut delivered)?;
        Ok(delivered.effects)
    }
}

/// A number in the memory of a [`WRITER`], as a query sees it.
fn seen(run: &mut Run, address: usize) -> u32 {
    let memory = run.query(b"").expect("it answers with its memory");
    u32::from_le_bytes(memory[address..][..4].try_into().expect("4 bytes"))
}

#[test]
fn a_query_sees_what_was_delivered_and_nothing_sees_what_a_query_wrote() {
    for engine in &*ENGINES {
        let mut run = start(engine, &Wat::deliver(WRITER));
        run.deliver(&writes(&[(20_000, 7)])).expect("within memory");
        let digest = run.guest.digest();
        assert_eq!(seen(&mut run, 20_000), 7);
        run.query(&writes(&[(20_000, 8), (30_000, 9)])).expect("it may write to its view");
        assert_eq!((seen(&mut run, 20_000), seen(&mut run, 30_000)), (7, 0), "another query sees none of it");
        assert_eq!(run.guest.digest(), digest);
        // A page that a query has written to is not one that it has kept.
        run.deliver(&writes(&[(20_004, 5), (GROW, 1), (70_000, 6)])).expect("within memory");
        assert_eq!([20_000, 20_004, 30_000, 70_000].map(|address| seen(&mut run, address)), [7, 5, 0, 6]);
        let memory = run.deliver(b"").expect("it answers with its memory");
        assert_eq!(memory[20_000..20_008], [7, 0, 0, 0, 5, 0, 0, 0]);
        assert_eq!(memory[30_000..30_004], [0; 4]);
    }
}

#[test]
fn few_pages_or_many_and_however_often_it_is_asked_nothing_is_kept() {
    for engine in &*ENGINES {
        let mut run = start(engine, &Wat::deliver(WRITER));
        run.deliver(&writes(&[(GROW, 12)])).expect("within memory");
        let page = |number: u32| 4096 * (number + 2);
        let many: Vec<_> = (0..190).map(|number| (page(number), 7)).collect();
        run.query(&writes(&many)).expect("it may write to its view");
        for round in 1..=600 {
            if round % 3 == 0 {
                run.deliver(&writes(&[(page(4), round), (page(100), round)])).expect("within memory");
            }
            run.query(&writes(&[(page(4), 1 << 31), (page(5), round), (page(round % 190), 9)])).expect("as before");
            if round % 50 == 0 {
                let seen = [4, 5, 100, 150].map(|number| seen(&mut run, page(number) as usize));
                assert_eq!(seen, [round - round % 3, 0, round - round % 3, 0], "after {round} queries");
            }
        }
    }
}

#[test]
fn globals_and_handles_are_those_of_the_guest() {
    const COUNTER: &str = "
        (global.set $count (i64.add (global.get $count) (i64.extend_i32_u (local.get $length))))
        (i64.store (i32.const 16) (global.get $count)) (call $answer (i32.const 16) (i32.const 8))";
    let wat = Wat::deliver(COUNTER).more("(global $count (mut i64) (i64.const 100))");
    let count = |answer: Result<Vec<u8>, Fault>| answer.expect("it counts")[0];
    let mut run = Run::new(&wat);
    assert_eq!([run.query(b"x"), run.query(b"xx"), run.query(b"")].map(count), [101, 102, 100]);
    assert_eq!([run.deliver(b"xx"), run.query(b"x"), run.deliver(b"x")].map(count), [102, 103, 103]);
    // The numbers of handles are what the guest keeps in its memory.
    let opens = "(i32.store (i32.const 16) (call $stdout)) (call $answer (i32.const 16) (i32.const 4))";
    let mut run = Run::new(&Wat::deliver(opens));
    let opened = |answer: Result<Vec<u8>, Fault>| answer.expect("it opens a stream")[0];
    let each = [false, false, true, false, true]
        .map(|delivers| opened(if delivers { run.deliver(b"") } else { run.query(b"") }));
    assert_eq!(each[..3], [each[0]; 3], "the place is taken once it is delivered");
    each[3..].iter().for_each(|place| assert_eq!(*place, each[0] + 1));
}

#[test]
fn a_query_that_fails_fails_alone() {
    let body = format!(
        "(if (i32.eq (local.get $length) (i32.const 3)) (then (unreachable)))
         (if (i32.eq (local.get $length) (i32.const 5)) (then (loop $ever (br $ever))))
         {WRITER}"
    );
    for engine in &*ENGINES {
        let mut run = start(engine, &Wat::deliver(&body));
        run.deliver(&writes(&[(20_000, 7)])).expect("within memory");
        for runs in [&b"abc"[..], b"abcde"] {
            let fault = run.query(runs).expect_err("a trap");
            assert!(!fault.reason.is_empty());
            assert_eq!(seen(&mut run, 20_000), 7);
        }
        let fuel = (LIMITS.fuel / QUERY_FUEL_SHARE).to_string();
        assert!(run.query(b"abcde").expect_err("it never ends").reason.contains(&fuel), "it has fuel of its own");
        run.query(&writes(&[(GROW, 2), (150_000, 3)])).expect("it may grow for itself");
        assert_eq!((run.query(b"").expect("as it was").len(), run.guest.memory_bytes()), (1 << 16, 1 << 16));
        assert_eq!(run.deliver(b"").expect("it goes on").len(), 1 << 16);
        let digest = run.guest.digest();
        let mut other = start(engine, &Wat::deliver(&body));
        other.deliver(&writes(&[(20_000, 7)])).expect("within memory");
        other.deliver(b"").expect("it goes on");
        assert_eq!(digest, other.guest.digest(), "nothing is left of any of them");
    }
}

#[test]
fn a_guest_that_has_failed_answers_nothing() {
    let mut run = Run::new(&Wat::silent("(unreachable)"));
    run.deliver(b"").expect_err("it aborts");
    run.query(b"").expect_err("it is no more");
}

#[test]
fn what_would_have_to_be_logged_is_refused() {
    let attaches = "(drop (call $attach (i32.const 512) (i32.const 6))) (call $answer (i32.const 0) (i32.const 0))";
    let mut run = Run::new(&Wat::deliver(attaches).more(r#"(data (i32.const 512) "client")"#));
    let fault = run.query(b"").expect_err("nobody has met it");
    assert!(fault.reason.contains("a query attached \"client\""), "{}", fault.reason);
    run.world.peers.attach(&InstanceName::new("client").expect("letters only"));
    run.query(b"").expect("it is known by now");
    for draws in ["(drop (call $random))", "(call $random-bytes (i64.const 8) (i32.const 16))"] {
        let mut run = Run::new(&Wat::silent(draws));
        let fault = run.query(b"").expect_err("it would move the generator");
        assert!(fault.reason.contains("a query asked for a random value"), "{}", fault.reason);
        let before = run.world.random.clone();
        run.deliver(b"").expect("an update may");
        assert_ne!(run.world.random, before);
    }
    let mut run = Run::new(&Wat::silent("(call $seed (i32.const 16))"));
    run.query(b"").expect("what maps are seeded with is the same each time");
}

#[test]
fn a_component_whose_memory_is_not_all_there_is_of_it_answers_none() {
    let wat = Wat::silent("(table.set (i32.const 0) (ref.null func))").more("(table 1 funcref)");
    let mut run = Run::new(&wat);
    assert!(matches!(crate::module(&wat).capture_means(), Captures::Nothing(_)));
    let fault = run.query(b"").expect_err("its table can't be put into another instance");
    assert!(fault.reason.contains("send --logged"), "{}", fault.reason);
    run.deliver(b"").expect("it goes on");
}

#[test]
fn a_guest_that_was_restored_from_a_file_is_asked_too() {
    for engine in &*ENGINES {
        let wat = Wat::deliver(WRITER);
        let mut run = start(engine, &wat);
        run.deliver(&writes(&[(20_000, 7), (GROW, 1)])).expect("within memory");
        let older = all(&mut run.guest);
        run.deliver(&writes(&[(100_000, 8)])).expect("within memory");
        let kept = all(&mut run.guest);
        let module = engine.load(&wat.bytes()).expect("an immortal");
        let mut restored = Run::of(module.restore(&genesis(1), kept.image_over(&older)).expect("it is whole"));
        assert_eq!((seen(&mut restored, 20_000), seen(&mut restored, 100_000)), (7, 8));
        assert_eq!(restored.guest.digest(), run.guest.digest());
        let changes = restored.guest.capture_changes().expect("there was a restore");
        assert_eq!(changes.memories[0].pages, [], "nothing was written by that");
    }
}

/// What happens to a guest in turn.
#[derive(Clone, Debug)]
enum Step {
    Deliver(Vec<(u32, u32)>),
    Query(Vec<(u32, u32)>),
    Capture,
    CopyAhead,
    Digest,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pair = prop_oneof![8 => (0u32..15_000, any::<u32>()).prop_map(|(at, value)| (4096 + 4 * at, value)), 1 => Just((GROW, 1))];
    let pairs = || prop::collection::vec(pair.clone(), 1..6);
    let step = prop_oneof![
        4 => pairs().prop_map(Step::Deliver),
        4 => pairs().prop_map(Step::Query),
        1 => Just(Step::Capture),
        1 => Just(Step::CopyAhead),
        1 => Just(Step::Digest),
    ];
    prop::collection::vec(step, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Two guests live the same life, but only one is asked queries: they can't be told apart, and so can't what of them is
    /// captured as changed.
    #[test]
    fn queries_change_nothing_whatever_else_happens(steps in steps()) {
        for engine in &*ENGINES {
            let wat = Wat::deliver(WRITER);
            let (mut asked, mut other) = (start(engine, &wat), start(engine, &wat));
            all(&mut asked.guest);
            all(&mut other.guest);
            let mut written = BTreeMap::new();
            for step in &steps {
                match step {
                    Step::Deliver(pairs) => {
                        let runs = writes(pairs);
                        prop_assert_eq!(asked.deliver(&runs), other.deliver(&runs));
                        written.extend(pairs.iter().copied());
                    }
                    Step::Query(pairs) => {
                        asked.query(&writes(pairs)).expect("within memory");
                        let memory = asked.query(b"").expect("it answers with its memory");
                        prop_assert_eq!(memory.len() as u64, other.guest.memory_bytes());
                        for (address, _) in pairs.iter().filter(|(address, _)| *address != GROW) {
                            let at = *address as usize;
                            let expected = written.get(address).copied().unwrap_or_default();
                            prop_assert_eq!(&memory[at..at + 4], &expected.to_le_bytes());
                        }
                    }
                    Step::Capture => {
                        let captures = [&mut asked, &mut other].map(|run| run.guest.capture_changes().expect("a base"));
                        prop_assert_eq!(&captures[0], &captures[1]);
                    }
                    Step::CopyAhead => {
                        for run in [&mut asked, &mut other] {
                            run.guest.copy_ahead(8 << 12).expect("it is alive");
                        }
                    }
                    Step::Digest => prop_assert_eq!(asked.guest.digest(), other.guest.digest()),
                }
            }
            prop_assert_eq!(asked.guest.page_hashes(), other.guest.page_hashes());
            prop_assert_eq!(asked.guest.fuel_used(), other.guest.fuel_used());
        }
    }
}
