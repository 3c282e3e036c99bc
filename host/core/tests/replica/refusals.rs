//! Connections that are refused, and those that are not.

use ambrosia_core::{ConnectionId, Lsn, MessageKind, Output, PeerIndex, Refusal, Seq};

use crate::bench::{Bench, Hand, uuid};

/// An impulse forks to the peer `p`, an empty one exits.
fn fork_to_p(peer: PeerIndex, message: &ambrosia_core::Message<'_>, hand: &mut Hand<'_>) {
    if peer != PeerIndex::OUTSIDE || message.kind != MessageKind::Impulse {
        return;
    }
    if message.arguments.is_empty() {
        return hand.effect(PeerIndex::OUTSIDE, MessageKind::Exit, 0, &0_i32.to_le_bytes());
    }
    let target = hand.attach("p");
    hand.effect(target, MessageKind::Fork, 0, message.arguments);
}

fn check(outputs: &[Output], connection: ConnectionId, reason: Refusal) {
    assert_eq!(outputs, [Output::Refuse { connection, reason }]);
}

#[test]
fn a_gap_is_refused_and_nothing_of_it_is_delivered() {
    let mut bench = Bench::new(fork_to_p);
    let (connection, _) = bench.connect("p", uuid(7), 1);
    bench.messages(connection, 1, &[b"one", b"two"]);
    let outputs = bench.messages(connection, 4, &[b"four"]);
    check(&outputs, connection, Refusal::Gap { expected: Seq(3), found: Seq(4) });
    assert_eq!(bench.messages(connection, 3, &[b"three"]), [], "the connection counts no more");
    bench.deliver();
    let heard: Vec<_> = bench.heard().iter().filter(|heard| heard.0 == 1).map(|heard| &heard.3[..]).collect();
    assert_eq!(heard, [b"one", b"two"]);
}

#[test]
fn what_came_already_is_dropped_wherever_a_frame_begins() {
    let mut bench = Bench::new(fork_to_p);
    let (connection, _) = bench.connect("p", uuid(7), 1);
    bench.messages(connection, 1, &[b"1", b"2"]);
    bench.messages(connection, 1, &[b"1", b"2"]);
    bench.messages(connection, 2, &[b"2", b"3"]);
    bench.deliver();
    bench.messages(connection, 1, &[b"1", b"2", b"3", b"4"]);
    bench.messages(connection, 3, &[]);
    bench.messages(connection, 0, &[]);
    bench.deliver();
    let heard: Vec<_> = bench.heard().iter().filter(|heard| heard.0 == 1).map(|heard| heard.3[0]).collect();
    assert_eq!(heard, *b"1234");
}

#[test]
fn a_peer_that_lost_its_log_is_refused() {
    let mut bench = Bench::new(fork_to_p);
    bench.impulse(b"one");
    bench.impulse(b"two");
    let (connection, _) = bench.reach(1, uuid(7), 0);
    bench.acknowledge(connection, 2);
    let (connection, outputs) = bench.reach(1, uuid(7), 1);
    check(&outputs, connection, Refusal::PeerLostLog { has: Seq(1), acknowledged: Seq(2) });
}

#[test]
fn a_peer_that_knows_more_than_was_made_is_refused() {
    let mut bench = Bench::new(fork_to_p);
    bench.impulse(b"one");
    let (_, outputs) = bench.reach(1, uuid(7), 1);
    assert_eq!(outputs, [], "it has everything");
    let (connection, outputs) = bench.reach(1, uuid(7), 2);
    check(&outputs, connection, Refusal::OwnLogLost { has: Seq(2), made: Seq(1) });
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_refused() {
    let mut bench = Bench::new(fork_to_p);
    bench.impulse(b"one");
    let (connection, _) = bench.reach(1, uuid(7), 0);
    let outputs = bench.acknowledge(connection, 2);
    check(&outputs, connection, Refusal::Acknowledgement { seq: Seq(2), made: Seq(1) });
    assert_eq!(bench.acknowledge(connection, 1), [], "the connection counts no more");
    let (_, outputs) = bench.reach(1, uuid(7), 0);
    assert_eq!(outputs.len(), 1, "and what it said later was not noted: {outputs:?}");
}

#[test]
fn a_later_connection_supersedes_and_an_earlier_epoch_does_not() {
    let mut bench = Bench::new(fork_to_p);
    let (first, outputs) = bench.connect("p", uuid(7), 2);
    assert_eq!(outputs, [Output::Welcome { connection: first, received: Seq(0), after: Lsn(4) }]);
    let (second, outputs) = bench.connect("p", uuid(7), 2);
    assert_eq!(outputs[0], Output::Refuse { connection: first, reason: Refusal::Superseded });
    assert_eq!(outputs[1], Output::Welcome { connection: second, received: Seq(0), after: Lsn(4) });
    let (third, outputs) = bench.connect("p", uuid(7), 1);
    check(&outputs, third, Refusal::StaleEpoch);
    bench.messages(first, 1, &[b"of the superseded"]);
    bench.messages(third, 1, &[b"of the stale"]);
    bench.messages(second, 1, &[b"of the right one"]);
    bench.deliver();
    assert_eq!(bench.heard().last().expect("it started").3, b"of the right one");
}

#[test]
fn nobody_goes_by_the_name_of_the_instance_itself() {
    let mut bench = Bench::new(fork_to_p);
    for life in [uuid(1), uuid(9)] {
        let (connection, outputs) = bench.connect("me", life, 1);
        check(&outputs, connection, Refusal::OwnName);
    }
    assert_eq!(bench.records.len(), 3, "nothing was bound");
}

#[test]
fn a_finished_instance_refuses_peers_but_sends_what_it_owes() {
    let mut bench = Bench::new(fork_to_p);
    bench.impulse(b"last words");
    let outputs = bench.impulse(b"");
    assert_eq!(outputs, [Output::Finished { code: 0, after: Lsn(5) }]);
    let (connection, outputs) = bench.connect("p", uuid(7), 1);
    check(&outputs, connection, Refusal::Ended);
    let (_, outputs) = bench.reach(1, uuid(7), 0);
    assert!(matches!(&outputs[..], [Output::Send { .. }]), "{outputs:?}");
    bench.take_over();
}

#[test]
fn what_was_deposed_or_cut_is_not_heard() {
    let mut bench = Bench::new(fork_to_p);
    let (connection, _) = bench.connect("p", uuid(7), 1);
    bench.traffic(ambrosia_core::Traffic::Disconnected(connection));
    bench.messages(connection, 1, &[b"late"]);
    assert_eq!(bench.deliver(), []);
    let (connection, outputs) = bench.connect("p", uuid(7), 1);
    assert_eq!(outputs, [Output::Welcome { connection, received: Seq(0), after: Lsn(4) }]);
}

#[test]
fn a_peer_too_many_is_refused() {
    fn attach_all(_: PeerIndex, message: &ambrosia_core::Message<'_>, hand: &mut Hand<'_>) {
        if message.kind == MessageKind::Start {
            for number in 1..=ambrosia_core::limits::PEERS_MAX {
                hand.attach(&format!("p{number}"));
            }
        }
    }
    let mut bench = Bench::new(attach_all);
    let (connection, outputs) = bench.connect("one-more", uuid(7), 1);
    check(&outputs, connection, Refusal::TooManyPeers);
    let (connection, outputs) = bench.connect("p5", uuid(7), 1);
    assert_eq!(outputs, [Output::Welcome { connection, received: Seq(0), after: Lsn(4) }], "a known one is welcome");
}
