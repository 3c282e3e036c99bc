//! The checkpoints of one log, and what they allow to be removed.
//!
//! A checkpoint is there once its file has its name, which it gets when it is on the disk. Two replicas may take one at
//! the same record; both are the same, since replicas are. So nobody has to lock anything, and whoever dies while it
//! writes leaves a file without a name.
//!
//! **Architecture Invariant:** nothing is removed that a checkpoint which is kept rests on, and no record of the log
//! that a kept checkpoint, or a replica that runs, still needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use ambrosia_core::{Lsn, MemoryCapture, PAGE_BYTES, ReplicaIndex, member::Keep};

use super::{
    checkpoint_file::{CheckpointFile, CheckpointIndex, CheckpointName, Form, MAPPED_BYTES_MIN, PageSource, write},
    control::ControlPage,
    durable_file::{TEMPORARY_SUFFIX, file_names, remove_durably, rename_durably},
    log_directory::{LogDirectory, TRIM_BYTE},
    segment_order::trimmed,
    watcher::Watcher,
};
use crate::{
    Checkpoint, CheckpointError, CheckpointInfo, IoError, LoadedCheckpoint, LoadedMemory, LogError, MappedMemory,
    Trimmed,
    history::{History, LogPart},
    io_error::IoContext,
};

/// A base is made of a chain of deltas that has become as long as this.
pub(crate) const DEPTH_MAX: usize = 4;

/// No checkpoint is written where less than this would be left for the log.
const ROOM_FOR_LOG_BYTES: u64 = 64 << 20;

/// The checkpoints of one log on files.
#[derive(Clone)]
pub struct FileCheckpoints {
    directory: Arc<LogDirectory>,
    pub(crate) control: Arc<ControlPage>,
    pub(crate) watcher: Watcher,
    mapped_bytes_min: u64,
}

/// A checkpoint that is on the disk and does not count yet.
#[derive(Debug)]
#[must_use = "it counts once it is published"]
pub struct WrittenFile {
    name: CheckpointName,
    temporary: PathBuf,
}

impl FileCheckpoints {
    pub(crate) fn new(directory: Arc<LogDirectory>, control: Arc<ControlPage>, watcher: Watcher) -> FileCheckpoints {
        FileCheckpoints { directory, control, watcher, mapped_bytes_min: MAPPED_BYTES_MIN }
    }

    /// Keeps smaller memories as they are, too.
    #[cfg(test)]
    pub(crate) fn mapping_from(self, mapped_bytes_min: u64) -> FileCheckpoints {
        FileCheckpoints { mapped_bytes_min, ..self }
    }

    /// Writes a checkpoint to the disk. `by` is the replica that does it, one at a time.
    pub fn write(&self, checkpoint: &Checkpoint, by: ReplicaIndex) -> Result<WrittenFile, CheckpointError> {
        let Checkpoint { head, parent, state, capture } = checkpoint;
        let name = CheckpointName { lsn: head.lsn, parent: *parent };
        let mut index = CheckpointIndex {
            uuid: self.directory.uuid,
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
        let temporary = self.directory.path.join(format!("checkpoint{}", temporary_ending(by)));
        let file = self.directory.machine.create(&temporary).context("create", &temporary)?;
        let written = write(&*file, &temporary, index, sources, self.mapped_bytes_min);
        if written.is_err() {
            // The error that matters is the one at hand; the next checkpoint of this replica replaces the file.
            let _gone = self.directory.machine.remove(&temporary);
        }
        written.map(|()| WrittenFile { name, temporary })
    }

    /// Whether the log has room left beside a checkpoint of that size: without a checkpoint a recovery takes longer, and
    /// without room for the log there is no instance.
    fn check_room(&self, index: &CheckpointIndex, sources: &[&dyn PageSource]) -> Result<(), CheckpointError> {
        let path = &self.directory.path;
        let pages: u64 = sources.iter().flat_map(|source| source.pages()).map(|range| range.len() as u64).sum();
        let needed = pages * PAGE_BYTES as u64 + (index.state.len() + index.registers.len()) as u64;
        let free = self.directory.machine.free_bytes(path).context("examine the file system of", path)?;
        if free < needed.saturating_add(ROOM_FOR_LOG_BYTES) {
            Err(CheckpointError::NoRoom { needed, free })
        } else {
            Ok(())
        }
    }

    /// Makes a checkpoint count. All records that it holds must be durable.
    pub fn publish(&self, written: WrittenFile) -> Result<(), IoError> {
        let WrittenFile { name, temporary } = written;
        assert!(name.lsn <= self.control.durable(), "a checkpoint holds durable records only");
        rename_durably(&*self.directory.machine, &temporary, &self.directory.path.join(name.to_string()))?;
        self.control.publish_checkpoint(name.lsn);
        Ok(())
    }

    /// Gives up a checkpoint that is not to count.
    pub fn discard(&self, written: WrittenFile) -> Result<(), IoError> {
        self.remove(&written.temporary)
    }

    /// The newest checkpoint that was published since the machine started; 0 if there is none. A hint that is cheap.
    pub fn newest_published(&self) -> Lsn {
        self.control.checkpoint()
    }

    /// Blocks no longer than it takes to list a directory: all checkpoints that are complete, oldest first.
    pub fn list(&self) -> Result<Vec<CheckpointInfo>, IoError> {
        let files = self.files()?;
        let mut infos = Vec::new();
        for lsn in files.complete.keys().copied() {
            let chain = files.chain(lsn).expect("it is complete");
            let mut bytes = 0;
            for name in files.names.range(of(lsn)) {
                let path = self.directory.path.join(name.to_string());
                // Somebody may remove it just now.
                bytes += self.directory.machine.open(&path).and_then(|file| file.bytes()).unwrap_or(0);
            }
            infos.push(CheckpointInfo { lsn, bytes, depth: chain.len() - 1 });
        }
        Ok(infos)
    }

    /// Whether there is a checkpoint at that record, with all that it rests on.
    pub fn is_complete(&self, lsn: Lsn) -> Result<bool, IoError> {
        Ok(self.files()?.chain(lsn).is_some())
    }

    fn files(&self) -> Result<Files, IoError> {
        Files::in_directory(&self.directory)
    }

    /// Reads a checkpoint and all that it rests on, and checks every byte of it.
    pub fn load(&self, lsn: Lsn) -> Result<LoadedCheckpoint, CheckpointError> {
        let chain = self.open_chain(lsn)?;
        let newest = chain.first().expect("a chain has one link at least");
        let (head, state) = (newest.index.head, newest.index.state.clone().into());
        let registers = newest.index.registers.clone();
        let memories = (0..newest.index.memories.len()).map(|at| load_memory(&chain, at)).collect::<Result<_, _>>()?;
        Ok(LoadedCheckpoint { head, state, registers, memories })
    }

    /// The files of a checkpoint: the newest first, the base last.
    fn open_chain(&self, lsn: Lsn) -> Result<Vec<CheckpointFile>, CheckpointError> {
        let files = self.files()?;
        let place = || self.directory.path.display().to_string();
        if files.names.range(of(lsn)).next().is_none() {
            return Err(CheckpointError::Missing { lsn, place: place() });
        }
        let names = files.chain(lsn).ok_or_else(|| {
            let parent = files.missing_parent(lsn);
            CheckpointError::ParentMissing { lsn, parent, place: place() }
        })?;
        let mut chain: Vec<CheckpointFile> = Vec::new();
        for name in names {
            let path = self.directory.path.join(name.to_string());
            let file = self.directory.machine.open(&path).context("open", &path)?;
            let file = CheckpointFile::open(file, &path, self.directory.uuid, name)?;
            let fits = |before: &CheckpointFile| before.index.memories.len() == file.index.memories.len();
            if !chain.last().is_none_or(fits) {
                return Err(file.damaged("it has other memories than the checkpoint that rests on it".to_owned()));
            }
            chain.push(file);
        }
        Ok(chain)
    }

    /// Makes a base of the checkpoint if it rests on a long or large chain, so that a restore does not take longer and
    /// longer. True if it did.
    pub fn compact(&self, lsn: Lsn, by: ReplicaIndex) -> Result<bool, CheckpointError> {
        if !self.is_compaction_due(lsn)? {
            return Ok(false);
        }
        let chain = self.open_chain(lsn)?;
        let loaded: Vec<_> = (0..chain[0].index.memories.len())
            .map(|at| Ok(ChainedMemory { memory: load_memory(&chain, at)?, chain: &chain, at }))
            .collect::<Result<_, CheckpointError>>()?;
        let mut index = CheckpointIndex { parent: None, memories: Vec::new(), ..chain[0].index.clone() };
        let sources: Vec<_> = loaded.iter().map(|memory| memory as &dyn PageSource).collect();
        let name = CheckpointName { lsn, parent: None };
        let written = self.write_file(name, &mut index, &sources, by)?;
        self.publish(written)?;
        Ok(true)
    }

    fn is_compaction_due(&self, lsn: Lsn) -> Result<bool, IoError> {
        let infos = self.list()?;
        let files = self.files()?;
        let Some(chain) = files.chain(lsn) else { return Ok(false) };
        let bytes_of = |lsn: Lsn| infos.iter().find(|info| info.lsn == lsn).map_or(0, |info| info.bytes);
        let (base, deltas) = chain.split_last().expect("a chain has one link at least");
        let delta_bytes: u64 = deltas.iter().map(|name| bytes_of(name.lsn)).sum();
        Ok(deltas.len() >= DEPTH_MAX || (!deltas.is_empty() && delta_bytes > bytes_of(base.lsn) / 2))
    }

    /// Removes checkpoints but the newest that are to be kept and what these rest on, and, unless all of it is to be kept, the
    /// segments of the log that no kept checkpoint and none of the replicas, which have applied so much, needs. Of what could
    /// go then, as much as is wanted as history stays.
    ///
    /// One more checkpoint is kept if all of the newest rest on the same base, and as long as there is no such, nothing is
    /// removed: so no single damaged file can make the log useless, unless one checkpoint is all that is to be kept.
    ///
    /// One process at a time does it. Two with lists of their own could each remove what the other one's newest rests
    /// on. Whoever finds another one at it leaves it to that, and to the next time.
    pub fn trim(&self, keep: Keep, applied: &[Lsn]) -> Result<Trimmed, LogError> {
        let mut done = Trimmed::default();
        let lock_path = self.directory.lock_path();
        let lock = self.directory.machine.try_lock(&lock_path, TRIM_BYTE).context("lock", &lock_path)?;
        let Some(_held) = lock else { return Ok(done) };
        let files = self.files()?;
        let count = keep.checkpoints.max(1);
        let mut kept = files.kept(count);
        // While there are fewer than that, or all rest on one base, all of the log is kept, as there is little of it.
        let enough = kept.len() >= count && files.bases(&kept).len() >= count.min(2);
        let Some(oldest) = kept.first().copied().filter(|_| enough) else { return Ok(done) };
        let newest = *kept.last().expect("it has a first one");
        let needed = applied.iter().copied().fold(oldest, Lsn::min).next();
        let none = History::none(oldest, needed);
        let history = self.history(none, keep.history_bytes, &files, &kept)?;
        kept.extend(files.complete.keys().copied().filter(|lsn| *lsn >= history.checkpoints && *lsn < newest));
        let kept: BTreeSet<_> = kept.iter().filter_map(|lsn| files.chain(*lsn)).flatten().collect();
        for name in files.names.iter().filter(|name| name.lsn < newest && !kept.contains(name)) {
            self.remove(&self.directory.path.join(name.to_string()))?;
            done.checkpoints += 1;
        }
        if !keep.log {
            for name in trimmed(&self.directory.segments()?, needed.min(history.log)) {
                // One after the other, oldest first: a crash in between must leave no hole.
                self.remove(&self.directory.segment_path(name))?;
                done.segments += 1;
            }
        }
        Ok(done)
    }

    /// What is kept as history, beyond `none`.
    fn history(&self, none: History, bytes: u64, files: &Files, kept: &[Lsn]) -> Result<History, LogError> {
        if bytes == 0 {
            return Ok(none);
        }
        let length = |path: PathBuf| {
            let file = self.directory.machine.open(&path).context("open", &path)?;
            file.bytes().context("examine", &path)
        };
        let needed: BTreeSet<_> = kept.iter().filter_map(|lsn| files.chain(*lsn)).flatten().collect();
        let mut checkpoints = BTreeMap::<Lsn, u64>::new();
        for name in files.names.iter().filter(|name| !needed.contains(name)) {
            *checkpoints.entry(name.lsn).or_default() += length(self.directory.path.join(name.to_string()))?;
        }
        let order = self.directory.reading_order()?;
        let holding = |lsn: Lsn| order.partition_point(|name| name.first <= lsn).saturating_sub(1);
        let (at_hand, needed) = (holding(none.checkpoints.next()), holding(none.log));
        let mut parts = Vec::new();
        for (at, name) in order.iter().enumerate().take(at_hand + 1).rev() {
            let bytes = if at >= needed { 0 } else { length(self.directory.segment_path(*name))? };
            parts.push(LogPart { first: name.first, bytes });
        }
        Ok(none.back(bytes, parts.into_iter(), &checkpoints))
    }

    fn file_names(&self) -> Result<Vec<String>, IoError> {
        file_names(&*self.directory.machine, &self.directory.path)
    }

    fn remove(&self, path: &Path) -> Result<(), IoError> {
        remove_durably(&*self.directory.machine, path)
    }

    /// Removes what an earlier process of the replica has left unfinished.
    pub fn remove_leftovers(&self, of: ReplicaIndex) -> Result<(), IoError> {
        let ending = temporary_ending(of);
        for name in self.file_names()?.iter().filter(|name| name.ends_with(&ending)) {
            self.remove(&self.directory.path.join(name))?;
        }
        Ok(())
    }
}

/// The newest complete checkpoint in a directory; 0 if there is none.
pub(crate) fn newest(directory: &LogDirectory) -> Result<Lsn, IoError> {
    let files = Files::in_directory(directory)?;
    Ok(files.complete.last_key_value().map(|(lsn, _)| *lsn).unwrap_or_default())
}

/// No number stands before the suffix, by which leftovers of primaries are known.
fn temporary_ending(by: ReplicaIndex) -> String {
    format!(".replica{}{TEMPORARY_SUFFIX}", by.0)
}

/// All names that a checkpoint at that record can have, the base first.
fn of(lsn: Lsn) -> std::ops::RangeInclusive<CheckpointName> {
    CheckpointName { lsn, parent: None }..=CheckpointName { lsn, parent: Some(Lsn(u64::MAX)) }
}

/// The checkpoint files that there are.
pub(crate) struct Files {
    pub(crate) names: BTreeSet<CheckpointName>,
    /// Of each record at which there is a whole checkpoint, the file to read: the base, or a delta upon one that is whole.
    pub(crate) complete: BTreeMap<Lsn, CheckpointName>,
}

impl Files {
    fn in_directory(directory: &LogDirectory) -> Result<Files, IoError> {
        let names = file_names(&*directory.machine, &directory.path)?;
        Ok(Files::new(names.iter().filter_map(|name| name.parse().ok()).collect()))
    }

    pub(crate) fn new(names: BTreeSet<CheckpointName>) -> Files {
        let mut complete = BTreeMap::new();
        // A parent comes before what rests on it. The base of a record comes first; its deltas are equally good.
        for name in &names {
            if name.parent.is_none_or(|parent| complete.contains_key(&parent)) {
                complete.entry(name.lsn).or_insert(*name);
            }
        }
        Files { names, complete }
    }

    /// The files that make up the checkpoint, the newest first and the base last; `None` if one is missing.
    pub(crate) fn chain(&self, lsn: Lsn) -> Option<Vec<CheckpointName>> {
        let mut chain = vec![*self.complete.get(&lsn)?];
        while let Some(parent) = chain.last()?.parent {
            chain.push(*self.complete.get(&parent)?);
        }
        Some(chain)
    }

    /// Where the chain of a checkpoint breaks off.
    pub(crate) fn missing_parent(&self, mut lsn: Lsn) -> Lsn {
        while let Some(parent) = self.names.range(of(lsn)).next_back().and_then(|name| name.parent) {
            lsn = parent;
        }
        lsn
    }

    /// The `keep` newest checkpoints that are complete, oldest first, and if these rest on one base all, the newest
    /// that rests on another one.
    pub(crate) fn kept(&self, keep: usize) -> Vec<Lsn> {
        let base = |lsn: &Lsn| *self.chain(*lsn).expect("it is complete").last().expect("it has one link at least");
        let complete: BTreeMap<Lsn, CheckpointName> = self.complete.keys().map(|lsn| (*lsn, base(lsn))).collect();
        let mut kept: Vec<_> = complete.iter().rev().take(keep).collect();
        if keep > 1
            && let Some((_, base)) = kept.first()
            && kept.iter().all(|(_, other)| other == base)
        {
            kept.extend(complete.iter().rev().find(|(_, other)| other != base));
        }
        kept.reverse();
        kept.into_iter().map(|(lsn, _)| *lsn).collect()
    }

    /// The bases that these checkpoints rest on.
    pub(crate) fn bases(&self, lsns: &[Lsn]) -> BTreeSet<CheckpointName> {
        lsns.iter().filter_map(|lsn| self.chain(*lsn)?.pop()).collect()
    }
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
