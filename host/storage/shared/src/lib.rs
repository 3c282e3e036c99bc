//! A log on an engine that several machines share, such as a database: who may write it, what is durable of it, and what is
//! done when the engine is slow, gone, or not what it was.
//!
//! The decisions are made by a [`Committer`], one for each host, which has no clock, no thread and no socket. What it asks of an
//! [`Engine`] is a handful of [`Request`]s, whose meaning [`Rows`] shows. Around it an [`EngineHost`] has a thread, and an
//! [`EngineLog`] is a log for the rest of the program; [`MemoryEngine`] is an engine in this process.
//!
//! **Architecture Invariant:** nothing here knows what engine it is. The crate links no runtime and no client of an engine, which
//! a test of `ambrosia-tidy` reads off the lock file; another one sees that nothing but the folder `shell` names a
//! clock, thread, lock or socket.

mod committer;
mod engine;
mod event;
mod fault;
mod head_once;
mod inquiry;
mod keys;
mod limits;
mod lives;
mod read_once;
mod reader;
mod relay;
mod rows;
mod shell;
mod sight;
mod takeover;
mod task;
mod writer;

pub use committer::{Committer, RequestId};
pub use engine::{
    Answer, Answered, Answering, AppendFault, Claim, Engine, EngineFacts, EngineHead, Fault, Group, HostId, Known,
    Lane, LogRead, News, Position, Raise, RaiseFault, ReadFrom, Request, Seen, Session,
};
pub use event::{Event, NotReigning};
pub use fault::LogFault;
pub use inquiry::{Concluded, Inquiry, Next};
pub use keys::{KeyEntry, KeysAnswer, KeysRequest, LIST_BYTES_MAX, LIST_KEYS_MAX, Put, PutRefused, Space};
pub use limits::{
    ANSWER_TIME, ANSWER_TIME_MAX, BEAT_INTERVAL, CLOSE_TIME, END_TIME, ENGINE_GAP, ENGINE_GRACE, FENCE_LOOK_INTERVAL,
    FOLLOW_INTERVAL, GROUP_BYTES_MAX, READ_BYTES_MAX, READS_MAX, RELEASE_TRIES, REQUEST_BYTES_MAX, REQUEST_LOGS_MAX,
    RETRY_FIRST, RETRY_MAX, SLOW_ANSWER_TIME, STALLED_AFTER, TAKEOVER_TIME,
};
pub use reader::Standing;
pub use relay::{
    Asked, DepotFault, NEEDS_OPERATOR, PIECE_BYTES, READ_QUESTION_BYTES_MAX, RELAY_VERSION, RELAYED_BYTES_MAX,
    RELAYED_GROUP_BYTES_MAX, RelayFacts, RelayedPlace, Told, Unreadable, decode, encode, needs_to_change,
};
pub use rows::Rows;
#[cfg(feature = "conformance")]
pub use shell::conformance;
pub use shell::{
    Connected, Depot, DepotError, EngineHost, EngineLog, EngineStore, EngineStorePlace, EngineUrl, Listing,
    MemoryEngine, Seal,
};
pub use takeover::Candidate;
pub use task::TaskId;
