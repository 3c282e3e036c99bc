//! The checkpoints of a log, as whoever takes and restores them sees them.
//!
//! **Architecture Invariant:** what the state and the registers mean is unknown here; a page whose contents differ from
//! its hash is never returned.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
};

use ambrosia_core::{Capture, Lsn, MemoryCapture, PAGE_BYTES, ReplicaIndex, SharedState, member::Keep};
use bytes::Bytes;

use crate::{Callback, CheckpointHead, IoError, LogError, Subscription};

/// The checkpoints of one log, and what they allow to be removed.
pub trait Checkpoints: Send + Sync {
    /// Writes a checkpoint, durably. `by` is the replica that does it, one at a time. It counts once it was published.
    fn write(&self, checkpoint: &Checkpoint, by: ReplicaIndex) -> Result<Box<dyn WrittenCheckpoint>, CheckpointError>;

    /// The newest checkpoint that was published, as far as that is known without looking for it; 0 if none is. A hint that
    /// is cheap.
    fn newest_published(&self) -> Lsn;

    /// Calls back when one was published.
    ///
    /// # Errors
    /// If the system has no more threads.
    fn subscribe(&self, call: Callback) -> io::Result<Subscription>;

    /// All checkpoints that are complete, oldest first.
    fn list(&self) -> Result<Vec<CheckpointInfo>, IoError>;

    /// Whether there is a checkpoint at that record, with all that it rests on.
    fn is_complete(&self, lsn: Lsn) -> Result<bool, IoError>;

    /// Reads a checkpoint and all that it rests on, and checks every byte of it.
    fn load(&self, lsn: Lsn) -> Result<LoadedCheckpoint, CheckpointError>;

    /// Makes a base of the checkpoint if it rests on a long or large chain, so that a restore does not take longer and
    /// longer. True if it did.
    fn compact(&self, lsn: Lsn, by: ReplicaIndex) -> Result<bool, CheckpointError>;

    /// Removes checkpoints but the newest that are to be kept and what these rest on, and, unless all of it is to be kept, what
    /// of the log no kept checkpoint and none of the replicas, which have applied so much, needs. Of what could go then, as much
    /// as is wanted as history stays: the newest part of the log, with all checkpoints in it.
    ///
    /// One more checkpoint is kept if all of the newest rest on the same base, and as long as there is no such, nothing is
    /// removed: so no single damage can make the log useless, unless one checkpoint is all that is to be kept.
    ///
    /// Whoever finds another one at it leaves it to that, and to the next time.
    fn trim(&self, keep: Keep, applied: &[Lsn]) -> Result<Trimmed, LogError>;

    /// Removes what an earlier process of the replica has left unfinished.
    fn remove_leftovers(&self, of: ReplicaIndex) -> Result<(), IoError>;
}

/// A checkpoint that was written and does not count yet.
#[must_use = "it counts once it is published"]
pub trait WrittenCheckpoint: Send {
    /// Makes it count. All records that it holds must be durable.
    fn publish(self: Box<Self>) -> Result<(), IoError>;

    /// Gives it up.
    fn discard(self: Box<Self>) -> Result<(), IoError>;
}

/// What was removed, and what is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Trimmed {
    /// Checkpoints removed.
    pub checkpoints: usize,
    /// Segments of the log removed.
    pub segments: usize,
}

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

impl LoadedCheckpoint {
    /// The same checkpoint by itself, resting on nothing.
    ///
    /// # Errors
    /// If its memory can't be read.
    pub fn into_whole(self) -> io::Result<Checkpoint> {
        let LoadedCheckpoint { head, state, registers, memories } = self;
        let memories = memories.into_iter().map(LoadedMemory::into_whole).collect::<io::Result<_>>()?;
        Ok(Checkpoint { head, parent: None, state: state.to_vec().into(), capture: Capture { registers, memories } })
    }
}

impl LoadedMemory {
    fn into_whole(self) -> io::Result<MemoryCapture> {
        let LoadedMemory { bytes, hashes, mapped, pages } = self;
        let mut whole = MemoryCapture { bytes, ..MemoryCapture::default() };
        let (mut held, mut contents) = (pages.iter().peekable(), vec![0; PAGE_BYTES]);
        for (page, hash) in (0..).zip(hashes) {
            if let Some((_, _, contents)) = held.next_if(|(held, ..)| *held == page) {
                whole.push(page, hash, contents);
            } else if hash != 0
                && let Some(mapped) = &mapped
            {
                mapped.source.read_exact_at(&mut contents, mapped.offset + u64::from(page) * PAGE_BYTES as u64)?;
                whole.push(page, hash, &contents);
            }
        }
        Ok(whole)
    }
}

/// A memory read back.
#[derive(Debug)]
pub struct LoadedMemory {
    /// Bytes that it has.
    pub bytes: u64,
    /// Hash of each of its pages; 0 for one of zeros.
    pub hashes: Vec<u64>,
    /// What holds the whole memory as it was once, to be mapped.
    pub mapped: Option<MappedMemory>,
    /// What lies over that, or over zeros.
    pub pages: MemoryCapture,
}

/// Where a memory is, to be mapped.
#[derive(Debug)]
pub struct MappedMemory {
    /// What holds it.
    pub source: MemorySource,
    /// Byte in that at which the memory begins: a multiple of the page size.
    pub offset: u64,
    /// Bytes that the memory had then.
    pub bytes: u64,
}

/// Something that the operating system can map, and that nobody changes.
#[derive(Debug)]
pub struct MemorySource(OwnedFd);

impl MemorySource {
    /// Reads at `offset`, for whoever does not map it.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(&File::from(self.0.try_clone()?), buffer, offset)
    }
}

impl From<OwnedFd> for MemorySource {
    fn from(descriptor: OwnedFd) -> Self {
        MemorySource(descriptor)
    }
}

impl From<MemorySource> for OwnedFd {
    fn from(source: MemorySource) -> Self {
        source.0
    }
}

impl AsFd for MemorySource {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
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
    #[error("the checkpoint {place} is damaged: {reason}")]
    Damaged {
        /// Where it is.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Written by another version of this program.
    #[error("the checkpoint {place} {reason}; use the version of ambrosia-host that wrote it")]
    OtherVersion {
        /// Where it is.
        place: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// It holds changes since a checkpoint that is not there.
    #[error("the checkpoint at lsn {lsn} rests on one at lsn {parent}, which is missing in {place}")]
    ParentMissing {
        /// The checkpoint.
        lsn: Lsn,
        /// What it rests on.
        parent: Lsn,
        /// Where it was looked for.
        place: String,
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
    #[error("there is no checkpoint at lsn {lsn} in {place}")]
    Missing {
        /// The record asked for.
        lsn: Lsn,
        /// Where it was looked for.
        place: String,
    },
}
