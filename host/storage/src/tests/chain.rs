//! What is whole in itself and does not belong where it stands: records and segments with right checksums, of another
//! place, another reign, another history or another instance. A reader must never take one for part of the log.

use ambrosia_core::{Epoch, Genesis, InstanceUuid, Record, RecordHeader, Timestamp};

use super::support::{Fixture, SMALL, WITHOUT_MARKS, name, put_record};
use crate::{
    InstanceError, LogError, LogStore,
    conformance::{Reign, genesis, read_all},
};

/// What is said of the log after a start of the machine. It must not read whole.
fn damage(fixture: &Fixture) -> String {
    fixture.forget_control();
    let tried = fixture.store.file_log(&name()).and_then(|log| {
        let mut tail = log.tail(ambrosia_core::Lsn(1))?;
        while !tail.read()?.is_empty() {}
        Ok(())
    });
    match tried {
        Err(InstanceError::Log(error @ LogError::Corrupt { .. })) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(()) => panic!("it was taken for part of the log"),
    }
}

/// A log of one segment with a last record that is as `change` makes it, with right checksums.
fn with_changed_header(change: impl FnOnce(&mut RecordHeader)) -> Fixture {
    let fixture = Fixture::new(WITHOUT_MARKS);
    let mut reign = Reign::begin(&*fixture.log(), 0);
    reign.append_durably(b"one");
    reign.append_durably(b"two");
    drop(reign);
    let last = fixture.scan().pop().expect("not empty");
    let mut header = *last.record.header();
    change(&mut header);
    let changed = Record::seal(header, last.record.body());
    put_record(&last.file, last.offset, &changed);
    fixture
}

#[test]
fn a_record_that_is_not_linked_to_the_one_before_it_is_damage() {
    let said = damage(&with_changed_header(|header| header.previous ^= 1));
    assert!(said.contains("does not follow the one before it"), "{said}");
}

#[test]
fn a_record_of_another_reign_is_damage() {
    let said = damage(&with_changed_header(|header| header.epoch = Epoch(2)));
    assert!(said.contains("the record has epoch 2, the segment has 1"), "{said}");
}

#[test]
fn two_records_that_have_changed_places_are_damage() {
    let fixture = Fixture::new(WITHOUT_MARKS);
    let mut reign = Reign::begin(&*fixture.log(), 0);
    for n in 0..4 {
        reign.append_durably(&[n; 21]);
    }
    drop(reign);
    let scanned = fixture.scan();
    let [.., first, second, _] = scanned.as_slice() else { panic!("there are four") };
    put_record(&first.file, first.offset, &second.record);
    put_record(&first.file, second.offset, &first.record);
    let said = damage(&fixture);
    assert!(said.contains(&format!("record {} stands there", second.record.lsn())), "{said}");
}

/// Some segments of a reign, each with a first record of the same lsn as in any other such log.
fn with_segments(genesis: &Record, body: u8) -> Fixture {
    let fixture = Fixture::with(SMALL, genesis);
    let mut reign = Reign::begin(&*fixture.log(), 0);
    for _ in 0..40 {
        reign.append_durably(&[body; 1000]);
    }
    reign.writer.close();
    assert!(fixture.segments().len() >= 4);
    fixture
}

/// A segment of `from` under the same name in `to`, in place of the one there.
fn exchange(from: &Fixture, to: &Fixture) {
    let segment = &to.segments()[2];
    let other = from.log_path().join(segment.file_name().expect("a file"));
    std::fs::copy(other, segment).expect("both have the same names");
}

#[test]
fn a_segment_of_another_history_of_the_instance_is_damage() {
    let (log, copy) = (with_segments(&genesis(), 1), with_segments(&genesis(), 2));
    assert_eq!(read_all(&*log.log()).len(), 42);
    exchange(&copy, &log);
    let said = damage(&log);
    assert!(said.contains("the segment does not follow the one before"), "{said}");
}

#[test]
fn a_segment_under_the_name_of_another_one_is_damage() {
    let log = with_segments(&genesis(), 1);
    let segments = log.segments();
    std::fs::copy(&segments[3], &segments[2]).expect("works");
    let said = damage(&log);
    assert!(said.contains("the segment belongs to another place"), "{said}");
}

#[test]
fn a_segment_of_another_instance_is_damage() {
    let genesis = genesis();
    let of_another = Genesis { uuid: InstanceUuid([8; 16]), ..Genesis::decode(genesis.body()).expect("whole") };
    let (log, other) = (with_segments(&genesis, 1), with_segments(&of_another.record(Timestamp(1)), 1));
    exchange(&other, &log);
    let said = damage(&log);
    assert!(said.contains("instance"), "{said}");
}
