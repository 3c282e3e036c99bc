//! What a guest learns of its world, by our interface and by WASI.

use crate::{Run, guests::Wat, world};
use ambrosia_core::{Fault, InstanceName, PeerIndex, Random, World};

/// The answer to a delivery with that body, which leaves something at 16, and the world after it.
fn answer(body: &str, bytes: u32) -> (Vec<u8>, World) {
    let wat = Wat::deliver(&format!("{body} (call $answer (i32.const 16) (i32.const {bytes}))"))
        .more(r#"(data (i32.const 512) "client")"#);
    let mut run = Run::new(&wat);
    let effects = run.deliver(b"").expect("the body is harmless");
    (effects, run.world)
}

#[test]
fn all_clocks_show_the_time_of_the_record() {
    let (now, after) = answer(
        "(i64.store (i32.const 16) (call $now)) (i64.store (i32.const 24) (call $monotonic-now))
         (call $wall-now (i32.const 32))",
        28,
    );
    let time = world(1).time.0;
    let mut expected = [time.to_le_bytes(), time.to_le_bytes(), 1_700_000_000_u64.to_le_bytes()].concat();
    expected.extend(123_456_789_u32.to_le_bytes());
    assert_eq!(now, expected);
    assert_eq!(after, world(1));
}

#[test]
fn random_values_come_from_the_generator_of_the_world() {
    let (values, after) = answer(
        "(i64.store (i32.const 16) (call $random)) (call $random-bytes (i64.const 12) (i32.const 512))
         (memory.copy (i32.const 24) (i32.load (i32.const 512)) (i32.load (i32.const 516)))",
        20,
    );
    let mut random = Random::new(1);
    let expected: Vec<u8> = (0..3).flat_map(|_| random.next_u64().to_le_bytes()).take(20).collect();
    assert_eq!(values, expected);
    assert_eq!(after.random, random);
}

/// Delivers to a component that imports version 0.2.0 of the host as well, and answers with the time and so many random bytes.
fn deliver_to_version_2(count: u32) -> (Result<Vec<u8>, Fault>, World) {
    let body = format!(
        "(call $now-2 (i32.const 16)) (call $bytes-2 (i32.const {count}) (i32.const 512))
         (memory.copy (i32.const 28) (i32.load (i32.const 512)) (i32.load (i32.const 516)))
         (call $answer (i32.const 16) (i32.const 24))"
    );
    let wat = Wat::deliver(&body)
        .change(
            "(import \"ambrosia:runtime/description@0.1.0\"",
            "(import \"ambrosia:runtime/host@0.2.0\" (instance $host-2
               (type $time' (record (field \"seconds\" u64) (field \"nanoseconds\" u32)))
               (export \"time\" (type $time (eq $time')))
               (export \"now\" (func (result $time)))
               (export \"random-bytes\" (func (param \"count\" u32) (result (list u8))))))
             (import \"ambrosia:runtime/description@0.1.0\"",
        )
        .change(
            "(core func $random (canon",
            "(core func $now-2 (canon lower (func $host-2 \"now\") (memory $memory)))
             (core func $bytes-2 (canon lower (func $host-2 \"random-bytes\") (memory $memory) (realloc $realloc)))
             (core func $random (canon",
        )
        .change(
            "(import \"host\" \"random\"",
            "(import \"host\" \"now-2\" (func $now-2 (param i32)))
             (import \"host\" \"bytes-2\" (func $bytes-2 (param i32 i32)))
             (import \"host\" \"random\"",
        )
        .change(
            "(export \"random\" (func $random))",
            "(export \"now-2\" (func $now-2)) (export \"bytes-2\" (func $bytes-2)) (export \"random\" (func $random))",
        );
    let mut run = Run::new(&wat);
    let delivered = run.deliver(b"");
    (delivered, run.world)
}

#[test]
fn version_0_2_0_gives_time_in_two_numbers_and_random_bytes() {
    let (effects, after) = deliver_to_version_2(12);
    let mut random = Random::new(1);
    let mut expected = 1_700_000_000_u64.to_le_bytes().to_vec();
    expected.extend(123_456_789_u32.to_le_bytes());
    expected.extend((0..2).flat_map(|_| random.next_u64().to_le_bytes()).take(12));
    assert_eq!(effects.expect("the body is harmless"), expected);
    assert_eq!(after.random, random);
    let fault = deliver_to_version_2((16 << 20) + 1).0.expect_err("beyond the limit");
    assert!(fault.reason.contains("16777217 random bytes"), "{fault:?}");
}

#[test]
fn peers_get_indices_that_stay() {
    let attach = "(call $attach (i32.const 512) (i32.const 6))";
    let (indices, after) = answer(
        &format!(
            "(i32.store8 (i32.const 16) {attach}) (i32.store8 (i32.const 17) {attach})
             (i32.store8 (i32.const 18) (call $attach (i32.const 512) (i32.const 3)))"
        ),
        3,
    );
    assert_eq!(indices, [1, 1, 2]);
    assert_eq!(after.peers.name(PeerIndex(2)), InstanceName::new("cli").ok().as_ref());
}

#[test]
fn names_are_told() {
    let name_of = |call: &str| {
        let body = format!(
            "(drop (call $attach (i32.const 512) (i32.const 6))) {call}
             (call $answer (i32.load (i32.const 16)) (i32.load (i32.const 20)))"
        );
        let wat = Wat::deliver(&body).more(r#"(data (i32.const 512) "client")"#);
        Run::new(&wat).deliver(b"").expect("the body is harmless")
    };
    assert_eq!(name_of("(call $instance-name (i32.const 16))"), b"server");
    assert_eq!(name_of("(call $peer-name (i32.const 1) (i32.const 16))"), b"client");
    assert_eq!(name_of("(call $peer-name (i32.const 0) (i32.const 16))"), b"");
    assert_eq!(name_of("(call $peer-name (i32.const 2) (i32.const 16))"), b"");
}

#[test]
fn standard_input_is_closed() {
    let (result, _) = answer("(call $read (call $stdin) (i64.const 100) (i32.const 16))", 8);
    let (error, closed) = (1, 1);
    assert_eq!((result[0], result[4]), (error, closed));
}

#[test]
fn there_are_no_directories() {
    let (list, _) = answer("(i64.store (i32.const 16) (i64.const -1)) (call $directories (i32.const 16))", 8);
    assert_eq!(list[4..], [0; 4]);
}

#[test]
fn whatever_can_be_polled_is_ready() {
    let body = "(i32.store (i32.const 512) (call $subscribe (call $stdout)))
                (i32.store (i32.const 516) (call $subscribe (call $stderr)))
                (call $block (i32.load (i32.const 516)))
                (call $poll (i32.const 512) (i32.const 2) (i32.const 520))
                (memory.copy (i32.const 16) (i32.load (i32.const 520)) (i32.const 8))
                (i32.store (i32.const 24) (i32.load (i32.const 524)))";
    assert_eq!(answer(body, 12).0, [0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
}

#[test]
fn the_world_is_handed_back_after_a_fault() {
    let body = "(drop (call $random)) (drop (call $attach (i32.const 512) (i32.const 6))) (unreachable)";
    let mut run = Run::new(&Wat::silent(body).more(r#"(data (i32.const 512) "client")"#));
    run.deliver(b"").expect_err("it aborts");
    let mut expected = world(1);
    expected.random.next_u64();
    expected.peers.attach(&InstanceName::new("client").expect("letters only"));
    assert_eq!(run.world, expected);
}
