//! The deterministic state machine of Ambrosia: one replica of one instance, as a pure step function.
//!
//! **Architecture Invariant:** this crate knows no clock, file, socket, thread or random source. Time and
//! everything else that happens comes in as an [`Input`]; everything to be done goes out as an [`Output`].
//! Its dependency list proves it, and a test reads that list.

mod acknowledged;
mod batch;
mod bodies;
mod bytes_reader;
mod calls;
mod capture;
mod checkpoint;
mod code;
mod configuration;
mod crons;
mod digest;
mod effect;
mod events;
mod guest;
mod hash_index;
mod held;
mod host_address;
mod ids;
mod inbox;
mod inquiry;
mod io;
mod known;
pub mod limits;
pub mod member;
mod mend;
mod message;
mod numbered;
mod outbox;
mod outgoing;
mod part;
mod promises;
mod query;
mod record;
mod replica;
mod requests;
mod results;
mod retention;
mod run;
mod schedule;
mod sessions;
mod shared_state;
mod state;
mod stream;
mod streams;
mod timers;
mod trace_context;
mod traffic;
mod upgrade;
mod waits;

pub use bodies::{
    Bind, DeliverBody, DigestBody, EpochBody, Genesis, Limits, OpenSession, RequestEntry, SessionPart, SessionRun,
    TraceEntry, Watermark,
};
pub use capture::{Capture, MemoryCapture, PAGE_BYTES, is_zero, page_digest, page_hash};
pub use checkpoint::{CheckpointState, StateError};
pub use configuration::{Configuration, ConfigurationError};
pub use effect::{EFFECT_PREFIX_BYTES, Effect, EffectError, Effects, push_effect};
pub use events::{Event, EventId, NoEventId};
pub use guest::{Delivered, Fault, Guest, Peers, Print, PrintStream, Random, World};
pub use held::Held;
pub use host_address::{HostAddress, HostAddressError};
pub use ids::{
    CallId, Epoch, InstanceName, InstanceNumber, InstanceUuid, Lsn, MethodId, NameError, OpeningId, PeerIndex,
    ReplicaIndex, RequestId, RequestIdError, Seq, SessionId, Ticket, Timestamp,
};
pub use inquiry::{Inquiry, InquiryAnswer, RequestStatus};
pub use io::{ConnectionId, Divergence, Input, Output, Refusal};
pub use mend::{Mend, Remedy, SKIPPED, Skip, is_mended, is_void};
pub use message::{MESSAGE_HEADER_BYTES, Message, MessageError, MessageKind, Messages, check_travelling, push_message};
pub use outbox::Chunk;
pub use promises::{PROMISE_KEY_BYTES, PromiseToken, promise_token};
pub use query::{Query, QueryAnswer};
pub use record::{RECORD_ALIGNMENT, RECORD_HEADER_BYTES, Record, RecordError, RecordHeader, RecordKind};
pub use replica::{Blocked, Remembered, Replica, SessionCounts};
pub use requests::Answer;
pub use retention::{Retention, RetentionError};
pub use run::{RUN_HEADER_BYTES, Run, RunError, Runs, begin_run, finish_run};
pub use schedule::{Due, Replay, Schedule, ScheduleOptions};
pub use sessions::SessionRefusal;
pub use shared_state::SharedState;
pub use state::Outcome;
pub use trace_context::{NoTraceContext, TraceContext};
pub use traffic::Traffic;
pub use upgrade::{HandoverError, Upgrade};
pub use waits::PeerWaits;
