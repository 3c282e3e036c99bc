//! Where logs, registrations and modules are kept: the traits, one store on files, one in memory.
//!
//! An embedder opens a [`Store`], such as a [`FileStore`] over one directory, registers [`Instances`] in it, and for each
//! replica it runs takes the [`LogStore`] of the instance and a place among its [`Members`]. The order of calls in the life
//! of a replica:
//!
//! 1. [`Members::enter`], then [`Presence::beat`] every [`HEARTBEAT_INTERVAL`] from a thread of its own;
//! 2. [`LogStore::tail`] and [`LogTail::read`] until the replica has caught up, and whenever [`LogStore::subscribe`] tells
//!    that there may be more while it is a standby;
//! 3. [`LogStore::watch`], then [`LogTail::acquire`], then [`Presence::publish_primary`];
//! 4. [`LogWriter::append`] until a [`LogEvent::Stopped`], or [`LogWriter::close`] to hand over.
//!
//! **Architecture Invariant:** this crate does not know what a record means. It numbers, chains, stores and
//! returns them; only genesis, epoch and mark records are made here.

mod blob;
mod chains;
mod checkpoints;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod copying;
mod deregistration;
mod file;
mod history;
mod hosts;
mod instance_entry;
mod instances;
mod io_error;
mod killing;
mod log;
mod log_error;
mod members;
mod memory;
mod mended;
mod place;
mod placement;
mod placing;
mod pool;
mod process_place;
mod registry;
mod relayed;
mod rollback;
mod store;
mod subscription;
mod sync_times;
#[cfg(test)]
mod tests;
mod tokens;
mod upgrades;
mod vacancy_watcher;
mod wishes;

pub use ambrosia_core::member::{CheckpointHead, FenceLook, Keep, LogEvent, StopCause};
pub use blob::{BlobError, BlobHash, BlobStore};
pub use chains::{Chains, CheckpointName, HistoryCosts, Unneeded};
pub use checkpoints::{
    Checkpoint, CheckpointError, CheckpointInfo, Checkpoints, LoadedCheckpoint, LoadedMemory, MappedMemory,
    MemorySource, Trimmed, WrittenCheckpoint,
};
pub use copying::{CopiedInstance, CopyError, Progress, copy_instance, copy_tokens};
pub use deregistration::{Deregistered, remove_compiled};
pub use file::{
    CheckpointDirectory, DirectoryPlace, FileCheckpoints, FileLog, FileLogOptions, FileScan, FileStore, FileTail, Lock,
    LogTurns, Machine, MachineFile, OpenError, Page, RecordBefore, ScannedRecord, WrittenFile, time_since_boot,
};
pub use history::LogPart;
pub use hosts::{HostInfo, HostName, HostNameError, HostPresence, HostUuid, Hosts, JoinError};
pub use instance_entry::{EntryError, InstanceEntry, RecordedOutcome};
pub use instances::{Found, InstanceError, Instances, Registered};
pub use io_error::IoError;
pub use killing::{KillError, kill_member};
pub use log::{
    Acquired, Events, Head, LOG_QUEUE_BYTES_MAX, LogStore, LogTail, LogWriter, OnRead, OnVacancy, Vacancy, WriterStats,
};
pub use log_error::{AcquireError, AppendError, LogError};
pub use members::{
    CaptureMeans, EnterError, HEARTBEAT_INTERVAL, HEARTBEAT_SILENCE, Member, Members, Presence, PrimaryInfo,
    REPLICAS_MAX, Role,
};
pub use memory::{MemoryLog, MemoryStore};
pub use mended::is_mended_in_log;
pub use place::{EnginePlace, PlaceError, StorePlace};
pub use placement::{Keeper, LOOK_COUNTS_MAX, OtherReplica, Sightings, may_leave, rank, ranked, weight};
pub use placing::Placing;
pub use pool::{Pool, Task, Turn, Waker};
pub use process_place::ProcessPlace;
pub use registry::{KeyError, PutError, Registry, RegistryEntry, RegistryError, Revision, check_key};
pub use relayed::{Relayed, Relaying, StoreRight, Tell};
pub use rollback::Rollback;
pub use store::{CloseError, ClosedLog, Held, HeldRegistrations, LogId, LogScan, PlacedRecord, Store};
pub use subscription::{Callback, Subscription};
pub use sync_times::SyncTimes;
pub use tokens::{Deed, FoundToken, Token, TokenError, Tokens};
pub use upgrades::{
    Answered, Cancelled, MODULES_MAX, StandingWish, Upgrades, Waiting, Wanted, WantedLimits, WantedSkip, WishAnswer,
};
pub use wishes::{WishError, Wished};
