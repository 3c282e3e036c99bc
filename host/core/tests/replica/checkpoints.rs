//! Checkpoints of the replicated state, and the digests by which replicas are compared.

use std::{env, fs, path::PathBuf};

use ambrosia_core::{
    CallId, CheckpointState, Divergence, Input, Lsn, Message, MessageKind, MethodId, Output, PeerIndex, Record,
    RecordKind, Replica, ReplicaIndex, StateError, push_message,
};
use ambrosia_test_allocations::counting;
use bytes::Bytes;

use crate::bench::{Bench, Hand, uuid};

/// An impulse makes a bit of everything that a state can hold.
fn busy(from: PeerIndex, message: &Message<'_>, hand: &mut Hand<'_>) {
    let friend = hand.attach("friend");
    let myself = hand.attach("me");
    if message.kind == MessageKind::Cron {
        for id in [21, 22] {
            hand.effect(PeerIndex::OUTSIDE, MessageKind::Request, id, b"pay");
            hand.effect(PeerIndex::OUTSIDE, MessageKind::Promise, id + 10, b"");
            hand.effect(PeerIndex::OUTSIDE, MessageKind::Emit, 0, b"\x04\0soldone");
        }
    }
    if message.kind == MessageKind::Impulse && from == PeerIndex::OUTSIDE {
        hand.world.random.next_u64();
        hand.effect(friend, MessageKind::Fork, 0, message.arguments);
        hand.effect(friend, MessageKind::Call, 100 + u64::from(message.arguments[0]), message.arguments);
        hand.effect(myself, MessageKind::Fork, 0, b"to myself");
        hand.effect(PeerIndex::OUTSIDE, MessageKind::SetTimer, 7, &5000_u64.to_le_bytes());
        if message.arguments[0].is_multiple_of(2) {
            hand.effect(PeerIndex::OUTSIDE, MessageKind::Reply, message.call_id.0, b"answer");
        }
    }
}

/// A primary with requests, results, timers, calls, failed calls, and outboxes of which a part is acknowledged.
fn rich() -> Bench {
    let mut bench = Bench::new(busy);
    for number in 1..=4 {
        bench.request(&format!("r-{number}"), &[number]);
        bench.deliver();
    }
    let (friend, _) = bench.reach(1, uuid(7), 0);
    bench.acknowledge(friend, 2);
    bench.reach(1, uuid(8), 0); // the calls to the old one fail
    bench.request("r-5", &[5]);
    bench.deliver();
    bench
}

/// The same, but the calls to the peer have just failed, and the streams with it begin anew.
fn rebound() -> Bench {
    let mut bench = rich();
    bench.request("r-6", &[6]);
    bench.deliver();
    bench.reach(1, uuid(9), 0);
    bench
}

fn digest_record(bench: &mut Bench, by: Option<ReplicaIndex>) -> Vec<Output> {
    bench.step(Input::Digest { checkpoint_by: by, now: bench.now })
}

/// What a replica says of the records, from that one on.
fn follow(replica: &mut Replica<crate::bench::Script>, records: &[Record]) -> Vec<Output> {
    let mut outputs = Vec::new();
    for record in records {
        replica.step(Input::Record(record.clone()), &mut outputs);
    }
    outputs
}

#[test]
fn a_replica_goes_on_from_a_checkpoint_as_if_it_had_replayed_all() {
    let mut bench = rich();
    let (checkpoint, at) = (bench.replica.checkpoint().to_vec(), bench.records.len());
    let mut resumed = bench.resumed(&checkpoint);
    bench.impulse(&[6]);
    digest_record(&mut bench, None);
    let outputs = follow(&mut resumed, &bench.records[at..]);
    assert!(!outputs.iter().any(|output| matches!(output, Output::Diverged(_))), "{outputs:?}");
    assert_eq!(resumed.digest(), bench.replica.digest());
    assert_eq!(resumed.checkpoint(), bench.replica.checkpoint());
}

#[test]
fn whoever_is_named_in_a_digest_record_is_told_to_take_a_checkpoint() {
    let mut bench = rich();
    let by = ReplicaIndex(2);
    let outputs = digest_record(&mut bench, Some(by));
    let at = Lsn(bench.records.len() as u64);
    assert_eq!(outputs, [Output::Checkpoint { by, at }]);
    let last = bench.records.last().expect("just made").clone();
    assert_eq!(last.header().kind, RecordKind::Digest);
    let mut standby = bench.replayed();
    assert_eq!(standby.applied(), at);
    bench.impulse(&[6]);
    digest_record(&mut bench, None);
    let outputs = follow(&mut standby, &bench.records[at.0 as usize..]);
    assert!(!outputs.iter().any(|output| matches!(output, Output::Checkpoint { .. })));
}

#[test]
fn a_replica_that_differs_says_where_and_since_when() {
    let mut bench = rich();
    digest_record(&mut bench, None);
    let equal_at = Lsn(bench.records.len() as u64 - 1);
    let mut standby = bench.replayed();
    // The guest of the standby forgets something: the state of the core stays equal.
    standby.guest_mut().heard.pop();
    let next = bench.records.len();
    bench.impulse(&[6]);
    let lsn = Lsn(bench.records.len() as u64);
    digest_record(&mut bench, None);
    let outputs = follow(&mut standby, &bench.records[next..]);
    let diverged: Vec<Divergence> =
        outputs.iter().filter_map(|o| if let Output::Diverged(found) = o { Some(*found) } else { None }).collect();
    let [found] = diverged[..] else { panic!("{outputs:?}") };
    assert_eq!((found.lsn, found.equal_at), (lsn, equal_at));
    assert_eq!(found.state, found.own_state);
    assert_eq!(found.own_memory + 1, found.memory);
}

#[test]
fn after_the_end_no_digest_is_taken() {
    let mut bench = Bench::new(|_, message, hand| {
        if message.kind == MessageKind::Impulse {
            hand.effect(PeerIndex::OUTSIDE, MessageKind::Exit, 0, &3_i32.to_le_bytes());
        }
    });
    bench.impulse(b"");
    let records = bench.records.len();
    assert_eq!(digest_record(&mut bench, Some(ReplicaIndex(1))), []);
    assert_eq!(bench.records.len(), records);
}

#[test]
fn bytes_that_are_no_state_are_refused_and_never_panic() {
    let bytes = rich().replica.checkpoint().to_vec();
    let decode = |bytes: &[u8]| CheckpointState::decode(&Bytes::copy_from_slice(bytes));
    let whole = decode(&bytes).expect("it was just made");
    assert_eq!(whole.lsn(), rich().replica.applied());
    for length in 0..bytes.len() {
        assert_eq!(decode(&bytes[..length]), Err(StateError::Shape), "cut at {length}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(decode(&longer), Err(StateError::Shape));
    let mut version = bytes.clone();
    version[0] = 9;
    assert_eq!(decode(&version), Err(StateError::Version(9)));
    // A changed bit is found by checksums elsewhere; here it must only do no harm.
    for bit in 32..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        if let Ok(state) = decode(&changed) {
            let resumed = Replica::resume(state, crate::bench::Script::new(busy));
            resumed.validate();
            assert_eq!(resumed.checkpoint().to_vec(), changed, "a state is written in one way only");
        }
    }
}

/// Changes the first place where `from` stands, and expects that to be refused.
fn refused(what: &str, bench: &Bench, from: &[u8], to: &[u8]) {
    let mut bytes = bench.replica.checkpoint().to_vec();
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap_or_else(|| panic!("{what} is there"));
    bytes.splice(at..at + from.len(), to.iter().copied());
    assert_eq!(CheckpointState::decode(&bytes.into()), Err(StateError::Shape), "{what}");
}

#[test]
fn what_no_replica_comes_to_is_refused() {
    let (rich, rebound) = (rich(), rebound());
    let numbers = |numbers: &[u64]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
    let state = rich.replica.checkpoint().to_vec();
    let accepted = |id: &[u8]| {
        let at = state.windows(id.len()).position(|window| window == id).expect("it is there") + id.len();
        u64::from_le_bytes(*state[at..].first_chunk().expect("a number follows"))
    };
    let request = |id: &[u8], lsn: u64, rest: &[u64]| [id, &numbers(&[lsn]), &numbers(rest)].concat();
    for id in [b"r-2", b"r-3"] {
        let future = request(id, 1 << 40, &[]);
        refused("a request of the future", &rich, &request(id, accepted(id), &[]), &future);
    }
    let lsn = accepted(b"r-3");
    refused("an impulse of the future", &rich, &request(b"r-3", lsn, &[3]), &request(b"r-3", lsn, &[1 << 40]));
    refused("calls that don't rise", &rebound, &numbers(&[105, 106]), &numbers(&[106, 105]));
    let message = |kind| {
        let mut out = Vec::new();
        push_message(&mut out, Message { kind, method: MethodId(0), call_id: CallId(0), arguments: b"to myself" });
        out
    };
    refused("a message that no instance sends", &rich, &message(MessageKind::Fork), &message(MessageKind::Start));
}

/// The golden file is this state as it is written today, and is read as that, with that digest: logs and checkpoints
/// hold digests, so one program's have to be the next one's.
fn check_golden(file: &str, pinned: u64, bench: &Bench) {
    let made = bench.replica.checkpoint().to_vec();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if env::var_os("AMBROSIA_BLESS").is_some() && !path.exists() {
        fs::write(&path, &made).expect("writable");
    }
    let golden = fs::read(&path).unwrap_or_else(|_| panic!("{file} is missing: bless it with AMBROSIA_BLESS=1"));
    let is_of_today = file.starts_with("state-v4");
    if is_of_today {
        assert!(golden == made, "{file}: the format changed; raise its version and keep reading this one");
    }
    let state = CheckpointState::decode(&golden.into()).expect("golden files stay readable");
    assert_eq!((state.lsn(), state.genesis().name.as_str()), (bench.replica.applied(), "me"));
    assert_eq!(state.link(), bench.records.last().expect("not empty").header().link());
    let peers: Vec<_> = state.peers().map(|(peer, name)| (peer.0, name.as_str())).collect();
    assert_eq!(peers[..2], [(1, "friend"), (2, "me")]);
    let resumed = Replica::resume(state, crate::bench::Script::new(busy));
    let digest = resumed.digest();
    assert_eq!(digest, bench.replica.digest());
    // States of before don't hold what requests asked for.
    let written = resumed.checkpoint().to_vec();
    assert!(!is_of_today || written == made, "{file}: it is written as a state of today");
    let again = CheckpointState::decode(&written.clone().into()).expect("it was just made");
    assert!(Replica::resume(again, crate::bench::Script::new(busy)).checkpoint().to_vec() == written, "{file}");
    assert_eq!(format!("{digest:016x}"), format!("{pinned:016x}"), "{file}: digests in logs don't fit any more");
}

#[test]
fn states_of_version_1_stay_readable() {
    check_golden("state-v1-rich.bin", 0x0cfa_9c91_874a_9794, &rich());
    check_golden("state-v1-rebound.bin", 0x3b8d_abef_74a5_3beb, &rebound());
}

#[test]
fn states_of_version_2_stay_readable() {
    check_golden("state-v2-rich.bin", 0x0cfa_9c91_874a_9794, &rich());
    let mut upgraded = rich();
    upgraded.upgrade(crate::upgrades::to(crate::bench::TAKES_ALL));
    upgraded.step(Input::Durable(Lsn(upgraded.records.len() as u64)));
    check_golden("state-v2-upgraded.bin", 0x4851_317c_165f_4549, &upgraded);
}

#[test]
fn states_of_version_3_stay_readable() {
    check_golden("state-v3-rich.bin", 0x0cfa_9c91_874a_9794, &rich());
    let mut outside = rich();
    outside.step(crate::outside::values());
    outside.traffic(crate::outside::cron());
    outside.deliver();
    check_golden("state-v3-outside.bin", 0x4042_54f1_fc9f_dbe0, &outside);
}

#[test]
fn states_of_version_4_stay_readable() {
    check_golden("state-v4-rich.bin", 0x0cfa_9c91_874a_9794, &rich());
    let mut sessions = rich();
    crate::sessions::use_some(&mut sessions);
    check_golden("state-v4-sessions.bin", 0x3147_4ace_e5da_1bd7, &sessions);
}

/// Answers each impulse with 4 MiB.
fn answer_much(_: PeerIndex, message: &Message<'_>, hand: &mut Hand<'_>) {
    if message.kind == MessageKind::Impulse {
        hand.effect(PeerIndex::OUTSIDE, MessageKind::Reply, message.call_id.0, &vec![message.arguments[0]; 4 << 20]);
        let friend = hand.attach("friend");
        hand.effect(friend, MessageKind::Fork, 0, &vec![message.arguments[0]; 1 << 20]);
    }
}

#[test]
fn a_checkpoint_copies_neither_results_nor_messages() {
    let mut bench = Bench::new(answer_much);
    for number in 0..12 {
        bench.request(&format!("r-{number}"), &[number]);
        bench.deliver();
    }
    let (shared, asked_for) = counting(|| bench.replica.checkpoint());
    assert!(shared.bytes() > 60 << 20, "{shared:?}");
    assert!(asked_for < 128 << 10, "{asked_for} bytes were asked for");
    let whole = Bytes::from(shared.to_vec());
    let (state, asked_for) = counting(|| CheckpointState::decode(&whole).expect("it was just made"));
    assert!(asked_for < 128 << 10, "{asked_for} bytes were asked for");
    let resumed = Replica::resume(state, crate::bench::Script::new(answer_much));
    assert_eq!(resumed.checkpoint(), shared);
}
