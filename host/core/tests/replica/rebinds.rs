//! A peer that is registered anew: its streams start afresh, and calls to it fail once.

use ambrosia_core::{
    CallId, ConnectionId, Lsn, Message, MessageKind, MethodId, Output, PeerIndex, Refusal, Seq, Traffic, push_message,
};

use crate::bench::{Bench, Hand, uuid};

/// An impulse calls the peer `p`; its argument is the call id. Without one it does nothing.
fn call_p(peer: PeerIndex, message: &Message<'_>, hand: &mut Hand<'_>) {
    if peer == PeerIndex::OUTSIDE
        && message.kind == MessageKind::Impulse
        && let [id] = message.arguments
    {
        let target = hand.attach("p");
        hand.effect(target, MessageKind::Call, (*id).into(), b"please");
    }
}

fn failures(bench: &Bench) -> Vec<u64> {
    bench.heard().iter().filter(|heard| heard.1 == MessageKind::Error).map(|heard| heard.2).collect()
}

fn dropped(outputs: &[Output]) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    for output in outputs {
        if let Output::Rebound { dropped, failed_calls, .. } = output {
            all.push((*dropped, *failed_calls));
        }
    }
    all
}

#[test]
fn pending_calls_fail_exactly_once_and_also_after_a_takeover() {
    let mut bench = Bench::new(call_p);
    bench.impulse(&[5]);
    bench.impulse(&[6]);
    let (old, _) = bench.reach(1, uuid(7), 0);
    bench.acknowledge(old, 1);
    let (_, outputs) = bench.reach(1, uuid(8), 0);
    assert_eq!(dropped(&outputs), [(1, 2)]);
    bench.take_over();
    bench.deliver();
    assert_eq!(failures(&bench), [5, 6]);
    bench.deliver();
    bench.take_over();
    bench.deliver();
    let (_, outputs) = bench.reach(1, uuid(8), 0);
    assert_eq!((failures(&bench), outputs), (vec![5, 6], vec![]));
}

#[test]
fn first_contact_drops_nothing() {
    let mut bench = Bench::new(call_p);
    bench.impulse(&[5]);
    let (_, outputs) = bench.reach(1, uuid(7), 0);
    assert!(matches!(&outputs[..], [Output::Send { chunk, .. }] if chunk.first_seq == Seq(1)), "{outputs:?}");
    bench.deliver();
    assert_eq!(failures(&bench), []);
}

#[test]
fn what_is_sent_again_waits_for_the_record_that_binds_the_peer() {
    let mut bench = Bench::new(call_p);
    bench.impulse(&[5]);
    let (_, outputs) = bench.reach(1, uuid(7), 0);
    assert_eq!(bench.records.len(), 5, "genesis, epoch, start, call, bind");
    assert_eq!(outputs.iter().map(Output::after).collect::<Vec<_>>(), [Lsn(5)]);
}

#[test]
fn connections_of_the_old_life_end_and_count_no_more() {
    let mut bench = Bench::new(call_p);
    bench.impulse(&[5]);
    let (there, _) = bench.reach(1, uuid(7), 0);
    let (here, _) = bench.connect("p", uuid(7), 9);
    let (new, outputs) = bench.connect("p", uuid(8), 1);
    for connection in [here, there] {
        assert!(outputs.contains(&Output::Refuse { connection, reason: Refusal::Superseded }), "{outputs:?}");
    }
    assert!(matches!(outputs.last(), Some(Output::Welcome { connection, .. }) if *connection == new));
    bench.impulse(&[6]);
    // The old life has one message to say and one to acknowledge, and none of it is the new life's.
    bench.messages(here, 1, &[b"old"]);
    bench.acknowledge(there, 1);
    bench.messages(new, 1, &[b"new"]);
    bench.deliver();
    assert_eq!(bench.heard().last().expect("it started").3, b"new");
    let (_, outputs) = bench.reach(1, uuid(8), 0);
    assert!(matches!(&outputs[..], [Output::Send { chunk, .. }] if chunk.first_seq == Seq(1)), "{outputs:?}");
}

#[test]
fn a_new_primary_connects_to_whom_it_called_although_nothing_is_to_be_sent() {
    let mut bench = Bench::new(call_p);
    bench.impulse(&[5]);
    let (connection, _) = bench.reach(1, uuid(7), 0);
    bench.acknowledge(connection, 1);
    bench.impulse(&[]); // carries the acknowledgement into the log
    let outputs = bench.take_over();
    assert!(matches!(&outputs[..], [Output::Connect { peer: PeerIndex(1), .. }]), "{outputs:?}");
}

#[test]
fn a_call_without_an_id_or_with_one_that_is_pending_is_the_guests_fault() {
    for (ids, halts) in [(vec![0], true), (vec![4, 4], true), (vec![4, 5], false)] {
        let mut bench = Bench::new(call_p);
        for id in &ids {
            bench.impulse(&[*id]);
        }
        assert_eq!(bench.replica.outcome().is_some(), halts, "{ids:?}");
        bench.take_over();
    }
}

#[test]
fn a_call_is_settled_by_one_answer_of_the_peer_called() {
    let mut bench = Bench::new(call_p);
    bench.impulse(&[5]);
    let (connection, _) = bench.connect("p", uuid(7), 1);
    answer(&mut bench, connection, MessageKind::Reply, 5);
    let (_, outputs) = bench.connect("p", uuid(8), 1);
    assert_eq!(dropped(&outputs), [(1, 0)], "nothing is left to fail");
    bench.impulse(&[5]);
    assert_eq!(bench.replica.outcome(), None, "the id is free again");
}

/// A peer answers a call, and that is delivered.
fn answer(bench: &mut Bench, connection: ConnectionId, kind: MessageKind, call: u64) {
    let mut reply = Vec::new();
    let (method, call_id) = (MethodId(0), CallId(call));
    push_message(&mut reply, Message { kind, method, call_id, arguments: b"\xa4done" });
    let (first_seq, messages) = (Seq(1), reply.into());
    bench.traffic(Traffic::Messages { connection, first_seq, count: 1, messages });
    bench.deliver();
}

#[test]
fn an_answer_of_another_peer_settles_no_call() {
    for kind in [MessageKind::Reply, MessageKind::Error] {
        let mut bench = Bench::new(call_p);
        bench.impulse(&[5]);
        bench.impulse(&[6]);
        bench.connect("p", uuid(7), 1);
        let (stranger, _) = bench.connect("q", uuid(9), 1);
        answer(&mut bench, stranger, kind, 5);
        assert_eq!(
            bench.heard().last().map(|heard| (heard.0, heard.1)),
            Some((2, kind)),
            "the guest is told all the same"
        );
        let (_, outputs) = bench.connect("p", uuid(8), 1);
        assert_eq!(dropped(&outputs), [(2, 2)], "both calls waited for p");
    }
}

#[test]
fn what_waits_of_the_old_life_is_not_delivered_when_the_new_one_is_reached() {
    let mut bench = Bench::new(call_p);
    bench.impulse(&[5]);
    let (here, _) = bench.connect("p", uuid(7), 1);
    bench.messages(here, 1, &[b"delivered"]);
    bench.deliver();
    bench.messages(here, 2, &[b"old", b"old"]);
    bench.reach(1, uuid(8), 0);
    bench.deliver();
    let (new, outputs) = bench.connect("p", uuid(8), 1);
    assert!(matches!(outputs[..], [Output::Welcome { received: Seq(0), .. }]), "{outputs:?}");
    bench.messages(new, 1, &[b"new"]);
    bench.deliver();
    let of_p = bench.heard().iter().filter(|heard| heard.0 == 1);
    assert_eq!(of_p.map(|heard| &heard.3[..]).collect::<Vec<_>>(), [&b"delivered"[..], b"new"]);
    bench.take_over();
}
