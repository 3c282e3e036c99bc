//! TLS with the server of a store: what a URL says of it, files of certificates and keys, and what is wrong in words.
//!
//! **Architecture Invariant:** a server on another machine is asked by TLS that sees who answers, or not at all.

mod files;
mod parameters;
mod words;

pub use files::{OwnFiles, TlsFault, TlsFiles, is_open_to_others};
pub use parameters::{TlsError, TlsParameters, decoded, is_here};
pub use words::words_of;
