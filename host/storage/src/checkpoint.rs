//! Checkpoints, as whoever takes and restores them sees them.
//!
//! **Architecture Invariant:** what the state and the registers mean is unknown here; a page whose contents differ from
//! its hash is never returned.

use std::{fs::File, path::PathBuf};

use ambrosia_core::{Capture, Lsn, MemoryCapture, SharedState};
use bytes::Bytes;

use crate::{CheckpointHead, IoError};

/// A checkpoint to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// What it is of.
    pub head: CheckpointHead,
    /// The checkpoint that the capture holds the changes since; `None` if it holds everything.
    pub parent: Option<Lsn>,
    /// The replicated state, put together when it is written.
    pub state: SharedState,
    /// The guest.
    pub capture: Capture,
}

/// A checkpoint read back, with all that it rests on, checked.
#[derive(Debug)]
pub struct LoadedCheckpoint {
    /// What it is of.
    pub head: CheckpointHead,
    /// The replicated state.
    pub state: Bytes,
    /// What of the guest is not memory.
    pub registers: Vec<u8>,
    /// Its memories.
    pub memories: Vec<LoadedMemory>,
}

/// A memory read back.
#[derive(Debug)]
pub struct LoadedMemory {
    /// Bytes that it has.
    pub bytes: u64,
    /// Hash of each of its pages; 0 for one of zeros.
    pub hashes: Vec<u64>,
    /// A file that holds the whole memory as it was once, to be mapped.
    pub mapped: Option<MappedMemory>,
    /// What lies over that, or over zeros.
    pub pages: MemoryCapture,
}

/// Where a file holds a memory.
#[derive(Debug)]
pub struct MappedMemory {
    /// The file.
    pub file: File,
    /// Byte in it at which the memory begins: a multiple of the page size.
    pub offset: u64,
    /// Bytes that the memory had then.
    pub bytes: u64,
}

/// A checkpoint that is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckpointInfo {
    /// The last record that it holds.
    pub lsn: Lsn,
    /// Bytes on the disk of its own files; what it rests on is counted there.
    pub bytes: u64,
    /// How many other checkpoints it rests on.
    pub depth: usize,
}

/// A checkpoint can't be used. An older one may be.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The operating system refused. Tried again, it may work.
    #[error(transparent)]
    Io(#[from] IoError),
    /// Something in it is not what it was.
    #[error("the checkpoint {} is damaged: {reason}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Written by another version of this program.
    #[error("the checkpoint {} {reason}; use the version of ambrosia-host that wrote it", file.display())]
    OtherVersion {
        /// The file.
        file: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// It holds changes since a checkpoint that is not there.
    #[error("the checkpoint at lsn {lsn} rests on one at lsn {parent}, which is missing in {}", directory.display())]
    ParentMissing {
        /// The checkpoint.
        lsn: Lsn,
        /// What it rests on.
        parent: Lsn,
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// It would take room that the log may need.
    #[error("a checkpoint of up to {needed} bytes is not written, since only {free} are free: the log comes first")]
    NoRoom {
        /// Bytes that it may take.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// There is none at that record.
    #[error("there is no checkpoint at lsn {lsn} in {}", directory.display())]
    Missing {
        /// The record asked for.
        lsn: Lsn,
        /// Where it was looked for.
        directory: PathBuf,
    },
}
