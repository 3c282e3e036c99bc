//! Back-pressure: a peer that takes nothing stops what this instance begins by itself, and nothing else.

use ambrosia_core::{Blocked, MessageKind, PeerIndex, limits};

use crate::bench::{Bench, Hand, uuid};

const LARGE: usize = 4 << 20;

/// An impulse forks as many large messages to `p` as its argument says, and one to itself.
fn flood(peer: PeerIndex, message: &ambrosia_core::Message<'_>, hand: &mut Hand<'_>) {
    if peer == PeerIndex::OUTSIDE && message.kind == MessageKind::Impulse {
        let (p, me) = (hand.attach("p"), hand.attach("me"));
        for _ in 0..message.arguments[0] {
            hand.effect(p, MessageKind::Fork, 0, &vec![7; LARGE]);
        }
        hand.effect(me, MessageKind::Fork, 0, b"mine");
    }
}

const FULL: u8 = (limits::OUTBOX_BYTES_SOFT_MAX / LARGE) as u8;

#[test]
fn at_the_soft_limit_impulses_and_own_messages_wait_and_peers_are_heard() {
    let mut bench = Bench::new(flood);
    bench.impulse(&[FULL - 1]);
    assert_eq!(bench.replica.blocked(), None);
    bench.deliver(); // the message to itself
    bench.impulse(&[1]);
    assert_eq!(bench.replica.blocked(), Some(Blocked::OutboxSoft));
    let before = bench.heard().len();
    bench.impulse(&[0]);
    assert_eq!(bench.heard().len(), before, "the impulse and the own message wait");
    let (connection, _) = bench.connect("q", uuid(9), 1);
    bench.messages(connection, 1, &[b"hello"]);
    bench.deliver();
    assert_eq!(bench.heard().len(), before + 1, "a peer is heard");
    let (connection, _) = bench.reach(1, uuid(7), 0);
    bench.acknowledge(connection, u64::from(FULL) - 1);
    assert_eq!(bench.replica.blocked(), None);
    bench.deliver();
    bench.deliver();
    let heard: Vec<_> = bench.heard()[before + 1..].iter().map(|heard| heard.1).collect();
    assert_eq!(heard, [MessageKind::Impulse, MessageKind::Fork, MessageKind::Fork], "all that waited comes, in order");
}

#[test]
fn a_standby_lets_go_of_what_the_log_says_was_acknowledged() {
    let mut bench = Bench::new(flood);
    bench.impulse(&[FULL - 1]);
    bench.deliver();
    bench.impulse(&[1]);
    assert_eq!(bench.replayed().blocked(), Some(Blocked::OutboxSoft));
    let (connection, _) = bench.reach(1, uuid(7), 0);
    bench.acknowledge(connection, u64::from(FULL) - 1);
    bench.deliver(); // the own message, and the watermark with it
    assert_eq!(bench.replayed().blocked(), None);
    bench.acknowledge(connection, 2); // an old one changes nothing
    bench.take_over();
    let (_, outputs) = bench.reach(1, uuid(7), u64::from(FULL) - 1);
    assert_eq!(outputs.len(), 1, "the rest is sent: {}", outputs.len());
}

/// Nothing else happens, and no replica may keep for ever what a peer has long had.
#[test]
fn much_that_was_acknowledged_is_let_go_of_by_all_replicas_though_nothing_else_happens() {
    let mut bench = Bench::new(flood);
    bench.impulse(&[1]);
    bench.impulse(&[1]);
    bench.deliver(); // the last message to itself
    let (connection, _) = bench.reach(1, uuid(7), 0);
    let (records, heard) = (bench.records.len(), bench.heard().len());
    bench.deliver();
    assert_eq!(bench.records.len(), records, "nothing is to be said");
    bench.acknowledge(connection, 1);
    assert_eq!((bench.replica.undelivered(), bench.replayed().undelivered()), (1, 2));
    bench.deliver();
    assert_eq!((bench.records.len(), bench.heard().len()), (records + 1, heard), "the guest hears nothing of it");
    assert_eq!((bench.replica.undelivered(), bench.replayed().undelivered()), (1, 1));
    bench.deliver();
    assert_eq!(bench.records.len(), records + 1, "it is said once");
}

#[test]
fn what_is_undelivered_is_what_others_have_not_acknowledged() {
    let mut bench = Bench::new(flood);
    assert_eq!(bench.replica.undelivered(), 0);
    bench.impulse(&[3]); // and one to itself, which waits too
    assert_eq!(bench.replica.undelivered(), 3);
    bench.deliver();
    assert_eq!((bench.replica.undelivered(), bench.replayed().undelivered()), (3, 3));
    let (connection, _) = bench.reach(1, uuid(7), 1);
    assert_eq!(bench.replica.undelivered(), 2);
    bench.impulse(&[2]);
    bench.acknowledge(connection, 4);
    assert_eq!(bench.replica.undelivered(), 1);
    bench.impulse(&[0]); // carries the acknowledgement into the log
    assert_eq!(bench.replayed().undelivered(), 1);
    let checkpoint = bench.replica.checkpoint().to_vec();
    assert_eq!(bench.resumed(&checkpoint).undelivered(), 1);
    bench.acknowledge(connection, 5);
    assert_eq!(bench.replica.undelivered(), 0);
    bench.impulse(&[4]);
    bench.reach(1, uuid(8), 0);
    assert_eq!(bench.replica.undelivered(), 0, "those to the old life are dropped");
}

#[test]
fn the_hard_limit_is_of_all_peers_together_and_then_peers_are_not_heard_either() {
    /// An impulse forks 63 MiB to the peer of its argument.
    fn spread(peer: PeerIndex, message: &ambrosia_core::Message<'_>, hand: &mut Hand<'_>) {
        if peer == PeerIndex::OUTSIDE && message.kind == MessageKind::Impulse {
            let target = hand.attach(&format!("p-{}", message.arguments[0]));
            hand.effect(target, MessageKind::Fork, 0, &vec![7; limits::OUTBOX_BYTES_SOFT_MAX - (1 << 20)]);
        }
    }
    let mut bench = Bench::new(spread);
    let mut number = 0;
    while bench.replica.blocked().is_none() {
        number += 1;
        bench.impulse(&[number]);
    }
    assert_eq!(bench.replica.blocked(), Some(Blocked::OutboxHard), "no outbox alone is full");
    assert_eq!(usize::from(number), limits::OUTBOX_BYTES_HARD_MAX / (limits::OUTBOX_BYTES_SOFT_MAX - (1 << 20)) + 1);
    let (connection, _) = bench.connect("q", uuid(9), 1);
    bench.messages(connection, 1, &[b"hello"]);
    let before = bench.heard().len();
    bench.deliver();
    assert_eq!(bench.heard().len(), before, "everything waits");
    let (connection, _) = bench.reach(1, uuid(7), 0);
    bench.acknowledge(connection, 1);
    bench.deliver();
    assert_eq!((bench.replica.blocked(), bench.heard().len()), (None, before + 1));
}
