//! The shell around the core: it waits for what happens, steps the member, and carries out what that says.
//!
//! **Architecture Invariant:** nothing here decides what is delivered, in which order, what may be seen when, or what a
//! replica does next; the core does. The wall clock is read in `clock.rs` alone, randomness in `entropy.rs`.

mod as_of;
mod bearer;
mod certificate;
mod checkpointer;
mod clock;
mod comparison;
mod connections;
mod contact;
mod diagnostics;
mod dialer;
mod dialers;
mod divergence;
mod doorway;
mod driver;
mod driving;
mod elsewhere;
mod embedded;
mod entropy;
mod event;
mod everyone;
mod guest_log;
mod heart;
mod host;
mod inventory;
mod known_tokens;
mod leash;
mod listen;
mod listener;
mod listeners;
mod log_watch;
mod look;
mod mailbox;
mod member_driver;
mod methods;
mod modules;
mod neighbours;
mod notices;
mod output;
mod peers;
mod places;
mod printer;
mod prints;
mod process_watch;
mod record_times;
mod recovery;
mod relaying;
mod replay_progress;
mod requests;
mod resources;
mod run;
mod running_code;
mod serve;
mod shell;
mod signals;
mod stall;
mod standing;
mod stdin;
mod store_instances;
mod store_watch;
mod store_whereabouts;
mod succession;
pub mod travel;
mod trunks;
mod vitals;
mod wish;
mod wishes;

pub use ambrosia_calendar::{ScheduleError, check_schedules};
pub use ambrosia_client::{
    Addresses, Answered, CheckpointTaken, Client, ClientError, Events, Heard, NoReport, OutgoingReport,
    OutgoingRequest, PeerReport, PendingRequest, Primary, Queried, ReplicaReport, Report, ScheduleReport, Session,
    SessionAnswer, SessionError, SharedClient, Stall, Unreached, ValueError, Whereabouts, ask_for_replicas,
    ask_for_report, decode_value, encode_arguments, encode_arguments_of, encode_value, show_raw, without_controls,
};
pub use ambrosia_methods::{
    Argument, Change, Method, MethodKind, Methods, Mount, MountError, Mounts, OWN_SEGMENTS, Prefix, PrefixError, Route,
    StateDifference, StateType, UnknownMethod, Verb, methods_difference, state_difference,
};
pub use ambrosia_outgoing::{
    Grant, GrantError, Grants, Secret, SecretError, SecretName, SecretNameError, SecretSource, Secrets, traceparent_of,
};
pub use ambrosia_wire::{OPERATOR_NAME, OwnFiles, Security, Tls, TlsError, TlsFiles, check_signed};
pub use clock::{Clock, ClockError, SystemClock};
pub use contact::Hindrance;
pub use diagnostics::Diagnostics;
pub use doorway::Doorway;
pub use embedded::{Embedded, EmbeddedOptions, Print};
pub use entropy::{entropy_bytes, entropy_u64, fresh_request_id, fresh_uuid};
pub use guest_log::GuestLogPlace;
pub use listen::Listen;
pub use methods::{show_value, write_down};
pub use modules::Modules;
pub use places::PlacingOptions;
pub use run::{Ending, HttpAddress, MemberOptions, RunError, RunOptions, run, run_on};
pub use running_code::{RunningCode, running_code};
pub use serve::{MemberEnded, ServeOptions, Which, serve};
pub use standing::stands_at;
pub use store_instances::StoreInstances;
pub use store_whereabouts::{StoreWhereabouts, client_of, follow_checkpoints, session_with};
