//! A log that is about to be removed: no replica of it runs, and none begins to.
//!
//! **Architecture Invariant:** it asks for nothing but the locks of a log, so that one can be removed of which nothing else can
//! be read.

use std::collections::BTreeSet;

use ambrosia_core::ReplicaIndex;

use super::{
    genesis_log::{mark_deregistered, remove_log},
    log_directory::{LogDirectory, REIGN_BYTES, REPLICA_BYTES, replica_byte},
    machine::{Lock, Machine, ThisMachine},
};
use crate::{CloseError, ClosedLog, IoError, LogError, io_error::IoContext};

struct ClosedDirectory {
    directory: LogDirectory,
    _replicas: [Lock; 2],
}

impl ClosedLog for ClosedDirectory {
    fn remove(self: Box<Self>) -> Result<(), IoError> {
        remove_log(&self.directory)
    }
}

/// Closes the log in a directory, and marks it as gone. `None` if it is not there.
pub(crate) fn close(
    directory: LogDirectory,
    replicas: &BTreeSet<ReplicaIndex>,
) -> Result<Option<Box<dyn ClosedLog>>, CloseError> {
    if matches!(directory.check_there(), Err(LogError::Gone { .. })) {
        return Ok(None);
    }
    let replicas = lock_replicas(&directory, replicas)?;
    mark_deregistered(&directory)?;
    Ok(Some(Box::new(ClosedDirectory { directory, _replicas: replicas })))
}

/// Keeps every replica from beginning to run.
pub(crate) fn lock_replicas(
    directory: &LogDirectory,
    replicas: &BTreeSet<ReplicaIndex>,
) -> Result<[Lock; 2], CloseError> {
    let path = directory.lock_path();
    if let Ok(false) = path.try_exists() {
        // Whoever had the one that is gone is not seen; without a control page it ends by itself.
        directory.create_lock_file()?;
    }
    let take = |range, what: &str| {
        let lock = ThisMachine.try_lock(&path, range).context("lock", &path)?;
        lock.ok_or_else(|| CloseError::Running { what: what.to_owned() })
    };
    for replica in replicas {
        let what = format!("replica {replica}");
        drop(take(replica_byte(*replica), &what)?);
    }
    Ok([take(REPLICA_BYTES, "a replica")?, take(REIGN_BYTES, "a primary")?])
}
