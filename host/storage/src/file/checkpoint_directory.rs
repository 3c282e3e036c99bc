//! Checkpoints as files of one directory: how they are written, read back and made bases of.
//!
//! A checkpoint is there once its file has its name, which it gets when it is on the disk.
//!
//! **Architecture Invariant:** nothing here knows which checkpoints count, and which are needed.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use ambrosia_core::{InstanceUuid, MemoryCapture, PAGE_BYTES, ReplicaIndex};

use super::{
    checkpoint_file::{CheckpointFile, CheckpointIndex, Form, MAPPED_BYTES_MIN, PageSource, write},
    durable_file::{TEMPORARY_SUFFIX, file_names, remove_durably, rename_durably},
    machine::{Machine, ThisMachine},
};
use crate::{
    Chains, Checkpoint, CheckpointError, CheckpointName, IoError, LoadedCheckpoint, LoadedMemory, MappedMemory,
    io_error::IoContext,
};

/// No checkpoint is written where less than this would be left for the log.
const ROOM_FOR_LOG_BYTES: u64 = 64 << 20;

/// A directory with checkpoints of one log.
#[derive(Clone, Debug)]
pub struct CheckpointDirectory {
    path: PathBuf,
    uuid: InstanceUuid,
    machine: Arc<dyn Machine>,
    mapped_bytes_min: u64,
}

/// A checkpoint that is on the disk and does not count yet.
#[derive(Debug)]
#[must_use = "it counts once it is published"]
pub struct WrittenFile {
    name: CheckpointName,
    temporary: PathBuf,
}

impl WrittenFile {
    /// What it is.
    pub fn name(&self) -> CheckpointName {
        self.name
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.temporary
    }
}

impl CheckpointDirectory {
    /// A directory of this machine that is there.
    pub fn new(path: PathBuf, uuid: InstanceUuid) -> CheckpointDirectory {
        CheckpointDirectory::on(Arc::new(ThisMachine), path, uuid)
    }

    pub(crate) fn on(machine: Arc<dyn Machine>, path: PathBuf, uuid: InstanceUuid) -> CheckpointDirectory {
        CheckpointDirectory { path, uuid, machine, mapped_bytes_min: MAPPED_BYTES_MIN }
    }

    /// Keeps smaller memories as they are, too.
    #[cfg(test)]
    pub(crate) fn mapping_from(self, mapped_bytes_min: u64) -> CheckpointDirectory {
        CheckpointDirectory { mapped_bytes_min, ..self }
    }

    /// The checkpoints that have their names.
    pub fn names(&self) -> Result<BTreeSet<CheckpointName>, IoError> {
        let names = file_names(&*self.machine, &self.path)?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// The same, by what rests on what.
    pub fn chains(&self) -> Result<Chains, IoError> {
        Ok(Chains::new(self.names()?))
    }

    /// Where a checkpoint is, once it has its name.
    pub fn path_of(&self, name: CheckpointName) -> PathBuf {
        self.path.join(name.to_string())
    }

    /// Bytes of a checkpoint; 0 if it is not there.
    pub fn bytes_of(&self, name: CheckpointName) -> u64 {
        self.machine.open(&self.path_of(name)).and_then(|file| file.bytes()).unwrap_or(0)
    }

    /// Writes a checkpoint to the disk. `by` is the replica that does it, one at a time.
    pub fn write(&self, checkpoint: &Checkpoint, by: ReplicaIndex) -> Result<WrittenFile, CheckpointError> {
        let Checkpoint { head, parent, state, capture } = checkpoint;
        let name = CheckpointName { lsn: head.lsn, parent: *parent };
        let mut index = CheckpointIndex {
            uuid: self.uuid,
            head: *head,
            parent: *parent,
            state: state.to_vec(),
            registers: capture.registers.clone(),
            memories: Vec::new(),
        };
        let sources: Vec<_> = capture.memories.iter().map(|memory| memory as &dyn PageSource).collect();
        self.write_file(name, &mut index, &sources, by)
    }

    fn write_file(
        &self,
        name: CheckpointName,
        index: &mut CheckpointIndex,
        sources: &[&dyn PageSource],
        by: ReplicaIndex,
    ) -> Result<WrittenFile, CheckpointError> {
        self.check_room(index, sources)?;
        let temporary = self.path.join(format!("checkpoint{}", temporary_ending(by)));
        let file = self.machine.create(&temporary).context("create", &temporary)?;
        let written = write(&*file, &temporary, index, sources, self.mapped_bytes_min);
        if written.is_err() {
            // The error that matters is the one at hand; the next checkpoint of this replica replaces the file.
            let _gone = self.machine.remove(&temporary);
        }
        written.map(|()| WrittenFile { name, temporary })
    }

    /// Whether the log has room left beside a checkpoint of that size: without a checkpoint a recovery takes longer, and
    /// without room for the log there is no instance.
    fn check_room(&self, index: &CheckpointIndex, sources: &[&dyn PageSource]) -> Result<(), CheckpointError> {
        let path = &self.path;
        let pages: u64 = sources.iter().flat_map(|source| source.pages()).map(|range| range.len() as u64).sum();
        let needed = pages * PAGE_BYTES as u64 + (index.state.len() + index.registers.len()) as u64;
        let free = self.machine.free_bytes(path).context("examine the file system of", path)?;
        if free < needed.saturating_add(ROOM_FOR_LOG_BYTES) {
            Err(CheckpointError::NoRoom { needed, free })
        } else {
            Ok(())
        }
    }

    /// Gives a checkpoint its name.
    pub fn name(&self, written: &WrittenFile) -> Result<(), IoError> {
        rename_durably(&*self.machine, &written.temporary, &self.path_of(written.name))
    }

    /// Removes a checkpoint that has no name yet.
    pub fn discard(&self, written: &WrittenFile) -> Result<(), IoError> {
        remove_durably(&*self.machine, &written.temporary)
    }

    /// Removes a checkpoint.
    pub fn remove(&self, name: CheckpointName) -> Result<(), IoError> {
        remove_durably(&*self.machine, &self.path_of(name))
    }

    /// Removes what an earlier process of the replica has left unfinished.
    pub fn remove_leftovers(&self, of: ReplicaIndex) -> Result<(), IoError> {
        let ending = temporary_ending(of);
        for name in file_names(&*self.machine, &self.path)?.iter().filter(|name| name.ends_with(&ending)) {
            remove_durably(&*self.machine, &self.path.join(name))?;
        }
        Ok(())
    }

    /// Reads a checkpoint from all files of its chain, the newest first, and checks every byte of them.
    pub fn load(&self, chain: &[CheckpointName]) -> Result<LoadedCheckpoint, CheckpointError> {
        let chain = self.open_chain(chain)?;
        let newest = chain.first().expect("a chain has one link at least");
        let (head, state) = (newest.index.head, newest.index.state.clone().into());
        let registers = newest.index.registers.clone();
        let memories = (0..newest.index.memories.len()).map(|at| load_memory(&chain, at)).collect::<Result<_, _>>()?;
        Ok(LoadedCheckpoint { head, state, registers, memories })
    }

    /// Writes a base that holds what all files of a chain do.
    pub fn write_base(&self, chain: &[CheckpointName], by: ReplicaIndex) -> Result<WrittenFile, CheckpointError> {
        let chain = self.open_chain(chain)?;
        let loaded: Vec<_> = (0..chain[0].index.memories.len())
            .map(|at| Ok(ChainedMemory { memory: load_memory(&chain, at)?, chain: &chain, at }))
            .collect::<Result<_, CheckpointError>>()?;
        let mut index = CheckpointIndex { parent: None, memories: Vec::new(), ..chain[0].index.clone() };
        let sources: Vec<_> = loaded.iter().map(|memory| memory as &dyn PageSource).collect();
        let name = CheckpointName { lsn: index.head.lsn, parent: None };
        self.write_file(name, &mut index, &sources, by)
    }

    fn open_chain(&self, names: &[CheckpointName]) -> Result<Vec<CheckpointFile>, CheckpointError> {
        let mut chain: Vec<CheckpointFile> = Vec::new();
        for name in names {
            let path = self.path_of(*name);
            let file = self.machine.open(&path).context("open", &path)?;
            let file = CheckpointFile::open(file, &path, self.uuid, *name)?;
            let fits = |before: &CheckpointFile| before.index.memories.len() == file.index.memories.len();
            if !chain.last().is_none_or(fits) {
                return Err(file.damaged("it has other memories than the checkpoint that rests on it".to_owned()));
            }
            chain.push(file);
        }
        Ok(chain)
    }
}

/// No number stands before the suffix, by which leftovers of primaries are known.
fn temporary_ending(by: ReplicaIndex) -> String {
    format!(".replica{}{TEMPORARY_SUFFIX}", by.0)
}

/// One memory of a checkpoint, from all files of its chain.
fn load_memory(chain: &[CheckpointFile], at: usize) -> Result<LoadedMemory, CheckpointError> {
    let bytes = chain[0].index.memories[at].bytes;
    let mut hashes = vec![0; (bytes / PAGE_BYTES as u64) as usize];
    let mut known = vec![false; hashes.len()];
    let mut layers = Vec::new();
    let mut mapped = None;
    for file in chain {
        let memory = &file.index.memories[at];
        if memory.bytes > bytes {
            return Err(file.damaged(format!("memory {at} is larger than in the checkpoint that rests on it")));
        }
        // In order, as the pages of a file are.
        let mut wanted = Vec::new();
        for (page, hash) in memory.pages_with_hashes() {
            if !std::mem::replace(&mut known[page as usize], true) {
                hashes[page as usize] = hash;
                wanted.push(page);
            }
        }
        match memory.form {
            Form::Blocks(_) => layers.push((file.read_blocks(at)?, wanted)),
            Form::AsItIs => {
                file.check_pages(at)?;
                mapped = map(file, at, &wanted, &mut layers)?;
            }
        }
    }
    Ok(LoadedMemory { bytes, hashes, mapped, pages: merge(bytes, &layers) })
}

/// The part of a real file that holds the memory; what is no real file is read instead.
fn map(
    file: &CheckpointFile,
    at: usize,
    wanted: &[u32],
    layers: &mut Vec<(MemoryCapture, Vec<u32>)>,
) -> Result<Option<MappedMemory>, CheckpointError> {
    let memory = &file.index.memories[at];
    if let Some(real) = file.file().to_map() {
        let real = real.context("open once more", file.path())?;
        return Ok(Some(MappedMemory {
            source: OwnedFd::from(real).into(),
            offset: memory.offset,
            bytes: memory.bytes,
        }));
    }
    let mut capture = MemoryCapture { bytes: memory.bytes, ..MemoryCapture::default() };
    let mut contents = Vec::new();
    for (page, hash) in memory.pages_with_hashes() {
        contents.clear();
        file.read_pages(at, page..page + 1, &mut contents)?;
        capture.push(page, hash, &contents);
    }
    layers.push((capture, wanted.to_vec()));
    Ok(None)
}

/// The wanted pages of all layers, in order.
fn merge(bytes: u64, layers: &[(MemoryCapture, Vec<u32>)]) -> MemoryCapture {
    let mut pages = BTreeMap::new();
    for (layer, wanted) in layers {
        let of_layer = layer.iter().filter(|(page, ..)| wanted.binary_search(page).is_ok());
        pages.extend(of_layer.map(|(page, hash, contents)| (page, (hash, contents))));
    }
    let mut merged = MemoryCapture { bytes, ..MemoryCapture::default() };
    for (page, (hash, contents)) in pages {
        merged.push(page, hash, contents);
    }
    merged
}

/// A memory of a chain, to be written as one base.
struct ChainedMemory<'a> {
    memory: LoadedMemory,
    chain: &'a [CheckpointFile],
    at: usize,
}

impl PageSource for ChainedMemory<'_> {
    fn bytes(&self) -> u64 {
        self.memory.bytes
    }

    fn pages(&self) -> Vec<Range<u32>> {
        let mut pages: Vec<Range<u32>> = Vec::new();
        for (page, _) in (0..).zip(&self.memory.hashes).filter(|(_, hash)| **hash != 0) {
            match pages.last_mut() {
                Some(last) if last.end == page => last.end += 1,
                _ => pages.push(page..page + 1),
            }
        }
        pages
    }

    fn hashes(&self) -> Vec<u64> {
        self.memory.hashes.iter().copied().filter(|hash| *hash != 0).collect()
    }

    fn read(&self, pages: Range<u32>, out: &mut Vec<u8>) -> Result<(), CheckpointError> {
        let start = out.len();
        match &self.memory.mapped {
            Some(_) => {
                let base = self.chain.last().expect("a chain has one link at least");
                let had = (base.index.memories[self.at].bytes / PAGE_BYTES as u64) as u32;
                let there = pages.start.min(had)..pages.end.min(had);
                base.read_pages(self.at, there, out)?;
                out.resize(start + pages.len() * PAGE_BYTES, 0);
            }
            None => out.resize(start + pages.len() * PAGE_BYTES, 0),
        }
        for (page, _, contents) in self.memory.pages.within(&pages) {
            let from = start + (page - pages.start) as usize * PAGE_BYTES;
            out[from..from + PAGE_BYTES].copy_from_slice(contents);
        }
        Ok(())
    }
}
