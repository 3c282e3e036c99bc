use crate::{
    Answer, CallId, Epoch, Fault, InstanceName, InstanceUuid, Limits, Lsn, PeerIndex, Peers, Random, RequestId, Seq,
    Timestamp, streams::Streams, timers::Timers,
};

use super::*;

fn name(text: &str) -> InstanceName {
    InstanceName::new(text).expect("a plain name")
}

fn id(text: &str) -> RequestId {
    RequestId::new(text).expect("short")
}

const FRIEND: PeerIndex = PeerIndex(1);

/// A state with something in each of its parts.
fn rich() -> State {
    let genesis = Genesis {
        uuid: InstanceUuid([1; 16]),
        module: [2; 32],
        seed: 3,
        limits: Limits { fuel: 4, memory_bytes: 5 },
        name: name("me"),
    };
    let mut state = State::new(&genesis.record(Timestamp(100))).expect("a genesis record");
    for text in ["friend", "me", "stranger"] {
        attach(&mut state, text);
    }
    state.streams.change(FRIEND, |stream| {
        stream.bind(InstanceUuid([7; 16]));
        stream.received = Seq(4);
    });
    send(&mut state, FRIEND);
    state.timers.set(CallId(8), Timestamp(9));
    fail(&mut state, 11);
    assert!(state.calls.begin(CallId(10), FRIEND));
    state.requests.accept(id("answered"), CallId(12), Lsn(1), 5);
    state.requests.answer(CallId(12), Lsn(1), Timestamp(100), &answer(b"yes"));
    state.requests.accept(id("pending"), CallId(13), Lsn(1), 5);
    state.requests.note_impulse(CallId(13));
    state.started = true;
    state
}

fn attach(state: &mut State, text: &str) {
    state.world.peers.attach(&name(text)).expect("there are few");
    state.streams.add(&state.world.peers, &state.genesis);
}

fn send(state: &mut State, peer: PeerIndex) {
    state.streams.change(peer, |stream| {
        stream.outbox.push(&[0; crate::MESSAGE_HEADER_BYTES]);
        assert!(stream.outbox.close_chunk(Lsn(1)).is_some());
    });
}

fn answer(value: &'static [u8]) -> Answer {
    Answer { success: true, value: value.into() }
}

fn settle(state: &mut State, lsn: u64, answer: &Answer) {
    assert!(state.requests.answer(CallId(13), Lsn(lsn), Timestamp(100), answer).is_some());
}

fn renamed(state: &mut State) {
    let mut peers = Peers::default();
    for text in ["fiend", "me", "stranger"] {
        peers.attach(&name(text));
    }
    state.world.peers = peers;
}

/// A call that has failed.
fn fail(state: &mut State, call: u64) {
    const GONE: PeerIndex = PeerIndex(2);
    assert!(state.calls.begin(CallId(call), GONE));
    assert_eq!(state.calls.fail(GONE), 1);
}

type Change = (&'static str, fn(&mut State));

/// Every way in which two states that a log leads to can differ, each alone.
const CHANGES: &[Change] = &[
    ("another life", |state| state.genesis.uuid.0[15] ^= 1),
    ("a record further", |state| state.position.lsn = Lsn(2)),
    ("another record", |state| state.position.link ^= 1),
    ("the generator", |state| state.world.random = Random::from_state(state.world.random.state() + 1)),
    ("the name of a peer", renamed),
    ("one peer more", |state| attach(state, "late")),
    ("the life of a peer", |state| {
        state.streams.change(FRIEND, |stream| stream.uuid = Some(InstanceUuid([8; 16])));
    }),
    ("a life that is not known", |state| state.streams.change(FRIEND, |stream| stream.uuid = None)),
    ("messages received", |state| state.streams.change(FRIEND, |stream| stream.received = Seq(5))),
    ("messages received of another peer", |state| {
        state.streams.change(PeerIndex(3), |stream| stream.received = Seq(1))
    }),
    ("messages sent", |state| send(state, FRIEND)),
    ("messages sent to another peer", |state| send(state, PeerIndex(3))),
    ("a timer more", |state| assert!(state.timers.set(CallId(9), Timestamp(9)))),
    ("a timer at another time", |state| assert!(state.timers.set(CallId(8), Timestamp(10)))),
    ("no timers", |state| state.timers = Timers::default()),
    ("a call more", |state| assert!(state.calls.begin(CallId(14), FRIEND))),
    ("a call of another peer", |state| {
        state.calls.settle(CallId(10), FRIEND);
        assert!(state.calls.begin(CallId(10), PeerIndex(3)));
    }),
    ("a call less", |state| state.calls.settle(CallId(10), FRIEND)),
    ("a failed call more", |state| fail(state, 14)),
    ("a failed call less", |state| state.calls.forget_failed(CallId(11))),
    ("a request more", |state| state.requests.accept(id("another"), CallId(14), Lsn(1), 5)),
    ("a result", |state| settle(state, 1, &answer(b"yes"))),
    ("a result of another value", |state| settle(state, 1, &answer(b"yet"))),
    ("a result that is an error", |state| settle(state, 1, &Answer { success: false, ..answer(b"yes") })),
    ("a result of another record", |state| settle(state, 2, &answer(b"yes"))),
    ("a result of many bytes", |state| settle(state, 1, &answer(&[7; 1000]))),
    ("another result of many bytes", |state| settle(state, 1, &answer(&[8; 1000]))),
    ("no requests", |state| state.requests = Default::default()),
    ("the number of the last impulse", |state| state.requests.note_impulse(CallId(14))),
    ("the start", |state| state.started = false),
    ("the module", |state| state.code.module = [3; 32]),
    ("the fuel", |state| state.code.limits.fuel = 40),
    ("the memory", |state| state.code.limits.memory_bytes = 50),
    ("an upgrade", |state| state.code.attempt = 1),
    ("the record of an upgrade", |state| state.code.since = Lsn(1)),
    ("no handlers that wait", |state| state.code.waiting = Some(0)),
    ("handlers that wait", |state| state.code.waiting = Some(7)),
    ("an exit", |state| state.outcome = Some(Outcome::Finished { code: 0, lsn: Lsn(1) })),
    ("an exit of another code", |state| state.outcome = Some(Outcome::Finished { code: -1, lsn: Lsn(1) })),
    ("a halt", |state| {
        let fault = Fault { reason: "why".to_owned(), backtrace: String::new(), stderr: String::new() };
        state.outcome = Some(Outcome::Halted { fault, lsn: Lsn(1) });
    }),
];

#[test]
fn whatever_is_changed_in_a_state_its_digest_is_another_one() {
    let mut seen = vec![("nothing", rich().digest())];
    assert_eq!(rich().digest(), seen[0].1, "equal states have equal digests");
    for (what, change) in CHANGES {
        let mut state = rich();
        change(&mut state);
        let digest = state.digest();
        let same = seen.iter().find(|(_, other)| *other == digest);
        assert_eq!(same, None, "{what}");
        seen.push((what, digest));
    }
}

#[test]
fn what_the_primary_alone_knows_and_what_the_chain_says_is_not_digested() {
    let mut state = rich();
    state.acknowledge(FRIEND, Seq(1));
    state.position.epoch = Epoch(9);
    assert_eq!(state.digest(), rich().digest());
    assert_ne!(state.streams, Streams::default(), "there are peers");
}
