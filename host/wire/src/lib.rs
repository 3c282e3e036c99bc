//! What hosts and their clients say to each other, and the connections on which they say it (`docs/formats.md`).
//!
//! **Architecture Invariant:** nothing here knows who is primary, or what becomes of a message. Neither the engine nor the
//! storage is linked: both sides of a connection need this crate, and one of them may be a client.

mod connection;
mod control;
mod frame;
mod permits;
mod request;
pub mod socket;

pub use connection::{Connection, ConnectionError, ConnectionHandle};
pub use control::Control;
pub use frame::{FRAME_HEADER_BYTES, Frame, FrameDecoder, FrameKind, PROTOCOL_VERSION, PROTOCOL_VERSIONS, WireError};
pub use permits::{Permit, Permits};
