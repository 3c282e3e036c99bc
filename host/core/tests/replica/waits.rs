//! What waits for peers, as operators are told.

use ambrosia_core::{CallId, Message, MessageKind, PeerIndex};

use crate::bench::{Bench, Hand, uuid};

/// The start attaches `p`, `me` and `q`; an impulse forks its argument to `p` and to itself, and calls `q` twice.
fn ask(peer: PeerIndex, message: &Message<'_>, hand: &mut Hand<'_>) {
    let [p, me, q] = ["p", "me", "q"].map(|name| hand.attach(name));
    if peer == PeerIndex::OUTSIDE && message.kind == MessageKind::Impulse {
        let first = u64::from(message.arguments[0]);
        hand.effect(p, MessageKind::Fork, 0, message.arguments);
        hand.effect(me, MessageKind::Fork, 0, message.arguments);
        hand.effect(q, MessageKind::Call, first + 1, b"second");
        hand.effect(q, MessageKind::Call, first, b"first");
    }
}

const P: PeerIndex = PeerIndex(1);
const ME: PeerIndex = PeerIndex(2);
const Q: PeerIndex = PeerIndex(3);

#[test]
fn messages_wait_until_they_are_acknowledged_and_calls_until_they_are_answered() {
    let mut bench = Bench::new(ask);
    assert!(bench.replica.waits().iter().all(|waits| !waits.any() && waits.oldest.is_none()));
    bench.impulse(&[10]);
    let first = bench.records.last().expect("the delivery").lsn();
    bench.impulse(&[20]);

    let waits = bench.replica.waits();
    let names: Vec<_> = waits.iter().map(|waits| (waits.peer, waits.name.as_str())).collect();
    assert_eq!(names, [(P, "p"), (Q, "q")], "the instance waits for itself only until the next delivery");
    assert_eq!((waits[0].messages, waits[0].calls, waits[0].oldest_call), (2, 0, None));
    assert_eq!((waits[1].messages, waits[1].calls, waits[1].oldest_call), (4, 4, Some(CallId(10))));
    assert_eq!((waits[0].oldest, waits[1].oldest), (Some(first), Some(first)));
    assert!(waits[0].bytes > 0 && bench.replica.waits_for(P) && bench.replica.waits_for(Q));
    assert_eq!(bench.replica.peer_name(ME).map(|name| name.as_str()), Some("me"));

    let (connection, _) = bench.reach(P.0, uuid(7), 0);
    bench.acknowledge(connection, 1);
    let waits = &bench.replica.waits()[0];
    assert_eq!(waits.messages, 1);
    assert!(waits.oldest > Some(first), "that of the second impulse");
    bench.acknowledge(connection, 2);
    assert!(!bench.replica.waits_for(P) && !bench.replica.waits()[0].any());

    let (connection, _) = bench.reach(Q.0, uuid(8), 0);
    bench.acknowledge(connection, 4);
    let waits = &bench.replica.waits()[1];
    assert_eq!((waits.messages, waits.oldest, waits.calls), (0, None, 4), "taken and not answered");
    assert!(bench.replica.waits_for(Q));
}

#[test]
fn a_replica_that_takes_over_waits_for_the_same() {
    let mut bench = Bench::new(ask);
    bench.impulse(&[10]);
    let before = bench.replica.waits();
    bench.take_over();
    assert_eq!(bench.replica.waits(), before);
}
