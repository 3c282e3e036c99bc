//! What a record holds, and that it ends somewhere.

use ambrosia_core::{DeliverBody, MessageKind, MethodId, PeerIndex, RecordKind, Runs, Seq, Traffic, limits};
use bytes::Bytes;

use crate::bench::{Bench, Hand, forks, uuid};

/// An impulse forks to the instance itself: `count` (4 bytes) messages of `size` (4 bytes) bytes.
fn fork_to_myself(peer: PeerIndex, message: &ambrosia_core::Message<'_>, hand: &mut Hand<'_>) {
    if peer == PeerIndex::OUTSIDE && message.kind == MessageKind::Impulse && !message.arguments.is_empty() {
        let number = |at: usize| u32::from_le_bytes(message.arguments[at..at + 4].try_into().expect("four"));
        let me = hand.attach("me");
        for _ in 0..number(0) {
            hand.effect(me, MessageKind::Fork, 0, &vec![1; number(4) as usize]);
        }
    }
}

fn tell(bench: &mut Bench, count: u32, size: u32) {
    bench.impulse(&[count.to_le_bytes(), size.to_le_bytes()].concat());
}

/// Peer, first number and count of each run of the records from `at` on.
fn runs(bench: &Bench, at: usize) -> Vec<Vec<(u32, u64, u32)>> {
    let delivered = bench.records[at..].iter().filter(|record| record.header().kind == RecordKind::Deliver);
    delivered
        .map(|record| {
            let body = DeliverBody::decode(record.body()).expect("sealed by the core");
            Runs::new(body.runs)
                .map(|run| run.expect("sealed by the core"))
                .map(|run| (run.peer.0, run.first_seq.0, run.count))
                .collect()
        })
        .collect()
}

#[test]
fn what_gathered_is_one_record_with_a_run_for_each_source() {
    let mut bench = Bench::new(fork_to_myself);
    let at = bench.records.len();
    let (p, _) = bench.connect("p", uuid(7), 1);
    let (q, _) = bench.connect("q", uuid(8), 1);
    bench.messages(p, 1, &[b"1"]);
    bench.messages(q, 1, &[b"1", b"2"]);
    bench.messages(p, 2, &[b"2"]);
    bench.impulse(b"");
    bench.messages(p, 3, &[b"3"]);
    bench.messages(q, 3, &[b"3"]);
    bench.deliver();
    assert_eq!(
        runs(&bench, at),
        [
            vec![(0, 0, 1), (1, 1, 2), (2, 1, 2)],
            vec![(2, 3, 1), (1, 3, 1)], // another begins
        ]
    );
    assert_eq!(bench.deliver(), []);
    assert_eq!(runs(&bench, at).len(), 2, "nothing makes no record");
}

#[test]
fn a_record_ends_at_its_count_of_messages_whatever_was_sent_at_once() {
    let mut bench = Bench::new(fork_to_myself);
    let at = bench.records.len() + 1;
    tell(&mut bench, limits::RECORD_MESSAGES_MAX + 5, 0);
    bench.deliver();
    bench.deliver();
    let max = limits::RECORD_MESSAGES_MAX;
    assert_eq!(runs(&bench, at), [vec![(1, 1, max)], vec![(1, u64::from(max) + 1, 5)]]);
    bench.take_over();
}

#[test]
fn a_record_ends_at_its_size_whatever_was_sent_at_once() {
    let mut bench = Bench::new(fork_to_myself);
    let at = bench.records.len() + 1;
    tell(&mut bench, 200, 512 << 10); // 100 MiB: no record could hold it
    for _ in 0..100 {
        bench.deliver();
    }
    let runs = runs(&bench, at);
    assert_eq!(runs[0], [(1, 1, 2)], "it takes no further message once it is full");
    assert_eq!(runs.iter().flatten().map(|run| run.2).sum::<u32>(), 200);
    assert_eq!(bench.heard().len() as u32, 2 + 1 + 200);
}

#[test]
fn what_does_not_fit_of_a_frame_comes_first_in_the_next_record() {
    let mut bench = Bench::new(fork_to_myself);
    let (connection, _) = bench.connect("p", uuid(7), 1);
    let at = bench.records.len();
    let count = limits::RECORD_MESSAGES_MAX + 3;
    let messages = forks(&vec![&b"x"[..]; count as usize]);
    bench.traffic(Traffic::Messages { connection, first_seq: Seq(1), count, messages });
    bench.messages(connection, u64::from(count) + 1, &[b"y"]);
    bench.messages(connection, u64::from(count), &[b"x", b"y"]); // came already
    bench.deliver();
    bench.deliver();
    let max = limits::RECORD_MESSAGES_MAX;
    assert_eq!(runs(&bench, at), [vec![(1, 1, max)], vec![(1, u64::from(max) + 1, 4)]]);
    assert_eq!(bench.heard().last().expect("it started").3, b"y");
}

#[test]
fn impulses_take_half_a_record_at_most_and_the_rest_waits() {
    let mut bench = Bench::new(fork_to_myself);
    let at = bench.records.len();
    let arguments = Bytes::from(vec![0; 8]);
    let half = limits::RECORD_MESSAGES_MAX / 2;
    for _ in 0..half + 1 {
        bench.traffic(Traffic::Impulse {
            method: MethodId(0),
            arguments: arguments.clone(),
            request: None,
            from: None,
            trace: None,
        });
    }
    bench.deliver();
    bench.deliver();
    assert_eq!(runs(&bench, at), [vec![(0, 0, half)], vec![(0, 0, 1)]]);
}

#[test]
fn the_time_of_records_never_falls_whatever_the_clock_says() {
    let mut bench = Bench::new(fork_to_myself);
    for now in [500, 300, 0, 501] {
        bench.now = ambrosia_core::Timestamp(now);
        bench.impulse(b"");
    }
    let times: Vec<_> = bench.records.iter().map(|record| record.header().time.0).collect();
    assert_eq!(times, [100, 100, 100, 500, 500, 500, 501]);
}

/// An impulse calls a friend very often.
fn call_a_friend(peer: PeerIndex, message: &ambrosia_core::Message<'_>, hand: &mut Hand<'_>) {
    if peer == PeerIndex::OUTSIDE && message.kind == MessageKind::Impulse {
        let friend = hand.attach("friend");
        (1..=CALLS).for_each(|call| hand.effect(friend, MessageKind::Call, u64::from(call), b""));
    }
}

const CALLS: u32 = limits::RECORD_MESSAGES_MAX + 1000;

#[test]
fn a_record_holds_no_more_messages_than_the_limit_also_when_a_new_primary_tells_of_many_failed_calls() {
    let mut bench = Bench::new(call_a_friend);
    bench.impulse(b"");
    bench.reach(1, uuid(7), 0);
    bench.reach(1, uuid(8), 0); // the calls to the old one fail
    bench.take_over();
    let at = bench.records.len();
    bench.deliver();
    bench.deliver();
    let counts: Vec<_> = runs(&bench, at).iter().map(|runs| runs.iter().map(|run| run.2).sum::<u32>()).collect();
    // The guest is told first that the replica is primary.
    assert_eq!(counts, [limits::RECORD_MESSAGES_MAX, 1001]);
}
