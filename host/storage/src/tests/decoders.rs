//! What the decoders do with bytes that nobody wrote: they say so, and neither panic nor allocate more than a bound.

use std::{collections::BTreeSet, time::Duration};

use ambrosia_core::{Epoch, InstanceName, InstanceUuid, Lsn, Timestamp};
use ambrosia_test_allocations::counting;
use proptest::{collection::vec, prelude::*};

use super::support::{Fixture, SEGMENT_HEADER_BYTES, SMALL};
use crate::{
    Answered, InstanceEntry, Instances, RecordedOutcome, RegistryError, Revision, StandingWish, Store, Upgrades,
    Waiting, Wanted, WantedLimits, WantedSkip, WishAnswer,
    file::testing::{LastRecord, Salt, SegmentHeader, SegmentName},
};

/// An entry may claim to be that long, and no longer.
const ENTRY_BYTES_MAX: usize = 4 << 20;

/// Allocated beside what the input claims: texts of errors, nodes of sets.
const SLACK_BYTES: usize = 64 << 10;

/// A length of 2^60 in bincode.
const HUGE_LENGTH: [u8; 9] = [253, 0, 0, 0, 0, 0, 0, 0, 0x10];

fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0..300_u64, Just(u64::MAX)]
}

prop_compose! {
    fn segment_headers()(
        uuid: [u8; 16],
        first in 1..=u64::MAX,
        epoch in numbers(),
        follows in numbers(),
        capacity in numbers(),
        link: u64,
        time in numbers(),
        salt in numbers(),
    ) -> SegmentHeader {
        SegmentHeader {
            uuid: InstanceUuid(uuid),
            name: SegmentName { first: Lsn(first), epoch: Epoch(epoch), follows: Epoch(follows) },
            capacity,
            before: LastRecord { lsn: Lsn(first - 1), link, time: Timestamp(time) },
            salt: Salt(salt),
        }
    }
}

fn outcomes() -> impl Strategy<Value = RecordedOutcome> {
    prop_oneof![
        (any::<i32>(), numbers()).prop_map(|(code, lsn)| RecordedOutcome::Finished { code, lsn: Lsn(lsn) }),
        (numbers(), any::<String>(), any::<String>()).prop_map(|(lsn, reason, backtrace)| RecordedOutcome::Halted {
            lsn: Lsn(lsn),
            reason,
            backtrace
        }),
    ]
}

prop_compose! {
    fn entries()(
        name in "[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}",
        uuid: [u8; 16],
        (module, upgrades) in any::<[u8; 32]>().prop_flat_map(|module| (Just(module), upgrades(module))),
        replicas: BTreeSet<u16>,
        registered in numbers(),
        outcome in proptest::option::of(outcomes()),
    ) -> InstanceEntry {
        let (name, uuid) = (InstanceName::new(name).expect("made to be one"), InstanceUuid(uuid));
        InstanceEntry { name, uuid, module, replicas, registered: Timestamp(registered), outcome, upgrades }
    }
}

fn wish_answers() -> impl Strategy<Value = WishAnswer> {
    prop_oneof![
        numbers().prop_map(|lsn| WishAnswer::Done { lsn: Lsn(lsn) }),
        ".{0,20}".prop_map(|report| WishAnswer::Refused { report }),
        ".{0,20}".prop_map(|report| WishAnswer::GivenUp { report }),
        Just(WishAnswer::Cancelled),
    ]
}

prop_compose! {
    fn skips()(lsn in numbers(), messages in prop::collection::btree_set(any::<u32>(), 1..4)) -> WantedSkip {
        WantedSkip { lsn: Lsn(lsn), messages: messages.into_iter().collect() }
    }
}

prop_compose! {
    fn standing_wishes(modules: Vec<[u8; 32]>, attempts: u64)(
        attempt in 1..=attempts.max(1),
        other: [u8; 32],
        to in prop::sample::select(modules),
        skip in proptest::option::of(skips()),
        fuel in proptest::option::of(numbers()),
        memory_bytes in proptest::option::of(numbers()),
        handover_fuel in numbers(),
        wait in numbers(),
        hold: bool,
        end: bool,
        made in numbers(),
        claimed_by in proptest::option::of(numbers()),
        is_cancelled: bool,
    ) -> StandingWish {
        let (limits, waiting) = (WantedLimits { fuel, memory_bytes }, Waiting { hold, end });
        let wanted = Wanted { limits, handover_fuel, wait: Duration::from_nanos(wait), waiting };
        let (made, claimed_by) = (Timestamp(made), claimed_by.map(Epoch));
        let from = if skip.is_some() { to } else { other };
        StandingWish { attempt, from, to, skip, wanted, made, claimed_by, is_cancelled }
    }
}

/// Upgrades that an instance can have which began with that module.
fn upgrades(module: [u8; 32]) -> impl Strategy<Value = Upgrades> {
    let modules = vec(any::<[u8; 32]>(), 0..4).prop_map(move |more| [vec![module], more].concat());
    (modules, numbers()).prop_flat_map(|(modules, attempts)| {
        let current = prop::sample::select(modules.clone());
        let wanted = proptest::option::of(standing_wishes(modules.clone(), attempts));
        let answered = (1..=attempts.max(1), any::<[u8; 32]>(), wish_answers(), proptest::option::of(skips()));
        let answered = answered.prop_map(|(attempt, to, answer, skip)| Answered { attempt, to, answer, skip });
        let all = (Just(modules), Just(attempts), current, wanted, proptest::option::of(answered), numbers());
        all.prop_map(|(modules, attempts, current, mut wanted, mut answered, more)| {
            if attempts == 0 {
                (wanted, answered) = (None, None);
            }
            let mended_at = Upgrades::done_at(answered.as_ref()).max(Lsn(more));
            Upgrades { current, modules, attempts, wanted, answered, mended_at }
        })
    })
}

/// A block whose magic, version and checksum are right and whose other bytes are anything.
fn sealed_blocks() -> impl Strategy<Value = Vec<u8>> {
    (any::<[u8; 68]>(), 0..=1_u64, 1..=2_u8, numbers()).prop_map(|(fields, first, version, salt)| {
        let mut block = vec![0; SEGMENT_HEADER_BYTES];
        block[..12].copy_from_slice(b"AMBRSEGM\x01\0\0\0");
        block[8] = version;
        block[12..80].copy_from_slice(&fields);
        if version == 2 {
            block[80..88].copy_from_slice(&salt.to_le_bytes());
        }
        // A first lsn of 0 is nonsense that random bytes do not hit.
        block[32..40].iter_mut().for_each(|byte| *byte *= first as u8);
        let checksum = crc32c::crc32c(&block[..SEGMENT_HEADER_BYTES - 4]);
        block[SEGMENT_HEADER_BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
        block
    })
}

/// Decodes an entry and checks what that allocates.
fn decode_entry(bytes: &[u8]) -> Option<InstanceEntry> {
    let (decoded, allocated) = counting(|| InstanceEntry::decode(bytes).ok());
    assert!(allocated <= ENTRY_BYTES_MAX + 2 * bytes.len() + SLACK_BYTES, "{allocated} of {}", bytes.len());
    decoded
}

/// A file of the registry, as docs/formats.md has it.
fn registry_file(revision: u64, value: &[u8]) -> Vec<u8> {
    let checked = [&revision.to_le_bytes(), value].concat();
    let checksum = crc32c::crc32c(&checked);
    [&b"AMBREG\x01\0"[..], &checked[..8], &checksum.to_le_bytes(), &[0; 4], value].concat()
}

#[test]
fn an_entry_that_claims_a_huge_length_allocates_no_such_thing() {
    let outcome = RecordedOutcome::Halted { lsn: Lsn(7), reason: "trap".to_owned(), backtrace: "main".to_owned() };
    let entry = InstanceEntry {
        name: InstanceName::new("server").expect("plain"),
        uuid: InstanceUuid([1; 16]),
        module: [2; 32],
        replicas: [0, 3].into(),
        registered: Timestamp(99),
        outcome: Some(outcome),
        upgrades: Upgrades { modules: vec![[2; 32], [3; 32]], ..Upgrades::none([2; 32]) },
    };
    let encoded = entry.encode();
    for at in 0..encoded.len() {
        let claiming = [&encoded[..at], &HUGE_LENGTH, &encoded[at..]].concat();
        let decoded = decode_entry(&claiming);
        // It may be read as a number of another field, never as a length.
        assert!(decoded.is_none_or(|decoded| decoded != entry), "byte {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_segment_header_holds_is_read_back(header in segment_headers()) {
        prop_assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        prop_assert_eq!(header.name.to_string().parse(), Ok(header.name));
    }

    #[test]
    fn a_block_of_anything_is_no_segment_header(block in vec(any::<u8>(), 0..2 * SEGMENT_HEADER_BYTES)) {
        let (decoded, allocated) = counting(|| SegmentHeader::decode(&block));
        prop_assert!(decoded.is_err());
        prop_assert_eq!(allocated, 0);
    }

    #[test]
    fn a_block_with_a_right_checksum_is_read_field_by_field(block in sealed_blocks()) {
        let u64_at = |at: usize| u64::from_le_bytes(*block[at..].first_chunk().expect("in the block"));
        let (decoded, allocated) = counting(|| SegmentHeader::decode(&block));
        prop_assert_eq!(allocated, 0);
        let Ok(header) = decoded else {
            prop_assert!(u64_at(32) == 0 || block[8] == 2 && u64_at(80) == 0, "nothing else may be wrong");
            return Ok(());
        };
        prop_assert_eq!(header.salt, if block[8] == 1 { Salt::NONE } else { Salt(u64_at(80)) });
        prop_assert_eq!((header.name.first, header.before.lsn), (Lsn(u64_at(32)), Lsn(u64_at(32) - 1)));
        prop_assert_eq!((header.name.epoch, header.name.follows), (Epoch(u64_at(40)), Epoch(u64_at(48))));
        prop_assert_eq!((header.capacity, header.before.link), (u64_at(56), u64_at(64)));
        prop_assert_eq!((header.before.time, &header.uuid.0[..]), (Timestamp(u64_at(72)), &block[16..32]));
    }

    #[test]
    fn a_name_of_anything_is_parsed_or_refused(name in "[-0-9a.]{0,60}(\\.seg)?") {
        if let Ok(parsed) = name.parse::<SegmentName>() {
            prop_assert_eq!(parsed.to_string(), name);
        }
    }

    #[test]
    fn whatever_an_entry_holds_is_read_back(entry in entries()) {
        prop_assert_eq!(decode_entry(&entry.encode()), Some(entry));
    }

    #[test]
    fn bytes_of_anything_are_decoded_as_an_entry_or_refused(
        bytes in vec(prop_oneof![any::<u8>(), Just(0), Just(1), 250..=255_u8], 0..300),
    ) {
        decode_entry(&bytes);
        decode_entry(&[&[1], &bytes[..]].concat());
        decode_entry(&[&b"\x01\x01a"[..], &[7; 48], &bytes].concat());
        let whole = [&b"\x02\x01a"[..], &[7; 48], &b"\0\x01\0"[..], &[7; 32], b"\x01", &[7; 32]].concat();
        decode_entry(&[&whole[..], &bytes].concat());
        decode_entry(&[&[3], &whole[1..], &[0, 0, 0], &bytes].concat());
    }

    #[test]
    fn an_entry_that_was_changed_or_cut_is_another_one_or_none(
        entry in entries(), at: prop::sample::Index, byte in 1..=255_u8, cut: prop::sample::Index,
    ) {
        let mut bytes = entry.encode();
        prop_assert_eq!(decode_entry(&bytes[..cut.index(bytes.len())]), None);
        let at = at.index(bytes.len());
        bytes[at] ^= byte;
        decode_entry(&bytes);
        bytes.push(0);
        prop_assert_ne!(decode_entry(&bytes), Some(entry));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_file_of_the_registry_is_read_back_and_every_flipped_bit_is_noticed(
        revision: u64, value in vec(any::<u8>(), 0..200), bit: prop::sample::Index,
    ) {
        let fixture = Fixture::new(SMALL);
        let path = fixture.directory.path().join("registry/some:key");
        let mut contents = registry_file(revision, &value);
        std::fs::write(&path, &contents).expect("works");
        let found = fixture.store.registry().get("some/key").expect("it is whole");
        prop_assert_eq!(found, Some((Revision(revision), value)));
        let bit = bit.index(contents.len() * 8);
        contents[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &contents).expect("works");
        let unread = (20 * 8..24 * 8).contains(&bit);
        let found = fixture.store.registry().get("some/key");
        prop_assert!(unread || matches!(found, Err(RegistryError::Damaged { .. })), "bit {}: {:?}", bit, found);
    }

    #[test]
    fn a_file_of_anything_is_told_as_damaged(contents in vec(any::<u8>(), 0..200), magic: bool) {
        let fixture = Fixture::new(SMALL);
        let contents = if magic { [&b"AMBREG\x01\0"[..], &contents].concat() } else { contents };
        std::fs::write(fixture.directory.path().join("registry/instances:other"), &contents).expect("works");
        let found = fixture.store.registry().get("instances/other");
        prop_assert!(matches!(found, Err(RegistryError::Damaged { .. })), "{:?}", found);
        prop_assert!(fixture.store.instances().is_err());
    }
}
