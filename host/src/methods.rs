//! The methods of a registered module, as they are written down beside it, and values as they say them.
//!
//! **Architecture Invariant:** whoever only wants to know the methods of a registered module starts no engine for it.

use ambrosia_client::{decode_value, show_raw};
use ambrosia_methods::{Method, Methods};
use ambrosia_storage::{BlobError, BlobHash, Store};
use ambrosia_wire::{Control, METHODS_BYTES_MAX};
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

/// What a client is told that asks for methods.
pub(crate) fn told(methods: &Methods) -> Control {
    let table = methods.encode();
    if table.len() > METHODS_BYTES_MAX {
        let bytes = table.len();
        let reason = format!(
            "what the module describes takes {bytes} bytes, and {METHODS_BYTES_MAX} are the most that a host tells. Use the \
             store of the instance"
        );
        return Control::NoMethods { reason };
    }
    Control::MethodTable { table }
}

/// What arguments or the result of a method say, as JSON.
pub fn show_value(method: &Method, bytes: &[u8]) -> Value {
    if method.message_pack() { decode_value(bytes) } else { show_raw(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_told_as_they_are_written_down_and_only_up_to_a_limit() {
        let method = |docs: usize| {
            let mut method = Method::without_types("add".to_owned(), vec!["n".to_owned()], true);
            method.docs = "x".repeat(docs);
            Methods::new(vec![method])
        };
        let Control::MethodTable { table } = told(&method(10)) else { panic!("it is small") };
        assert_eq!(Methods::decode(&table), Some(method(10)));
        assert!(
            matches!(told(&method(METHODS_BYTES_MAX)), Control::NoMethods { reason } if reason.contains("the most"))
        );
    }
}
