//! Where large contents of a store lie beside its engine: a directory that all hosts share.
//!
//! **Architecture Invariant:** nothing here knows what the contents are, nor which of them count. Whoever waits for something gives up by
//! himself where nothing comes on.

mod directory;
mod errands;
mod place;

pub use place::{BlobsPlace, BlobsPlaceError};
