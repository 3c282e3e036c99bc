//! Back-pressure: a peer that takes nothing stops what this instance begins by itself, and nothing else.

use ambrosia_core::{Blocked, Kind, PeerIndex, limits};

use crate::bench::{Bench, Hand, uuid};

const LARGE: usize = 4 << 20;

/// An impulse forks as many large messages to `p` as its argument says, and one to itself.
fn flood(peer: PeerIndex, message: &ambrosia_core::Message<'_>, hand: &mut Hand<'_>) {
    if peer == PeerIndex::OUTSIDE && message.kind == Kind::Impulse {
        let (p, me) = (hand.attach("p"), hand.attach("me"));
        for _ in 0..message.arguments[0] {
            hand.effect(p, Kind::Fork, 0, &vec![7; LARGE]);
        }
        hand.effect(me, Kind::Fork, 0, b"mine");
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
    assert_eq!(heard, [Kind::Impulse, Kind::Fork, Kind::Fork], "all that waited comes, in order");
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
