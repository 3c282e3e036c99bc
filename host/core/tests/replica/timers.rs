//! Timers, and what comes first in a life and in a reign.

use ambrosia_core::{MessageKind, PeerIndex, Timestamp};

use crate::bench::{Bench, Hand};

/// An impulse of an id and a time sets that timer; of an id alone, cancels it.
fn obey(_: PeerIndex, message: &ambrosia_core::Message<'_>, hand: &mut Hand<'_>) {
    if message.kind != MessageKind::Impulse {
        return;
    }
    match message.arguments {
        [id, due] => {
            hand.effect(PeerIndex::OUTSIDE, MessageKind::SetTimer, (*id).into(), &u64::from(*due).to_le_bytes())
        }
        [id] => hand.effect(PeerIndex::OUTSIDE, MessageKind::CancelTimer, (*id).into(), &[]),
        _ => hand.effect(PeerIndex::OUTSIDE, MessageKind::Exit, 0, &3_i32.to_le_bytes()),
    }
}

fn fired(bench: &Bench) -> Vec<u64> {
    bench.heard().iter().filter(|heard| heard.1 == MessageKind::Timer).map(|heard| heard.2).collect()
}

fn at(bench: &mut Bench, now: u64) -> Vec<u64> {
    bench.now = Timestamp(now);
    bench.deliver();
    fired(bench)
}

#[test]
fn timers_fire_once_when_they_are_due_and_in_that_order() {
    let mut bench = Bench::new(obey);
    for timer in [[1, 130], [2, 120], [3, 120], [4, 140]] {
        bench.impulse(&timer);
    }
    assert_eq!(bench.replica.wake_at(), Some(Timestamp(120)));
    assert_eq!(at(&mut bench, 119), [0; 0]);
    assert_eq!(at(&mut bench, 130), [2, 3, 1]);
    bench.take_over();
    assert_eq!(at(&mut bench, 139), [2, 3, 1]);
    assert_eq!(at(&mut bench, 200), [2, 3, 1, 4]);
    assert_eq!(bench.replica.wake_at(), None);
}

#[test]
fn a_timer_set_again_is_moved_and_one_cancelled_is_gone() {
    let mut bench = Bench::new(obey);
    for command in [&[1, 120][..], &[1, 150], &[2, 120], &[2], &[9]] {
        bench.impulse(command);
    }
    assert_eq!(bench.replica.wake_at(), Some(Timestamp(150)));
    assert_eq!(at(&mut bench, 160), [1]);
}

#[test]
fn the_driver_is_not_woken_for_timers_of_a_finished_instance() {
    let mut bench = Bench::new(obey);
    bench.impulse(&[1, 120]);
    bench.impulse(&[]);
    assert_eq!(bench.replica.wake_at(), None);
    assert_eq!(at(&mut bench, 200), [0; 0]);
}

#[test]
fn start_comes_once_in_a_life_and_primary_once_in_a_reign() {
    let mut bench = Bench::new(obey);
    bench.deliver();
    bench.take_over();
    bench.deliver();
    bench.deliver();
    let kinds: Vec<_> = bench.heard().iter().map(|heard| heard.1).collect();
    assert_eq!(kinds, [MessageKind::Start, MessageKind::Primary, MessageKind::Primary]);
}
