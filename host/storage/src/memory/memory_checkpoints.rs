//! The checkpoints of a log in memory: chains of deltas, as on files, so that what depends on them is tried here too.
//!
//! **Architecture Invariant:** which of them are kept is decided by the same code as on files.

use std::{collections::BTreeMap, io, sync::Arc};

use ambrosia_core::{Lsn, MemoryCapture, PAGE_BYTES, Record, ReplicaIndex, member::Keep};
use bytes::Bytes;

use super::shared::{MemoryState, Shared};
use crate::{
    Callback, Chains, Checkpoint, CheckpointError, CheckpointHead, CheckpointInfo, CheckpointName, Checkpoints,
    HistoryCosts, IoError, LoadedCheckpoint, LoadedMemory, LogError, LogPart, Subscription, Trimmed, WrittenCheckpoint,
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

fn chains(state: &MemoryState) -> Chains {
    Chains::new(state.checkpoints.keys().copied().collect())
}

/// The checkpoint with all that it rests on, newest first.
fn chain(state: &MemoryState, lsn: Lsn) -> Result<Vec<(CheckpointName, &Stored)>, CheckpointError> {
    let whole = chains(state).whole(lsn, || "memory".to_owned())?;
    Ok(whole.into_iter().map(|name| (name, &state.checkpoints[&name])).collect())
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

impl HistoryCosts for MemoryState {
    type Error = LogError;

    fn bytes_of(&self, name: CheckpointName) -> Result<u64, LogError> {
        Ok(self.checkpoints[&name].bytes())
    }

    /// Each record is a part of the log.
    fn parts(&self, newest: Lsn, needed: Lsn) -> Result<Vec<LogPart>, LogError> {
        let before = self.records.iter().filter(|record| record.lsn() <= newest).rev();
        let bytes = |record: &Record| if record.lsn() >= needed { 0 } else { record.stored().len() as u64 };
        Ok(before.map(|record| LogPart { first: record.lsn(), bytes: bytes(record) }).collect())
    }
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
        let chains = chains(&state);
        let info = |lsn| {
            let depth = chains.chain(lsn)?.len() - 1;
            let bytes = chains.at(lsn).map(|name| state.checkpoints[&name].bytes()).sum();
            Some(CheckpointInfo { lsn, bytes, depth })
        };
        Ok(chains.complete().filter_map(info).collect())
    }

    fn is_complete(&self, lsn: Lsn) -> Result<bool, IoError> {
        Ok(chains(&self.0.lock()).chain(lsn).is_some())
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
        if !chains(&state).is_compaction_due(lsn, |name| Ok::<_, CheckpointError>(state.checkpoints[&name].bytes()))? {
            return Ok(false);
        }
        let chain = chain(&state, lsn)?;
        let base = Stored { memories: merge_all(&chain), ..chain[0].1.clone() };
        state.checkpoints.insert(CheckpointName { lsn, parent: None }, base);
        drop(state);
        self.0.published.call();
        Ok(true)
    }

    fn trim(&self, keep: Keep, applied: &[Lsn]) -> Result<Trimmed, LogError> {
        let mut state = self.0.lock();
        let unneeded = chains(&state).unneeded(keep, applied, &*state)?;
        for name in &unneeded.checkpoints {
            state.checkpoints.remove(name);
        }
        let segments = unneeded.log_before.map_or(0, |before| usize::from(state.trim_before(before) > 0));
        Ok(Trimmed { checkpoints: unneeded.checkpoints.len(), segments })
    }

    fn remove_leftovers(&self, _: ReplicaIndex) -> Result<(), IoError> {
        Ok(())
    }
}
