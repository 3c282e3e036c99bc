//! Fuzz targets that depend on wasmtime: see [`ambrosia_fuzz`].
//!
//! **Architecture Invariant:** as there; wasmtime itself compiles and runs the same component alike each time.

pub mod components;
pub mod frames;
