//! Makes and removes the directory of a log, so that a crash leaves it whole or recognisable as a leftover.
//!
//! **Architecture Invariant:** a directory with records of a primary is removed only if it was marked as deregistered.

use std::{collections::BTreeSet, fs, path::Path};

use ambrosia_core::{Epoch, Record};

use super::{
    durable_file::{create_directory_durably, file_names, rename_durably, sync_directory, write_durably},
    log_directory::LogDirectory,
    machine::ThisMachine,
    segment::{LastRecord, SEGMENT_HEADER_BYTES, SegmentName},
    segment_writer::{SegmentPlace, write_segment},
};
use crate::{IoError, LogId, io_error::IoContext};

/// Ends the name of a directory that nobody has finished.
const UNFINISHED_SUFFIX: &str = ".new";
/// Ends the name of a directory that is being removed.
const REMOVED_SUFFIX: &str = ".removed";
/// Says in a directory that its instance was deregistered.
const DEREGISTERED_FILE: &str = "deregistered";

/// Makes the log that begins with `genesis`.
pub(crate) fn create_log(logs: &Path, directory: &LogDirectory, genesis: &Record) -> Result<(), IoError> {
    let unfinished = unfinished(logs, directory);
    create_directory_durably(&unfinished.path)?;
    begin_log(&unfinished, genesis)?;
    rename_durably(&ThisMachine, &unfinished.path, &directory.path)
}

/// The directory that a log is made in, before it gets its name.
pub(crate) fn unfinished(logs: &Path, directory: &LogDirectory) -> LogDirectory {
    LogDirectory {
        path: logs.join(format!("{}{UNFINISHED_SUFFIX}", directory.uuid)),
        uuid: directory.uuid,
        machine: directory.machine.clone(),
    }
}

/// Writes lock file and first segment into an empty directory.
pub(crate) fn begin_log(directory: &LogDirectory, genesis: &Record) -> Result<(), IoError> {
    directory.create_lock_file()?;
    let capacity = (SEGMENT_HEADER_BYTES + genesis.stored().len()) as u64;
    let temporary = directory.temporary_path(Epoch(0), "first");
    let file = directory.machine.create(&temporary).context("create", &temporary)?;
    let place = SegmentPlace { follows: Epoch(0), epoch: Epoch(0), before: LastRecord::NONE };
    write_segment(directory, &*file, &temporary, capacity, place, genesis.stored())?;
    Ok(())
}

/// Says in the directory that its instance is being deregistered, so that it may be removed once the entry is gone.
pub(crate) fn mark_deregistered(directory: &LogDirectory) -> Result<(), IoError> {
    write_durably(&directory.path.join(DEREGISTERED_FILE), &[])
}

/// Removes the log of an instance whose entry is gone.
///
/// It gets another name first: whoever looks at it just now could make a file in it again, such as the control page.
pub(crate) fn remove_log(directory: &LogDirectory) -> Result<(), IoError> {
    let logs = directory.path.parent().expect("logs lie in a directory");
    let removed = logs.join(format!("{}{REMOVED_SUFFIX}", directory.uuid));
    rename_durably(&ThisMachine, &directory.path, &removed)?;
    fs::remove_dir_all(&removed).context("remove", &removed)?;
    sync_directory(&ThisMachine, logs)
}

/// Removes what crashes have left of logs being made or removed. `known` are the logs that instances have.
pub(crate) fn remove_orphans(logs: &Path, known: &BTreeSet<LogId>, is_all_known: bool) -> Result<(), IoError> {
    let known: BTreeSet<String> = known.iter().map(LogId::to_string).collect();
    for name in file_names(&ThisMachine, logs)? {
        let path = logs.join(&name);
        if !known.contains(&name) && is_leftover(&name, &path, is_all_known)? {
            tracing::info!(directory = %path.display(), "removing what a registration that was cut short has left");
            fs::remove_dir_all(&path).context("remove", &path)?;
        }
    }
    Ok(())
}

fn is_leftover(name: &str, path: &Path, is_all_known: bool) -> Result<bool, IoError> {
    if name.ends_with(UNFINISHED_SUFFIX) || name.ends_with(REMOVED_SUFFIX) {
        return Ok(true);
    }
    let files = file_names(&ThisMachine, path)?;
    let reigned = files.iter().filter_map(|file| file.parse().ok()).any(|name: SegmentName| name.epoch > Epoch(0));
    Ok(is_all_known && !reigned || files.iter().any(|file| file == DEREGISTERED_FILE))
}
