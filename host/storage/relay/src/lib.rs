//! A store that is reached through its hosts: whoever can't reach a database, or is not to, asks a host, which asks its own engine.
//!
//! An [`Engine`](ambrosia_shared_log::Engine) that has a connection with one host at a time, and a [`Depot`](ambrosia_shared_log::Depot) with
//! one for each errand. What is said on them is [`ambrosia_shared_log::Asked`] and [`ambrosia_shared_log::Told`]; a host, by [`serve`], passes bytes
//! between them and what answers, which is there, too.
//!
//! What is read in a session of one connection is durable if a barrier in that session says so, and no other one can: sessions are numbered
//! anew here, no two alike in a process, and one whose connection is over is over.
//!
//! **Architecture Invariant:** nothing here is decided about an answer, and none is made up: what a host has not answered is not known.

mod depot;
mod engine;
mod error;
mod link;
mod place;
mod reaching;
mod serving;
mod threads;

pub use engine::RelayEngine;
pub use error::{RelayError, RelayPlaceError};
pub use place::{RelayPlace, RelayStore};
pub use serving::serve;
