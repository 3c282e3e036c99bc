//! Fuzz targets that depend on wasmtime, or take as long to be built: see [`ambrosia_fuzz`].
//!
//! **Architecture Invariant:** as there; wasmtime itself compiles and runs the same component alike each time.

pub mod arguments;
pub mod components;
pub mod frames;
