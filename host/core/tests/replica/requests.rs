//! Requests of clients: done once, however often they are asked.

use ambrosia_core::{Answer, Lsn, MessageKind, Output, PeerIndex, RequestId};

use crate::bench::{Bench, Hand};

/// Answers an impulse with its arguments; `later` is answered by the next impulse.
fn echo(_: PeerIndex, message: &ambrosia_core::Message<'_>, hand: &mut Hand<'_>) {
    if message.kind != MessageKind::Impulse || message.arguments == b"later" {
        return;
    }
    let call = if message.arguments == b"now" { 1 } else { message.call_id.0 };
    hand.effect(PeerIndex::OUTSIDE, MessageKind::Reply, call, message.arguments);
    hand.fault = message.arguments == b"fault";
}

fn accepted(id: &str, after: u64) -> Output {
    Output::Accepted { request: RequestId::new(id).expect("short"), after: Lsn(after) }
}

fn answered(id: &str, value: &'static [u8], after: u64) -> Output {
    let answer = Answer { success: true, value: value.into() };
    Output::Answered { request: RequestId::new(id).expect("short"), answer, after: Lsn(after) }
}

#[test]
fn a_request_asked_again_while_it_waits_is_queued_once() {
    let mut bench = Bench::new(echo);
    assert_eq!(bench.request("r", b"x"), []);
    assert_eq!(bench.request("r", b"x"), []);
    assert_eq!(bench.deliver(), [accepted("r", 4), answered("r", b"x", 4)]);
    assert_eq!(bench.deliver(), []);
}

#[test]
fn a_request_asked_again_later_has_its_answer_also_after_a_takeover() {
    let mut bench = Bench::new(echo);
    bench.request("r", b"x");
    bench.deliver();
    let known = [accepted("r", 4), answered("r", b"x", 4)];
    assert_eq!(bench.request("r", b"x"), known);
    bench.take_over();
    assert_eq!(bench.request("r", b"x"), known);
    bench.deliver();
    assert_eq!(bench.heard().iter().filter(|heard| heard.1 == MessageKind::Impulse).count(), 1);
}

#[test]
fn a_request_without_an_answer_is_accepted_and_answered_by_a_later_record() {
    let mut bench = Bench::new(echo);
    bench.request("r", b"later");
    assert_eq!(bench.deliver(), [accepted("r", 4)]);
    assert_eq!(bench.request("r", b"later"), [accepted("r", 4)]);
    assert_eq!(bench.impulse(b"now"), [answered("r", b"now", 5)]);
    assert_eq!(bench.impulse(b"now"), [], "the second answer is nobody's");
    assert_eq!(bench.request("r", b"later"), [accepted("r", 4), answered("r", b"now", 5)]);
}

#[test]
fn a_client_never_sees_the_answer_of_a_delivery_that_failed() {
    let mut bench = Bench::new(echo);
    bench.request("r", b"fault");
    let outputs = bench.deliver();
    assert!(matches!(&outputs[..], [Output::Accepted { .. }, Output::Halted { after: Lsn(4), .. }]), "{outputs:?}");
    assert_eq!(bench.request("r", b"fault"), [accepted("r", 4)]);
    bench.take_over();
    assert_eq!(bench.request("r", b"fault"), [accepted("r", 4)]);
}

#[test]
fn a_client_never_sees_an_answer_beside_a_bad_effect() {
    fn answer_and_fail(_: PeerIndex, message: &ambrosia_core::Message<'_>, hand: &mut Hand<'_>) {
        if message.kind == MessageKind::Impulse {
            hand.effect(PeerIndex::OUTSIDE, MessageKind::Reply, message.call_id.0, b"yes");
            hand.effect(PeerIndex::OUTSIDE, MessageKind::SetTimer, 0, b"");
        }
    }
    let mut bench = Bench::new(answer_and_fail);
    bench.request("r", b"x");
    bench.deliver();
    assert_eq!(bench.request("r", b"x"), [accepted("r", 4)]);
}

#[test]
fn impulses_without_a_request_have_no_number() {
    let mut bench = Bench::new(echo);
    bench.impulse(b"a");
    bench.request("r", b"b");
    bench.request("s", b"c");
    bench.deliver();
    bench.take_over();
    bench.request("t", b"d");
    bench.deliver();
    let impulses = bench.heard().iter().filter(|heard| heard.1 == MessageKind::Impulse);
    assert_eq!(impulses.map(|heard| heard.2).collect::<Vec<_>>(), [0, 1, 2, 3]);
}
