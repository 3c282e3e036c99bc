//! Builds replicas from what is on the disk: from a checkpoint, or from the beginning of the log.

use std::{collections::VecDeque, sync::Arc};

use std::os::fd::OwnedFd;

use ambrosia_core::{
    CheckpointState, Genesis, Input, Lsn, Record, RecordKind, StateError, is_void,
    member::{CheckpointHead, Unusable, check_head, resume},
};
use ambrosia_engine::{Image, MappedFile, MemoryImage, RestoreError, WasmGuest};
use ambrosia_storage::{CheckpointError, LoadedCheckpoint, LoadedMemory, LogError, LogTail, MappedMemory};

use crate::{
    driver::{Driver, Replica},
    run::RunError,
};

/// A replica as it stood at some record, and the log behind it.
struct Recovered {
    replica: Replica,
    tail: Box<dyn LogTail>,
    /// Records behind it that were read already.
    records: Vec<Record>,
}

/// Why one checkpoint can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRestored {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("its state can't be read: {0}")]
    State(#[from] StateError),
    #[error("its module can't be loaded: {0}")]
    Module(String),
    #[error("its guest can't be restored: {0}")]
    Guest(#[from] RestoreError),
    #[error(transparent)]
    Unusable(#[from] Unusable),
    #[error("the log does not go on where it ends: {0}")]
    Log(#[from] LogError),
}

impl NotRestored {
    /// Whether somebody may have removed a file just now, since another one took its place.
    pub(crate) fn is_of_a_file_that_vanished(&self) -> bool {
        matches!(
            self,
            NotRestored::Checkpoint(
                CheckpointError::Missing { .. } | CheckpointError::ParentMissing { .. } | CheckpointError::Io(_)
            )
        )
    }
}

impl Driver {
    /// Reads a checkpoint: what it is of, the replicated state, and the guest.
    pub(crate) fn load(&self, lsn: Lsn) -> Result<(CheckpointHead, CheckpointState, Image), NotRestored> {
        let loaded = self.checkpoints.load(lsn)?;
        assert_eq!(loaded.head.lsn, lsn, "a checkpoint is of the record that it is named by");
        let state = CheckpointState::decode(&loaded.state)?;
        Ok((loaded.head, state, image(loaded)))
    }

    /// Makes the guest of a checkpoint, which ran that module, with the limits that it had then.
    pub(crate) fn restore_guest(
        &self,
        module: [u8; 32],
        genesis: &Genesis,
        image: Image,
    ) -> Result<WasmGuest, NotRestored> {
        let module = self.modules.module(module).map_err(|error| NotRestored::Module(error.to_string()))?;
        Ok(module.restore(genesis, image)?.with_source(Arc::clone(&self.modules) as _))
    }

    fn begin_at_genesis(&self) -> Result<Recovered, RunError> {
        let mut tail = self.log.tail(Lsn(1))?;
        let mut records = tail.read()?;
        if records.is_empty() {
            return Err(RunError::NoGenesis);
        }
        let genesis = records.remove(0);
        assert_eq!(genesis.lsn(), Lsn(1), "the first record of a log is read first");
        let body = Genesis::decode(genesis.body()).map_err(RunError::Genesis)?;
        let guest = self.modules.module(body.module)?.instantiate(&body)?.with_source(Arc::clone(&self.modules) as _);
        let replica = Replica::new(&genesis, guest).map_err(RunError::Genesis)?;
        Ok(Recovered { replica, tail, records })
    }

    fn restore(&self, lsn: Lsn) -> Result<Recovered, NotRestored> {
        let replica = self.restore_replica(lsn)?;
        assert_eq!(replica.applied(), lsn, "a replica begins at its checkpoint");
        let tail = self.log.tail(lsn.next())?;
        if tail.link() != replica.link() {
            return Err(Unusable::Link.into());
        }
        Ok(Recovered { replica, tail, records: Vec::new() })
    }

    fn restore_replica(&self, lsn: Lsn) -> Result<Replica, NotRestored> {
        let (head, state, image) = self.load(lsn)?;
        check_head(&head, &state)?;
        let guest = self.restore_guest(state.module(), &state.genesis_of_guest(), image)?;
        Ok(resume(&head, state, guest)?)
    }

    /// Sees that a checkpoint just taken gives what was captured.
    ///
    /// # Panics
    /// If it does not.
    pub(crate) fn check_checkpoint(&self, lsn: Lsn) {
        match self.restore_replica(lsn) {
            // A replica that was faster may have made it unnecessary.
            Ok(_) | Err(NotRestored::Checkpoint(CheckpointError::Missing { .. })) => {}
            Err(error) => panic!("the checkpoint just taken at lsn {lsn} can't be used: {error}"),
        }
    }

    /// A replica as the log makes it at `lsn`, from a checkpoint before that if there is one.
    pub(crate) fn replay_to(&self, lsn: Lsn) -> Result<Replica, RunError> {
        let infos = self.checkpoints.list().map_err(LogError::from)?;
        let before = infos.iter().rev().filter(|info| info.lsn <= lsn);
        let restored = before.filter_map(|info| self.restore(info.lsn).ok()).next();
        let Recovered { mut replica, mut tail, records, .. } = match restored {
            Some(restored) => restored,
            None => self.begin_at_genesis()?,
        };
        assert!(replica.applied() <= lsn, "a replay begins before it ends");
        let (mut records, mut outputs) = (VecDeque::from(records), Vec::new());
        while replica.applied() < lsn {
            if !has_what_decides(&records) {
                let more = tail.read()?;
                if !more.is_empty() {
                    records.extend(more);
                    continue;
                }
            }
            let Some(record) = records.pop_front() else { break };
            let input = if is_void(&record, &records) { Input::Void(record) } else { Input::Record(record) };
            replica.step(input, &mut outputs);
            outputs.clear();
        }
        Ok(replica)
    }
}

/// Whether the records tell of the first of them if it is void: then a mend of it comes first behind it, but for those that
/// begin reigns.
fn has_what_decides(records: &VecDeque<Record>) -> bool {
    let Some(first) = records.front() else { return false };
    first.header().kind != RecordKind::Deliver
        || records.iter().skip(1).any(|record| record.header().kind != RecordKind::Epoch)
}

fn image(loaded: LoadedCheckpoint) -> Image {
    Image { registers: loaded.registers, memories: loaded.memories.into_iter().map(memory_image).collect() }
}

fn memory_image(memory: LoadedMemory) -> MemoryImage {
    MemoryImage {
        bytes: memory.bytes,
        hashes: memory.hashes,
        mapped: memory.mapped.map(|MappedMemory { source, offset, bytes }| MappedFile {
            file: OwnedFd::from(source).into(),
            offset,
            bytes,
        }),
        pages: memory.pages,
    }
}
