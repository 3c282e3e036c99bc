//! Logs in PostgreSQL, 15 and newer: an [`Engine`](ambrosia_shared_log::Engine) whose requests are one statement each.
//!
//! The fence is a *head row* for each log, and each append is conditional on it, in the statement that also moves it. The layout is in
//! [`schema`], each statement in `statements.rs`.
//!
//! A standby that follows synchronously is what makes a commit outlive a machine. PostgreSQL tells a client of success although that has
//! not happened, with a warning beside, when a wait for the standby is broken off, and after a crash in that wait the row is there, and on no standby. So any
//! warning makes the outcome unknown, and whatever is read counts only behind a barrier in the same session.
//!
//! **Architecture Invariant:** nothing here decides what is to be done about an answer; that is [`ambrosia_shared_log`]'s.

mod barriers;
mod binding;
mod conversation;
mod engine;
mod error;
mod key_statements;
mod keys;
mod known;
mod line;
mod parameters;
mod place;
mod rows;
pub mod schema;
mod servers;
mod statements;
mod store_place;
mod succession;
mod tls;

pub use engine::PostgresEngine;
pub use error::{PlaceError, PostgresError};
pub use place::PostgresPlace;
pub use store_place::PostgresStore;
