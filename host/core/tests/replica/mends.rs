//! Mends: what a record held that the guest could not handle is delivered behind it, once.

use ambrosia_core::{
    Answer, Fault, Input, Lsn, Message, MessageKind, Output, PeerIndex, RecordKind, Remedy, RequestId, Seq, Skip,
    Upgrade,
};

use crate::{
    bench::{Bench, Hand, REFUSES, TAKES_ALL, WAITS, uuid},
    upgrades::to,
};

/// MessagePack string: "skipped by an operator".
const SKIPPED: &[u8] = b"\xb6skipped by an operator";

/// Answers what asks, forks to a friend, and fails at `poison` as long as it runs its first code.
fn fragile(peer: PeerIndex, message: &Message<'_>, hand: &mut Hand<'_>) {
    match message.kind {
        MessageKind::Impulse => {
            let friend = hand.attach("friend");
            hand.effect(friend, MessageKind::Fork, 0, message.arguments);
            hand.effect(PeerIndex::OUTSIDE, MessageKind::Reply, message.call_id.0, message.arguments);
        }
        MessageKind::Call => hand.effect(peer, MessageKind::Reply, message.call_id.0, message.arguments),
        _ => {}
    }
    hand.fault |= message.arguments == b"poison" && hand.code == 0;
}

/// A primary that has left out the last record, at which the guest of the one before failed: three requests.
fn standing() -> Bench {
    let mut bench = Bench::new(fragile);
    for (id, arguments) in [("r1", &b"one"[..]), ("r2", b"poison"), ("r3", b"three")] {
        bench.request(id, arguments);
    }
    let outputs = bench.deliver();
    assert!(matches!(outputs.last(), Some(Output::Halted { after: Lsn(4), .. })), "{outputs:?}");
    assert_eq!(bench.take_over_void(), [], "nobody is connected to before the mend");
    bench
}

fn accepted(id: &str, after: u64) -> Output {
    Output::Accepted { request: RequestId::new(id).expect("short"), after: Lsn(after) }
}

fn answered(id: &str, success: bool, value: &'static [u8], after: u64) -> Output {
    let answer = Answer { success, value: value.into() };
    Output::Answered { request: RequestId::new(id).expect("short"), answer, after: Lsn(after) }
}

fn skip(messages: &[u32]) -> Remedy {
    Remedy::Skip(Skip { attempt: 1, messages: messages.to_vec() })
}

fn impulses(bench: &Bench) -> Vec<&[u8]> {
    let heard = bench.heard().iter().filter(|heard| heard.1 == MessageKind::Impulse);
    heard.map(|heard| &heard.3[..]).collect()
}

#[test]
fn nothing_is_done_between_a_record_that_was_left_out_and_its_mend() {
    let mut bench = standing();
    assert_eq!((bench.replica.void(), bench.replica.wake_at()), (Some(Lsn(4)), None));
    assert_eq!(bench.request("r4", b"four"), []);
    assert_eq!(bench.deliver(), []);
    assert_eq!(bench.step(Input::Digest { checkpoint_by: None, now: bench.now }), []);
    assert_eq!(bench.records.len(), 5, "the one that was left out, and the beginning of a reign");
    assert_eq!(impulses(&bench), [] as [&[u8]; 0]);
    // It waits until then.
    bench.mend(skip(&[1]));
    bench.deliver();
    assert_eq!(impulses(&bench), [&b"one"[..], b"three", b"four"]);
}

#[test]
fn who_asks_again_for_what_was_left_out_is_answered_by_the_mend_and_it_is_done_once() {
    let mut bench = standing();
    assert_eq!(bench.request("r1", b"one"), [], "the mend answers it");
    assert_eq!(bench.request("r2", b"poison"), []);
    let said = bench.request("r3", b"another");
    assert!(matches!(&said[..], [Output::KeyReused { after: Lsn(5), .. }]), "{said:?}");
    assert_eq!(bench.request("r4", b"four"), []);
    let outputs = bench.mend(skip(&[1]));
    for expected in [answered("r1", true, b"one", 6), answered("r2", false, SKIPPED, 6)] {
        assert!(outputs.contains(&expected), "{expected:?} {outputs:?}");
    }
    bench.deliver();
    assert_eq!(impulses(&bench), [&b"one"[..], b"three", b"four"], "each once");
}

#[test]
fn other_code_handles_what_was_left_out_and_every_replica_has_it_from_the_mend_on() {
    let mut bench = standing();
    let outputs = bench.mend(Remedy::Upgrade(to(TAKES_ALL)));
    for expected in [accepted("r2", 6), answered("r1", true, b"one", 6), answered("r2", true, b"poison", 6)] {
        assert!(outputs.contains(&expected), "{expected:?} {outputs:?}");
    }
    for peer in ["friend", "fresh"] {
        let connects = |output: &Output| matches!(output, Output::Connect { name, .. } if name.as_str() == peer);
        assert!(outputs.iter().any(connects), "what both brought about goes out: {outputs:?}");
    }
    assert_eq!(bench.records.last().map(|record| record.header().kind), Some(RecordKind::Mend));
    assert_eq!(impulses(&bench), [&b"one"[..], b"poison", b"three"]);
    let replica = &bench.replica;
    assert_eq!((replica.module(), replica.attempt(), replica.upgraded_at()), ([TAKES_ALL; 32], 1, Lsn(6)));
    assert_eq!((replica.void(), replica.outcome()), (None, None));
    bench.take_over();
    bench.impulse(b"poison");
    assert_eq!(bench.replica.outcome(), None, "the new code handles it");
    bench.take_over();
}

#[test]
fn who_has_asked_for_what_is_skipped_gets_an_error_and_the_rest_is_handled_once() {
    let mut bench = standing();
    let outputs = bench.mend(skip(&[1]));
    let answers =
        [answered("r1", true, b"one", 6), answered("r2", false, SKIPPED, 6), answered("r3", true, b"three", 6)];
    for expected in answers {
        assert!(outputs.contains(&expected), "{expected:?} {outputs:?}");
    }
    assert_eq!(impulses(&bench), [&b"one"[..], b"three"]);
    assert_eq!((bench.replica.module(), bench.replica.attempt(), bench.replica.upgraded_at()), ([2; 32], 1, Lsn(6)));
    let known = bench.request("r2", b"poison");
    assert_eq!(known, [accepted("r2", 6), answered("r2", false, SKIPPED, 6)], "the error is its result for good");
    bench.take_over();
}

#[test]
fn a_record_may_be_skipped_as_a_whole() {
    let mut bench = standing();
    let outputs = bench.mend(skip(&[0, 1, 2]));
    assert!(outputs.contains(&answered("r3", false, SKIPPED, 6)), "{outputs:?}");
    assert_eq!(impulses(&bench), [] as [&[u8]; 0]);
    bench.take_over();
}

/// Calls are answered, and answers fail; what nobody waits for is gone.
#[test]
fn of_messages_of_peers_and_of_timers_each_kind_is_skipped_in_its_way() {
    fn busy(peer: PeerIndex, message: &Message<'_>, hand: &mut Hand<'_>) {
        match message.kind {
            MessageKind::Impulse => {
                let friend = hand.attach("friend");
                hand.effect(friend, MessageKind::Call, 40, b"what?");
                hand.effect(PeerIndex::OUTSIDE, MessageKind::SetTimer, 41, &200_u64.to_le_bytes());
            }
            MessageKind::Call => hand.effect(peer, MessageKind::Reply, message.call_id.0, b"yes"),
            _ => {}
        }
        hand.fault |= message.arguments == b"poison";
    }
    let mut bench = Bench::new(busy);
    bench.impulse(b"");
    let (connection, _) = bench.connect("friend", uuid(7), 1);
    bench.reach(1, uuid(7), 0);
    let message = |kind, call, arguments: &'static [u8]| (kind, call, arguments);
    bench.encoded(
        connection,
        1,
        &[
            message(MessageKind::Call, 50, b"poison"),
            message(MessageKind::Reply, 40, b"that"),
            message(MessageKind::Fork, 0, b"news"),
            message(MessageKind::Call, 51, b"well?"),
        ],
    );
    bench.now.0 = 300;
    bench.deliver();
    bench.take_over_void();
    // The timer is the first message of the record.
    let outputs = bench.mend(skip(&[0, 1, 2, 3]));
    let heard: Vec<_> = bench.heard().iter().rev().take(2).map(|heard| (heard.1, heard.2, heard.3.clone())).collect();
    assert_eq!(heard, [(MessageKind::Call, 51, b"well?".to_vec()), (MessageKind::Error, 40, SKIPPED.to_vec())]);
    assert!(outputs.iter().any(|output| matches!(output, Output::Connect { .. })), "{outputs:?}");
    let (connection, outputs) = bench.reach(1, uuid(7), 1);
    let [Output::Send { chunk, .. }] = &outputs[..] else { panic!("the answers are sent: {outputs:?}") };
    assert_eq!((chunk.first_seq, chunk.count), (Seq(2), 2));
    assert!(chunk.messages.windows(SKIPPED.len()).any(|bytes| bytes == SKIPPED), "the caller gets an error");
    assert_eq!(bench.replica.wake_at(), None, "the timer is gone");
    bench.acknowledge(connection, 3);
    // The stream goes on behind what was skipped.
    let (connection, outputs) = bench.connect("friend", uuid(7), 1);
    assert!(matches!(outputs[..], [Output::Welcome { received: Seq(4), .. }]), "{outputs:?}");
    bench.messages(connection, 5, &[b"more"]);
    bench.deliver();
    bench.take_over();
}

#[test]
fn what_does_not_help_is_refused_and_leaves_no_trace() {
    let fails_again = Upgrade { to: [0; 32], ..to(TAKES_ALL) };
    for (remedy, reason) in [
        (Remedy::Upgrade(to(REFUSES)), "it does not fit"),
        (Remedy::Upgrade(to(WAITS)), "transfer awaits withdraw"),
        (Remedy::Upgrade(fails_again), "told to"),
        (skip(&[0, 2]), "told to"),
        (skip(&[1, 3]), "lsn 4 has 3 messages, and others are to be skipped"),
        (skip(&[2, 1]), "positions of messages rise and are below 16384, and those to be skipped don't"),
        (skip(&[u32::MAX]), "positions of messages rise and are below 16384, and those to be skipped don't"),
    ] {
        let mut bench = standing();
        let records = bench.records.len();
        let outputs = bench.mend(remedy);
        let fault = Fault::because(reason);
        assert_eq!(outputs, [Output::UpgradeRefused { attempt: 1, fault, is_lost: true }]);
        assert_eq!((bench.records.len(), bench.replica.void()), (records, Some(Lsn(4))));
    }
}

/// Its own fault, since the primary has done it.
#[test]
fn a_replica_that_has_left_out_nothing_cannot_follow_a_mend() {
    let mut bench = standing();
    bench.mend(skip(&[1]));
    let mend = bench.records.last().expect("it was made").clone();
    bench.records.truncate(3);
    let mut other = bench.replayed();
    let mut outputs = Vec::new();
    let mut header = *mend.header();
    (header.lsn, header.previous) = (Lsn(4), other.link());
    other.step(Input::Record(ambrosia_core::Record::seal(header, mend.body())), &mut outputs);
    assert!(matches!(outputs[..], [Output::UpgradeFailed { at: Lsn(4), .. }]), "{outputs:?}");
}
