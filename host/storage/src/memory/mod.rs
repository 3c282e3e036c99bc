//! The same store in memory, for tests of everything above it: any number of replicas in one process.
//!
//! **Architecture Invariant:** nothing here outlives its process, and nothing here touches the disk.

mod memory_checkpoints;
mod memory_hosts;
mod memory_log;
mod memory_members;
mod memory_registry;
mod memory_store;
mod shared;
mod subscribers;

pub use memory_log::MemoryLog;
pub use memory_store::MemoryStore;
