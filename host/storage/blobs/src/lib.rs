//! Where large contents of a store lie beside its engine: a directory that all hosts share, or an object store.
//!
//! **Architecture Invariant:** nothing here knows what the contents are, nor which of them count. Whoever waits for something gives up by
//! himself where nothing comes on.

mod connector;
mod directory;
mod errands;
mod mark;
mod objects;
mod place;
mod provider;
mod variables;
mod words;

pub use place::{BlobsPlace, BlobsPlaceError};
