//! The same traits in memory, for tests.
//!
//! **Architecture Invariant:** nothing here outlives its process, and nothing here touches the disk.

mod memory_log;
mod memory_store;
mod subscribers;

pub use memory_log::MemoryLog;
pub use memory_store::MemoryStore;
