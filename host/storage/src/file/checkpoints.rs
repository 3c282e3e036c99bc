//! The checkpoints of one log on files, and what they allow to be removed.
//!
//! Two replicas may take one at the same record; both are the same, since replicas are. So nobody has to lock anything, and
//! whoever dies while it writes leaves a file without a name.

use std::sync::Arc;

use ambrosia_core::{Lsn, ReplicaIndex, member::Keep};

use super::{
    checkpoint_directory::{CheckpointDirectory, WrittenFile},
    control::ControlPage,
    durable_file::remove_durably,
    log_directory::{LogDirectory, TRIM_BYTE},
    segment_order::trimmed,
    watcher::Watcher,
};
use crate::{
    Chains, Checkpoint, CheckpointError, CheckpointInfo, CheckpointName, HistoryCosts, IoError, LoadedCheckpoint,
    LogError, LogPart, Trimmed, io_error::IoContext,
};

/// The checkpoints of one log on files.
#[derive(Clone)]
pub struct FileCheckpoints {
    directory: Arc<LogDirectory>,
    files: CheckpointDirectory,
    pub(crate) control: Arc<ControlPage>,
    pub(crate) watcher: Watcher,
}

impl FileCheckpoints {
    pub(crate) fn new(directory: Arc<LogDirectory>, control: Arc<ControlPage>, watcher: Watcher) -> FileCheckpoints {
        let files = directory.checkpoints();
        FileCheckpoints { directory, files, control, watcher }
    }

    /// Keeps smaller memories as they are, too.
    #[cfg(test)]
    pub(crate) fn mapping_from(self, mapped_bytes_min: u64) -> FileCheckpoints {
        FileCheckpoints { files: self.files.mapping_from(mapped_bytes_min), ..self }
    }

    /// Writes a checkpoint to the disk. `by` is the replica that does it, one at a time.
    pub fn write(&self, checkpoint: &Checkpoint, by: ReplicaIndex) -> Result<WrittenFile, CheckpointError> {
        self.files.write(checkpoint, by)
    }

    /// Makes a checkpoint count. All records that it holds must be durable.
    pub fn publish(&self, written: WrittenFile) -> Result<(), IoError> {
        let lsn = written.name().lsn;
        assert!(lsn <= self.control.durable(), "a checkpoint holds durable records only");
        self.files.name(&written)?;
        self.control.publish_checkpoint(lsn);
        Ok(())
    }

    /// Gives up a checkpoint that is not to count.
    pub fn discard(&self, written: WrittenFile) -> Result<(), IoError> {
        self.files.discard(&written)
    }

    /// The newest checkpoint that was published since the machine started; 0 if there is none. A hint that is cheap.
    pub fn newest_published(&self) -> Lsn {
        self.control.checkpoint()
    }

    /// Blocks no longer than it takes to list a directory: all checkpoints that are complete, oldest first.
    pub fn list(&self) -> Result<Vec<CheckpointInfo>, IoError> {
        let chains = self.files.chains()?;
        let info = |lsn| CheckpointInfo {
            lsn,
            // Somebody may remove one just now.
            bytes: chains.at(lsn).map(|name| self.files.bytes_of(name)).sum(),
            depth: chains.chain(lsn).expect("it is complete").len() - 1,
        };
        Ok(chains.complete().map(info).collect())
    }

    /// Whether there is a checkpoint at that record, with all that it rests on.
    pub fn is_complete(&self, lsn: Lsn) -> Result<bool, IoError> {
        Ok(self.files.chains()?.chain(lsn).is_some())
    }

    /// Reads a checkpoint and all that it rests on, and checks every byte of it.
    pub fn load(&self, lsn: Lsn) -> Result<LoadedCheckpoint, CheckpointError> {
        self.files.load(&self.whole(&self.files.chains()?, lsn)?)
    }

    fn whole(&self, chains: &Chains, lsn: Lsn) -> Result<Vec<CheckpointName>, CheckpointError> {
        chains.whole(lsn, || self.directory.path.display().to_string())
    }

    /// Makes a base of the checkpoint if it rests on a long or large chain, so that a restore does not take longer and
    /// longer. True if it did.
    pub fn compact(&self, lsn: Lsn, by: ReplicaIndex) -> Result<bool, CheckpointError> {
        let chains = self.files.chains()?;
        if !chains.is_compaction_due(lsn, |name| Ok::<_, IoError>(self.files.bytes_of(name)))? {
            return Ok(false);
        }
        let written = self.files.write_base(&self.whole(&chains, lsn)?, by)?;
        self.publish(written)?;
        Ok(true)
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
        let unneeded = self.files.chains()?.unneeded(keep, applied, self)?;
        for name in unneeded.checkpoints {
            self.files.remove(name)?;
            done.checkpoints += 1;
        }
        if let Some(before) = unneeded.log_before {
            for name in trimmed(&self.directory.segments()?, before) {
                // One after the other, oldest first: a crash in between must leave no hole.
                remove_durably(&*self.directory.machine, &self.directory.segment_path(name))?;
                done.segments += 1;
            }
        }
        Ok(done)
    }

    /// Removes what an earlier process of the replica has left unfinished.
    pub fn remove_leftovers(&self, of: ReplicaIndex) -> Result<(), IoError> {
        self.files.remove_leftovers(of)
    }
}

impl HistoryCosts for FileCheckpoints {
    type Error = LogError;

    fn bytes_of(&self, name: CheckpointName) -> Result<u64, LogError> {
        let path = self.files.path_of(name);
        let file = self.directory.machine.open(&path).context("open", &path)?;
        Ok(file.bytes().context("examine", &path)?)
    }

    fn parts(&self, newest: Lsn, needed: Lsn) -> Result<Vec<LogPart>, LogError> {
        let order = self.directory.reading_order()?;
        let holding = |lsn: Lsn| order.partition_point(|name| name.first <= lsn).saturating_sub(1);
        let needed = holding(needed);
        let part = |(at, name): (usize, &super::segment::SegmentName)| {
            let path = self.directory.segment_path(*name);
            let length = || {
                let file = self.directory.machine.open(&path).context("open", &path)?;
                file.bytes().context("examine", &path)
            };
            let bytes = if at >= needed { 0 } else { length()? };
            Ok(LogPart { first: name.first, bytes })
        };
        order.iter().enumerate().take(holding(newest) + 1).rev().map(part).collect()
    }
}
