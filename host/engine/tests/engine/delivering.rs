//! Runs go in, effects come out.

use crate::{
    Run,
    guests::{ECHO, Wat},
};
use ambrosia_core::{Delivered, Guest};

#[test]
fn effects_are_what_the_guest_answered() {
    let mut run = Run::new(&Wat::deliver(ECHO));
    for runs in [&b""[..], b"one", &[0xa5; 300_000], b"four"] {
        assert_eq!(run.deliver(runs).as_deref(), Ok(runs));
    }
}

#[test]
fn effects_are_appended() {
    let mut run = Run::new(&Wat::deliver(ECHO));
    let mut delivered = Delivered { effects: b"before ".to_vec(), prints: Vec::new() };
    run.guest.deliver(b"after", &mut run.world, &mut delivered).expect("an echo");
    assert_eq!(delivered.effects, b"before after");
}

#[test]
fn state_lasts_from_delivery_to_delivery() {
    let body = "(global.set $count (i32.add (global.get $count) (local.get $length)))
                (i32.store (i32.const 16) (global.get $count)) (call $answer (i32.const 16) (i32.const 4))";
    let mut run = Run::new(&Wat::deliver(body).more("(global $count (mut i32) (i32.const 0))"));
    for (runs, sum) in [(&b"abc"[..], 3), (b"", 3), (b"defgh", 8)] {
        assert_eq!(run.deliver(runs), Ok(vec![sum, 0, 0, 0]));
    }
}

#[test]
fn a_delivery_gets_all_its_fuel_again() {
    let body = "(local.set $i (i32.const 500000))
                (loop $again (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))";
    let mut run = Run::new(&Wat::silent(body));
    for _ in 0..10 {
        run.deliver(b"").expect("half of the fuel is enough each time");
    }
    assert!(run.guest.fuel_used() > 1_000_000);
}
