//! Requests of sessions: done once and in order, for ever, with as much state as there are clients.

use ambrosia_core::{
    Answer, CheckpointState, ConnectionId, Lsn, MessageKind, MethodId, OpeningId, Output, PeerIndex, Remedy, Seq,
    SessionId, SessionRefusal, Skip, Ticket, Timestamp, Traffic,
    limits::{SESSION_BYTES_SOFT_MAX, SESSION_IDLE_NS_MAX, SESSION_IDLE_NS_MIN, SESSION_WINDOW_MAX, SESSIONS_MAX},
};
use bytes::Bytes;

use crate::bench::{Bench, Hand};

const CONNECTION: ConnectionId = ConnectionId(9);

/// Answers an impulse with its arguments; `later` is answered by the next one that is `now`, and `large` with much.
fn echo(_: PeerIndex, message: &ambrosia_core::Message<'_>, hand: &mut Hand<'_>) {
    if message.kind != MessageKind::Impulse || message.arguments == b"later" {
        return;
    }
    let call = if message.arguments == b"now" { 1 } else { message.call_id.0 };
    if message.arguments == b"large" {
        hand.effect(PeerIndex::OUTSIDE, MessageKind::Reply, call, &vec![0; SESSION_BYTES_SOFT_MAX]);
    } else {
        hand.effect(PeerIndex::OUTSIDE, MessageKind::Reply, call, message.arguments);
    }
    hand.fault = message.arguments == b"fault";
}

fn id(number: u16) -> SessionId {
    let mut bytes = [7; 16];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    SessionId(bytes)
}

/// A client with its session open.
struct Client {
    session: SessionId,
    ticket: Ticket,
    accepted: u64,
    confirmed: u64,
}

fn open_as(bench: &mut Bench, number: u16, opening: u8) -> Result<Client, SessionRefusal> {
    let session = id(number);
    let outputs =
        bench.traffic(Traffic::OpenSession { connection: CONNECTION, session, opening: OpeningId([opening; 16]) });
    match outputs[..] {
        [.., Output::SessionOpened { session: of, ticket, accepted, confirmed, after, .. }] => {
            assert_eq!(of, session);
            assert!(after >= Lsn(ticket.0));
            Ok(Client { session, ticket, accepted: accepted.0, confirmed: confirmed.0 })
        }
        [Output::SessionRefused { refusal, .. }] => Err(refusal),
        _ => panic!("{outputs:?}"),
    }
}

fn open(bench: &mut Bench, opening: u8) -> Client {
    open_as(bench, 1, opening).expect("there is room")
}

impl Client {
    fn traffic(&self, seq: u64, confirmed: u64, arguments: &[u8], impossible: Option<&str>) -> Traffic {
        Traffic::SessionRequest {
            connection: CONNECTION,
            session: self.session,
            ticket: self.ticket,
            seq: Seq(seq),
            confirmed: Seq(confirmed),
            method: MethodId(0),
            arguments: Bytes::copy_from_slice(arguments),
            impossible: impossible.map(str::to_owned),
        }
    }

    fn ask(&self, bench: &mut Bench, seq: u64, confirmed: u64, arguments: &[u8]) -> Vec<Output> {
        bench.traffic(self.traffic(seq, confirmed, arguments, None))
    }

    fn confirm(&self, bench: &mut Bench, confirmed: u64) -> Vec<Output> {
        let (session, ticket, confirmed) = (self.session, self.ticket, Seq(confirmed));
        bench.traffic(Traffic::SessionConfirmed { connection: CONNECTION, session, ticket, confirmed })
    }

    fn answered(&self, seq: u64, value: &'static [u8], after: u64) -> Output {
        let answer = Answer { success: true, value: value.into() };
        Output::SessionAnswered { session: self.session, ticket: self.ticket, seq: Seq(seq), answer, after: Lsn(after) }
    }

    fn refused(&self, seq: u64, refusal: SessionRefusal, after: u64) -> Output {
        let (session, ticket, after) = (self.session, self.ticket, Lsn(after));
        Output::SessionRefused { connection: Some(CONNECTION), session, ticket, seq: Seq(seq), refusal, after }
    }
}

/// Leaves two sessions, of which one has requests with a result, without one, and with one that says why there is none.
pub(crate) fn use_some(bench: &mut Bench) {
    open_as(bench, 2, 1).expect("there is room");
    let client = open(bench, 1);
    for seq in 1..=3 {
        client.ask(bench, seq, 0, &[19 + seq as u8]);
    }
    bench.deliver();
    bench.traffic(client.traffic(4, 0, b"x", Some("the instance has no method of that name")));
    client.confirm(bench, 1);
    bench.deliver();
}

/// What the guest was asked, in order.
fn asked(bench: &Bench) -> Vec<&[u8]> {
    let impulses = bench.heard().iter().filter(|heard| heard.1 == MessageKind::Impulse);
    impulses.map(|heard| &heard.3[..]).collect()
}

#[test]
fn requests_are_done_in_order_and_once_and_are_answered_again_also_after_a_takeover() {
    let mut bench = Bench::new(echo);
    let client = open(&mut bench, 1);
    assert_eq!((client.ticket, client.accepted), (Ticket(4), 0));
    assert_eq!(client.ask(&mut bench, 1, 0, b"a"), []);
    assert_eq!(client.ask(&mut bench, 2, 0, b"b"), []);
    assert_eq!(client.ask(&mut bench, 2, 0, b"b"), [], "it waits already");
    let answers = [client.answered(1, b"a", 5), client.answered(2, b"b", 5)];
    assert_eq!(bench.deliver(), answers);
    bench.take_over();
    assert_eq!(client.ask(&mut bench, 1, 0, b"a"), answers[..1]);
    assert_eq!(client.ask(&mut bench, 2, 0, b"b"), answers[1..]);
    assert_eq!(client.ask(&mut bench, 3, 2, b"c"), []);
    assert_eq!(bench.deliver(), [client.answered(3, b"c", 7)]);
    assert_eq!(asked(&bench), [b"a", b"b", b"c"]);
}

#[test]
fn what_is_not_the_next_or_not_the_same_is_refused_and_nothing_is_lost() {
    let mut bench = Bench::new(echo);
    let client = open(&mut bench, 1);
    client.ask(&mut bench, 1, 0, b"a");
    let gap = |expected| SessionRefusal::Gap { expected: Seq(expected) };
    assert_eq!(client.ask(&mut bench, 3, 0, b"c"), [client.refused(3, gap(2), 4)]);
    assert_eq!(client.ask(&mut bench, 1, 0, b"other"), [client.refused(1, SessionRefusal::Reused, 4)]);
    bench.deliver();
    assert_eq!(client.ask(&mut bench, 1, 0, b"other"), [client.refused(1, SessionRefusal::Reused, 5)]);
    assert_eq!(client.ask(&mut bench, 0, 0, b""), [client.refused(0, SessionRefusal::Forgotten, 5)]);
    assert_eq!(client.ask(&mut bench, 2, 2, b"b"), [client.refused(2, SessionRefusal::Confirmation, 5)]);
    client.ask(&mut bench, 2, 1, b"b");
    bench.deliver();
    assert_eq!(client.ask(&mut bench, 1, 1, b"a"), [client.refused(1, SessionRefusal::Forgotten, 6)]);
    assert_eq!(asked(&bench), [b"a", b"b"]);
}

#[test]
fn results_are_kept_until_they_are_confirmed_by_a_record_and_no_longer() {
    let mut bench = Bench::new(echo);
    let client = open(&mut bench, 1);
    for seq in 1..=3 {
        client.ask(&mut bench, seq, 0, b"xy");
    }
    bench.deliver();
    let counts = |bench: &Bench| {
        let counts = bench.replica.session_counts();
        (counts.sessions, counts.under_way, counts.results, counts.bytes)
    };
    assert_eq!(counts(&bench), (1, 0, 3, 6));
    assert_eq!(client.confirm(&mut bench, 2), []);
    assert_eq!((bench.deliver(), counts(&bench)), (vec![], (1, 0, 3, 6)), "that is no reason for a record");
    assert_eq!(client.ask(&mut bench, 1, 0, b"xy"), [client.answered(1, b"xy", 5)]);
    bench.impulse(b"");
    assert_eq!(counts(&bench), (1, 0, 1, 2));
    assert_eq!(client.ask(&mut bench, 1, 0, b"xy"), [client.refused(1, SessionRefusal::Forgotten, 6)]);
    bench.take_over();
    assert_eq!(counts(&bench), (1, 0, 1, 2));
    assert_eq!(client.ask(&mut bench, 3, 2, b"xy"), [client.answered(3, b"xy", 5)]);
}

#[test]
fn a_request_without_a_result_is_answered_by_a_later_record_and_can_not_be_confirmed_before() {
    let mut bench = Bench::new(echo);
    let client = open(&mut bench, 1);
    client.ask(&mut bench, 1, 0, b"later");
    assert_eq!(bench.deliver(), []);
    assert_eq!(client.confirm(&mut bench, 1), [client.refused(0, SessionRefusal::Confirmation, 5)]);
    bench.take_over();
    assert_eq!(client.ask(&mut bench, 1, 0, b"later"), []);
    assert_eq!(client.ask(&mut bench, 2, 0, b"now"), []);
    // The answer to `now` is that of the first.
    assert_eq!(bench.deliver(), [client.answered(1, b"now", 7)]);
    assert_eq!(client.confirm(&mut bench, 1), []);
}

#[test]
fn an_opening_that_is_repeated_is_done_once_and_another_one_ends_the_ones_before() {
    let mut bench = Bench::new(echo);
    let first = open(&mut bench, 1);
    first.ask(&mut bench, 1, 0, b"a");
    bench.deliver();
    first.ask(&mut bench, 2, 0, b"b");
    assert_eq!(open(&mut bench, 1).ticket, first.ticket, "the same opening");
    let second = open(&mut bench, 2);
    assert_eq!((second.ticket, second.accepted, second.confirmed), (Ticket(6), 1, 0));
    // What waited of the first client is never delivered, and the number stands for another request by now.
    assert_eq!(bench.deliver(), []);
    assert_eq!(first.ask(&mut bench, 2, 0, b"b"), [first.refused(2, SessionRefusal::Superseded, 6)]);
    assert_eq!(second.ask(&mut bench, 1, 0, b"a"), [second.answered(1, b"a", 5)]);
    second.ask(&mut bench, 2, 0, b"b");
    assert_eq!(bench.deliver(), [second.answered(2, b"b", 7)]);
    bench.take_over();
    assert_eq!(first.ask(&mut bench, 2, 0, b"b"), [first.refused(2, SessionRefusal::Superseded, 8)]);
    assert_eq!(asked(&bench), [b"a", b"b"]);
}

#[test]
fn who_uses_a_session_that_is_over_is_told_without_asking() {
    let mut bench = Bench::new(echo);
    let (first, idle) = (open(&mut bench, 1), open_as(&mut bench, 2, 1).expect("there is room"));
    idle.ask(&mut bench, 1, 0, b"never delivered");
    bench.now = Timestamp(bench.now.0 + SESSION_IDLE_NS_MAX + 1);
    let opening = Traffic::OpenSession { connection: CONNECTION, session: first.session, opening: OpeningId([2; 16]) };
    let told = |client: &Client, refusal| {
        let (session, ticket, seq, after) = (client.session, client.ticket, Seq(0), Lsn(6));
        Output::SessionRefused { connection: None, session, ticket, seq, refusal, after }
    };
    let outputs = bench.traffic(opening);
    assert_eq!(outputs[..2], [told(&first, SessionRefusal::Superseded), told(&idle, SessionRefusal::Ended)]);
    assert!(matches!(outputs[2..], [Output::SessionOpened { .. }]), "{outputs:?}");
    assert_eq!(bench.deliver(), []);
}

#[test]
fn what_can_not_be_done_fails_in_its_place_and_for_ever() {
    let mut bench = Bench::new(echo);
    let client = open(&mut bench, 1);
    client.ask(&mut bench, 1, 0, b"a");
    bench.traffic(client.traffic(2, 0, b"b", Some("no method")));
    client.ask(&mut bench, 3, 0, b"c");
    let failed = |after| {
        let answer = Answer::failed("no method");
        let (session, ticket, seq) = (client.session, client.ticket, Seq(2));
        Output::SessionAnswered { session, ticket, seq, answer, after: Lsn(after) }
    };
    let outputs = bench.deliver();
    assert_eq!(outputs, [client.answered(1, b"a", 5), client.answered(3, b"c", 5), failed(5)]);
    bench.take_over();
    // Also if it could be done by now.
    assert_eq!(client.ask(&mut bench, 2, 0, b"b"), [failed(5)]);
    bench.traffic(client.traffic(4, 3, b"d", Some("no method")));
    assert_eq!(bench.deliver().len(), 1, "one that fails alone is a record, too");
    assert_eq!(asked(&bench), [b"a", b"c"]);
}

#[test]
fn a_reason_is_cut_to_what_a_record_may_hold() {
    let mut bench = Bench::new(echo);
    let client = open(&mut bench, 1);
    bench.traffic(client.traffic(1, 0, b"a", Some(&"é".repeat(10_000))));
    let [Output::SessionAnswered { answer, .. }] = &bench.deliver()[..] else { panic!("it is answered") };
    assert!((200..300).contains(&answer.value.len()), "{answer:?}");
}

#[test]
fn a_session_that_has_ended_is_refused_and_a_new_one_of_its_name_begins_anew() {
    let mut bench = Bench::new(echo);
    let (old, busy) = (open(&mut bench, 1), open_as(&mut bench, 2, 1).expect("there is room"));
    old.ask(&mut bench, 1, 0, b"a");
    busy.ask(&mut bench, 1, 0, b"later");
    bench.deliver();
    bench.now = Timestamp(bench.now.0 + SESSION_IDLE_NS_MAX + 1);
    open_as(&mut bench, 3, 1).expect("there is room");
    assert_eq!(bench.replica.session_counts().sessions, 2, "whoever waits for a result is not idle");
    assert_eq!(old.ask(&mut bench, 2, 0, b"b"), [old.refused(2, SessionRefusal::Ended, 7)]);
    assert_eq!(old.ask(&mut bench, 1, 0, b"a"), [old.refused(1, SessionRefusal::Ended, 7)]);
    let new = open(&mut bench, 2);
    assert_eq!((new.accepted, new.ticket), (0, Ticket(8)));
    assert_eq!(old.ask(&mut bench, 1, 0, b"a"), [old.refused(1, SessionRefusal::Superseded, 8)]);
    bench.take_over();
    new.ask(&mut bench, 1, 0, b"c");
    bench.deliver();
    assert_eq!(asked(&bench).len(), 3);
}

#[test]
fn there_are_no_more_sessions_than_the_limit_and_those_that_are_used_stay() {
    let mut bench = Bench::new(echo);
    for number in 0..SESSIONS_MAX as u16 {
        open_as(&mut bench, number, 1).expect("there is room");
    }
    assert_eq!(open_as(&mut bench, u16::MAX, 1).err(), Some(SessionRefusal::TooMany));
    bench.now = Timestamp(bench.now.0 + SESSION_IDLE_NS_MIN);
    let first = open_as(&mut bench, 0, 2).expect("it is known");
    open_as(&mut bench, u16::MAX, 1).expect("the one that is idle longest makes room");
    assert_eq!(bench.replica.session_counts().sessions, SESSIONS_MAX as u64);
    assert_eq!(first.ask(&mut bench, 1, 0, b"a"), []);
    let anew = open_as(&mut bench, 1, 1).expect("another one makes room");
    assert!(anew.ticket > first.ticket, "the second was idle longest, so it has ended");
}

#[test]
fn no_more_is_taken_than_a_client_may_leave_unconfirmed() {
    let mut bench = Bench::new(echo);
    let client = open(&mut bench, 1);
    let window = SESSION_WINDOW_MAX as u64;
    for seq in 1..=window {
        assert_eq!(client.ask(&mut bench, seq, 0, b"x"), []);
    }
    let next = window + 1;
    assert_eq!(client.ask(&mut bench, next, 0, b"x"), [client.refused(next, SessionRefusal::Window, 4)]);
    assert_eq!(bench.deliver().len(), SESSION_WINDOW_MAX);
    assert_eq!(client.ask(&mut bench, next, 0, b"x"), [client.refused(next, SessionRefusal::Window, 5)]);
    assert_eq!(client.ask(&mut bench, next, 1, b"x"), []);
    assert_eq!(bench.deliver().len(), 1);
}

#[test]
fn requests_wait_while_large_results_are_not_confirmed_and_other_sessions_go_on() {
    let mut bench = Bench::new(echo);
    let (client, other) = (open(&mut bench, 1), open_as(&mut bench, 2, 1).expect("there is room"));
    client.ask(&mut bench, 1, 0, b"large");
    assert_eq!(bench.deliver().len(), 1);
    client.ask(&mut bench, 2, 0, b"held");
    assert_eq!(bench.deliver(), []);
    other.ask(&mut bench, 1, 0, b"x");
    assert_eq!(bench.deliver(), [other.answered(1, b"x", 7)]);
    client.confirm(&mut bench, 1);
    assert_eq!(bench.deliver(), [client.answered(2, b"held", 8)]);
}

#[test]
fn a_flood_of_requests_by_id_leaves_room_for_sessions_and_the_other_way_round() {
    let mut bench = Bench::new(echo);
    let client = open(&mut bench, 1);
    for number in 0..20_000_u32 {
        bench.request(&number.to_string(), b"flood");
    }
    client.ask(&mut bench, 1, 0, b"x");
    bench.deliver();
    assert!(asked(&bench).contains(&&b"x"[..]), "it is in the first record");
}

#[test]
fn no_client_sees_a_result_of_a_delivery_that_failed_and_what_is_skipped_says_so() {
    let mut bench = Bench::new(echo);
    let client = open(&mut bench, 1);
    client.ask(&mut bench, 1, 0, b"a");
    bench.traffic(client.traffic(2, 0, b"b", Some("no method")));
    client.ask(&mut bench, 3, 0, b"fault");
    let outputs = bench.deliver();
    assert!(matches!(&outputs[..], [Output::Halted { after: Lsn(5), .. }]), "{outputs:?}");
    bench.take_over_void();
    let skip = Skip { attempt: 1, messages: vec![1] };
    let outputs = bench.mend(Remedy::Skip(skip));
    let value = |output: &Output| match output {
        Output::SessionAnswered { seq, answer, after: Lsn(7), .. } => Some((seq.0, answer.success)),
        _ => None,
    };
    let answers: Vec<_> = outputs.iter().filter_map(value).collect();
    assert_eq!(answers, [(3, false), (1, true), (2, false)]);
    assert_eq!(open(&mut bench, 2).accepted, 3);
}

#[test]
fn what_fails_in_a_record_that_is_left_out_is_not_told_before_the_mend() {
    let mut bench = Bench::new(echo);
    let client = open(&mut bench, 1);
    client.ask(&mut bench, 1, 0, b"fault");
    bench.traffic(client.traffic(2, 0, b"x", Some("no such method")));
    let outputs = bench.deliver();
    assert!(outputs.iter().any(|output| matches!(output, Output::Halted { .. })), "{outputs:?}");
    assert_eq!(bench.traffic(client.traffic(2, 0, b"x", Some("no such method"))), [], "it is known, and not told");
    bench.take_over_void();
    let outputs = bench.mend(Remedy::Skip(Skip { attempt: 1, messages: vec![0] }));
    let mended = outputs.iter().filter(|output| matches!(output, Output::SessionAnswered { seq: Seq(2), .. })).count();
    assert_eq!(mended, 1, "{outputs:?}");
}

#[test]
fn a_state_of_a_session_is_believed_only_if_it_fits_together() {
    let mut bench = Bench::new(echo);
    let client = open(&mut bench, 1);
    client.ask(&mut bench, 1, 0, b"a");
    client.ask(&mut bench, 2, 0, b"later");
    bench.deliver();
    let bytes = bench.replica.checkpoint().to_vec();
    let of_session = 4 + 16 + 8 + 16 + 8 + 8 + 4 + (8 + 8 + 1 + 8 + 4 + 1) + (8 + 8 + 1 + 8);
    let at = bytes.len() - of_session;
    assert_eq!(bytes[at..at + 4], [1, 0, 0, 0], "one session is at the end");
    let with = |offset: usize, number: u8| {
        let mut bytes = bytes.clone();
        bytes[at + offset] = number;
        CheckpointState::decode(&bytes.into()).is_ok()
    };
    assert!(with(0, 1), "nothing was changed");
    assert!(!with(0, 2), "there are fewer sessions");
    assert!(!with(4 + 16 + 7, 1), "a ticket of the future");
    assert!(!with(4 + 16 + 8 + 16 + 8 + 7, 0xff), "a time of the future");
    assert!(!with(4 + 16 + 8 + 16 + 16, 3), "there are fewer requests");
    let kept = 4 + 16 + 8 + 16 + 16 + 4;
    assert!(!with(kept + 7, 1), "accepted in the future");
    assert!(!with(kept + 16, 3), "a kind that there is not");
    for length in at..bytes.len() {
        assert!(CheckpointState::decode(&bytes[..length].to_vec().into()).is_err(), "{length} bytes");
    }
}
