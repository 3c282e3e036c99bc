//! The store on files: one directory on a local disk, used by any number of processes at once.
//!
//! **Architecture Invariant:** no process has to be running for another one to work: there is no server, and what
//! processes tell each other goes through mapped files and locks, neither of which survives a crash in a state that misleads.

mod address;
mod byte_lock;
mod checkpoint_directory;
mod checkpoint_file;
mod checkpoints;
mod closed_log;
mod control;
mod copied_log;
mod cursor;
mod durable_file;
mod evidence;
mod evidence_unsalted;
mod file_blobs;
mod file_hosts;
mod file_log;
mod file_members;
mod file_registry;
mod file_store;
mod file_tail;
mod file_writer;
mod first_use;
mod genesis_log;
mod listener;
mod lock_wait;
mod log_directory;
mod log_end;
mod log_thread;
mod machine;
mod options;
mod ownership;
pub(crate) mod pidfd;
mod process_watcher;
mod queue;
mod salt;
mod scan;
mod segment;
mod segment_order;
mod segment_writer;
mod shared_page;
mod silence;
mod system;
mod vacancy;
mod watcher;
mod written_checkpoint;

pub use checkpoint_directory::{CheckpointDirectory, WrittenFile};
pub use checkpoints::FileCheckpoints;
pub use copied_log::RecordBefore;
pub use file_log::FileLog;
pub use file_store::{DirectoryPlace, FileStore, OpenError};
pub use file_tail::FileTail;
pub use log_thread::LogTurns;
pub use machine::{Lock, Machine, MachineFile, Page};
pub use options::FileLogOptions;
pub use scan::{FileScan, ScannedRecord};
pub use system::time_since_boot;

pub(crate) use file_log::epoch_record;
pub(crate) use file_writer::check_follows;
pub(crate) use segment::LastRecord;
pub(crate) use silence::Silence;
pub(crate) use system::host_name;

/// What tests write behind the back of the store.
#[cfg(test)]
pub(crate) mod testing {
    pub(crate) use super::{
        cursor::Cursor,
        salt::Salt,
        segment::{LastRecord, SegmentHeader, SegmentName},
    };

    /// What another process has while it trims.
    pub(crate) fn hold_trim_lock(log: &super::FileLog) -> super::Lock {
        let directory = log.directory();
        let lock = directory.machine.try_lock(&directory.lock_path(), super::log_directory::TRIM_BYTE);
        lock.expect("works").expect("nobody else is at it")
    }
}
