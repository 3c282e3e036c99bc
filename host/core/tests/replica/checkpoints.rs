//! Checkpoints of the replicated state, and the digests by which replicas are compared.

use ambrosia_core::{
    CheckpointState, Divergence, Input, Kind, Lsn, Message, Output, PeerIndex, Record, RecordKind, Replica,
    ReplicaIndex, StateError,
};
use bytes::Bytes;

use crate::bench::{Bench, Hand, uuid};

/// An impulse makes a bit of everything that a state can hold.
fn busy(from: PeerIndex, message: &Message<'_>, hand: &mut Hand<'_>) {
    let friend = hand.attach("friend");
    let myself = hand.attach("me");
    if message.kind == Kind::Impulse && from == PeerIndex::OUTSIDE {
        hand.world.random.next_u64();
        hand.effect(friend, Kind::Fork, 0, message.arguments);
        hand.effect(friend, Kind::Call, 100 + u64::from(message.arguments[0]), message.arguments);
        hand.effect(myself, Kind::Fork, 0, b"to myself");
        hand.effect(PeerIndex::OUTSIDE, Kind::SetTimer, 7, &5000_u64.to_le_bytes());
        if message.arguments[0].is_multiple_of(2) {
            hand.effect(PeerIndex::OUTSIDE, Kind::Reply, message.call_id.0, b"answer");
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
    bench.step(Input::Deliver { now: bench.now });
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
    let (checkpoint, at) = (bench.replica.checkpoint(), bench.records.len());
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
        if message.kind == Kind::Impulse {
            hand.effect(PeerIndex::OUTSIDE, Kind::Exit, 0, &3_i32.to_le_bytes());
        }
    });
    bench.impulse(b"");
    let records = bench.records.len();
    assert_eq!(digest_record(&mut bench, Some(ReplicaIndex(1))), []);
    assert_eq!(bench.records.len(), records);
}

#[test]
fn bytes_that_are_no_state_are_refused_and_never_panic() {
    let bytes = rich().replica.checkpoint();
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
            Replica::resume(state, crate::bench::Script { on: busy, heard: Vec::new() }).validate();
        }
    }
}
