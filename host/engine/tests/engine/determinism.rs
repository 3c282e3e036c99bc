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

/// What guests do at the edges of their memory, with fuel and digest, as text.
fn at_the_edges() -> String {
    let load = |address: i64, offset: u64| format!("(drop (i32.load8_u offset={offset} (i32.const {address})))");
    let store =
        |address: i64, bytes: u32| format!("(i{}.store (i32.const {address}) (i{}.const 7))", bytes * 8, bytes * 8);
    let grown = "(drop (memory.grow (i32.const 15)))";
    let bodies = [
        load(0xffff, 0),
        load(0x10000, 0),
        load(0xffff_ffff, 0),
        load(0x10000, 32 << 20),
        load(0xffff_ffff, (32 << 20) - 1),
        load(0xffff_ffff, 0xffff_ffff),
        store(0xfff8, 8),
        store(0xfffc, 8),
        store(0xffff, 4),
        format!("{grown} {}", store(0xffff8, 8)),
        format!("{grown} {}", store(0xffffc, 8)),
        format!("{grown} (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then (unreachable)))"),
        "(memory.fill (i32.const 65535) (i32.const 1) (i32.const 2))".to_owned(),
        "(call $down)".to_owned(),
    ];
    let mut text = String::new();
    for body in bodies {
        let mut run = Run::new(&Wat::silent(&body).more("(func $down (call $down) (call $down))"));
        let outcome = run.deliver(b"");
        text +=
            &format!("{outcome:?} {} {} {:?}\n", run.guest.memory_bytes(), run.guest.fuel_used(), run.guest.digest());
    }
    text + &format!("{:?}", trace(1))
}

/// A process that may have less address space than a memory takes lays memories out in another way, which no guest sees.
#[test]
fn a_guest_sees_nothing_of_a_limit_of_address_space() {
    const CHILD: &str = "AMBROSIA_TEST_ADDRESS_SPACE_CHILD";
    if let Some(file) = std::env::var_os(CHILD) {
        std::fs::write(file, at_the_edges()).expect("the file can be written");
        return;
    }
    let file = tempfile::NamedTempFile::new().expect("a file can be made");
    let output = std::process::Command::new("sh")
        .args(["-c", "ulimit -v 3145728 && exec \"$@\"", "sh"])
        .arg(std::env::current_exe().expect("a test has a path"))
        .args(["determinism::a_guest_sees_nothing_of_a_limit_of_address_space", "--exact", "--test-threads=1"])
        .env(CHILD, file.path())
        .output()
        .expect("there is a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let within = std::fs::read_to_string(file.path()).expect("the file can be read");
    assert_eq!(within, at_the_edges());
    let traps = within.matches("out of bounds memory access").count();
    assert_eq!(traps, 9, "{within}");
}
