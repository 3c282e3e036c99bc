//! Takes back compiled code.
//!
//! **Architecture Invariant:** this file reads no bytes of its own; who calls it has checked them.
#![allow(unsafe_code, reason = "compiled code is trusted: wasmtime can't check it")]

use wasmtime::{Engine, component::Component};

/// Takes compiled code whose SHA-256 was checked against the one stored with it by this program.
///
/// Whoever can write to the cache directory can run code as this process, as with any other executable file.
pub(crate) fn deserialize(engine: &Engine, compiled: &[u8]) -> Result<Component, wasmtime::Error> {
    // SAFETY: the bytes are those that `Component::serialize` gave, as far as a checksum can tell, and wasmtime
    // itself compares its version, target and settings.
    unsafe { Component::deserialize(engine, compiled) }
}
