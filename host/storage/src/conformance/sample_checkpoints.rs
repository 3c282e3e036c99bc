//! Checkpoints to be written and read back.

use ambrosia_core::{Capture, Lsn, MemoryCapture, PAGE_BYTES, page_hash};

use crate::{Checkpoint, CheckpointError, CheckpointHead, Checkpoints, LoadedMemory};

/// Memory as a guest has it.
pub(crate) type Memory = Vec<u8>;

/// What a checkpoint at that record is said to be of.
pub(crate) fn head(lsn: u64) -> CheckpointHead {
    let byte = |byte| [byte; 32];
    CheckpointHead { lsn: Lsn(lsn), module: byte(1), engine: byte(2), state_digest: lsn * 3, memory_digest: lsn * 5 }
}

/// All pages of `memory` that differ from `before`, or that are not zeros if there is none before.
fn changes(before: Option<&Memory>, memory: &Memory) -> MemoryCapture {
    let mut capture = MemoryCapture { bytes: memory.len() as u64, ..MemoryCapture::default() };
    for (page, contents) in memory.chunks_exact(PAGE_BYTES).enumerate() {
        let at = page * PAGE_BYTES..(page + 1) * PAGE_BYTES;
        let zeros = [0; PAGE_BYTES];
        if contents != before.and_then(|before| before.get(at)).unwrap_or(&zeros) {
            capture.push(page as u32, page_hash(contents), contents);
        }
    }
    capture
}

/// A checkpoint at that record, upon another one or upon none.
pub(crate) fn checkpoint(lsn: u64, parent: Option<(u64, &Memory)>, memory: &Memory) -> Checkpoint {
    let capture = Capture {
        registers: format!("registers at {lsn}").into_bytes(),
        memories: vec![changes(parent.map(|(_, before)| before), memory)],
    };
    let state = format!("state at {lsn}").into_bytes().into();
    Checkpoint { head: head(lsn), parent: parent.map(|(lsn, _)| Lsn(lsn)), state, capture }
}

/// What a guest finds when it is restored.
pub(crate) fn contents(memory: &LoadedMemory) -> Memory {
    let mut bytes = vec![0; memory.bytes as usize];
    if let Some(mapped) = &memory.mapped {
        mapped.source.read_exact_at(&mut bytes[..mapped.bytes as usize], mapped.offset).expect("it was checked");
    }
    for (page, _, contents) in memory.pages.iter() {
        bytes[page as usize * PAGE_BYTES..][..PAGE_BYTES].copy_from_slice(contents);
    }
    let hashes: Vec<_> = bytes.chunks_exact(PAGE_BYTES).map(page_hash).collect();
    assert_eq!(hashes, memory.hashes);
    bytes
}

/// The memory of a checkpoint, of which all else is as it was written.
pub(crate) fn load(checkpoints: &dyn Checkpoints, lsn: u64) -> Result<Memory, CheckpointError> {
    let loaded = checkpoints.load(Lsn(lsn))?;
    assert_eq!(loaded.head, head(lsn));
    assert_eq!(loaded.state, format!("state at {lsn}"));
    assert_eq!(loaded.registers, format!("registers at {lsn}").as_bytes());
    Ok(contents(&loaded.memories[0]))
}
