//! Segments: how a log goes from one to the next, and what zombies may leave beside it.

use std::time::{Duration, Instant};

use ambrosia_core::{Epoch, EpochBody, Lsn, Record, ReplicaIndex, Timestamp};

use super::support::{Fixture, SMALL, WITHOUT_MARKS, put_record};
use crate::{
    FileLogOptions, Instances, LogError, LogStore,
    conformance::{Follower, Reign, read_all},
    file::testing::{LastRecord, Salt, SegmentHeader, SegmentName},
};

#[test]
fn a_full_segment_is_followed_by_another_one() {
    let fixture = Fixture::new(SMALL);
    let mut reign = Reign::begin(&*fixture.log(), 0);
    for n in 0..100_u8 {
        reign.append_durably(&[n; 1000]);
    }
    let lengths: Vec<u64> = fixture.segments().iter().map(|path| path.metadata().expect("works").len()).collect();
    assert!(lengths.len() > 6, "{lengths:?}");
    // Where the disk was too slow to have the larger one ready, one of the first size stands in for it.
    assert!(lengths[1..].iter().all(|length| [8 << 10, 16 << 10].contains(length)), "{lengths:?}");
    assert_eq!(read_all(&*fixture.log()).len(), 102);
}

#[test]
fn segments_of_a_reign_grow_up_to_the_largest_size() {
    let options = crate::FileLogOptions::default();
    let sizes: Vec<u64> =
        std::iter::successors(Some(options.segment_bytes_first), |bytes| Some(options.segment_bytes_after(*bytes)))
            .take(5)
            .collect();
    assert_eq!(sizes, [64 << 10, 4 << 20, 16 << 20, 64 << 20, 64 << 20]);
}

#[test]
fn a_log_prepares_a_further_segment_once_it_grows_and_not_before() {
    let options = crate::FileLogOptions { idle_after: Duration::from_secs(3600), ..Default::default() };
    let fixture = Fixture::new(options);
    let log = fixture.log();
    let mut reign = Reign::begin(&*log, 0);
    reign.append_durably(&[1; 8 << 10]);
    // A thread that prepares one makes the file at once or later; none is there, and none will be.
    assert!(log.stored_bytes().expect("the directory can be read") <= 256 << 10);
    assert_eq!(files_named(&fixture, "next-"), 0);
    reign.append_durably(&[2; 16 << 10]);
    let deadline = Instant::now() + Duration::from_secs(20);
    while files_named(&fixture, "next-") == 0 {
        assert!(Instant::now() < deadline, "a third of the segment is full");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Files beside the log whose names begin like that.
fn files_named(fixture: &Fixture, begin: &str) -> usize {
    let names = std::fs::read_dir(fixture.log_path()).expect("the directory is there");
    names
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(begin)))
        .count()
}

#[test]
fn one_write_may_fill_several_segments() {
    let fixture = Fixture::new(SMALL);
    let mut reign = Reign::begin(&*fixture.log(), 0);
    for n in 0..200_u8 {
        reign.append(&[n; 1000]).expect("the reign goes on");
    }
    reign.wait_durable(Lsn(202));
    drop(reign);
    fixture.forget_control();
    let records = read_all(&*fixture.log());
    assert!(records[2..].iter().enumerate().all(|(n, record)| record.body() == [n as u8; 1000]));
}

#[test]
fn a_record_larger_than_a_segment_gets_one_of_its_size() {
    let fixture = Fixture::new(SMALL);
    let mut reign = Reign::begin(&*fixture.log(), 0);
    reign.append_durably(b"small");
    reign.append_durably(&[7; 100_000]);
    reign.append_durably(b"small");
    reign.append_durably(&[8; 200_000]);
    reign.writer.close();
    fixture.forget_control();
    let records = read_all(&*fixture.log());
    assert_eq!(records[3].body(), [7; 100_000]);
    assert_eq!(records[5].body(), [8; 200_000]);
}

#[test]
fn what_a_zombie_writes_behind_the_seal_is_not_read() {
    let fixture = Fixture::new(WITHOUT_MARKS);
    let mut first = Reign::begin(&*fixture.log(), 0);
    first.append_durably(b"kept");
    let last = fixture.scan().pop().expect("not empty");
    let zombie_record = first.next_record(b"never acknowledged");
    let mut second = Reign::begin(&*fixture.log(), 1);
    put_record(&last.file, last.offset + last.record.stored().len() as u64, &zombie_record);
    second.append_durably(b"after");
    assert_reads(&fixture, &[b"kept", b"after"]);
    drop((first, second));
    fixture.forget_control();
    assert_reads(&fixture, &[b"kept", b"after"]);
}

#[test]
fn what_a_zombie_wrote_before_the_seal_becomes_part_of_the_log() {
    let fixture = Fixture::new(WITHOUT_MARKS);
    let mut first = Reign::begin(&*fixture.log(), 0);
    first.append_durably(b"kept");
    let last = fixture.scan().pop().expect("not empty");
    let unacknowledged = first.next_record(b"written, not synced");
    put_record(&last.file, last.offset + last.record.stored().len() as u64, &unacknowledged);
    let second = Reign::begin(&*fixture.log(), 1);
    assert_eq!(second.records[0], unacknowledged);
    assert_reads(&fixture, &[b"kept", b"written, not synced"]);
}

#[test]
fn a_segment_put_in_place_late_is_not_read() {
    let fixture = Fixture::new(WITHOUT_MARKS);
    let mut first = Reign::begin(&*fixture.log(), 0);
    first.append_durably(b"one");
    let early = LastRecord::of(fixture.scan().pop().expect("not empty").record.header());
    first.append_durably(b"two");
    // Candidate 2 has read the log to "one" and is stopped; candidate 3 reads it to "two" and wins.
    let lock = fixture.log().begin_reign_for_test(1);
    let mut third = Reign::begin(&*fixture.log(), 2);
    third.append_durably(b"three");
    let name = SegmentName { first: early.lsn.next(), epoch: Epoch(2), follows: Epoch(1) };
    let uuid = fixture.store.instance(&super::support::name()).expect("works").uuid;
    let late = SegmentHeader { uuid, name, capacity: 4096, before: early, salt: Salt::NONE };
    std::fs::write(fixture.log_path().join(name.to_string()), late.encode()).expect("works");
    assert_reads(&fixture, &[b"one", b"two", b"three"]);
    drop((first, third, lock));
    fixture.forget_control();
    assert_reads(&fixture, &[b"one", b"two", b"three"]);
}

#[test]
fn who_waits_in_an_empty_segment_goes_on_in_the_one_that_takes_its_place() {
    let fixture = Fixture::new(WITHOUT_MARKS);
    let log = fixture.log();
    let mut first = Reign::begin(&*log, 0);
    first.append_durably(b"one");
    // The primary has put the next segment in place, and died before it wrote into it.
    let last = LastRecord::of(fixture.scan().pop().expect("not empty").record.header());
    drop(first);
    let name = SegmentName { first: last.lsn.next(), epoch: Epoch(1), follows: Epoch(1) };
    let uuid = fixture.store.instance(&super::support::name()).expect("works").uuid;
    let empty = SegmentHeader { uuid, name, capacity: 4096, before: last, salt: Salt::new(9) };
    std::fs::write(fixture.log_path().join(name.to_string()), empty.encode()).expect("works");
    let mut waiting = log.tail(last.lsn.next()).expect("it is one behind the last record");
    let mut second = Reign::begin(&*log, 1);
    second.append_durably(b"two");
    let read = waiting.read().expect("nothing is damaged");
    assert_eq!(read.last().expect("not empty").body(), b"two");
    assert_reads(&fixture, &[b"one", b"two"]);
}

/// No fence that holds lets it come so far: this is what notices one that does not.
#[test]
fn a_seal_before_what_was_read_is_told_by_who_has_read_it() {
    let fixture = Fixture::new(WITHOUT_MARKS);
    let log = fixture.log();
    let mut first = Reign::begin(&*log, 0);
    first.append_durably(b"one");
    let sealed_behind = LastRecord::of(fixture.scan().pop().expect("not empty").record.header());
    first.append_durably(b"two");
    let mut tail = log.tail(Lsn(1)).expect("works");
    assert_eq!(tail.read().expect("it is durable").last().expect("not empty").body(), b"two");
    // A candidate that does not know of the second record.
    let name = SegmentName { first: sealed_behind.lsn.next(), epoch: Epoch(2), follows: Epoch(1) };
    let uuid = fixture.store.instance(&super::support::name()).expect("works").uuid;
    let seal = SegmentHeader { uuid, name, capacity: 4096, before: sealed_behind, salt: Salt::NONE };
    std::fs::write(fixture.log_path().join(name.to_string()), seal.encode()).expect("works");
    // In a thread of its own: who goes on reading finds neither a record nor an end.
    let (sender, answer) = std::sync::mpsc::channel();
    let me = EpochBody { replica: ReplicaIndex(1), engine: [0; 32] };
    std::thread::spawn(move || {
        let acquired = tail.acquire(Epoch(1), me, Timestamp(9), Box::new(|_, _| ()));
        sender.send(acquired.map(drop)).expect("the test waits for it");
    });
    let error = answer.recv_timeout(Duration::from_secs(60)).expect("it ends").expect_err("the log has changed");
    assert!(error.to_string().contains("the log was sealed before a record that was read"), "{error}");
}

#[test]
fn a_lost_segment_is_an_error() {
    let fixture = Fixture::new(SMALL);
    let mut reign = Reign::begin(&*fixture.log(), 0);
    for n in 0..60_u8 {
        reign.append_durably(&[n; 1000]);
    }
    reign.writer.close();
    let lost = fixture.segments().remove(3);
    std::fs::remove_file(&lost).expect("works");
    let log = fixture.log();
    let mut tail = log.tail(Lsn(1)).expect("works");
    let error = loop {
        match tail.read() {
            Ok(records) => assert!(!records.is_empty(), "the log seems to end"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LogError::Corrupt { .. }), "{error}");
}

#[test]
fn a_tail_reads_on_while_segments_come() {
    let fixture = Fixture::new(FileLogOptions { segment_bytes_max: 9 << 10, ..SMALL });
    let mut follower = Follower::new(&*fixture.log(), Lsn(1));
    let follower = std::thread::spawn(move || {
        let mut read: Vec<Record> = Vec::new();
        while read.len() < 302 {
            read.extend(follower.follow());
        }
        read
    });
    let mut reign = Reign::begin(&*fixture.log(), 0);
    for n in 0..300_u16 {
        reign.append(&vec![n as u8; usize::from(n) * 10]).expect("the reign goes on");
    }
    reign.wait_durable(Lsn(302));
    assert_eq!(follower.join().expect("no panic"), read_all(&*fixture.log()));
}

fn assert_reads(fixture: &Fixture, bodies: &[&[u8]]) {
    let records = read_all(&*fixture.log());
    let delivered = records.iter().filter(|record| record.header().kind == ambrosia_core::RecordKind::Deliver);
    let read: Vec<&[u8]> = delivered.map(Record::body).collect();
    assert_eq!(read, bodies);
}

#[test]
fn a_scan_of_a_log_that_is_being_written_finds_no_damage() {
    let fixture = Fixture::new(FileLogOptions { segment_bytes_first: 4 << 20, segment_bytes_max: 4 << 20, ..SMALL });
    let mut reign = Reign::begin(&*fixture.log(), 0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            for _ in 0..3000 {
                reign.append_durably(&[7; 1000]);
            }
        });
        let mut scans = 0;
        while !writer.is_finished() {
            let records = fixture.scan();
            assert!(records.windows(2).all(|two| two[1].record.lsn() == two[0].record.lsn().next()));
            scans += 1;
        }
        assert!(scans > 10, "{scans} scans");
    });
}
