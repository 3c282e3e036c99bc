//! The checkpoints of a log in memory: chains of deltas, as on files, so that what depends on them is tried here too.
//!
//! **Architecture Invariant:** which of them are kept is decided by the same code as on files.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

use ambrosia_core::{Lsn, MemoryCapture, PAGE_BYTES, Record, ReplicaIndex, member::Keep};
use bytes::Bytes;

use super::shared::{MemoryState, Shared};
use crate::{
    Callback, Checkpoint, CheckpointError, CheckpointHead, CheckpointInfo, Checkpoints, IoError, LoadedCheckpoint,
    LoadedMemory, LogError, Subscription, Trimmed, WrittenCheckpoint,
    file::{CheckpointName, DEPTH_MAX, Files},
    history::{History, LogPart},
};

/// One checkpoint as it is kept.
#[derive(Clone)]
pub(crate) struct Stored {
    head: CheckpointHead,
    state: Bytes,
    registers: Vec<u8>,
    memories: Vec<MemoryCapture>,
}

impl Stored {
    pub(crate) fn bytes(&self) -> u64 {
        let memories: usize = self.memories.iter().map(|memory| memory.contents.len()).sum();
        (self.state.len() + self.registers.len() + memories) as u64
    }
}

#[derive(Clone)]
pub(crate) struct MemoryCheckpoints(pub(crate) Arc<Shared>);

struct Written {
    shared: Arc<Shared>,
    name: CheckpointName,
    stored: Stored,
}

impl WrittenCheckpoint for Written {
    fn publish(self: Box<Self>) -> Result<(), IoError> {
        let Written { shared, name, stored } = *self;
        let mut state = shared.lock();
        assert!(name.lsn <= state.last(), "a checkpoint holds durable records only");
        state.checkpoints.insert(name, stored);
        state.newest_published = state.newest_published.max(name.lsn);
        drop(state);
        shared.published.call();
        shared.durable.call();
        Ok(())
    }

    fn discard(self: Box<Self>) -> Result<(), IoError> {
        Ok(())
    }
}

fn files(state: &MemoryState) -> Files {
    Files::new(state.checkpoints.keys().copied().collect())
}

/// The checkpoint with all that it rests on, newest first.
fn chain(state: &MemoryState, lsn: Lsn) -> Result<Vec<(CheckpointName, &Stored)>, CheckpointError> {
    let (files, place) = (files(state), || "memory".to_owned());
    match files.chain(lsn) {
        Some(chain) => Ok(chain.into_iter().map(|name| (name, &state.checkpoints[&name])).collect()),
        None if files.names.iter().any(|name| name.lsn == lsn) => {
            Err(CheckpointError::ParentMissing { lsn, parent: files.missing_parent(lsn), place: place() })
        }
        None => Err(CheckpointError::Missing { lsn, place: place() }),
    }
}

/// One memory of a chain, newest first: of each page what the newest has.
fn merge(chain: &[(CheckpointName, &Stored)], at: usize) -> MemoryCapture {
    let mut pages = BTreeMap::new();
    for (_, stored) in chain {
        for (page, hash, contents) in stored.memories[at].iter() {
            pages.entry(page).or_insert((hash, contents));
        }
    }
    let mut merged = MemoryCapture { bytes: chain[0].1.memories[at].bytes, ..MemoryCapture::default() };
    for (page, (hash, contents)) in pages {
        merged.push(page, hash, contents);
    }
    merged
}

fn merge_all(chain: &[(CheckpointName, &Stored)]) -> Vec<MemoryCapture> {
    (0..chain[0].1.memories.len()).map(|at| merge(chain, at)).collect()
}

fn loaded(pages: MemoryCapture) -> LoadedMemory {
    let mut hashes = vec![0; (pages.bytes / PAGE_BYTES as u64) as usize];
    for (page, hash, _) in pages.iter() {
        hashes[page as usize] = hash;
    }
    LoadedMemory { bytes: pages.bytes, hashes, mapped: None, pages }
}

/// What is kept as history, beyond `none`. Each record is a part of the log.
fn history(state: &MemoryState, none: History, bytes: u64, files: &Files, kept: &[Lsn]) -> History {
    if bytes == 0 {
        return none;
    }
    let needed: BTreeSet<_> = kept.iter().filter_map(|lsn| files.chain(*lsn)).flatten().collect();
    let mut checkpoints = BTreeMap::<Lsn, u64>::new();
    for (name, stored) in state.checkpoints.iter().filter(|(name, _)| !needed.contains(name)) {
        *checkpoints.entry(name.lsn).or_default() += stored.bytes();
    }
    let before = state.records.iter().filter(|record| record.lsn() <= none.checkpoints.next()).rev();
    let cost = |record: &Record| if record.lsn() >= none.log { 0 } else { record.stored().len() as u64 };
    let parts = before.map(|record| LogPart { first: record.lsn(), bytes: cost(record) });
    none.back(bytes, parts, &checkpoints)
}

impl Checkpoints for MemoryCheckpoints {
    fn write(&self, checkpoint: &Checkpoint, _: ReplicaIndex) -> Result<Box<dyn WrittenCheckpoint>, CheckpointError> {
        let Checkpoint { head, parent, state, capture } = checkpoint;
        let stored = Stored {
            head: *head,
            state: state.to_vec().into(),
            registers: capture.registers.clone(),
            memories: capture.memories.clone(),
        };
        let name = CheckpointName { lsn: head.lsn, parent: *parent };
        Ok(Box::new(Written { shared: Arc::clone(&self.0), name, stored }))
    }

    fn newest_published(&self) -> Lsn {
        self.0.lock().newest_published
    }

    fn subscribe(&self, call: Callback) -> io::Result<Subscription> {
        Ok(self.0.published.subscribe(call))
    }

    fn list(&self) -> Result<Vec<CheckpointInfo>, IoError> {
        let state = self.0.lock();
        let files = files(&state);
        let info = |lsn: &Lsn| {
            let depth = files.chain(*lsn)?.len() - 1;
            let own = state.checkpoints.iter().filter(|(name, _)| name.lsn == *lsn);
            Some(CheckpointInfo { lsn: *lsn, bytes: own.map(|(_, stored)| stored.bytes()).sum(), depth })
        };
        Ok(files.complete.keys().filter_map(info).collect())
    }

    fn is_complete(&self, lsn: Lsn) -> Result<bool, IoError> {
        Ok(files(&self.0.lock()).chain(lsn).is_some())
    }

    fn load(&self, lsn: Lsn) -> Result<LoadedCheckpoint, CheckpointError> {
        let state = self.0.lock();
        let chain = chain(&state, lsn)?;
        let Stored { head, state: own, registers, .. } = chain[0].1.clone();
        let memories = merge_all(&chain).into_iter().map(loaded).collect();
        Ok(LoadedCheckpoint { head, state: own, registers, memories })
    }

    fn compact(&self, lsn: Lsn, _: ReplicaIndex) -> Result<bool, CheckpointError> {
        let mut state = self.0.lock();
        let chain = chain(&state, lsn)?;
        if chain.len() <= DEPTH_MAX {
            return Ok(false);
        }
        let base = Stored { memories: merge_all(&chain), ..chain[0].1.clone() };
        state.checkpoints.insert(CheckpointName { lsn, parent: None }, base);
        drop(state);
        self.0.published.call();
        Ok(true)
    }

    fn trim(&self, keep: Keep, applied: &[Lsn]) -> Result<Trimmed, LogError> {
        let mut state = self.0.lock();
        let (files, count) = (files(&state), keep.checkpoints.max(1));
        let mut kept = files.kept(count);
        let (Some(oldest), Some(newest)) = (kept.first().copied(), kept.last().copied()) else {
            return Ok(Trimmed::default());
        };
        if kept.len() < count || files.bases(&kept).len() < count.min(2) {
            return Ok(Trimmed::default());
        }
        let needed = applied.iter().copied().fold(oldest, Lsn::min).next();
        let none = History::none(oldest, needed);
        let history = history(&state, none, keep.history_bytes, &files, &kept);
        kept.extend(files.complete.keys().copied().filter(|lsn| *lsn >= history.checkpoints && *lsn < newest));
        let kept: BTreeSet<_> = kept.iter().filter_map(|lsn| files.chain(*lsn)).flatten().collect();
        let before = state.checkpoints.len();
        state.checkpoints.retain(|name, _| name.lsn >= newest || kept.contains(name));
        let checkpoints = before - state.checkpoints.len();
        let from = needed.min(history.log);
        let segments = if keep.log { 0 } else { usize::from(state.trim_before(from) > 0) };
        Ok(Trimmed { checkpoints, segments })
    }

    fn remove_leftovers(&self, _: ReplicaIndex) -> Result<(), IoError> {
        Ok(())
    }
}
