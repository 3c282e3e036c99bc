//! Logs in etcd, 3.5.5 and newer: an [`Engine`](ambrosia_shared_log::Engine) whose requests are transactions on a few keys.
//!
//! The fence is a *head* for each log, and each append is conditional on it, in the transaction that also moves it. The layout is in
//! `layout.rs`. Groups of several logs go in one transaction, within which each has a transaction with a condition of its own, so
//! that one flush serves them all and one that is refused keeps none of the others back.
//!
//! etcd's interface is gRPC. What is used of it is a handful of messages, so they are written here, and no generated code and no compiler
//! of such is needed.
//!
//! **Architecture Invariant:** nothing here decides what is to be done about an answer; that is [`ambrosia_shared_log`]'s. What has
//! become of a request that was sent and not answered is never guessed.

mod channel;
mod engine;
mod error;
mod files;
mod groups;
mod heads;
mod keys;
mod layout;
mod line;
mod lives;
mod messages;
mod office;
mod parts;
mod place;
mod protobuf;
mod removal;
mod store_place;
mod tls;
mod upkeep;

pub use engine::EtcdEngine;
pub use error::{EtcdError, PlaceError};
pub use place::EtcdPlace;
pub use store_place::EtcdStore;
