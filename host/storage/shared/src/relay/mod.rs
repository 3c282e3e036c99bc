//! What is said where somebody uses an engine through a host that has it: whoever can't reach a database asks a host, and the host asks
//! its own engine. `docs/formats.md` has the bytes.
//!
//! Whoever asks says one [`Asked`] after the other, each of which is answered by one [`Told`]; to questions of the engine the answers come in
//! any order. A connection carries either those or contents of the depot, in pieces.
//!
//! **Architecture Invariant:** nothing here is sent or received, and nothing is asked: these are bytes, and what they need.

mod asked;
mod facts;
mod layout;
mod octets;
mod rights;

pub use asked::{Asked, DepotFault, RelayedPlace, Told};
pub use facts::RelayFacts;
pub use octets::{Unreadable, decode, encode};
pub use rights::needs_to_change;

/// The version of all that. Both sides have to speak the same one.
pub const RELAY_VERSION: u16 = 3;

/// Contents of a depot go in pieces of so many bytes.
pub const PIECE_BYTES: usize = 1 << 20;

/// What is said to whoever may only read, and means to change something.
pub const NEEDS_OPERATOR: &str = "this changes the store, which takes a certificate of an operator or of a host: `ambrosia-host cert issue --operator \
                                  NAME` makes one";

/// Whoever may only read has no question that is larger.
pub const READ_QUESTION_BYTES_MAX: usize = 2 << 20;

/// No question and no answer is larger: above the largest group with what stands around it.
pub const RELAYED_BYTES_MAX: usize = 136 << 20;

/// Groups that are relayed are no larger, whatever the engine takes.
pub const RELAYED_GROUP_BYTES_MAX: usize = 128 << 20;
const _: () = assert!(RELAYED_GROUP_BYTES_MAX + crate::limits::READ_BYTES_MAX < RELAYED_BYTES_MAX);

#[cfg(test)]
mod tests;
