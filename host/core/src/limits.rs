//! Limits of one instance: of its records, its state and what waits to be delivered.
//!
//! A limit that concerns one crate alone is a constant there, such as `LOG_QUEUE_BYTES_MAX` of the storage. Process-wide ones
//! there are none yet.

/// Largest arguments of one message.
pub const ARGUMENTS_BYTES_MAX: usize = 80 << 20;

/// A record takes no further message once its runs hold this much; one message alone may be larger.
pub const RUNS_BYTES_FULL: usize = 1 << 20;

/// A record takes no further message once it holds this many.
pub const RECORD_MESSAGES_MAX: u32 = 16 * 1024;

/// Largest body of a record: the largest message on top of an almost full record, and the watermarks.
pub const RECORD_BODY_BYTES_MAX: usize = RUNS_BYTES_FULL + ARGUMENTS_BYTES_MAX + (8 << 20);

/// Effects of one delivery. More is the guest's fault.
pub const EFFECTS_BYTES_MAX: usize = 512 << 20;

/// Peers of one instance.
pub const PEERS_MAX: u32 = 64 * 1024;

/// Impulses, timers and own messages wait once a peer's outbox holds this much that was not acknowledged.
pub const OUTBOX_BYTES_SOFT_MAX: usize = 64 << 20;

/// Bytes of outboxes that peers have acknowledged and no record says so. From here on a record is made for that alone, so that
/// all replicas let go of them.
pub const ACKNOWLEDGED_BYTES_MAX: usize = 1 << 20;

/// Every delivery waits once all outboxes together hold this much.
pub const OUTBOX_BYTES_HARD_MAX: usize = 1 << 30;

/// Messages from one source that wait to be delivered; its connection is not read beyond that.
pub const INBOX_BYTES_MAX: usize = 8 << 20;

/// Replicas are compared each time that the log has grown by this.
pub const DIGEST_LOG_BYTES: u64 = 16 << 20;

/// Results kept for requests that may be repeated, unless the operator has set another number; the oldest go first.
pub const RESULTS_MAX: usize = 100_000;

/// Bytes of results kept for requests that may be repeated, unless the operator has set another number; the oldest go first.
pub const RESULTS_BYTES_MAX: usize = 64 << 20;

/// Results are forgotten when they are older than this, in nanoseconds by the time of records: an hour, unless the operator has
/// set another time.
pub const RESULTS_AGE_NS_MAX: u64 = 3_600_000_000_000;

/// Most results that an operator may have kept.
pub const RETENTION_COUNT_MAX: u64 = 10_000_000;

/// Most bytes of results that an operator may have kept: each replica has them in memory, and each checkpoint.
pub const RETENTION_BYTES_MAX: u64 = 1 << 30;

/// Longest time for which an operator may have results kept, in seconds: a leap year.
pub const RETENTION_AGE_S_MAX: u64 = 366 * 86_400;

/// Sessions of one instance.
pub const SESSIONS_MAX: usize = 10_000;

/// Requests of one session that its client has not confirmed.
pub const SESSION_WINDOW_MAX: usize = 1024;

/// Bytes of arguments that a client has under way in a session; a host that is sent more ends the connection.
pub const SESSION_UNDER_WAY_BYTES_MAX: usize = 2 * ARGUMENTS_BYTES_MAX;

/// Requests of a session wait while it holds so much of results that its client has not confirmed.
pub const SESSION_BYTES_SOFT_MAX: usize = 64 << 10;

/// A session that nobody has used for so long, in nanoseconds by the time of records, ends once another is opened: a week.
pub const SESSION_IDLE_NS_MAX: u64 = 7 * 86_400_000_000_000;

/// If there are as many sessions as there may be, the one that is idle longest makes room for another, but not before it has
/// been idle for so long: an hour.
pub const SESSION_IDLE_NS_MIN: u64 = 3_600_000_000_000;

/// Bytes of the reason why a request of a session could not be done.
pub const SESSION_REASON_BYTES_MAX: usize = 256;

/// Parts of sessions with requests in one record: a session has one for each kind of request that follows another.
pub const SESSION_PARTS_MAX: usize = 4096;

/// Timers of one instance. More is the guest's fault.
pub const TIMERS_MAX: usize = 1 << 20;

/// Outgoing requests of one instance that have no outcome yet. More is the guest's fault.
pub const OUTGOING_MAX: usize = 1 << 20;

/// Bytes of the outgoing requests of one instance that have no outcome yet. More is the guest's fault.
pub const OUTGOING_BYTES_MAX: usize = 1 << 30;

/// Impulses, timers and own messages wait while so many outgoing requests have no outcome.
pub const OUTGOING_SOFT_MAX: usize = 64 << 10;

/// Impulses, timers and own messages wait while the outgoing requests without an outcome hold this much.
pub const OUTGOING_BYTES_SOFT_MAX: usize = 64 << 20;

/// Promises of one instance that nobody has fulfilled. More is the guest's fault.
pub const PROMISES_MAX: usize = 1 << 20;

/// Events of one instance that are kept for whoever resumes listening; the oldest go first.
pub const EVENTS_MAX: usize = 4096;

/// Bytes of the events that are kept; the oldest go first.
pub const EVENTS_BYTES_MAX: usize = 4 << 20;

/// Bytes of the topic of an event.
pub const EVENT_TOPIC_BYTES_MAX: usize = 256;

/// Methods of one instance that run at times of the calendar.
pub const CRONS_MAX: usize = 1024;

/// Values that an operator may set for one instance.
pub const CONFIGURATION_MAX: usize = 1024;

/// Bytes of the name of such a value.
pub const CONFIGURATION_NAME_BYTES_MAX: usize = 256;

/// Bytes of all such values and their names.
pub const CONFIGURATION_BYTES_MAX: usize = 1 << 20;

/// Bytes that a guest may print in one delivery. More is the guest's fault.
pub const PRINTS_BYTES_MAX: usize = 16 << 20;

/// Fuel of one delivery unless the registration says otherwise: several seconds of work.
pub const FUEL_DEFAULT: u64 = 20_000_000_000;

/// A query has that part of the fuel of a delivery, which waits for it.
pub const QUERY_FUEL_SHARE: u64 = 16;

/// Memory of a guest unless the registration says otherwise.
pub const MEMORY_BYTES_DEFAULT: u64 = 4 << 30;

const _: () = assert!(RECORD_BODY_BYTES_MAX > RUNS_BYTES_FULL + ARGUMENTS_BYTES_MAX);
const _: () = assert!(RECORD_BODY_BYTES_MAX < u32::MAX as usize);
const _: () = assert!(OUTBOX_BYTES_SOFT_MAX < OUTBOX_BYTES_HARD_MAX);
const _: () = assert!(EFFECTS_BYTES_MAX < OUTBOX_BYTES_HARD_MAX);
const _: () = assert!(OUTGOING_SOFT_MAX < OUTGOING_MAX && OUTGOING_BYTES_SOFT_MAX < OUTGOING_BYTES_MAX);
const _: () = assert!(OUTGOING_BYTES_MAX < u32::MAX as usize && EVENTS_BYTES_MAX < ARGUMENTS_BYTES_MAX);
const _: () = assert!(CONFIGURATION_BYTES_MAX < RECORD_BODY_BYTES_MAX);
// The largest message that may come in can also be sent on.
const _: () = assert!(EFFECTS_BYTES_MAX > ARGUMENTS_BYTES_MAX);
// Timers and impulses take half of a record, so there must be a half for peers.
const _: () = assert!(RECORD_MESSAGES_MAX >= 2 && RUNS_BYTES_FULL >= 2);
// What waits of one source fills more than one record, or the guest would wait for the network.
const _: () = assert!(INBOX_BYTES_MAX >= 2 * RUNS_BYTES_FULL);
// Counts in checkpoints and records have 4 bytes.
const _: () = assert!(RESULTS_MAX as u64 <= RETENTION_COUNT_MAX && RETENTION_COUNT_MAX < u32::MAX as u64);
const _: () = assert!(RESULTS_BYTES_MAX as u64 <= RETENTION_BYTES_MAX);
const _: () = assert!(TIMERS_MAX < u32::MAX as usize);
const _: () = assert!(SESSION_WINDOW_MAX < SESSIONS_MAX && SESSIONS_MAX < u32::MAX as usize);
const _: () = assert!(SESSION_IDLE_NS_MIN < SESSION_IDLE_NS_MAX);
const _: () = assert!(PEERS_MAX < u32::MAX);
const _: () = assert!(OUTBOX_BYTES_HARD_MAX + EFFECTS_BYTES_MAX < u32::MAX as usize);
const _: () = assert!(ARGUMENTS_BYTES_MAX < u32::MAX as usize);
