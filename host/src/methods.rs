//! The methods of a registered module, as they are written down beside it, and values as they say them.
//!
//! **Architecture Invariant:** whoever only wants to know the methods of a registered module starts no engine for it.

use ambrosia_client::{decode_value, show_raw};
use ambrosia_methods::{Method, Methods};
use ambrosia_storage::{BlobError, BlobHash, Store};
use serde_json::Value;

/// What is written down beside a module; `None` if that is nothing, or the file is damaged.
///
/// # Errors
/// If the file can't be read.
pub(crate) fn written_down(store: &dyn Store, module: [u8; 32]) -> Result<Option<Methods>, BlobError> {
    let written = store.blobs().methods(BlobHash(module))?;
    Ok(written.and_then(|contents| Methods::decode(&contents)))
}

/// Writes methods down beside their module.
///
/// # Errors
/// If the store can't be written.
pub fn write_down(methods: &Methods, store: &dyn Store, module: [u8; 32]) -> Result<(), BlobError> {
    store.blobs().put_methods(BlobHash(module), &methods.encode())
}

/// What arguments or the result of a method say, as JSON.
pub fn show_value(method: &Method, bytes: &[u8]) -> Value {
    if method.message_pack() { decode_value(bytes) } else { show_raw(bytes) }
}
