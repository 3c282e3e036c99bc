//! Limits and times, each with a name.

use core::time::Duration;

/// Records that gather while others are written become one group of so many bytes, or of one record however large.
pub const GROUP_BYTES_MAX: usize = 1 << 20;

/// Groups of so many bytes are appended by one request, or one group however large.
pub const REQUEST_BYTES_MAX: usize = 8 << 20;

/// Logs that one request names.
pub const REQUEST_LOGS_MAX: usize = 1024;

/// Bytes of one read, or one group however large.
pub const READ_BYTES_MAX: usize = 4 << 20;

/// Logs that one read names.
pub(crate) const READ_LOGS_MAX: usize = 256;

/// Reads that are asked for at a time. What is wanted while these are on their way is asked for together.
pub const READS_MAX: usize = 2;

/// An engine answers in that time, or says that it does not know.
pub const ANSWER_TIME: Duration = Duration::from_secs(2);

/// An answer that has not come by then counts as not known, whatever the engine says later.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(4);

/// An engine that answers other requests meanwhile may take so long for one.
pub const SLOW_ANSWER_TIME: Duration = Duration::from_millis(3800);
const _: () = assert!(SLOW_ANSWER_TIME.as_millis() < ANSWER_TIME_MAX.as_millis());
const _: () = assert!(ANSWER_TIME_MAX.as_millis() > ANSWER_TIME.as_millis());

/// A writer that has waited so long for a group, or for a look at its head row, when something fails says that it stands.
pub const STALLED_AFTER: Duration = Duration::from_secs(1);

/// A candidate gives up after so long.
pub const TAKEOVER_TIME: Duration = Duration::from_secs(20);

/// The heads of logs that are written are looked at that often: an idle writer learns so that it was deposed.
pub const FENCE_LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// The heads of logs that are followed or watched are looked at that often.
pub const FOLLOW_INTERVAL: Duration = Duration::from_millis(25);

/// A host says that often that it is alive.
pub const BEAT_INTERVAL: Duration = Duration::from_millis(200);

/// No answer to an own beat for so long: the engine was away, and others may not have reached it yet.
pub const ENGINE_GAP: Duration = Duration::from_secs(1);

/// For so long after that no silence counts.
pub const ENGINE_GRACE: Duration = Duration::from_secs(5);

/// What has failed is tried again after so long, then twice as long, and so on.
pub const RETRY_FIRST: Duration = Duration::from_millis(20);

/// No longer than that.
pub const RETRY_MAX: Duration = Duration::from_millis(640);

/// After so many tries to tell others that its reign has ended a writer has nobody wait for that any more, and goes on trying.
pub const RELEASE_TRIES: u32 = 3;

/// A writer that is closed waits that long for its records to be durable, and gives them up then.
pub const CLOSE_TIME: Duration = Duration::from_secs(5);

/// A host that ends waits that long until others are told that its reigns have.
pub const END_TIME: Duration = Duration::from_secs(2);

/// Something about keys is tried for so long, and fails then.
pub(crate) const KEYS_TIME: Duration = Duration::from_secs(10);

/// Changes of the registry are looked for that often.
pub(crate) const CHANGES_INTERVAL: Duration = Duration::from_millis(100);

/// How far replicas are, is told that often.
pub(crate) const NOTES_INTERVAL: Duration = Duration::from_secs(1);

/// Registrations are held for a moment; who has them for longer, and has not renewed that, is taken for dead.
pub(crate) const REGISTRATION_TIME: Duration = Duration::from_secs(30);

/// Who holds them for longer renews that so often.
pub(crate) const RENEW_INTERVAL: Duration = Duration::from_secs(5);
const _: () = assert!(RENEW_INTERVAL.as_millis() + 2 * KEYS_TIME.as_millis() < REGISTRATION_TIME.as_millis());

/// When to try again what has failed so often.
pub(crate) fn retry_after(tries: u32) -> Duration {
    RETRY_FIRST.saturating_mul(1 << tries.min(10)).min(RETRY_MAX)
}
