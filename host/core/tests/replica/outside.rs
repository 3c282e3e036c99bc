//! What an instance has to do with the world outside: requests to it, promises, events, times of the calendar, and what
//! an operator has set.

use std::collections::BTreeMap;

use ambrosia_core::{
    CallId, ConnectionId, EventId, Input, Lsn, Message, MessageKind, MethodId, Output, PeerIndex, Remembered,
    RequestId, RequestStatus, Retention, Timestamp, Traffic, promise_token,
};
use bytes::Bytes;

use crate::bench::{Bench, Hand};

const KEY: [u8; 32] = [0x5e; 32];

/// Does what an impulse says: the kind of an effect, then its id, then its arguments.
fn obey(_: PeerIndex, message: &Message<'_>, hand: &mut Hand<'_>) {
    if message.kind != MessageKind::Impulse {
        return;
    }
    for order in message.arguments.split(|byte| *byte == b';') {
        let [kind, id, arguments @ ..] = order else { panic!("an order has a kind and an id") };
        let kind = MessageKind::from_byte(*kind).expect("a kind");
        hand.effect(PeerIndex::OUTSIDE, kind, u64::from(*id), arguments);
    }
}

fn order(kind: MessageKind, id: u8, arguments: &[u8]) -> Vec<u8> {
    [&[kind as u8, id], arguments].concat()
}

fn configured(bench: &mut Bench, values: &[(&str, &'static [u8])]) -> Vec<Output> {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), Bytes::from_static(value))).collect();
    let now = bench.now;
    bench.step(Input::Configure { values, entropy: KEY, now })
}

/// What an operator has set.
pub(crate) fn values() -> Input {
    let values = BTreeMap::from([("limit".to_owned(), Bytes::from_static(b"\x05"))]);
    Input::Configure { values, entropy: KEY, now: Timestamp(0) }
}

/// A time of the calendar.
pub(crate) fn cron() -> Traffic {
    Traffic::Cron { method: MethodId(5), due: Timestamp(90) }
}

fn bench() -> Bench {
    Bench::new(obey)
}

fn last_lsn(bench: &Bench) -> Lsn {
    bench.records.last().expect("genesis").lsn()
}

fn performs(id: u64, body: &'static [u8], resumed: bool, after: Lsn) -> Output {
    Output::Request { id: CallId(id), body: Bytes::from_static(body), resumed, after }
}

fn tell(bench: &mut Bench, id: u64, outcome: &'static [u8]) -> Vec<Output> {
    let mut outputs = bench.traffic(Traffic::Outcome { id: CallId(id), outcome: Bytes::from_static(outcome) });
    outputs.extend(bench.deliver());
    outputs
}

#[test]
fn a_request_is_performed_once_its_record_is_durable_and_its_outcome_is_heard_once() {
    let mut bench = bench();
    let outputs = bench.impulse(&order(MessageKind::Request, 7, b"pay"));
    assert_eq!(outputs, [performs(7, b"pay", false, last_lsn(&bench))]);
    tell(&mut bench, 7, b"paid");
    let heard = (0, MessageKind::Outcome, 7, b"paid".to_vec());
    assert_eq!(bench.heard().last(), Some(&heard));
    let records = bench.records.len();
    assert_eq!(tell(&mut bench, 7, b"paid once more"), []);
    assert_eq!(bench.records.len(), records, "what nobody waits for makes no record");
    assert_eq!(bench.replica.outgoing().len(), 0);
    bench.take_over();
}

#[test]
fn the_next_primary_performs_what_has_no_outcome_and_knows_that_it_may_have_been_done() {
    let mut bench = bench();
    bench.impulse(&order(MessageKind::Request, 7, b"pay"));
    bench.impulse(&order(MessageKind::Request, 8, b"ship"));
    tell(&mut bench, 8, b"shipped");
    let outputs = bench.take_over();
    assert_eq!(outputs, [performs(7, b"pay", true, last_lsn(&bench))]);
    tell(&mut bench, 7, b"paid");
    assert_eq!(bench.take_over(), []);
}

#[test]
fn what_the_guest_does_not_wait_for_any_more_is_cancelled_and_what_was_cancelled_at_once_is_not_begun() {
    let mut bench = bench();
    bench.impulse(&order(MessageKind::Request, 7, b"pay"));
    let outputs = bench.impulse(&order(MessageKind::CancelRequest, 7, b""));
    assert_eq!(outputs, [Output::CancelRequest { id: CallId(7), after: last_lsn(&bench) }]);
    let both = [order(MessageKind::Request, 9, b"pay"), order(MessageKind::CancelRequest, 9, b"")].join(&b';');
    let outputs = bench.impulse(&both);
    assert_eq!(outputs, [Output::CancelRequest { id: CallId(9), after: last_lsn(&bench) }]);
    assert_eq!(bench.impulse(&order(MessageKind::CancelRequest, 10, b"")), [], "harmless");
    bench.take_over();
}

#[test]
fn two_requests_of_one_id_and_one_without_are_the_guests_fault() {
    for (orders, reason) in [
        ([order(MessageKind::Request, 7, b"a"), order(MessageKind::Request, 7, b"b")], "two outgoing requests"),
        ([order(MessageKind::Request, 6, b"a"), order(MessageKind::Request, 0, b"b")], "without an id"),
        ([order(MessageKind::Promise, 7, b""), order(MessageKind::Promise, 7, b"")], "two promises"),
        ([order(MessageKind::Emit, 0, b"\x01\0tx"), order(MessageKind::Emit, 0, b"\x09\0tx")], "cut off"),
        ([order(MessageKind::Emit, 0, b"\x01\0tx"), order(MessageKind::Emit, 0, b"\x01\0\xff")], "no text"),
    ] {
        let mut bench = bench();
        let outputs = bench.impulse(&orders.join(&b';'));
        let [Output::Halted { fault, .. }] = &outputs[..] else { panic!("nothing else is told: {outputs:?}") };
        assert!(fault.reason.contains(reason), "{fault}");
    }
}

#[test]
fn a_promise_is_fulfilled_by_who_knows_its_token_and_once() {
    let mut bench = bench();
    configured(&mut bench, &[]);
    bench.impulse(&order(MessageKind::Promise, 7, b""));
    let resolve = |connection, promise, token, value: &'static [u8]| Traffic::Resolve {
        connection: ConnectionId(connection),
        promise: CallId(promise),
        token,
        value: Bytes::from_static(value),
    };
    let resolved = |connection, promise, token, is_known, after| Output::Resolved {
        connection: ConnectionId(connection),
        promise: CallId(promise),
        token,
        is_known,
        after,
    };
    let token = promise_token(&KEY, CallId(7));
    let before = last_lsn(&bench);
    let guessed = bench.traffic(resolve(1, 7, [0; 16], b"mine"));
    assert_eq!(guessed, [resolved(1, 7, [0; 16], false, before)]);
    let of_another = bench.traffic(resolve(1, 8, token, b"mine"));
    assert_eq!(of_another, [resolved(1, 8, token, false, before)], "each promise has a token of its own");
    // Two are faster than the record: both are told once it is durable, and the first one counts.
    assert_eq!(bench.traffic(resolve(2, 7, token, b"yes")), []);
    assert_eq!(bench.traffic(resolve(3, 7, token, b"no")), []);
    let outputs = bench.deliver();
    let after = last_lsn(&bench);
    assert_eq!(outputs, [resolved(2, 7, token, true, after), resolved(3, 7, token, true, after)]);
    let heard = (0, MessageKind::Resolved, 7, b"yes".to_vec());
    assert_eq!(bench.heard().last(), Some(&heard));
    assert_eq!(bench.traffic(resolve(4, 7, token, b"late")), [resolved(4, 7, token, true, after)]);
    assert_eq!(bench.deliver(), []);
    bench.take_over();
    configured(&mut bench, &[]);
    let after = last_lsn(&bench);
    assert_eq!(
        bench.traffic(resolve(5, 7, token, b"later")),
        [resolved(5, 7, token, true, after)],
        "the key has stayed"
    );
}

#[test]
fn whoever_fulfils_a_promise_that_is_given_up_meanwhile_is_told_too() {
    let mut bench = bench();
    configured(&mut bench, &[]);
    bench.impulse(&order(MessageKind::Promise, 7, b""));
    let token = promise_token(&KEY, CallId(7));
    let (connection, promise) = (ConnectionId(1), CallId(7));
    // It waits behind a delivery that gives the promise up.
    let arguments = Bytes::from(order(MessageKind::CancelPromise, 7, b""));
    bench.traffic(Traffic::Impulse { method: MethodId(0), arguments, request: None, from: None, trace: None });
    bench.deliver();
    let outputs = bench.traffic(Traffic::Resolve { connection, promise, token, value: Bytes::new() });
    assert_eq!(outputs, [Output::Resolved { connection, promise, token, is_known: true, after: last_lsn(&bench) }]);
}

#[test]
fn without_a_key_no_promise_is_known() {
    let mut bench = bench();
    bench.impulse(&order(MessageKind::Promise, 7, b""));
    let (connection, promise) = (ConnectionId(1), CallId(7));
    let token = promise_token(&[0; 32], promise);
    let outputs = bench.traffic(Traffic::Resolve { connection, promise, token, value: Bytes::new() });
    assert_eq!(outputs, [Output::Resolved { connection, promise, token, is_known: false, after: last_lsn(&bench) }]);
}

#[test]
fn events_are_told_in_order_with_ids_that_are_the_same_on_every_replica() {
    let mut bench = bench();
    let two =
        [order(MessageKind::Emit, 0, b"\x04\0soldone"), order(MessageKind::Emit, 0, b"\x04\0soldtwo")].join(&b';');
    let outputs = bench.impulse(&two);
    let lsn = last_lsn(&bench);
    let told: Vec<_> = outputs
        .iter()
        .map(|output| match output {
            Output::Event { event, after } => (event.id, event.topic.as_str(), &event.value[..], *after),
            output => panic!("{output:?}"),
        })
        .collect();
    let id = |index| EventId { lsn, index };
    assert_eq!(told, [(id(0), "sold", &b"one"[..], lsn), (id(1), "sold", b"two", lsn)]);
    let mut on_standby = Vec::new();
    let standby = bench.replayed();
    on_standby.extend(standby.events().map(|event| event.id));
    assert_eq!(on_standby, [id(0), id(1)]);
    assert_eq!(standby.forgotten_event(), None, "none was forgotten");
}

#[test]
fn of_many_events_the_oldest_are_forgotten_and_it_is_known_which() {
    let mut bench = bench();
    let one = order(MessageKind::Emit, 0, b"\x01\0tx");
    let many = vec![one; 1024].join(&b';');
    for _ in 0..5 {
        bench.impulse(&many);
    }
    assert_eq!(bench.replica.events().len(), ambrosia_core::limits::EVENTS_MAX);
    let first = bench.replica.events().next().expect("there are some").id;
    let forgotten = bench.replica.forgotten_event().expect("the first 1024");
    assert_eq!((forgotten.index, first.index), (1023, 0));
    assert!(forgotten.lsn < first.lsn);
    bench.take_over();
}

#[test]
fn a_line_of_the_log_is_told_by_each_replica_as_it_comes_to_its_record_and_by_none_as_it_takes_over() {
    let mut bench = bench();
    let outputs = bench.impulse(&order(MessageKind::Log, 0, b"line"));
    let lsn = last_lsn(&bench);
    let (id, time) = (EventId { lsn, index: 0 }, Timestamp(100));
    let told = [Output::Log { id, time, line: Bytes::from_static(b"line"), after: lsn }];
    assert_eq!(outputs, told);
    let mut by_standby = Vec::new();
    bench.replayed_into(&mut by_standby);
    assert_eq!(by_standby, told);
    assert_eq!(bench.take_over(), []);
}

#[test]
fn a_method_runs_once_for_each_time_at_which_it_is_due() {
    let mut bench = bench();
    let (method, due) = (MethodId(5), Timestamp(90));
    let early = Traffic::Cron { method, due: Timestamp(101) };
    bench.traffic(early);
    bench.deliver();
    let crons = |bench: &Bench| -> Vec<u64> {
        let of_kind = bench.heard().iter().filter(|heard| heard.1 == MessageKind::Cron);
        of_kind.map(|heard| u64::from_le_bytes(heard.3[..].try_into().expect("a time"))).collect()
    };
    assert_eq!(crons(&bench), [0; 0], "its time has not come");
    for due in [90, 80, 90] {
        bench.traffic(Traffic::Cron { method, due: Timestamp(due) });
    }
    bench.deliver();
    assert_eq!(crons(&bench), [80, 90]);
    bench.take_over();
    assert_eq!(bench.replica.crons_done(), &BTreeMap::from([(method, due)]));
    bench.traffic(Traffic::Cron { method, due });
    bench.deliver();
    assert_eq!(crons(&bench), [80, 90]);
}

#[test]
fn what_the_operator_has_set_is_written_down_when_it_differs() {
    let mut bench = bench();
    let records = bench.records.len();
    configured(&mut bench, &[("limit", b"\x05")]);
    assert_eq!(bench.records.len(), records + 1);
    assert_eq!(bench.replica.configuration().values["limit"], b"\x05"[..]);
    assert_eq!(bench.replica.configuration().promise_key, Some(KEY));
    configured(&mut bench, &[("limit", b"\x05")]);
    assert_eq!(bench.records.len(), records + 1, "nothing is new");
    bench.take_over();
    assert_eq!(bench.replica.configuration().values["limit"], b"\x05"[..]);
    let values = BTreeMap::from([("limit".to_owned(), Bytes::from_static(b"\x06"))]);
    let now = bench.now;
    bench.step(Input::Configure { values, entropy: [1; 32], now });
    assert_eq!(bench.replica.configuration().values["limit"], b"\x06"[..]);
    assert_eq!(bench.replica.configuration().promise_key, Some(KEY), "tokens that were given out stay");
    bench.take_over();
}

#[test]
fn how_much_is_remembered_of_requests_is_what_the_operator_has_set_and_the_log_says() {
    fn echo(_: PeerIndex, message: &Message<'_>, hand: &mut Hand<'_>) {
        if message.kind == MessageKind::Impulse {
            hand.effect(PeerIndex::OUTSIDE, MessageKind::Reply, message.call_id.0, message.arguments);
        }
    }
    let mut bench = Bench::new(echo);
    let configure = |bench: &mut Bench, retention: Option<Retention>| {
        let values = retention.map(|retention| (Retention::NAME.to_owned(), retention.value()));
        let (values, now) = (values.into_iter().collect(), bench.now);
        bench.step(Input::Configure { values, entropy: KEY, now });
    };
    let few = Retention { count: 2, bytes: 1 << 20, age_s: 60 };
    configure(&mut bench, Some(few));
    let ask = |bench: &mut Bench, request: &str| {
        bench.request(request, b"x");
        bench.deliver();
    };
    ask(&mut bench, "a");
    ask(&mut bench, "b");
    let checkpoint = bench.replica.checkpoint().to_vec();
    ask(&mut bench, "c");
    let mut resumed = bench.resumed(&checkpoint);
    resumed.step(Input::Record(bench.records.last().expect("there are some").clone()), &mut Vec::new());
    assert_eq!(resumed.digest(), bench.replica.digest(), "whoever goes on from a checkpoint forgets the same");
    let kept = |bench: &Bench, request: &str| {
        bench.replica.status_of(&RequestId::new(request).expect("short")) != RequestStatus::Unknown
    };
    assert_eq!(["a", "b", "c"].map(|request| kept(&bench, request)), [false, true, true]);
    let remembered = Remembered { results: 2, bytes: 2, under_way: 0, retention: few };
    assert_eq!(bench.replica.remembered(), remembered);
    bench.take_over();
    assert_eq!(bench.replica.remembered(), remembered, "so it is on every replica");
    configure(&mut bench, Some(Retention { count: 1, ..few }));
    assert_eq!(["b", "c"].map(|request| kept(&bench, request)), [false, true], "less is forgotten at once");
    configure(&mut bench, None);
    assert_eq!(bench.replica.remembered().retention, Retention::default());
    bench.take_over();
}

#[test]
fn an_id_that_is_used_for_something_else_is_told_while_that_waits_and_after_it_was_answered() {
    fn echo(_: PeerIndex, message: &Message<'_>, hand: &mut Hand<'_>) {
        if message.kind == MessageKind::Impulse {
            hand.effect(PeerIndex::OUTSIDE, MessageKind::Reply, message.call_id.0, message.arguments);
        }
    }
    let mut bench = Bench::new(echo);
    let request = RequestId::new("order-1").expect("short");
    let reused = |after| Output::KeyReused { connection: None, request: request.clone(), after };
    bench.request("order-1", b"two");
    let before = last_lsn(&bench);
    assert_eq!(bench.request("order-1", b"three"), [reused(before)]);
    bench.deliver();
    let accepted = last_lsn(&bench);
    assert_eq!(bench.request("order-1", b"three"), [reused(accepted)]);
    assert_eq!(bench.request("order-1", b"two").len(), 2, "accepted and answered");
    bench.take_over();
    assert_eq!(bench.request("order-1", b"three"), [reused(accepted)]);
    let other_method = Traffic::Impulse {
        method: MethodId(9),
        arguments: Bytes::from_static(b"two"),
        request: Some(request.clone()),
        from: Some(ConnectionId(3)),
        trace: None,
    };
    let outputs = bench.traffic(other_method);
    let connection = Some(ConnectionId(3));
    assert_eq!(outputs, [Output::KeyReused { connection, request, after: accepted }]);
}
