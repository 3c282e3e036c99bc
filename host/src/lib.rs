//! The shell around the core: it waits for what happens, steps the core, and carries out what the core says.
//!
//! **Architecture Invariant:** nothing here decides what is delivered, in which order, or what may be seen when; the
//! core does. The wall clock is read in `clock.rs` alone, randomness in `entropy.rs`.

mod checkpointer;
mod client;
mod clock;
mod connection;
mod contact;
mod control;
mod diagnostics;
mod divergence;
mod driver;
mod entropy;
mod event;
mod life;
mod link;
mod listener;
mod mailbox;
mod methods;
mod output;
mod peer_report;
mod peers;
mod permit;
mod primary;
mod printer;
mod record_times;
mod recovery;
mod resources;
mod run;
mod shown;
mod socket;
mod standby;
mod stdin;
mod store_watch;
mod unreached;
mod values;
mod vitals;
mod wire;

pub use client::{Answered, Client, ClientError};
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
