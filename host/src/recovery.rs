//! Builds a replica from what is on the disk: the newest checkpoint that can be used, or the whole log.
//!
//! **Architecture Invariant:** a checkpoint that can't be used is said to be so and never stops a recovery that an
//! older one, or the log, still allows.

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use ambrosia_core::{CheckpointState, Genesis, Lsn, Record, StateError};
use ambrosia_engine::{Image, MappedFile, MemoryImage, RestoreError};
use ambrosia_storage::{CheckpointError, LoadedCheckpoint, LoadedMemory, LogError, LogTail, MappedMemory};

use crate::{
    driver::{Driver, Replica},
    run::RunError,
};

/// A replica as it stood at some record, and the log behind it.
pub(crate) struct Recovered {
    pub(crate) replica: Replica,
    pub(crate) tail: Box<dyn LogTail>,
    /// Records behind it that were read already.
    pub(crate) records: Vec<Record>,
    /// The checkpoint that it was restored from, if it was from one.
    pub(crate) checkpoint: Option<Lsn>,
}

/// Why one checkpoint can't be used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("its state can't be read: {0}")]
    State(#[from] StateError),
    #[error("its guest can't be restored: {0}")]
    Guest(#[from] RestoreError),
    #[error("it is of another module")]
    Module,
    #[error("it was captured by another version of the engine; --allow-engine-change accepts it")]
    Engine,
    #[error("what was restored is not what was captured: {0} differs")]
    Digest(&'static str),
    #[error("the log does not go on where it ends: {0}")]
    Log(#[from] LogError),
    #[error("it does not belong to this log, which has another record at its end")]
    Link,
}

impl Unusable {
    /// Whether somebody may have removed a file just now, since another one took its place.
    fn is_of_a_file_that_vanished(&self) -> bool {
        matches!(
            self,
            Unusable::Checkpoint(
                CheckpointError::Missing { .. } | CheckpointError::ParentMissing { .. } | CheckpointError::Io(_)
            )
        )
    }
}

impl Driver {
    /// Builds the replica.
    pub(crate) fn recover(&self) -> Result<Recovered, RunError> {
        // Somebody may trim the log while this one looks for where to begin: then there is a newer checkpoint.
        let mut tried = None;
        loop {
            let (mut reasons, mut vanished) = (String::new(), false);
            let infos = self.checkpoints.list().map_err(LogError::from)?;
            let newest = infos.last().map_or(Lsn(0), |info| info.lsn);
            let mut lsns: Vec<_> = infos.iter().rev().map(|info| info.lsn).collect();
            if self.options.from_beginning {
                match self.begin_at_genesis() {
                    // Older ones are there only since others rest on them.
                    Err(RunError::Log(LogError::Missing { first, .. })) => {
                        lsns.retain(|lsn| lsn.next() >= first);
                        lsns.reverse();
                    }
                    begun => return begun,
                }
            }
            for lsn in lsns {
                let begin = Instant::now();
                match self.restore(lsn) {
                    Ok(recovered) => {
                        let ms = begin.elapsed().as_secs_f64() * 1e3;
                        tracing::info!(instance = %self.name, %lsn, "restored a checkpoint in {ms:.1} ms");
                        return Ok(recovered);
                    }
                    Err(reason) => {
                        vanished |= reason.is_of_a_file_that_vanished();
                        tracing::warn!(instance = %self.name, %lsn, "a checkpoint can't be used: {reason}");
                        write!(reasons, "\n  the checkpoint at lsn {lsn}: {reason}").expect("a string takes all");
                    }
                }
            }
            match self.begin_at_genesis() {
                Err(RunError::Log(LogError::Missing { .. })) if self.may_be_overtaken(newest, tried, vanished) => {
                    tried = Some(newest);
                }
                Err(RunError::Log(LogError::Missing { first, .. })) => {
                    return Err(RunError::NothingToBeginAt { name: self.name.clone(), first, reasons });
                }
                begun => return begun,
            }
        }
    }

    /// Whether checkpoints were published, or put together, since the list was made that ends with `newest`. A list
    /// with the same end is looked at twice at most.
    fn may_be_overtaken(&self, newest: Lsn, tried: Option<Lsn>, vanished: bool) -> bool {
        tried != Some(newest) && (vanished || self.checkpoints.newest_published() > newest)
    }

    fn begin_at_genesis(&self) -> Result<Recovered, RunError> {
        let mut tail = self.log.tail(Lsn(1))?;
        let mut records = tail.next(Duration::ZERO)?;
        if records.is_empty() {
            return Err(RunError::NoGenesis);
        }
        let genesis = records.remove(0);
        let body = Genesis::decode(genesis.body()).map_err(RunError::Genesis)?;
        let replica = Replica::new(&genesis, self.module.instantiate(&body)?).map_err(RunError::Genesis)?;
        Ok(Recovered { replica, tail, records, checkpoint: None })
    }

    fn restore(&self, lsn: Lsn) -> Result<Recovered, Unusable> {
        let replica = self.restore_replica(lsn)?;
        let tail = self.log.tail(lsn.next())?;
        if tail.link() != replica.link() {
            return Err(Unusable::Link);
        }
        Ok(Recovered { replica, tail, records: Vec::new(), checkpoint: Some(lsn) })
    }

    fn restore_replica(&self, lsn: Lsn) -> Result<Replica, Unusable> {
        let loaded = self.checkpoints.load(lsn)?;
        let head = loaded.head;
        let state = CheckpointState::decode(&loaded.state)?;
        if head.module != state.genesis().module {
            return Err(Unusable::Module);
        }
        if head.engine != self.engine && !self.options.allow_engine_change {
            return Err(Unusable::Engine);
        }
        let guest = self.module.restore(state.genesis(), image(loaded))?;
        let mut replica = Replica::resume(state, guest);
        if replica.digest() != head.state_digest {
            return Err(Unusable::Digest("the replicated state"));
        }
        if replica.guest_mut().digest() != head.memory_digest {
            return Err(Unusable::Digest("the memory of the guest"));
        }
        Ok(replica)
    }

    /// Sees that a checkpoint just taken gives what was captured.
    ///
    /// # Panics
    /// If it does not.
    pub(crate) fn check_checkpoint(&self, lsn: Lsn) {
        match self.restore_replica(lsn) {
            // A replica that was faster may have made it unnecessary.
            Ok(_) | Err(Unusable::Checkpoint(CheckpointError::Missing { .. })) => {}
            Err(error) => panic!("the checkpoint just taken at lsn {lsn} can't be used: {error}"),
        }
    }

    /// A replica as the log makes it at `lsn`, from a checkpoint before that if there is one.
    pub(crate) fn replay_to(&self, lsn: Lsn) -> Result<Replica, RunError> {
        let infos = self.checkpoints.list().map_err(LogError::from)?;
        let before = infos.iter().rev().filter(|info| info.lsn <= lsn);
        let restored = before.filter_map(|info| self.restore(info.lsn).ok()).next();
        let Recovered { mut replica, mut tail, mut records, .. } = match restored {
            Some(restored) => restored,
            None => self.begin_at_genesis()?,
        };
        let mut outputs = Vec::new();
        loop {
            for record in records {
                if record.lsn() > lsn {
                    return Ok(replica);
                }
                replica.step(ambrosia_core::Input::Record(record), &mut outputs);
                outputs.clear();
            }
            records = if replica.applied() < lsn { tail.next(Duration::ZERO)? } else { Vec::new() };
            if records.is_empty() {
                return Ok(replica);
            }
        }
    }
}

fn image(loaded: LoadedCheckpoint) -> Image {
    Image { registers: loaded.registers, memories: loaded.memories.into_iter().map(memory_image).collect() }
}

fn memory_image(memory: LoadedMemory) -> MemoryImage {
    MemoryImage {
        bytes: memory.bytes,
        hashes: memory.hashes,
        mapped: memory.mapped.map(|MappedMemory { file, offset, bytes }| MappedFile { file, offset, bytes }),
        pages: memory.pages,
    }
}
