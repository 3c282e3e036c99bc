//! The fault model of the disk: a write that was under way when the machine died may be there in part, or in parts; a
//! file may be cut where nothing was synced; and any bit of what was durable may flip later. The first is cut off in
//! silence, for nobody was told of it. The last must never be mistaken for it: it is an error that names the place.

use std::{
    path::Path,
    sync::{LazyLock, Mutex},
};

use ambrosia_core::{Lsn, RECORD_HEADER_BYTES, Record};
use proptest::prelude::*;

use super::support::{Fixture, Snapshot, WITHOUT_MARKS, name, segment_header};
use crate::{
    InstanceError, LogError,
    conformance::{Reign, read_all},
};

/// A log with `records` durable records of one reign, as if the machine had died then.
fn fixture(records: u8) -> Fixture {
    let fixture = Fixture::new(WITHOUT_MARKS);
    let mut reign = Reign::begin(&*fixture.log(), 0);
    for n in 0..records {
        reign.append_durably(&[n; 21]);
    }
    drop(reign);
    fixture
}

/// The same, but the log was idle before the machine died.
fn marked_fixture(records: u8) -> Fixture {
    let fixture = fixture(0);
    let mut reign = Reign::begin(&*fixture.log(), 0);
    for n in 0..records {
        reign.append_durably(&[n; 21]);
    }
    reign.writer.close();
    fixture
}

/// Expects an error that names `file` and the place of `lsn`, and that nothing on the disk was changed.
fn expect_corrupt(fixture: &Fixture, damaged: &Snapshot, file: &Path, place: u64, record: Lsn) {
    fixture.restore(damaged);
    let Err(InstanceError::Log(error)) =
        fixture.store.file_log(&name()).map(|log| try_read_all(&log)).and_then(|read| Ok(read?))
    else {
        panic!("damage of record {record} at {place} was not noticed")
    };
    let LogError::Corrupt { place: named, lsn, .. } = &error else { panic!("{error}") };
    assert_eq!((named, *lsn), (&format!("{}, offset {place}", file.display()), record), "{error}");
    assert!(fixture.snapshot() == *damaged, "nothing may be changed");
}

fn try_read_all(log: &crate::FileLog) -> Result<Vec<Record>, LogError> {
    let mut tail = crate::LogStore::tail(log, Lsn(1))?;
    let mut records = Vec::new();
    loop {
        let more = tail.read()?;
        if more.is_empty() {
            return Ok(records);
        }
        records.extend(more);
    }
}

#[test]
fn a_last_record_cut_at_any_byte_is_cut_off_and_the_log_goes_on() {
    let fixture = fixture(4);
    let scanned = fixture.scan();
    let last = scanned.last().expect("not empty");
    let whole = fixture.snapshot();
    let length = RECORD_HEADER_BYTES + 21;
    for kept in 0..length {
        let mut torn = whole.clone();
        let end = last.offset as usize + length;
        torn.bytes(&last.file)[last.offset as usize + kept..end].fill(0);
        fixture.restore(&torn);
        let log = fixture.log();
        assert_eq!(read_all(&*log).len(), scanned.len() - 1, "{kept} bytes kept");
        let mut reign = Reign::begin(&*log, 1);
        assert_eq!(reign.records.len(), 1, "the cut record is not there");
        reign.append_durably(b"goes on");
        drop(reign);
        assert_eq!(read_all(&*fixture.log()).len(), scanned.len() + 1, "{kept} bytes kept");
    }
}

#[test]
fn a_file_that_was_cut_short_is_damaged_since_no_crash_does_that() {
    let fixture = fixture(4);
    let scanned = fixture.scan();
    let whole = fixture.snapshot();
    for cut in &scanned[scanned.len() - 2..] {
        for kept in [0, 1, 63, 64, 70] {
            let mut short = whole.clone();
            short.bytes(&cut.file).truncate(cut.offset as usize + kept);
            expect_corrupt(&fixture, &short, &cut.file, cut.offset, cut.record.lsn());
        }
    }
}

#[test]
fn parts_of_an_unfinished_write_in_any_order_are_cut_off() {
    let fixture = Fixture::new(WITHOUT_MARKS);
    let mut reign = Reign::begin(&*fixture.log(), 0);
    reign.append_durably(b"durable");
    for n in 0..5_u8 {
        reign.append(&[n; 100]).expect("the reign goes on");
    }
    reign.wait_durable(Lsn(8));
    drop(reign);
    let scanned = fixture.scan();
    let whole = fixture.snapshot();
    // Of a write that spans several pages, a later page may reach the disk and an earlier one not.
    for (missing, lost) in scanned.iter().enumerate().skip(3) {
        let mut torn = whole.clone();
        torn.bytes(&lost.file)[lost.offset as usize..][..64].fill(0);
        fixture.restore(&torn);
        assert_eq!(read_all(&*fixture.log()).len(), missing);
    }
}

#[test]
fn a_flipped_bit_in_the_middle_is_an_error_that_names_the_place() {
    let fixture = fixture(6);
    let scanned = fixture.scan();
    let whole = fixture.snapshot();
    // The last record but one is known to be durable from the last one's header.
    for victim in &scanned[1..scanned.len() - 1] {
        for byte in [0, 5, 9, 17, 30, 50, 60, RECORD_HEADER_BYTES, RECORD_HEADER_BYTES + 20] {
            let mut damaged = whole.clone();
            damaged.bytes(&victim.file)[victim.offset as usize + byte] ^= 0x10;
            expect_corrupt(&fixture, &damaged, &victim.file, victim.offset, victim.record.lsn());
        }
    }
}

#[test]
fn a_flipped_bit_in_the_last_record_before_a_mark_is_an_error() {
    let fixture = marked_fixture(3);
    let scanned = fixture.scan();
    let last = scanned.last().expect("not empty");
    for byte in 0..RECORD_HEADER_BYTES + 21 {
        let mut damaged = fixture.snapshot();
        damaged.bytes(&last.file)[last.offset as usize + byte] ^= 0x01;
        let whole = fixture.snapshot();
        expect_corrupt(&fixture, &damaged, &last.file, last.offset, last.record.lsn());
        fixture.restore(&whole);
    }
}

#[test]
fn an_idle_log_marks_what_is_durable_without_being_closed() {
    let fixture = Fixture::new(super::support::SMALL);
    let mut reign = Reign::begin(&*fixture.log(), 0);
    reign.append_durably(b"last");
    let last = fixture.scan().pop().expect("not empty");
    let mark_at = last.offset as usize + last.record.stored().len();
    let is_marked = || std::fs::read(&last.file).expect("works")[mark_at] != 0;
    let begin = std::time::Instant::now();
    while !is_marked() {
        assert!(begin.elapsed() < std::time::Duration::from_secs(10), "a mark comes");
        std::thread::yield_now();
    }
    reign.append_durably(b"behind the mark");
    assert_eq!(read_all(&*fixture.log()).len(), 4);
}

#[test]
fn damage_below_the_published_lsn_is_an_error_while_processes_run() {
    let fixture = fixture(3);
    let last = fixture.scan().pop().expect("not empty");
    let mut damaged = fixture.snapshot();
    damaged.bytes(&last.file)[last.offset as usize + 70] ^= 0x80;
    std::fs::write(&last.file, &damaged.0[&last.file]).expect("works");
    let log = fixture.log();
    let error = try_read_all(&log).map(|records| records.len());
    // The good records come first; the damage is met behind them, and by every candidate.
    assert!(matches!(error, Err(LogError::Corrupt { .. })), "{error:?}");
    let mut tail = crate::LogStore::tail(&*log, Lsn(1)).expect("works");
    assert_eq!(tail.read().expect("good records").len(), 4);
    let me = ambrosia_core::EpochBody { replica: ambrosia_core::ReplicaIndex(1), engine: [0; 32] };
    let refused = tail.acquire(ambrosia_core::Epoch(1), me, ambrosia_core::Timestamp(1), Box::new(|_, _| ()));
    let refused = refused.expect_err("the log is damaged").to_string();
    assert!(refused.contains(&last.file.display().to_string()), "{refused}");
    assert!(refused.contains(&format!("offset {}", last.offset)), "{refused}");
    assert!(fixture.snapshot() == damaged, "nothing may be changed");
}

#[test]
fn a_record_of_another_version_is_not_taken_for_a_torn_one() {
    let fixture = fixture(2);
    let last = fixture.scan().pop().expect("not empty");
    // The version, the kind, and what is reserved.
    for (inside, value) in [(4, 2), (5, 77), (6, 1), (7, 0x80)] {
        let mut newer = fixture.snapshot();
        let at = last.offset as usize;
        let bytes = newer.bytes(&last.file);
        let salt = segment_header(bytes).salt;
        let header = &mut bytes[at..at + RECORD_HEADER_BYTES];
        salt.mix(header);
        header[inside] = value;
        let checksum = crc32c::crc32c(&header[..RECORD_HEADER_BYTES - 4]);
        header[RECORD_HEADER_BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
        salt.mix(header);
        fixture.restore(&newer);
        let error = fixture.store.file_log(&name()).err().expect("another version");
        assert!(matches!(error, InstanceError::Log(LogError::OtherVersion { .. })), "{error}");
        assert!(fixture.snapshot() == newer, "nothing may be changed");
    }
}

static MARKED: LazyLock<(Mutex<Fixture>, Snapshot)> = LazyLock::new(|| {
    let fixture = marked_fixture(60);
    let whole = fixture.snapshot();
    (Mutex::new(fixture), whole)
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_flips_in_an_idle_log_no_record_is_lost_in_silence(segment in 0_usize..8, at in 0_usize..40_000, bit in 0..8) {
        let (fixture, whole) = &*MARKED;
        let fixture = fixture.lock().expect("no panic");
        fixture.restore(whole);
        let bodies = |records: Vec<Record>| -> Vec<Vec<u8>> { records.iter().map(|r| r.body().to_vec()).collect() };
        let before = bodies(read_all(&*fixture.log()));
        let mut damaged = fixture.snapshot();
        let count = damaged.0.len();
        let contents = damaged.0.values_mut().nth(segment % count).expect("in range");
        let at = at % contents.len();
        contents[at] ^= 1_u8 << bit;
        fixture.restore(&damaged);
        match fixture.store.file_log(&name()).map(|log| try_read_all(&log)) {
            Ok(Ok(records)) => prop_assert_eq!(bodies(records), before),
            Ok(Err(LogError::Corrupt { .. } | LogError::OtherVersion { .. })) => {}
            Err(InstanceError::Log(LogError::Corrupt { .. } | LogError::OtherVersion { .. })) => {}
            Ok(Err(error)) => prop_assert!(false, "{}", error),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}

#[test]
fn a_record_that_the_page_knew_to_be_durable_is_damage_after_a_loss_of_power() {
    let fixture = fixture(3);
    let page = fixture.page();
    let last = fixture.scan().pop().expect("not empty");
    let mut damaged = fixture.snapshot();
    damaged.bytes(&last.file)[last.offset as usize + 70] ^= 0x04;
    fixture.restore(&damaged);
    assert_eq!(read_all(&*fixture.log()).len(), 4, "nothing else says it: the page is lost");
    fixture.restore(&damaged);
    fixture.lose_power_but_not(&page);
    let error = fixture.store.file_log(&name()).err().expect("it was durable").to_string();
    assert!(error.contains("was published as durable"), "{error}");
    assert!(fixture.snapshot() == damaged, "nothing may be changed");
}

/// Neither the shared page nor a mark is left to say it.
#[test]
fn what_a_segment_follows_is_never_a_torn_tail() {
    let fixture = Fixture::new(WITHOUT_MARKS);
    let mut reign = Reign::begin(&*fixture.log(), 0);
    while fixture.scan().iter().map(|record| &record.file).collect::<std::collections::BTreeSet<_>>().len() < 3 {
        reign.append_durably(&[7; 900]);
    }
    drop(reign);
    let scanned = fixture.scan();
    let at = scanned.iter().rposition(|record| record.file != scanned[scanned.len() - 1].file).expect("three files");
    let last = &scanned[at];
    let mut damaged = fixture.snapshot();
    damaged.bytes(&last.file)[last.offset as usize + 70] ^= 0x04;
    expect_corrupt(&fixture, &damaged, &last.file, last.offset, last.record.lsn());
    // Who only looks at the files knows of no page.
    let found = fixture.store.scan_log(&name(), Lsn(1)).expect("works").last().expect("not empty");
    let found = found.map(|scanned| scanned.record.lsn());
    assert!(matches!(found, Err(LogError::Corrupt { lsn, .. }) if lsn == last.record.lsn()), "{found:?}");
}
