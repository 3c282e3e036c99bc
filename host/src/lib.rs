//! The shell around the core: it waits for what happens, steps the member, and carries out what that says.
//!
//! **Architecture Invariant:** nothing here decides what is delivered, in which order, what may be seen when, or what a
//! replica does next; the core does. The wall clock is read in `clock.rs` alone, randomness in `entropy.rs`.

mod checkpointer;
mod client;
mod clock;
mod connection;
mod connections;
mod contact;
mod control;
mod diagnostics;
mod divergence;
mod driver;
mod entropy;
mod event;
mod link;
mod links;
mod listener;
mod mailbox;
mod member_driver;
mod methods;
mod notices;
mod output;
mod peer_report;
mod peers;
mod permit;
mod printer;
mod record_times;
mod recovery;
mod replay_progress;
mod resources;
mod run;
mod shell;
mod shown;
mod socket;
mod stdin;
mod store_watch;
mod unreached;
mod vacancy_watch;
mod values;
mod vitals;
mod wire;

pub use client::{Answered, CheckpointTaken, Client, ClientError};
pub use clock::{Clock, ClockError, SystemClock};
pub use contact::Hindrance;
pub use diagnostics::Diagnostics;
pub use entropy::{entropy_u64, fresh_request_id, fresh_uuid};
pub use methods::{Methods, UnknownMethod};
pub use peer_report::{NoPeerReport, PeerReport, ask_for_peers};
pub use run::{Ending, RunError, RunOptions, load_module, run};
pub use unreached::Unreached;
pub use values::{ValueError, decode_value, encode_arguments, show_raw, show_value, without_controls};
pub use wire::{FRAME_HEADER_BYTES, Frame, FrameDecoder, FrameKind, WireError};
