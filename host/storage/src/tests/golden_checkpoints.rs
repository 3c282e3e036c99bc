//! Golden files of checkpoints of version 1: a base in blocks, changes upon it, and a base that is to be mapped. They are
//! never changed, only added to, and every later program reads them. `AMBROSIA_BLESS=1` writes those that are missing.
//!
//! What LZ4 makes of the same bytes may change with its implementation, so of what is compressed only that is compared
//! which is read; of all else the bytes.

use std::{env, fs, path::PathBuf};

use ambrosia_core::{Lsn, PAGE_BYTES};

use super::{
    checkpoints::{memory, take, with_records},
    support::Fixture,
};
use crate::{
    Checkpoint, CheckpointError, CheckpointInfo, FileCheckpoints,
    conformance::sample_checkpoints::{Memory, checkpoint, contents, load},
};

const BASE: &str = "00000000000000000003.base";
const DELTA: &str = "00000000000000000005-00000000000000000003.delta";
const MAPPED: &str = "00000000000000000007.base";

/// Bytes of the header that don't depend on how well something was compressed.
const PLAIN: [std::ops::Range<usize>; 3] = [0..128, 144..152, 156..4092];

/// Page 1 is zeros in both.
fn before() -> Memory {
    [memory(1, 0xa1), memory(1, 0), memory(66, 0xa2)].concat()
}

/// Of two pages the contents changed, one of them to zeros, and one page came to it.
fn after() -> Memory {
    let mut after = [before(), memory(2, 0)].concat();
    after[2 * PAGE_BYTES..3 * PAGE_BYTES].fill(0);
    after[3 * PAGE_BYTES + 17] = 0xb1;
    after[69 * PAGE_BYTES] = 0xb2;
    after
}

/// Page 1 and the last one are holes.
fn mapped() -> Memory {
    [memory(1, 0xc1), memory(1, 0), memory(1, 0xc2), memory(1, 0)].concat()
}

/// What the golden files hold, and from which size on memories are kept to be mapped.
fn golden_checkpoints() -> [(&'static str, Checkpoint, u64); 3] {
    [
        (BASE, checkpoint(3, None, &before()), u64::MAX),
        (DELTA, checkpoint(5, Some((3, &before())), &after()), 0),
        (MAPPED, checkpoint(7, None, &mapped()), 0),
    ]
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/checkpoint-v1").join(name)
}

/// A log of ten records with the golden checkpoints as they are written today.
fn written() -> (Fixture, FileCheckpoints) {
    let (fixture, _reign, checkpoints) = with_records(10);
    for (_, checkpoint, mapped_bytes_min) in golden_checkpoints() {
        take(&checkpoints.clone().mapping_from(mapped_bytes_min), &checkpoint);
    }
    (fixture, checkpoints)
}

fn check(checkpoints: &FileCheckpoints) {
    for (lsn, memory, is_mapped) in [(3, before(), false), (5, after(), false), (7, mapped(), true)] {
        assert!(load(checkpoints, lsn).expect("it stays readable") == memory, "the memory at {lsn}");
        let loaded = checkpoints.load(Lsn(lsn)).expect("it stays readable");
        assert_eq!(loaded.memories[0].mapped.is_some(), is_mapped);
        assert_eq!(contents(&loaded.memories[0]), memory);
    }
    let depths: Vec<_> = checkpoints.list().expect("works").iter().map(|info: &CheckpointInfo| info.depth).collect();
    assert_eq!(depths, [0, 1, 0]);
}

#[test]
fn checkpoints_of_version_1_stay_readable() {
    let (fixture, _reign, checkpoints) = with_records(10);
    if env::var_os("AMBROSIA_BLESS").is_some() {
        let (written, _) = written();
        fs::create_dir_all(golden("")).expect("writable");
        for (name, ..) in golden_checkpoints().iter().filter(|(name, ..)| !golden(name).exists()) {
            fs::copy(written.log_path().join(name), golden(name)).expect("writable");
        }
    }
    for (name, ..) in golden_checkpoints() {
        fs::copy(golden(name), fixture.log_path().join(name)).expect("bless what is missing with AMBROSIA_BLESS=1");
    }
    check(&checkpoints);
}

#[test]
fn checkpoints_written_again_have_the_same_header_and_hold_the_same() {
    let (fixture, checkpoints) = written();
    check(&checkpoints);
    for (name, ..) in golden_checkpoints() {
        let golden = fs::read(golden(name)).expect("bless what is missing with AMBROSIA_BLESS=1");
        let made = fs::read(fixture.log_path().join(name)).expect("it was just written");
        for part in PLAIN {
            let same = golden[part.clone()] == made[part.clone()];
            assert!(same, "{name}: the format changed in {part:?}; raise its version and keep reading this one");
        }
        assert_eq!(index(&golden), index(&made), "{name}: the index changed");
    }
    let golden = fs::read(golden(MAPPED)).expect("just read");
    assert_eq!(golden[golden.len() - mapped().len()..], mapped(), "each page is at its place, and holes are zeros");
}

#[test]
fn a_checkpoint_whose_reserved_bytes_are_not_zero_is_of_a_later_version() {
    let (fixture, checkpoints) = written();
    let path = fixture.log_path().join(BASE);
    let written = fs::read(&path).expect("it was just written");
    // As `docs/formats.md` has them, written down once more: all from there to the checksum of the block.
    const CHECKSUM_AT: usize = 4092;
    for at in [156, 157, 2000, CHECKSUM_AT - 1] {
        let mut contents = written.clone();
        assert_eq!(contents[at], 0, "it is written as zeros");
        contents[at] = 1;
        let checksum = crc32c::crc32c(&contents[..CHECKSUM_AT]);
        contents[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&checksum.to_le_bytes());
        fs::write(&path, contents).expect("writable");
        let error = checkpoints.load(Lsn(3)).expect_err("it is refused");
        assert!(matches!(error, CheckpointError::OtherVersion { .. }), "byte {at}: {error}");
    }
}

/// The index of a file, but for what depends on how well something was compressed.
fn index(file: &[u8]) -> Vec<u8> {
    let u64_at = |at: usize| u64::from_le_bytes(*file[at..].first_chunk().expect("in the header")) as usize;
    let mut index = lz4_flex::block::decompress(&file[4096..4096 + u64_at(136)], u64_at(144)).expect("golden");
    // Behind state, registers, the count of memories, and the bytes and the form of the only one is its offset.
    let offset = 8 + "state at 3".len() + 8 + "registers at 3".len() + 4 + 8 + 1;
    index[offset..offset + 8].fill(0);
    let u32_at = |at: usize| u32::from_le_bytes(*index[at..].first_chunk().expect("in the index")) as usize;
    let ranges = offset + 8;
    let hashes = ranges + 4 + 8 * u32_at(ranges);
    let pages: usize =
        (0..u32_at(ranges)).map(|range| ranges + 4 + 8 * range).map(|at| u32_at(at + 4) - u32_at(at)).sum();
    // Sizes of blocks are all that may follow.
    let blocks = hashes + 8 * pages + 4;
    if blocks < index.len() {
        index[blocks..].fill(0);
    }
    index
}
