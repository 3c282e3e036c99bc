//! A client from outside: requests to an instance, wherever its primary is, each of which takes effect once.
//!
//! **Architecture Invariant:** a client links neither the engine nor the storage. Where a primary is, [`Whereabouts`] tell.

mod addresses;
mod client;
mod events;
mod greeting;
mod reign;
mod replica;
mod replicas;
mod report;
mod session;
mod shared_client;
mod shown;
mod typed;
mod unreached;
mod values;
mod whereabouts;

pub use addresses::Addresses;
pub use client::{Answered, CheckpointTaken, Client, ClientError, Queried};
pub use events::{Events, Heard};
pub use greeting::Opened;
pub use replicas::{ReplicaReport, ask_for_replicas};
pub use report::{
    NoReport, OutgoingReport, OutgoingRequest, PeerReport, Report, ScheduleReport, Stall, ask_for_report,
};
pub use session::{PendingRequest, Session, SessionAnswer, SessionError};
pub use shared_client::SharedClient;
pub use typed::WrongType;
pub use unreached::Unreached;
pub use values::{
    ValueError, decode_value, encode_arguments, encode_arguments_of, encode_line, encode_value, encode_values_of,
    show_raw, without_controls,
};
pub use whereabouts::{Nearby, Primary, Whereabouts};
