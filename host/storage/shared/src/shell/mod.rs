//! Carries out what a committer wants: one thread for all logs of a host.
//!
//! **Architecture Invariant:** nothing is decided here: what is durable, who reigns and what is wrong a committer says.

#[cfg(feature = "conformance")]
pub mod conformance;
mod depot;
mod host;
mod log;
mod memory_engine;
mod relay;
mod store;
mod store_place;
mod tail;
mod writer;

pub use depot::{Depot, DepotError, Listing, Seal};
pub use host::EngineHost;
pub use log::EngineLog;
pub use memory_engine::MemoryEngine;
pub use store::EngineStore;
pub use store_place::{Connected, EngineStorePlace, EngineUrl};
