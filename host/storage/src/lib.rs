//! Where logs, registrations and modules are kept: the traits, one store on files, one in memory.
//!
//! An embedder opens a [`FileStore`] over one directory, registers instances in it, and for each replica it runs
//! takes the [`LogStore`] of the instance and a place in its [`Roster`]. The order of calls in the life of a replica:
//!
//! 1. [`Roster::enter`], then [`Presence::beat`] every [`HEARTBEAT_INTERVAL`] from a thread of its own;
//! 2. [`LogStore::tail`] and [`LogTail::next`] until the replica has caught up, and further while it is a standby;
//! 3. [`LogStore::wait_for_vacancy`], then [`LogStore::acquire`] with the tail, then [`Presence::publish_primary`];
//! 4. [`LogWriter::append`] until a [`LogEvent::Stopped`], or [`LogWriter::close`] to hand over.
//!
//! **Architecture Invariant:** this crate does not know what a record means. It numbers, chains, stores and
//! returns them; only genesis, epoch and mark records are made here.

mod blob;
mod checkpoint;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod file;
mod io_error;
mod log;
mod log_error;
mod memory;
mod registry;
mod sync_times;
#[cfg(test)]
mod tests;

pub use ambrosia_core::member::{CheckpointHead, LogEvent, StopCause};
pub use blob::{BlobError, BlobHash, BlobStore};
pub use checkpoint::{Checkpoint, CheckpointError, CheckpointInfo, LoadedCheckpoint, LoadedMemory, MappedMemory};
pub use file::*;
pub use io_error::IoError;
pub use log::{
    Acquired, Events, Head, Interrupter, LOG_QUEUE_BYTES_MAX, LogStore, LogTail, LogWriter, Vacancy, WriterStats,
};
pub use log_error::{AcquireError, AppendError, LogError};
pub use memory::{MemoryLog, MemoryStore};
pub use registry::{KeyError, PutError, Registry, RegistryEntry, RegistryError, Revision, check_key};
pub use sync_times::SyncTimes;
