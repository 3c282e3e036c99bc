//! Takes a part of an instance's life into a store of its own: what somebody needs who is to look at it elsewhere.
//!
//! **Architecture Invariant:** of the store that it is taken from nothing is changed.

use std::{collections::BTreeSet, io, path::Path, sync::Arc};

use ambrosia_core::{CheckpointState, InstanceName, Lsn, Record, Remedy, ReplicaIndex};
use ambrosia_storage::{
    BlobHash, CheckpointError, Checkpoints, FileStore, InstanceEntry, Instances, LoadedCheckpoint, LogError, LogTail,
    OpenError, RecordBefore, RecordedOutcome, Store,
};

use super::error::TravelError;
use crate::{run::RunError, running_code::change_by};

/// What was exported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exported {
    /// The checkpoint that a journey begins at; `None` if the log begins with genesis.
    pub checkpoint: Option<Lsn>,
    /// The first record of the log.
    pub first: Lsn,
    /// The last one.
    pub last: Lsn,
}

/// Something can't be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The part of the log can't be had.
    #[error(transparent)]
    Source(#[from] TravelError),
    /// The new store can't be made.
    #[error(transparent)]
    Target(#[from] OpenError),
    /// A checkpoint can't be written.
    #[error("the checkpoint can't be written: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The end comes before the beginning.
    #[error("the export would begin at record {from} and end before, at record {to}")]
    Backwards {
        /// Its first record.
        from: Lsn,
        /// Its last.
        to: Lsn,
    },
    /// The operating system refused.
    #[error("the memory of a checkpoint can't be read: {0}")]
    Memory(io::Error),
}

macro_rules! source_errors {
    ($($error:ty),*) => {
        $(impl From<$error> for ExportError {
            fn from(error: $error) -> Self {
                ExportError::Source(error.into())
            }
        })*
    };
}

source_errors!(LogError, ambrosia_storage::InstanceError, ambrosia_storage::IoError, RunError);

/// Makes a store in `directory` with one instance, whose log has the records `from` to `to` and what a journey along
/// them needs: the checkpoint before the first, or the log from its beginning, and the modules.
///
/// # Errors
/// Any [`ExportError`]. The directory must not be there, or be empty.
pub fn export(
    store: &Arc<dyn Store>,
    instance: &InstanceName,
    (from, to): (Option<Lsn>, Option<Lsn>),
    directory: &Path,
) -> Result<Exported, ExportError> {
    let store = store.looking();
    let entry = store.instance(instance)?;
    let (log, checkpoints) = (store.log(entry.log())?, store.checkpoints(entry.log())?);
    let (first, last) = (log.first()?, log.head()?.durable);
    let (from, to) = (from.unwrap_or(first), to.unwrap_or(last));
    if to < from {
        return Err(ExportError::Backwards { from, to });
    }
    if from < first || to > last {
        let asked = if to > last { to } else { from };
        return Err(TravelError::Outside { asked, first, last }.into());
    }
    let beginning = beginning(&*checkpoints, first, from)?;
    let target = FileStore::create_new(directory)?;
    let mut modules = BTreeSet::from([beginning.as_ref().map_or(entry.module, |(_, state)| state.module())]);
    let mut current = *modules.first().expect("it was just put there");
    let before = beginning.as_ref().map(|(_, state)| RecordBefore {
        lsn: state.lsn(),
        link: state.link(),
        epoch: state.epoch(),
        time: state.time(),
    });
    let begins = before.map_or(Lsn(1), |before| before.lsn.next());
    let records = Copied { tail: log.tail(begins)?, read: Vec::new().into_iter(), next: begins, last: to };
    let mut unknown = None;
    let records = records.inspect(|record| {
        let Ok(record) = record else { return };
        match change_by(record) {
            Ok(Some(Remedy::Upgrade(upgrade))) => {
                modules.insert(upgrade.to);
                current = upgrade.to;
            }
            Ok(Some(Remedy::Skip(_)) | None) => {}
            Err(error) => {
                unknown.get_or_insert(TravelError::BadRecord { lsn: record.lsn(), error });
            }
        }
    });
    target.copy_log(entry.log(), before, records)?;
    if let Some(error) = unknown {
        return Err(error.into()); // which modules run behind it is not known
    }
    for module in modules {
        copy_module(&*store, &target, module)?;
    }
    let checkpoint = beginning.as_ref().map(|(_, state)| state.lsn());
    if let Some((loaded, _)) = beginning {
        let checkpoint = loaded.into_whole().map_err(ExportError::Memory)?;
        target.checkpoints(entry.log())?.write(&checkpoint, ReplicaIndex(0))?.publish()?;
    }
    target.adopt(&exported(entry, current, to))?;
    Ok(Exported { checkpoint, first: begins, last: to })
}

/// The newest checkpoint before `from` that is of use; `None` if the log has its beginning and there is none.
fn beginning(
    checkpoints: &dyn Checkpoints,
    first: Lsn,
    from: Lsn,
) -> Result<Option<(LoadedCheckpoint, CheckpointState)>, ExportError> {
    let infos = checkpoints.list()?;
    let mut reasons = String::new();
    for info in infos.iter().rev().filter(|info| info.lsn < from && info.lsn.next() >= first) {
        let loaded = checkpoints.load(info.lsn).map_err(|error| error.to_string());
        let read = loaded.and_then(|loaded| {
            let state = CheckpointState::decode(&loaded.state).map_err(|error| error.to_string())?;
            Ok((loaded, state))
        });
        match read {
            Ok(beginning) => return Ok(Some(beginning)),
            Err(reason) => reasons += &format!("\n  the checkpoint at lsn {}: {reason}", info.lsn),
        }
    }
    if first == Lsn(1) {
        return Ok(None);
    }
    match infos.iter().find(|info| info.lsn.next() >= first) {
        Some(info) if reasons.is_empty() => {
            let last = Lsn(u64::MAX);
            Err(TravelError::Outside { asked: from, first: info.lsn.next(), last }.into())
        }
        _ => Err(TravelError::NothingToBeginAt { first, reasons }.into()),
    }
}

/// The records of a log up to the last that is wanted.
struct Copied {
    tail: Box<dyn LogTail>,
    read: std::vec::IntoIter<Record>,
    next: Lsn,
    last: Lsn,
}

impl Iterator for Copied {
    type Item = Result<Record, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next > self.last {
            return None;
        }
        if self.read.len() == 0 {
            match self.tail.read() {
                Ok(records) => self.read = records.into_iter(),
                Err(error) => {
                    self.next = self.last.next();
                    return Some(Err(error));
                }
            }
        }
        let record = self.read.next()?;
        self.next = record.lsn().next();
        Some(Ok(record))
    }
}

fn copy_module(from: &dyn Store, to: &FileStore, module: [u8; 32]) -> Result<(), ExportError> {
    let hash = BlobHash(module);
    let bytes = from.blobs().get(hash).map_err(RunError::from)?;
    to.blobs().put(&bytes).map_err(RunError::from)?;
    if let Some(methods) = from.blobs().methods(hash).map_err(RunError::from)? {
        to.blobs().put_methods(hash, &methods).map_err(RunError::from)?;
    }
    Ok(())
}

/// The registration of the instance, as far as the export goes.
fn exported(entry: InstanceEntry, current: [u8; 32], to: Lsn) -> InstanceEntry {
    let ended = |outcome: &RecordedOutcome| match outcome {
        RecordedOutcome::Finished { lsn, .. } | RecordedOutcome::Halted { lsn, .. } => *lsn,
    };
    let mut upgrades = entry.upgrades;
    (upgrades.current, upgrades.wanted, upgrades.answered, upgrades.mended_at) = (current, None, None, Lsn(0));
    let outcome = entry.outcome.filter(|outcome| ended(outcome) <= to);
    InstanceEntry { replicas: [0].into(), outcome, upgrades, ..entry }
}
