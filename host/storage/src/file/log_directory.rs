//! The directory that holds one log.
//!
//! ```text
//! control   shared page (control.rs)       lock   locked bytes: reigns, replicas, first use
//! *.seg     segments (segment.rs)          *.tmp  segments and checkpoints being prepared
//! *.base, *.delta   checkpoints (checkpoint_file.rs)
//! ```
//!
//! **Architecture Invariant:** files in it are only added, except for leftovers, and for what a newer checkpoint makes
//! unnecessary (checkpoints.rs).

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use ambrosia_core::{Epoch, InstanceUuid, Lsn, ReplicaIndex};

use super::{
    checkpoint_directory::CheckpointDirectory,
    control::ControlPage,
    durable_file::{TEMPORARY_SUFFIX, file_names, remove_durably},
    machine::{Machine, MachineFile},
    segment::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentHeaderError, SegmentName},
    segment_order::reading_order,
};
use crate::{IoError, LogError, io_error::IoContext};

/// Bytes of the lock file, one for each epoch: the primary holds that of its own.
pub(crate) const REIGN_BYTES: Range<u64> = 0..1 << 60;
/// The byte held while the shared page is filled.
pub(crate) const FIRST_USE_BYTE: Range<u64> = 1 << 61..(1 << 61) + 1;
/// The byte held while checkpoints and segments that nobody needs are removed.
pub(crate) const TRIM_BYTE: Range<u64> = FIRST_USE_BYTE.end..FIRST_USE_BYTE.end + 1;
/// One byte for each replica, held while it runs.
pub(crate) const REPLICA_BYTES: Range<u64> = 1 << 62..(1 << 62) + (1 << 16);

pub(crate) fn reign_byte(epoch: Epoch) -> Range<u64> {
    assert!(
        REIGN_BYTES.contains(&epoch.0),
        "epochs stay below 2^60: above that, bytes of the lock mean something else"
    );
    epoch.0..epoch.0 + 1
}

pub(crate) fn replica_byte(replica: ReplicaIndex) -> Range<u64> {
    let byte = REPLICA_BYTES.start + u64::from(replica.0);
    byte..byte + 1
}

/// The directory of one log.
#[derive(Clone, Debug)]
pub(crate) struct LogDirectory {
    pub(crate) path: PathBuf,
    pub(crate) uuid: InstanceUuid,
    pub(crate) machine: Arc<dyn Machine>,
}

impl LogDirectory {
    pub(crate) fn lock_path(&self) -> PathBuf {
        self.path.join("lock")
    }

    pub(crate) fn control_path(&self) -> PathBuf {
        self.path.join("control")
    }

    /// The checkpoints in it.
    pub(crate) fn checkpoints(&self) -> CheckpointDirectory {
        CheckpointDirectory::on(Arc::clone(&self.machine), self.path.clone(), self.uuid)
    }

    /// An error with a remedy if the directory is gone. For logs of this machine.
    pub(crate) fn check_there(&self) -> Result<(), LogError> {
        match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(LogError::Gone { place: format!("directory {}", self.path.display()) })
            }
            found => Ok(found.context("examine", &self.path).map(drop)?),
        }
    }

    /// An error if the file of the shared page is not `control` any more: then the locks that are asked by their path
    /// are others than those of whoever shares the page.
    pub(crate) fn check_control(&self, control: &ControlPage) -> Result<(), LogError> {
        let path = self.control_path();
        if control.is_at(&path).context("examine", &path)? {
            Ok(())
        } else {
            Err(LogError::Replaced { place: path.display().to_string() })
        }
    }

    pub(crate) fn segment_path(&self, name: SegmentName) -> PathBuf {
        self.path.join(name.to_string())
    }

    /// Where the primary of `epoch` prepares a segment. No other process uses these names.
    pub(crate) fn temporary_path(&self, epoch: Epoch, purpose: &str) -> PathBuf {
        self.path.join(format!("{purpose}-{:010}{TEMPORARY_SUFFIX}", epoch.0))
    }

    /// Makes the lock file, which is empty.
    pub(crate) fn create_lock_file(&self) -> Result<(), IoError> {
        let path = self.lock_path();
        self.machine.create(&path).context("create", &path).map(drop)
    }

    /// All segments there are, also those that are not part of the log.
    pub(crate) fn segments(&self) -> Result<Vec<SegmentName>, IoError> {
        let names = file_names(&*self.machine, &self.path)?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// The segments of the log in reading order.
    pub(crate) fn reading_order(&self) -> Result<Vec<SegmentName>, LogError> {
        let order = reading_order(&self.segments()?);
        if order.is_empty() {
            return Err(self.corrupt(&self.path, 0, Lsn(1), "the directory has no segment of a log"));
        }
        Ok(order)
    }

    /// Opens a segment and checks its first block.
    pub(crate) fn open_segment(&self, name: SegmentName) -> Result<(Box<dyn MachineFile>, SegmentHeader), LogError> {
        let path = self.segment_path(name);
        let file = self.machine.open(&path).context("open", &path)?;
        let mut block = vec![0; SEGMENT_HEADER_BYTES];
        let read = read_up_to(&*file, &mut block, 0).context("read", &path)?;
        let header = SegmentHeader::decode(&block[..read]).map_err(|error| match error {
            SegmentHeaderError::Damaged => self.corrupt(&path, 0, name.first, &error.to_string()),
            SegmentHeaderError::Version(_) | SegmentHeaderError::Reserved => {
                LogError::OtherVersion { place: place_in(&path, 0), reason: error.to_string() }
            }
        })?;
        if header.uuid != self.uuid || header.name != name {
            return Err(self.corrupt(&path, 0, name.first, "the segment belongs to another place or instance"));
        }
        Ok((file, header))
    }

    /// Removes what primaries before `epoch` had prepared.
    pub(crate) fn remove_leftovers(&self, epoch: Epoch) -> Result<(), IoError> {
        for name in file_names(&*self.machine, &self.path)? {
            let number = name.strip_suffix(TEMPORARY_SUFFIX).and_then(|stem| stem.rsplit_once('-'));
            if number.and_then(|(_, digits)| digits.parse().ok()).is_some_and(|of: u64| of < epoch.0) {
                remove_durably(&*self.machine, &self.path.join(name))?;
            }
        }
        Ok(())
    }

    pub(crate) fn corrupt(&self, file: &Path, offset: u64, lsn: Lsn, reason: &str) -> LogError {
        LogError::Corrupt { place: place_in(file, offset), lsn, reason: reason.to_owned() }
    }
}

/// A byte of a file, for people.
pub(crate) fn place_in(file: &Path, offset: u64) -> String {
    format!("{}, offset {offset}", file.display())
}

/// Fills `buffer` from `offset` on, or as much of it as the file has.
pub(crate) fn read_up_to(file: &dyn MachineFile, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
