//! What bounds those who come.

use std::time::Duration;

/// Requests at once of those who need no token and have shown none, over all connections.
pub(crate) const STRANGERS_MAX: usize = 1 << 10;

/// Room that larger bodies of theirs share.
pub(crate) const STRANGERS_BYTES: usize = BODY_BYTES_MAX;

/// Instances that are looked up for them at once: each look may wait for a database, on a thread that others need as well.
pub(crate) const STRANGERS_LOOKS_MAX: usize = 4;

/// Whether the store can be read is looked at again after so long.
pub(crate) const READY_FOR: Duration = Duration::from_secs(1);

/// Connections at once. Whoever comes beyond waits to be accepted.
pub(crate) const CONNECTIONS_MAX: usize = 16 << 10;

/// Requests at once, over all connections. Those beyond are refused.
pub(crate) const REQUESTS_MAX: usize = 16 << 10;

/// A connection ends when the header of its first request, or the next one, has not come within this. So does one that is idle.
pub(crate) const HEADER_WAIT: Duration = Duration::from_secs(60);

/// Requests at once over one connection of HTTP/2.
pub(crate) const STREAMS_MAX: u32 = 256;

/// A body has to be there within this.
pub(crate) const BODY_WAIT: Duration = Duration::from_secs(30);

/// A connection ends whose client has taken nothing of its answers for this long.
pub(crate) const READING_WAIT: Duration = Duration::from_secs(60);

/// Largest header of a request, and most fields in it.
pub(crate) const HEADER_BYTES_MAX: usize = 32 << 10;
pub(crate) const HEADER_FIELDS_MAX: usize = 64;

/// Largest body: JSON takes several times as much when it is read.
pub(crate) const BODY_BYTES_MAX: usize = 16 << 20;

/// A body up to this is read at once; larger ones share room.
pub(crate) const SMALL_BODY_BYTES: usize = 64 << 10;

/// Room that larger bodies share.
pub(crate) const LARGE_BODIES_BYTES: usize = 64 << 20;

/// A request waits for its answer as long as this, or as long as it prefers, up to the second.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(30);
pub(crate) const ANSWER_WAIT_MAX: Duration = Duration::from_secs(600);

/// Those who may listen to events at once, over all connections.
pub(crate) const LISTENERS_MAX: usize = 8 << 10;

/// Instances, or replicas of them, whose events are listened to at once.
pub(crate) const FEEDS_MAX: usize = 1 << 10;

/// Events that are sent at once, unless one alone is larger.
pub(crate) const EVENT_CHUNK_BYTES: usize = 64 << 10;

/// Who listens is sent something at least as often as this.
pub(crate) const EVENTS_PAUSE: Duration = Duration::from_secs(15);

/// When the door closes, requests that are under way have this long.
pub(crate) const CLOSING_WAIT: Duration = Duration::from_secs(5);

/// When the door closes, answers have this long to be written.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

const _: () = assert!(SMALL_BODY_BYTES < BODY_BYTES_MAX && BODY_BYTES_MAX <= LARGE_BODIES_BYTES);
const _: () = assert!(BODY_BYTES_MAX <= STRANGERS_BYTES && STRANGERS_MAX < REQUESTS_MAX);
