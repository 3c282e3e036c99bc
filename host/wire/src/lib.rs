//! What hosts and their clients say to each other, and the connections on which they say it (`docs/formats.md`).
//!
//! **Architecture Invariant:** nothing here knows who is primary, or what becomes of a message. Neither the engine nor the
//! storage is linked: both sides of a connection need this crate, and one of them may be a client.

mod connection;
mod control;
mod dialogue;
mod event;
mod frame;
mod halves;
mod inquiry;
mod line;
mod permits;
mod query;
mod request;
mod security;
mod session;
pub mod socket;
mod streams;
mod tls;
mod trunk;

pub use connection::{Connection, ConnectionError, ConnectionHandle, FrameTaker};
pub use control::{Control, KEY_REUSED, METHODS_BYTES_MAX, PROMISED_BYTES_MAX};
pub use dialogue::Dialogue;
pub use event::event_counts;
pub use frame::{
    CLIENT_VERSION, EVENTS_VERSION, FRAME_HEADER_BYTES, Frame, FrameDecoder, FrameKind, INQUIRIES_VERSION,
    METHODS_VERSION, PROMISES_VERSION, PROTOCOL_VERSION, PROTOCOL_VERSIONS, QUERIES_VERSION, RELAYED_FRAME_MAX,
    SESSIONS_VERSION, SINGLE_STREAM_VERSION, STREAMS_VERSION, StreamNumber, TRACES_VERSION, WireError,
};
pub use line::Gathered;
pub use permits::{INPUT_OVERHEAD_BYTES, Permit, Permits};
pub use security::{Caller, HttpSocket, Security, Socket};
pub use streams::{STREAMS_MAX, StreamError};
pub use tls::{OPERATOR_NAME, OwnFiles, Tls, TlsError, TlsFiles, check_signed};
pub use trunk::{OpenStream, StreamTaker, Trunk, TrunkHandle};
