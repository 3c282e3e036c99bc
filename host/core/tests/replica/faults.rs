//! Guests at fault: the instance stands still, and nothing of the delivery leaves.

use ambrosia_core::{Lsn, MessageKind, Outcome, Output, PeerIndex, Refusal};

use crate::bench::{Bench, Hand, uuid};

/// An impulse forks to `p` and then does what its argument says.
fn misbehave(_: PeerIndex, message: &ambrosia_core::Message<'_>, hand: &mut Hand<'_>) {
    if message.kind != MessageKind::Impulse {
        return;
    }
    let p = hand.attach("p");
    hand.effect(p, MessageKind::Fork, 0, b"hello");
    let outside = PeerIndex::OUTSIDE;
    match message.arguments {
        b"trap" => hand.fault = true,
        b"stranger" => hand.effect(PeerIndex(9), MessageKind::Fork, 0, b""),
        b"fork outside" => hand.effect(outside, MessageKind::Fork, 0, b""),
        b"impulse" => hand.effect(p, MessageKind::Impulse, 0, b""),
        b"timer to p" => hand.effect(p, MessageKind::SetTimer, 1, &[0; 8]),
        b"timer without id" => hand.effect(outside, MessageKind::SetTimer, 0, &[0; 8]),
        b"timer without time" => hand.effect(outside, MessageKind::SetTimer, 1, &[0; 7]),
        b"exit without code" => hand.effect(outside, MessageKind::Exit, 0, &[0; 5]),
        b"cut off" => hand.effects.push(1),
        b"fine" => {}
        _ => unreachable!("no test asks for it"),
    }
}

fn check(argument: &[u8]) {
    let mut bench = Bench::new(misbehave);
    bench.impulse(b"fine");
    let (_, outputs) = bench.reach(1, uuid(7), 0);
    assert_eq!(outputs.len(), 1);
    let outputs = bench.impulse(argument);
    let lsn = Lsn(bench.records.len() as u64);
    let reason = String::from_utf8_lossy(argument).into_owned();
    assert!(matches!(&outputs[..], [Output::Halted { after, .. }] if *after == lsn), "{reason}: {outputs:?}");
    assert!(matches!(bench.replica.outcome(), Some(Outcome::Halted { lsn: at, .. }) if *at == lsn), "{reason}");
    assert_eq!(bench.impulse(b"fine"), [], "{reason}: it stands still");
    assert_eq!(bench.records.len() as u64, lsn.0);
    // Nor does anything come behind it in the log: not even that a peer was registered anew.
    let (connection, outputs) = bench.reach(1, uuid(8), 0);
    assert_eq!(outputs, [Output::Refuse { connection, reason: Refusal::Ended }]);
    assert_eq!(bench.records.len() as u64, lsn.0);
    bench.take_over();
    assert!(bench.replica.outcome().is_some(), "{reason}: a restart meets it again");
    let (connection, outputs) = bench.reach(1, uuid(7), 1);
    let refused = Output::Refuse { connection, reason: Refusal::Ended };
    assert_eq!(outputs, [refused], "{reason}: what was forked beside it is not sent");
}

#[test]
fn a_trap_and_every_effect_that_cant_be_halts_the_instance() {
    for argument in [
        &b"trap"[..],
        b"stranger",
        b"fork outside",
        b"impulse",
        b"timer to p",
        b"timer without id",
        b"timer without time",
        b"exit without code",
        b"cut off",
    ] {
        check(argument);
    }
}

#[test]
fn an_exit_and_what_was_done_beside_it_are_of_their_record() {
    let mut bench = Bench::new(|_, message, hand| {
        if message.kind == MessageKind::Impulse {
            hand.effect(PeerIndex::OUTSIDE, MessageKind::Reply, message.call_id.0, b"bye");
            hand.effect(PeerIndex::OUTSIDE, MessageKind::Exit, 0, &3_i32.to_le_bytes());
        }
    });
    bench.request("r", b"");
    let outputs = bench.deliver();
    let lsn = Lsn(bench.records.len() as u64);
    assert!(
        matches!(outputs[..], [Output::Accepted { .. }, Output::Answered { .. }, Output::Finished { code: 3, .. }]),
        "{outputs:?}"
    );
    assert!(outputs.iter().all(|output| output.after() == lsn), "{outputs:?}");
}
