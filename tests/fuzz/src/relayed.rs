//! What is asked of a store through a host, and answered (`docs/formats.md`), as anybody may send it who may use one.
//!
//! The first byte says which of the two it is, or what whoever begins is told.

use ambrosia_shared_log::{Asked, RelayFacts, Told, decode, encode};
use ambrosia_test_allocations::within;
use bytes::Bytes;

use crate::corpus::Seed;

/// A question holds lists of what takes five bytes at least, and grows while it is read; contents are shared.
const MEMORY_PER_BYTE: usize = 64;
/// An answer comes from a host that is believed, and has lists whose entries take one byte.
const MEMORY_PER_BYTE_TOLD: usize = 512;
/// Texts of a panic, a little of the harness.
const MEMORY_SLACK: usize = 4096;

/// Reads the bytes; what is read is written as it stood.
pub fn target(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let shared = Bytes::copy_from_slice(bytes);
    let limit = |per_byte| per_byte * bytes.len() + MEMORY_SLACK;
    let again = match kind % 3 {
        0 => {
            let asked = within(limit(MEMORY_PER_BYTE), || decode::<Asked>(shared));
            asked.ok().map(|asked| {
                // Whatever is asked is on one side or the other.
                let _right = asked.needs_to_change();
                encode(&asked)
            })
        }
        1 => within(limit(MEMORY_PER_BYTE_TOLD), || decode::<Told>(shared)).ok().map(|told| encode(&told)),
        _ => within(limit(MEMORY_PER_BYTE), || decode::<RelayFacts>(shared)).ok().map(|facts| encode(&facts)),
    };
    assert!(again.is_none_or(|again| again == bytes), "it is written as it was read");
}

/// Each value of the golden files.
pub fn seeds() -> Vec<Seed> {
    let golden: [(u8, &str, &[u8]); 3] = [
        (0, "asked", include_bytes!("../../../host/storage/shared/golden/relay-v3-asked.bin")),
        (1, "told", include_bytes!("../../../host/storage/shared/golden/relay-v3-told.bin")),
        (2, "facts", include_bytes!("../../../host/storage/shared/golden/relay-v3-facts.bin")),
    ];
    let mut seeds = Vec::new();
    for (kind, name, mut rest) in golden {
        let mut number = 0;
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let (value, next) = behind.split_at(u32::from_le_bytes(*length) as usize);
            seeds.push((format!("seed-{name}-{number:02}"), [&[kind], value].concat()));
            (rest, number) = (next, number + 1);
        }
    }
    // Lists that claim to be longer than there are bytes.
    seeds.push(("seed-claims-groups".to_owned(), vec![0, 1, 2, 1, 255, 255, 255, 255]));
    seeds.push(("seed-claims-bytes".to_owned(), vec![0, 8, 255, 255, 255, 255, 1]));
    seeds
}
