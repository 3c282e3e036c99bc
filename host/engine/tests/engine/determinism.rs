//! The same deliveries give the same, on every replica.

use crate::{ENGINE, Run, genesis, guests::Wat};
use ambrosia_core::Print;
use ambrosia_engine::Engine;

/// Mixes what it was given, random values and time into its memory, grows it now and then, prints, and answers with
/// the mixture.
const BUSY: &str = "
    (loop $again
      (i64.store (i32.const 16) (i64.add (i64.mul (i64.load (i32.const 16)) (i64.const 6364136223846793005))
        (i64.xor (call $random) (i64.extend_i32_u (local.get $length)))))
      (f64.store (i32.const 24) (f64.div (f64.load (i32.const 24)) (f64.convert_i64_s (i64.load (i32.const 16)))))
      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $length))))
    (i64.store (i32.const 32) (i64.xor (call $now) (i64.load (i32.const 16))))
    (i32.store (i32.const 40) (memory.grow (i32.and (local.get $length) (i32.const 1))))
    (call $seed (i32.const 48))
    (call $print (call $stdout) (i32.const 16) (i32.const 24))
    (call $answer (i32.const 16) (i32.const 48))";

type Trace = Vec<(Vec<u8>, Vec<Print>, u64)>;

fn trace(seed: u64) -> Trace {
    let mut run = Run::with(&Wat::deliver(BUSY), &genesis(seed));
    let delivery = |length: usize| {
        run.world.time.0 += length as u64;
        let effects = run.deliver(&vec![1; length]).expect("busy, and harmless");
        (effects, run.delivered.prints.clone(), run.guest.fuel_used())
    };
    (1..40).map(delivery).collect()
}

#[test]
fn two_instances_do_the_same() {
    assert_eq!(trace(1), trace(1));
}

#[test]
fn another_seed_gives_other_values() {
    assert_ne!(trace(1)[0].0, trace(2)[0].0);
}

#[test]
fn faults_are_the_same_to_the_letter() {
    let fault = || {
        let mut run = Run::new(&Wat::silent("(call $down)").more("(func $down (call $down) (call $down))"));
        let fault = run.deliver(b"").expect_err("no stack is endless");
        (fault, run.guest.fuel_used())
    };
    assert_eq!(fault(), std::thread::spawn(fault).join().expect("no panic"));
}

#[test]
fn nans_are_canonical() {
    let body = "(f64.store (i32.const 16) (f64.mul (f64.reinterpret_i64 (i64.const 0x7ff8dead00000001)) (f64.const 2)))
                (f64.store (i32.const 24) (f64.sub (f64.const inf) (f64.const inf)))
                (call $answer (i32.const 16) (i32.const 16))";
    let canonical = f64::from_bits(0x7ff8_0000_0000_0000).to_le_bytes();
    assert_eq!(Run::new(&Wat::deliver(body)).deliver(b""), Ok([canonical, canonical].concat()));
}

#[test]
fn what_is_seeded_at_the_start_differs_by_seed_and_is_not_used_again() {
    let body = "(call $seed (i32.const 16)) (i64.store (i32.const 32) (call $random)) 
                (call $answer (i32.const 16) (i32.const 24))";
    let values = |seed| Run::with(&Wat::deliver(body), &genesis(seed)).deliver(b"").expect("harmless");
    assert_eq!(values(1), values(1));
    assert_ne!(values(1)[..16], values(2)[..16]);
    assert_ne!(values(1)[..8], values(1)[16..]);
}

#[test]
fn two_engines_have_one_hash() {
    assert_eq!(ENGINE.hash(), Engine::new().expect("this machine runs guests").hash());
}
