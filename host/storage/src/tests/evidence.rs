//! Forged, torn and damaged are told apart: clients send what looks like records, a write that was never synced reaches
//! the disk in any parts, and what was durable changes. The first says nothing, the second is cut off in silence, the
//! third is an error, and all of them may be in one file.

use std::path::{Path, PathBuf};

use ambrosia_core::{Epoch, Lsn, RECORD_HEADER_BYTES, Record, RecordHeader, RecordKind, Timestamp};
use proptest::prelude::*;

use super::support::{Fixture, SEGMENT_HEADER_BYTES, Snapshot, WITHOUT_MARKS, name, segment_header, with_salt};
use crate::{InstanceError, LogError, ScannedRecord, conformance::Reign, file::testing::Salt};

const SECTOR_BYTES: usize = 512;

/// A message of a client that is made of records: some of any numbers, and some as like as can be to what the log
/// holds, but for the links, which nobody outside knows.
fn forgery() -> impl Strategy<Value = Vec<u8>> {
    let number = || prop_oneof![3 => 1_u64..14, 1 => any::<u64>()];
    let kind = prop_oneof![Just(RecordKind::Mark), Just(RecordKind::Deliver)];
    let record = (kind, 1_u64..3, number(), number(), any::<u64>(), 0_usize..40);
    let forged = record.prop_map(|(kind, epoch, lsn, durable, previous, bytes)| {
        let time = Timestamp(u64::MAX - 7);
        let mut header = RecordHeader::new(kind, Epoch(epoch), Lsn(lsn), time);
        (header.durable, header.previous) = (Lsn(durable), previous);
        Record::seal(header, &[b'x'; 40][..bytes]).stored().to_vec()
    });
    prop::collection::vec(forged, 1..12).prop_map(|records| records.concat())
}

/// What is read of the log, or what is said of its damage.
fn read(fixture: &Fixture) -> Result<usize, String> {
    let records = fixture.store.file_log(&name()).and_then(|log| {
        let mut tail = crate::LogStore::tail(&*log, Lsn(1))?;
        let mut records = 0;
        loop {
            let more = tail.read()?.len();
            if more == 0 {
                return Ok(records);
            }
            records += more;
        }
    });
    match records {
        Ok(records) => Ok(records),
        Err(InstanceError::Log(error @ LogError::Corrupt { .. })) => Err(error.to_string()),
        Err(error) => panic!("{error}"),
    }
}

/// What is found by who looks at the files alone.
fn scanned(fixture: &Fixture) -> Result<usize, String> {
    let mut records = 0;
    for found in fixture.store.scan_log(&name(), Lsn(1)).expect("the instance is there") {
        match found {
            Ok(_) => records += 1,
            Err(error @ LogError::Corrupt { .. }) => return Err(error.to_string()),
            Err(error) => panic!("{error}"),
        }
    }
    Ok(records)
}

/// What is done to a record that was durable.
#[derive(Clone, Debug)]
enum Hurt {
    Nothing,
    /// The sector in which it begins turns to zeros.
    Zeros,
    /// Its header is overwritten.
    Garbage([u8; RECORD_HEADER_BYTES]),
    /// A bit flips in it.
    Flip(prop::sample::Index, u8),
}

fn hurts() -> impl Strategy<Value = Hurt> {
    let garbage = any::<[u8; 32]>().prop_map(|half| {
        let mut garbage = [0; RECORD_HEADER_BYTES];
        garbage[..32].copy_from_slice(&half);
        garbage[32..].copy_from_slice(&half);
        Hurt::Garbage(garbage)
    });
    prop_oneof![
        Just(Hurt::Nothing),
        Just(Hurt::Zeros),
        garbage,
        (any::<prop::sample::Index>(), 0..8_u8).prop_map(|(at, bit)| Hurt::Flip(at, bit)),
    ]
}

/// How a log goes on behind its durable records.
#[derive(Clone, Debug)]
enum Ending {
    /// With records that were never synced; of some of their sectors the disk has only zeros.
    Torn { tail: Vec<Vec<u8>>, lost: u64 },
    /// With a mark.
    Marked,
    /// In another segment, by another primary.
    Followed,
}

fn endings() -> impl Strategy<Value = Ending> {
    let torn = (prop::collection::vec(forgery(), 0..4), any::<u64>());
    prop_oneof![
        3 => torn.prop_map(|(tail, lost)| Ending::Torn { tail, lost }),
        1 => Just(Ending::Marked),
        1 => Just(Ending::Followed),
    ]
}

/// A log that was whole once, and the control page of the last moment at which its primary had told anything.
struct Written {
    fixture: Fixture,
    page: Vec<u8>,
    page_durable: Lsn,
    records: Vec<ScannedRecord>,
    /// Those that were durable, from the first on.
    durable: usize,
}

impl Written {
    fn new(messages: &[Vec<u8>], ending: &Ending) -> Written {
        let fixture = Fixture::new(WITHOUT_MARKS);
        let mut reign = Reign::begin(&*fixture.log(), 0);
        for message in messages {
            reign.append_durably(message);
        }
        let (mut page, mut page_durable) = (fixture.page(), reign.durable());
        let mut durable = page_durable.0 as usize;
        match ending {
            Ending::Torn { tail, .. } => {
                let appended: Vec<Lsn> = tail.iter().map(|body| reign.append(body).expect("it goes on")).collect();
                appended.last().into_iter().for_each(|last| reign.wait_durable(*last));
                drop(reign);
            }
            Ending::Marked => reign.writer.close(),
            Ending::Followed => {
                drop(reign);
                let next = Reign::begin(&*fixture.log(), 1);
                (page, page_durable, durable) = (fixture.page(), next.durable(), durable + 1);
            }
        }
        let records = fixture.scan();
        Written { fixture, page, page_durable, records, durable }
    }

    fn bytes(&self, number: usize) -> std::ops::Range<usize> {
        let at = self.records[number].offset as usize;
        at..at + RECORD_HEADER_BYTES + self.records[number].record.body().len()
    }

    /// Loses sectors of what was not synced. All before the newest segment was.
    fn tear(&self, damaged: &mut Snapshot, lost: u64) {
        let newest = self.newest_file();
        let mut tail = (self.durable..self.records.len()).filter(|number| self.records[*number].file == newest);
        let Some(first) = tail.next() else { return };
        let (begin, end) = (self.bytes(first).start, self.bytes(tail.next_back().unwrap_or(first)).end);
        for sector in begin / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            if lost >> (sector % 64) & 1 == 1 {
                let sector = (sector * SECTOR_BYTES).max(begin)..((sector + 1) * SECTOR_BYTES).min(end);
                damaged.bytes(&newest)[sector].fill(0);
            }
        }
    }

    fn hurt(&self, damaged: &mut Snapshot, victim: usize, hurt: &Hurt) {
        let (bytes, record) = (damaged.bytes(&self.records[victim].file), self.bytes(victim));
        match hurt {
            Hurt::Nothing => {}
            Hurt::Zeros => {
                let sector = record.start / SECTOR_BYTES * SECTOR_BYTES;
                let end = bytes.len().min(sector + SECTOR_BYTES);
                bytes[sector..end].fill(0);
            }
            Hurt::Garbage(garbage) => bytes[record.start..][..RECORD_HEADER_BYTES].copy_from_slice(garbage),
            Hurt::Flip(at, bit) => bytes[record.start + at.index(record.len())] ^= 1 << bit,
        }
    }

    fn newest_file(&self) -> PathBuf {
        self.fixture.segments().pop().expect("there is one")
    }

    /// The first record that is not as it was.
    fn first_changed(&self, whole: &Snapshot, damaged: &Snapshot) -> Option<usize> {
        (0..self.records.len()).find(|number| {
            let (file, bytes) = (&self.records[*number].file, self.bytes(*number));
            whole.0[file][bytes.clone()] != damaged.0[file][bytes]
        })
    }

    /// Whether a header behind `record` is as its primary wrote it, and says that `record` was durable.
    fn is_said(&self, whole: &Snapshot, damaged: &Snapshot, record: &ScannedRecord) -> bool {
        headers(&whole.0[&record.file]).into_iter().any(|(at, header)| {
            let bytes = at..at + RECORD_HEADER_BYTES;
            at as u64 > record.offset
                && header.durable >= record.record.lsn()
                && whole.0[&record.file][bytes.clone()] == damaged.0[&record.file][bytes]
        })
    }
}

/// The headers of a whole segment, marks too.
fn headers(segment: &[u8]) -> Vec<(usize, RecordHeader)> {
    let salt = segment_header(segment).salt;
    let mut found: Vec<(usize, RecordHeader)> = Vec::new();
    let mut at = SEGMENT_HEADER_BYTES;
    while let Ok(header) = salt.decode(&segment[at..]) {
        found.push((at, header));
        at += header.stored_bytes();
    }
    found
}

fn expect(read: &Result<usize, String>, is_damage: bool, first: Option<&ScannedRecord>, all: usize) {
    match (read, first) {
        (Err(said), Some(first)) if is_damage => {
            let place = format!("{}, offset {}, record {}", first.file.display(), first.offset, first.record.lsn());
            assert!(said.contains(&place), "{said}, not {place}");
        }
        (Ok(read), Some(first)) if !is_damage => assert_eq!(*read as u64, first.record.lsn().0 - 1),
        (Ok(read), None) => assert_eq!(*read, all),
        (read, first) => panic!("{read:?}, damage: {is_damage}, from {:?} on", first.map(|first| first.record.lsn())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn forged_torn_and_damaged_are_told_apart(
        messages in prop::collection::vec(forgery(), 1..5),
        ending in endings(),
        hurt in hurts(),
        victim in any::<prop::sample::Index>(),
        page_is_kept in any::<bool>(),
    ) {
        let written = Written::new(&messages, &ending);
        let whole = written.fixture.snapshot();
        let mut damaged = whole.clone();
        if let Ending::Torn { lost, .. } = &ending {
            written.tear(&mut damaged, *lost);
        }
        written.hurt(&mut damaged, victim.index(written.durable), &hurt);
        written.fixture.restore(&damaged);
        if page_is_kept {
            written.fixture.lose_power_but_not(&written.page);
        }
        let first = written.first_changed(&whole, &damaged).map(|number| &written.records[number]);
        let is_known = |first: &ScannedRecord| {
            first.file != written.newest_file() || written.is_said(&whole, &damaged, first)
        };
        let is_damage = |page: bool| {
            first.is_some_and(|first| is_known(first) || page && written.page_durable >= first.record.lsn())
        };
        let all = written.records.len();
        expect(&scanned(&written.fixture), is_damage(false), first, all);
        expect(&read(&written.fixture), is_damage(page_is_kept), first, all);
        if !matches!(hurt, Hurt::Nothing) && page_is_kept {
            prop_assert!(is_damage(true), "what the page says was durable is never lost in silence");
        }
    }
}

/// The least that a client can do, and the least that a disk can: this is what the salt is for.
#[test]
fn a_header_that_turns_to_zeros_is_damage_and_one_that_a_client_forged_is_none() {
    for (version, zeros_are_damage) in [(1, false), (2, true)] {
        let written = Written::new(&vec![vec![7; 700]; 3], &Ending::Torn { tail: vec![], lost: 0 });
        let whole = unsalted_if(&written.fixture, version == 1);
        let mut damaged = whole.clone();
        written.hurt(&mut damaged, 3, &Hurt::Zeros);
        written.fixture.restore(&damaged);
        assert_eq!(read(&written.fixture).is_err(), zeros_are_damage, "version {version}");
    }
    let mut forged = RecordHeader::new(RecordKind::Deliver, Epoch(1), Lsn(4), Timestamp(u64::MAX));
    forged.durable = Lsn(3);
    let message = Record::seal(forged, b"").stored().to_vec().repeat(8);
    for (version, is_believed) in [(1, true), (2, false)] {
        let written = Written::new(std::slice::from_ref(&message), &Ending::Torn { tail: vec![], lost: 0 });
        let mut damaged = unsalted_if(&written.fixture, version == 1);
        // Nobody was told of the last record, and of its header something else than zeros is there.
        written.hurt(&mut damaged, 2, &Hurt::Garbage([0x5a; RECORD_HEADER_BYTES]));
        written.fixture.restore(&damaged);
        let read = read(&written.fixture);
        assert!(if is_believed { read.is_err() } else { read == Ok(2) }, "version {version}: {read:?}");
    }
}

/// The log as it is, or as a program wrote it that knew no salt.
fn unsalted_if(fixture: &Fixture, unsalted: bool) -> Snapshot {
    let mut snapshot = fixture.snapshot();
    if unsalted {
        snapshot.0.values_mut().for_each(|segment| *segment = with_salt(segment, Salt::NONE));
    }
    snapshot
}

fn restore_unsalted(fixture: &Fixture) {
    fixture.restore(&unsalted_if(fixture, true));
}

fn flip(fixture: &Fixture, file: &Path, at: usize, bit: u8) {
    let mut damaged = fixture.snapshot();
    damaged.bytes(file)[at] ^= 1_u8 << bit;
    fixture.restore(&damaged);
}

/// A log of such messages in segments of version 1, of which only the last record may be torn.
fn unsalted_log_of(messages: &[Vec<u8>], marked: bool) -> Written {
    let ending = if marked { Ending::Marked } else { Ending::Torn { tail: vec![], lost: 0 } };
    let written = Written::new(messages, &ending);
    restore_unsalted(&written.fixture);
    written
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_clients_send_is_no_evidence_in_segments_of_version_1(
        messages in prop::collection::vec(forgery(), 1..5),
        lost in any::<u64>(),
    ) {
        let mut written = unsalted_log_of(&messages, false);
        written.durable -= 1;
        let whole = written.fixture.snapshot();
        let mut torn = whole.clone();
        written.tear(&mut torn, lost);
        written.fixture.restore(&torn);
        let changed = written.first_changed(&whole, &torn).is_some();
        prop_assert_eq!(read(&written.fixture), Ok(written.records.len() - usize::from(changed)));
    }

    #[test]
    fn what_flips_among_forgeries_is_damage_in_segments_of_version_1(
        messages in prop::collection::vec(forgery(), 2..5),
        marked in any::<bool>(),
        victim in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let written = unsalted_log_of(&messages, marked);
        // Without a mark nothing says that the last record was durable.
        let victim = victim.index(written.records.len() - usize::from(!marked));
        let bytes = written.bytes(victim);
        flip(&written.fixture, &written.records[victim].file, bytes.start + at.index(bytes.len()), bit);
        prop_assert!(read(&written.fixture).is_err());
    }
}
