//! FileCheckpoints: what is written is read back, what is damaged is told, and what is needed is never removed.

use std::{os::unix::fs::FileExt, path::PathBuf, sync::mpsc::channel, time::Duration};

use ambrosia_core::{Genesis, InstanceUuid, Lsn, PAGE_BYTES, ReplicaIndex, Timestamp, member::Keep};
use ambrosia_test_allocations::counting;
use proptest::prelude::*;

use super::support::{Fixture, SMALL};
use crate::{
    Checkpoint, CheckpointError, Checkpoints, FileCheckpoints, LogError, LogStore, Trimmed,
    conformance::{
        Reign, genesis, read_all,
        sample_checkpoints::{Memory, checkpoint, load},
    },
    file::testing::Cursor,
};

const ME: ReplicaIndex = ReplicaIndex(3);

/// A log of so many durable records, and its checkpoints.
pub(super) fn with_records(count: u64) -> (Fixture, Reign, FileCheckpoints) {
    let fixture = Fixture::new(SMALL);
    let log = fixture.log();
    let mut reign = Reign::begin(&*log, 0);
    for _ in 2..count {
        reign.append(&[7; 1000]).expect("the reign goes on");
    }
    reign.wait_durable(Lsn(count));
    (fixture, reign, log.checkpoints())
}

pub(super) fn take(checkpoints: &FileCheckpoints, checkpoint: &Checkpoint) {
    let written = checkpoints.write(checkpoint, ME).expect("there is room");
    checkpoints.publish(written).expect("it was written");
}

pub(super) fn memory(pages: usize, byte: u8) -> Memory {
    vec![byte; pages * PAGE_BYTES]
}

/// Pages that can't be compressed.
pub(super) fn noise(pages: usize) -> Memory {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (state >> 56) as u8 | 1
    };
    (0..pages * PAGE_BYTES).map(|_| next()).collect()
}

fn files(fixture: &Fixture) -> Vec<String> {
    let names = std::fs::read_dir(fixture.log_path()).expect("works").map(|entry| entry.expect("works").file_name());
    let names = names.map(|name| name.into_string().expect("plain"));
    let mut names: Vec<_> = names.filter(|name| name.ends_with("base") || name.ends_with("delta")).collect();
    names.sort();
    names
}

#[test]
fn a_base_with_changes_upon_changes_reads_back() {
    let (fixture, reign, checkpoints) = with_records(10);
    let mut memory = memory(3, 0);
    memory[5000] = 1;
    take(&checkpoints, &checkpoint(2, None, &memory));
    let first = memory.clone();
    memory[9000] = 2;
    memory.resize(6 * PAGE_BYTES, 0);
    memory[5 * PAGE_BYTES] = 3;
    take(&checkpoints, &checkpoint(4, Some((2, &first)), &memory));
    let second = memory.clone();
    memory[5000] = 0;
    take(&checkpoints, &checkpoint(9, Some((4, &second)), &memory));
    assert_eq!(load(&checkpoints, 2).expect("whole"), first);
    assert_eq!(load(&checkpoints, 4).expect("whole"), second);
    assert_eq!(load(&checkpoints, 9).expect("whole"), memory);
    let listed: Vec<_> = checkpoints.list().expect("works").iter().map(|info| (info.lsn.0, info.depth)).collect();
    assert_eq!(listed, [(2, 0), (4, 1), (9, 2)]);
    assert_eq!(checkpoints.newest_published(), Lsn(9));
    drop(reign);
    fixture.forget_control();
    assert_eq!(fixture.log().checkpoints().newest_published(), Lsn(9), "it is found after a start of the machine too");
}

#[test]
fn a_large_memory_is_mapped_and_compacted_with_what_lies_over_it() {
    let (fixture, _reign, checkpoints) = with_records(10);
    let mut memory = noise(5000);
    memory[PAGE_BYTES..2 * PAGE_BYTES].fill(0);
    take(&checkpoints, &checkpoint(2, None, &memory));
    assert!(checkpoints.load(Lsn(2)).expect("whole").memories[0].mapped.is_some());
    let first = memory.clone();
    memory[..2500 * PAGE_BYTES].iter_mut().for_each(|byte| *byte ^= 2);
    memory[4 * PAGE_BYTES..5 * PAGE_BYTES].fill(0);
    memory.resize(5003 * PAGE_BYTES, 0);
    memory[5001 * PAGE_BYTES..].fill(9);
    take(&checkpoints, &checkpoint(7, Some((2, &first)), &memory));
    assert!(load(&checkpoints, 7).expect("whole") == memory);
    for _ in 0..2 {
        checkpoints.compact(Lsn(7), ME).expect("works");
    }
    assert_eq!(files(&fixture).last().expect("not empty"), "00000000000000000007.base");
    assert!(load(&checkpoints, 7).expect("whole") == memory);
    assert!(!checkpoints.compact(Lsn(7), ME).expect("works"), "a base is not compacted");
}

#[test]
fn every_damaged_byte_is_told_and_the_checkpoint_before_is_still_good() {
    let (fixture, _reign, checkpoints) = with_records(10);
    let (old, new) = (memory(3, 1), memory(4, 2));
    take(&checkpoints, &checkpoint(2, None, &old));
    take(&checkpoints, &checkpoint(5, Some((2, &old)), &new));
    let path = fixture.log_path().join("00000000000000000005-00000000000000000002.delta");
    let good = std::fs::read(&path).expect("works");
    let used = good.len() - good.iter().rev().take_while(|byte| **byte == 0).count();
    for at in (0..160).chain(4090..used) {
        let mut damaged = good.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(&path, damaged).expect("works");
        match load(&checkpoints, 5) {
            Err(error) => assert!(error.to_string().contains("00000000000000000005"), "byte {at}: {error}"),
            // Between index and pages lies what nobody reads.
            Ok(read) => assert!(at > 160 && read == new, "byte {at}"),
        }
        assert_eq!(load(&checkpoints, 2).expect("whole"), old);
    }
    for length in [0, 10, 4096, used - 1, good.len() - 1] {
        std::fs::write(&path, &good[..length]).expect("works");
        assert!(matches!(load(&checkpoints, 5), Err(CheckpointError::Damaged { .. })), "cut at {length}");
    }
    std::fs::write(&path, &good).expect("works");
    std::fs::remove_file(fixture.log_path().join("00000000000000000002.base")).expect("works");
    let error = load(&checkpoints, 5).expect_err("its parent is gone");
    assert!(matches!(error, CheckpointError::ParentMissing { lsn: Lsn(5), parent: Lsn(2), .. }), "{error}");
    assert_eq!(checkpoints.list().expect("works"), []);
    assert!(matches!(load(&checkpoints, 8), Err(CheckpointError::Missing { .. })));
}

#[test]
fn many_checkpoints_at_the_same_records_are_told_apart_at_once() {
    let (fixture, _reign, checkpoints) = with_records(10);
    // Each rests on two others; following each way on its own would take until the end of time.
    for lsn in 3..200 {
        for parent in [lsn - 1, lsn - 2] {
            std::fs::write(fixture.log_path().join(format!("{lsn:020}-{parent:020}.delta")), b"").expect("works");
        }
    }
    assert_eq!(checkpoints.list().expect("works"), []);
    let error = checkpoints.load(Lsn(199)).expect_err("there is no base");
    assert!(matches!(error, CheckpointError::ParentMissing { lsn: Lsn(199), parent: Lsn(2), .. }), "{error}");
    std::fs::write(fixture.log_path().join(format!("{:020}.base", 1)), b"").expect("works");
    let depths: Vec<_> = checkpoints.list().expect("works").iter().map(|info| info.depth).collect();
    assert_eq!(depths, [&[0, 1][..], &(2..100).flat_map(|depth| [depth; 2]).collect::<Vec<_>>()].concat());
}

#[test]
fn files_at_records_that_there_are_never_don_t_count() {
    let (fixture, _reign, checkpoints) = with_records(10);
    take(&checkpoints, &checkpoint(2, None, &memory(1, 1)));
    for name in [
        "00000000000000000000.base",
        "18446744073709551615.base",
        "00000000000000000004-00000000000000000000.delta",
        "00000000000000000004-00000000000000000004.delta",
        "00000000000000000004-00000000000000000005.delta",
    ] {
        std::fs::write(fixture.log_path().join(name), b"").expect("works");
    }
    assert_eq!(checkpoints.list().expect("works").iter().map(|info| info.lsn).collect::<Vec<_>>(), [Lsn(2)]);
    checkpoints.trim(Keep::newest(1), &[]).expect("works");
    assert!(load(&checkpoints, 2).is_ok());
}

#[test]
fn a_checkpoint_of_another_instance_or_place_is_refused() {
    let (fixture, _reign, checkpoints) = with_records(10);
    take(&checkpoints, &checkpoint(2, None, &memory(2, 1)));
    let base = |fixture: &Fixture, lsn: u64| fixture.log_path().join(format!("{lsn:020}.base"));
    let genesis = genesis();
    let of_another = Genesis { uuid: InstanceUuid([8; 16]), ..Genesis::decode(genesis.body()).expect("whole") };
    let other = Fixture::with(SMALL, &of_another.record(Timestamp(1)));
    std::fs::copy(base(&fixture, 2), base(&other, 2)).expect("works");
    std::fs::copy(base(&fixture, 2), base(&fixture, 3)).expect("works");
    for (checkpoints, lsn) in [(other.log().checkpoints(), 2), (checkpoints.clone(), 3)] {
        let error = load(&checkpoints, lsn).expect_err("it is of another place or instance").to_string();
        assert!(error.contains("it belongs to another place or instance"), "{error}");
    }
    assert_eq!(load(&checkpoints, 2).expect("it is where it belongs"), memory(2, 1));
}

/// Only what is stored can bound what is allocated: checksums are right if a program wrote nonsense.
#[test]
fn an_index_that_claims_to_be_huge_is_refused_before_memory_is_taken_for_it() {
    let (fixture, _reign, checkpoints) = with_records(10);
    take(&checkpoints, &checkpoint(2, None, &memory(2, 1)));
    let path = fixture.log_path().join("00000000000000000002.base");
    let mut file = std::fs::read(&path).expect("works");
    file[144..152].copy_from_slice(&(4_u64 << 30).to_le_bytes());
    let checksum = crc32c::crc32c(&file[..4092]);
    file[4092..4096].copy_from_slice(&checksum.to_le_bytes());
    std::fs::write(&path, file).expect("works");
    let (loaded, allocated) = counting(|| load(&checkpoints, 2));
    let error = loaded.expect_err("its index can't be that large").to_string();
    assert!(error.contains("the size of its index can't be"), "{error}");
    assert!(allocated < 1 << 20, "{allocated}");
}

/// Changes the index of a base by hand, puts sizes and checksums right, and loads it.
fn load_with_index(change: impl FnOnce(&mut Vec<u8>)) -> Result<Memory, CheckpointError> {
    let (fixture, _reign, checkpoints) = with_records(10);
    take(&checkpoints.clone().mapping_from(0), &checkpoint(2, None, &memory(2, 1)));
    take(&checkpoints, &checkpoint(3, Some((2, &memory(2, 1))), &memory(2, 2)));
    let path = fixture.log_path().join("00000000000000000003-00000000000000000002.delta");
    let mut file = std::fs::read(&path).expect("works");
    let u64_at = |file: &[u8], at: usize| u64::from_le_bytes(*file[at..].first_chunk().expect("in the header"));
    let stored_bytes = u64_at(&file, 136) as usize;
    let mut index = lz4_flex::block::decompress(&file[4096..4096 + stored_bytes], u64_at(&file, 144) as usize)
        .expect("just written");
    change(&mut index);
    let stored = lz4_flex::block::compress(&index);
    file[4096..4096 + stored.len()].copy_from_slice(&stored);
    file[136..144].copy_from_slice(&(stored.len() as u64).to_le_bytes());
    file[144..152].copy_from_slice(&(index.len() as u64).to_le_bytes());
    file[152..156].copy_from_slice(&crc32c::crc32c(&stored).to_le_bytes());
    let checksum = crc32c::crc32c(&file[..4092]);
    file[4092..4096].copy_from_slice(&checksum.to_le_bytes());
    std::fs::write(&path, file).expect("works");
    load(&checkpoints, 3)
}

#[test]
fn an_index_that_makes_no_sense_is_refused() {
    // Of the state and the registers the bytes and each its length, then the count of memories.
    let first = 8 + "state at 3".len() + 8 + "registers at 3".len() + 4;
    let (bytes, form, offset, blocks) = (first, first + 8, first + 9, first + 17 + 4 + 8 + 16);
    assert_eq!(load_with_index(|_| ()).expect("it is as it was"), memory(2, 2));
    let refused = |what: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let error = load_with_index(change).expect_err(what);
        assert!(error.to_string().ends_with("its index makes no sense"), "{what}: {error}");
    };
    refused("changes to be mapped", &|index| {
        index[form] = 1;
        index.truncate(blocks);
    });
    refused("pages in the index", &|index| index[offset..offset + 8].copy_from_slice(&4096_u64.to_le_bytes()));
    refused("a huge memory", &|index| index[bytes..bytes + 8].copy_from_slice(&(65_u64 << 30).to_le_bytes()));
    refused("a huge block", &|index| index[blocks + 4..blocks + 8].copy_from_slice(&(1_u32 << 20).to_le_bytes()));
    refused("two memories in one place", &|index| {
        let memory = index[first..].to_vec();
        index.extend_from_slice(&memory);
        index[first - 4] = 2;
    });
}

#[test]
fn a_damaged_page_of_a_mapped_base_is_told() {
    let (fixture, _reign, checkpoints) = with_records(10);
    let memory = memory(5000, 1);
    take(&checkpoints, &checkpoint(2, None, &memory));
    let mapped = checkpoints.load(Lsn(2)).expect("whole").memories.remove(0).mapped.expect("it is large");
    let path = fixture.log_path().join("00000000000000000002.base");
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("works");
    file.write_all_at(&[3], mapped.offset + 4321 * PAGE_BYTES as u64 + 17).expect("works");
    let error = load(&checkpoints, 2).expect_err("damaged");
    assert!(error.to_string().contains("page 4321 of memory 0"), "{error}");
}

#[test]
fn what_was_never_published_does_not_count_and_is_swept_away() {
    let (fixture, _reign, checkpoints) = with_records(10);
    let written = checkpoints.write(&checkpoint(4, None, &memory(1, 1)), ME).expect("there is room");
    assert_eq!(checkpoints.list().expect("works"), []);
    let temporaries = || {
        let names = std::fs::read_dir(fixture.log_path()).expect("works").map(|entry| entry.expect("works").path());
        names.filter(|path| path.to_string_lossy().contains("checkpoint.")).collect::<Vec<PathBuf>>()
    };
    assert_eq!(temporaries().len(), 1);
    checkpoints.remove_leftovers(ReplicaIndex(33)).expect("works");
    assert_eq!(temporaries().len(), 1, "it is of another replica");
    checkpoints.remove_leftovers(ME).expect("works");
    assert_eq!(temporaries().len(), 0);
    checkpoints.discard(written).expect("it is no error that it is gone");
    // The leftovers of primaries have numbers, those of checkpoints have not.
    let _written = checkpoints.write(&checkpoint(4, None, &memory(1, 1)), ME).expect("there is room");
    let _next = Reign::begin(&*fixture.log(), 1);
    assert_eq!(temporaries().len(), 1);
}

#[test]
fn a_checkpoint_is_told_to_those_who_have_subscribed() {
    let (fixture, _reign, checkpoints) = with_records(10);
    let (sender, calls) = channel();
    let waiting = fixture.log().checkpoints();
    let call = move || sender.send(()).expect("the test waits for it");
    let _subscription = waiting.subscribe(Box::new(call)).expect("there are threads");
    for lsn in [4, 6] {
        take(&checkpoints, &checkpoint(lsn, None, &memory(1, 1)));
        calls.recv_timeout(Duration::from_secs(60)).expect("it is told");
        assert_eq!(waiting.newest_published(), Lsn(lsn));
    }
}

#[test]
#[should_panic(expected = "durable records only")]
fn a_checkpoint_of_what_is_not_durable_is_never_published() {
    let (_fixture, _reign, checkpoints) = with_records(10);
    take(&checkpoints, &checkpoint(11, None, &memory(1, 1)));
}

#[test]
fn the_newest_are_kept_with_what_they_rest_on_and_one_that_rests_on_another_base() {
    let (fixture, _reign, checkpoints) = with_records(100);
    let memory = memory(8, 1);
    for (lsn, parent) in [(10, None), (20, Some(10)), (30, None), (40, Some(30)), (50, Some(40)), (60, Some(50))] {
        take(&checkpoints, &checkpoint(lsn, parent.map(|lsn| (lsn, &memory)), &memory));
    }
    let segments = fixture.segments().len();
    let trimmed = checkpoints.trim(Keep::newest(7), &[]).expect("works");
    assert_eq!(trimmed, Trimmed::default(), "there are not as many yet");
    let trimmed = checkpoints.trim(Keep::newest(3), &[]).expect("works");
    assert_eq!(trimmed.checkpoints, 0, "20 is the newest upon another base, and rests on 10");
    assert_eq!(fixture.segments().len(), segments - trimmed.segments);
    let log = fixture.log();
    let first = log.tail(Lsn(21)).expect("what the oldest needs is there").read();
    assert_eq!(first.expect("works")[0].lsn(), Lsn(21));
    assert!(matches!(log.tail(Lsn(5)), Err(LogError::Missing { asked: Lsn(5), .. })));
    take(&checkpoints, &checkpoint(70, None, &memory));
    assert_eq!(
        checkpoints.trim(Keep::newest(3).and_the_log(), &[]).expect("works"),
        Trimmed { checkpoints: 2, segments: 0 }
    );
    assert_eq!(checkpoints.trim(Keep::newest(1).and_the_log(), &[]).expect("works").checkpoints, 4);
    assert_eq!(files(&fixture), ["00000000000000000070.base"]);
}

#[test]
fn while_all_checkpoints_rest_on_one_base_the_log_is_kept() {
    let (_fixture, _reign, checkpoints) = with_records(100);
    let memory = memory(8, 1);
    take(&checkpoints, &checkpoint(50, None, &memory));
    take(&checkpoints, &checkpoint(60, Some((50, &memory)), &memory));
    assert_eq!(
        checkpoints.trim(Keep::newest(2), &[]).expect("works"),
        Trimmed::default(),
        "one damaged file, and all is lost"
    );
    take(&checkpoints, &checkpoint(70, None, &memory));
    assert!(checkpoints.trim(Keep::newest(2), &[]).expect("works").segments > 0);
}

#[test]
fn what_a_running_replica_has_not_applied_stays_and_a_reader_that_was_overtaken_is_told() {
    let (fixture, reign, checkpoints) = with_records(100);
    let log = fixture.log();
    let mut ahead = log.tail(Lsn(1)).expect("works");
    let mut behind = log.tail(Lsn(1)).expect("works");
    while ahead.position() <= Lsn(100) {
        ahead.read().expect("works");
    }
    take(&checkpoints, &checkpoint(90, None, &memory(1, 1)));
    let before = fixture.segments().len();
    checkpoints.trim(Keep::newest(1), &[Lsn(95), Lsn(0)]).expect("works");
    assert_eq!(fixture.segments().len(), before);
    checkpoints.trim(Keep::newest(1), &[Lsn(40)]).expect("works");
    assert_eq!(log.tail(Lsn(41)).expect("works").position(), Lsn(41));
    checkpoints.trim(Keep::newest(1), &[]).expect("works");
    assert!(fixture.segments().len() < before / 3);
    // Another reign makes all readers look at the list of segments again.
    let mut next = Reign::begin_with(&*log, 1, log.tail(Lsn(91)).expect("works"));
    next.append_durably(b"after");
    let read = ahead.read().expect("it has read all that is gone");
    assert_eq!(read.last().expect("not empty").body(), b"after");
    let error = behind.read().expect_err("it has read nothing");
    assert!(matches!(error, LogError::Missing { .. }), "{error}");
    drop((reign, next));
    fixture.forget_control();
    assert!(fixture.log().head().expect("works").durable >= Lsn(102), "a trimmed log is opened like any other");
    assert!(read_all_from(&fixture, 91) > 10);
}

#[test]
fn a_reader_that_was_overtaken_is_told_although_it_has_no_reason_to_look_at_the_list() {
    let (fixture, _reign, checkpoints) = with_records(100);
    let log = fixture.log();
    let mut behind = log.tail(Lsn(1)).expect("works");
    take(&checkpoints, &checkpoint(90, None, &memory(1, 1)));
    let trimmed = checkpoints.trim(Keep::newest(1), &[]).expect("works");
    assert!(trimmed.segments > 1);
    // It has the first segment open, and reads that to its end; the next one is gone.
    let read = std::iter::from_fn(|| Some(behind.read())).find(Result::is_err);
    let error = read.expect("an error ends it").expect_err("found as one");
    assert!(matches!(error, LogError::Missing { first, .. } if first > Lsn(2)), "{error}");
}

#[test]
fn a_reader_finds_its_first_record_although_the_segment_before_it_is_trimmed_as_it_begins() {
    let (fixture, _reign, checkpoints) = with_records(100);
    let (log, directory) = (fixture.log(), fixture.log().shared_directory().clone());
    let durable = log.head().expect("works").durable;
    let listed = directory.reading_order().expect("works");
    take(&checkpoints, &checkpoint(90, None, &memory(1, 1)));
    checkpoints.trim(Keep::newest(1), &[]).expect("works");
    let first = directory.reading_order().expect("works")[0].first;
    // As it was listed by somebody who had heard of no segment behind the one that is gone.
    let gone = listed.into_iter().take_while(|name| name.first < first).collect::<Vec<_>>();
    assert!(!gone.is_empty());
    let cursor = Cursor::open_listed(directory.clone(), gone.clone(), first, durable).expect("it is there");
    assert_eq!(cursor.next_lsn(), first);
    let error = Cursor::open_listed(directory, gone, Lsn(first.0 - 1), durable).map(|_| ()).expect_err("it is gone");
    assert!(matches!(error, LogError::Missing { first: told, .. } if told == first), "{error}");
}

fn read_all_from(fixture: &Fixture, from: u64) -> usize {
    let scan = fixture.store.scan_log(&super::support::name(), Lsn(from)).expect("works");
    scan.filter(|record| record.as_ref().is_ok_and(|record| record.record.lsn() >= Lsn(from))).count()
}

#[test]
fn two_that_trim_at_once_do_not_get_into_each_other_s_way() {
    let (fixture, _reign, checkpoints) = with_records(100);
    for lsn in [10, 20, 30] {
        take(&checkpoints, &checkpoint(lsn, None, &memory(1, 1)));
    }
    let other = crate::file::testing::hold_trim_lock(&fixture.log());
    assert_eq!(checkpoints.trim(Keep::newest(1), &[]).expect("works"), Trimmed::default(), "the other one does it");
    drop(other);
    assert_eq!(checkpoints.trim(Keep::newest(1), &[]).expect("works").checkpoints, 2);
}

#[test]
fn a_log_without_checkpoints_is_never_trimmed() {
    let (fixture, reign, checkpoints) = with_records(50);
    assert_eq!(checkpoints.trim(Keep::newest(1), &[]).expect("works"), Trimmed::default());
    drop(reign);
    assert_eq!(read_all(&*fixture.log()).len(), 50);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    /// Whatever is written, compacted and trimmed: each checkpoint that is kept reads back as it was.
    #[test]
    fn kept_checkpoints_read_back(
        steps in prop::collection::vec((any::<bool>(), prop::collection::vec((0_usize..6, any::<u8>()), 0..4), 0_usize..3), 1..14),
        keep in 1_usize..4,
    ) {
        let (_fixture, _reign, checkpoints) = with_records(100);
        let mut taken: Vec<(u64, Memory)> = Vec::new();
        for (step, (whole, writes, growth)) in steps.into_iter().enumerate() {
            let lsn = 5 + 3 * step as u64;
            let before = taken.last().cloned();
            let mut memory = before.as_ref().map_or_else(|| vec![0; 2 * PAGE_BYTES], |(_, memory)| memory.clone());
            memory.resize((memory.len() / PAGE_BYTES + growth) * PAGE_BYTES, 0);
            for (page, byte) in writes {
                let from = page * PAGE_BYTES % memory.len();
                memory[from..from + PAGE_BYTES].fill(byte);
            }
            let parent = before.as_ref().filter(|_| !whole).map(|(lsn, memory)| (*lsn, memory));
            take(&checkpoints, &checkpoint(lsn, parent, &memory));
            taken.push((lsn, memory));
            checkpoints.compact(Lsn(lsn), ME).expect("works");
            checkpoints.trim(Keep::newest(keep).and_the_log(), &[]).expect("works");
            let listed = checkpoints.list().expect("works");
            prop_assert!(listed.len() >= keep.min(taken.len()));
            for info in listed {
                let (_, memory) = taken.iter().find(|(lsn, _)| *lsn == info.lsn.0).expect("it was taken");
                prop_assert!(load(&checkpoints, info.lsn.0).expect("whole") == *memory);
            }
        }
    }
}
