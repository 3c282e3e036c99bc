//! Upgrades of components that have only the `save` and `load` of checkpoints, or nothing. Those of the interface are in the
//! integration tests, with guests of the SDK.

use std::{collections::BTreeMap, sync::Arc};

use ambrosia_core::{Genesis, Guest, HandoverError, Limits, Upgrade};
use ambrosia_engine::{Module, ModuleSource};

use crate::{
    LIMITS, Run, genesis,
    guests::Wat,
    module,
    saving::{COUNT, LOAD, SAVE, saver},
};

/// As [`COUNT`], but it counts each byte twice.
const COUNT_TWICE: &str =
    "(i32.store (i32.const 16) (i32.add (i32.load (i32.const 16)) (i32.mul (i32.const 2) (local.get $length))))
                           (call $answer (i32.const 16) (i32.const 4))";

struct Modules(BTreeMap<[u8; 32], Module>);

impl ModuleSource for Modules {
    fn module(&self, hash: [u8; 32]) -> Result<Module, String> {
        self.0.get(&hash).cloned().ok_or_else(|| "there is no such module".to_owned())
    }
}

/// A guest of that component, whose code can become that of the other one, module 2.
fn run(from: &Wat, to: &Wat) -> Run {
    let modules = Arc::new(Modules(BTreeMap::from([([2; 32], module(to))])));
    Run::of(module(from).instantiate(&genesis(1)).expect("it starts").with_source(modules))
}

fn upgrade(run: &mut Run) -> Result<(), HandoverError> {
    let limits = LIMITS;
    let upgrade =
        Upgrade { attempt: 1, from: [1; 32], to: [2; 32], limits, handover_fuel: 1_000_000, end_waiting: false };
    run.delivered.clear();
    run.guest.upgrade(&upgrade, &mut run.world, &mut run.delivered)
}

#[test]
fn a_component_with_those_of_checkpoints_is_swapped_by_them() {
    let mut run = run(&saver(COUNT, SAVE, LOAD), &saver(COUNT_TWICE, SAVE, LOAD));
    assert_eq!(run.deliver(b"abc"), Ok(vec![3, 0, 0, 0]));
    upgrade(&mut run).expect("it takes over");
    assert_eq!((run.delivered.effects.len(), run.printed()), (0, String::new()));
    assert_eq!(run.deliver(b"abc"), Ok(vec![9, 0, 0, 0]));
    run.guest.undo_upgrade().expect("it can be put back");
    assert_eq!(run.deliver(b"abc"), Ok(vec![6, 0, 0, 0]), "the same instance as before");
}

/// It is told that the replica has to be made anew from the log.
#[test]
fn a_trap_in_save_of_what_can_not_be_captured_loses_the_guest() {
    let mut run = run(&saver(COUNT, "(unreachable)", LOAD), &saver(COUNT_TWICE, SAVE, LOAD));
    let error = upgrade(&mut run).expect_err("it traps");
    assert!(matches!(&error, HandoverError::Lost(_)), "{error:?}");
    assert!(
        error.to_string().starts_with("the module that runs can't give its state away: the guest aborted"),
        "{error}"
    );
    run.deliver(b"abc").expect_err("it is not to be called again");
}

#[test]
fn a_trap_in_load_leaves_it_as_it_was() {
    let mut run = run(&saver(COUNT, SAVE, LOAD), &saver(COUNT_TWICE, SAVE, "(unreachable)"));
    assert_eq!(run.deliver(b"abc"), Ok(vec![3, 0, 0, 0]));
    let error = upgrade(&mut run).expect_err("it traps");
    assert!(matches!(&error, HandoverError::Refused(_)), "{error:?}");
    assert_eq!(run.deliver(b"abc"), Ok(vec![6, 0, 0, 0]));
}

#[test]
fn which_side_lacks_what_is_said() {
    for (from, to, expected) in [
        (Wat::deliver(COUNT), saver(COUNT, SAVE, LOAD), "the module that runs can't give its state away"),
        (
            saver(COUNT, SAVE, LOAD),
            Wat::deliver(COUNT),
            "the new module can't take the state of the one that runs, which",
        ),
    ] {
        let mut run = run(&from, &to);
        let error = upgrade(&mut run).expect_err("one of them can't");
        assert!(matches!(&error, HandoverError::Refused(_)), "{error:?}");
        assert!(error.to_string().starts_with(expected), "{error}");
        assert_eq!(run.deliver(b"abc"), Ok(vec![3, 0, 0, 0]));
    }
}

#[test]
fn a_state_that_is_too_large_is_refused() {
    let large = "(drop (memory.grow (i32.const 8200))) (call $answer (i32.const 0) (i32.const 537395200))";
    let limits = Limits { fuel: 10_000_000, memory_bytes: 1 << 30 };
    let modules = Arc::new(Modules(BTreeMap::from([([2; 32], module(&saver(COUNT, SAVE, LOAD)))])));
    let guest = module(&saver(COUNT, large, LOAD)).instantiate(&Genesis { limits, ..genesis(1) }).expect("it starts");
    let mut run = Run::of(guest.with_source(modules));
    let error = upgrade(&mut run).expect_err("it is too large");
    assert!(error.to_string().ends_with("it has more than 512 MiB, which is the limit"), "{error}");
}
