//! The checkpoints of a log on files, as the trait of every store has them.

use std::{
    io,
    sync::{Arc, atomic::AtomicU32},
};

use ambrosia_core::{Lsn, ReplicaIndex, member::Keep};

use super::{checkpoint_directory::WrittenFile, checkpoints::FileCheckpoints, control::ControlPage, watcher::Watched};
use crate::{
    Callback, Checkpoint, CheckpointError, CheckpointInfo, Checkpoints, IoError, LoadedCheckpoint, LogError,
    Subscription, Trimmed, WrittenCheckpoint,
};

/// A file without the name of a checkpoint, and those that it is to be one of.
struct Written {
    checkpoints: FileCheckpoints,
    file: WrittenFile,
}

impl WrittenCheckpoint for Written {
    fn publish(self: Box<Self>) -> Result<(), IoError> {
        self.checkpoints.publish(self.file)
    }

    fn discard(self: Box<Self>) -> Result<(), IoError> {
        self.checkpoints.discard(self.file)
    }
}

/// The count of checkpoints published.
struct Published(Arc<ControlPage>);

impl Watched for Published {
    fn word(&self) -> &AtomicU32 {
        self.0.checkpoint_word()
    }
}

impl Checkpoints for FileCheckpoints {
    fn write(&self, checkpoint: &Checkpoint, by: ReplicaIndex) -> Result<Box<dyn WrittenCheckpoint>, CheckpointError> {
        let file = self.write(checkpoint, by)?;
        Ok(Box::new(Written { checkpoints: self.clone(), file }))
    }

    fn newest_published(&self) -> Lsn {
        self.newest_published()
    }

    fn subscribe(&self, call: Callback) -> io::Result<Subscription> {
        self.watcher.subscribe(Box::new(Published(Arc::clone(&self.control))), call)
    }

    fn list(&self) -> Result<Vec<CheckpointInfo>, IoError> {
        self.list()
    }

    fn is_complete(&self, lsn: Lsn) -> Result<bool, IoError> {
        self.is_complete(lsn)
    }

    fn load(&self, lsn: Lsn) -> Result<LoadedCheckpoint, CheckpointError> {
        self.load(lsn)
    }

    fn compact(&self, lsn: Lsn, by: ReplicaIndex) -> Result<bool, CheckpointError> {
        self.compact(lsn, by)
    }

    fn trim(&self, keep: Keep, applied: &[Lsn]) -> Result<Trimmed, LogError> {
        self.trim(keep, applied)
    }

    fn remove_leftovers(&self, of: ReplicaIndex) -> Result<(), IoError> {
        self.remove_leftovers(of)
    }
}
