//! What an immortal can learn and do besides its messages.

use std::{
    fmt,
    ops::{Add, AddAssign, Range, Sub},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{host, runtime};

/// The name under which this instance is registered.
pub fn instance_name() -> String {
    host::instance_name()
}

/// The time of the messages being handled. It is the same for all messages of one delivery, and never goes back.
pub fn now() -> Timestamp {
    Timestamp { nanos: runtime::try_with(runtime::Runtime::now).unwrap_or_else(host::now) }
}

/// The next random number, from a generator that was seeded when the instance was registered. Not for secrets.
pub fn random() -> u64 {
    host::random()
}

/// A random number in `range`, each equally likely.
///
/// Panics if the range is empty.
pub fn random_range(range: Range<u64>) -> u64 {
    assert!(range.start < range.end, "the range {range:?} is empty");
    let width = range.end - range.start;
    // The numbers above the last whole multiple would make the first ones likelier.
    let unfair_from = u64::MAX - u64::MAX % width;
    loop {
        let drawn = random();
        if drawn < unfair_from {
            return range.start + drawn % width;
        }
    }
}

/// Finishes the instance: the host process of every replica ends with `code`.
///
/// The handler that is running comes to its end, or to its next await, and what it sends until then is sent. Nothing
/// is handled after that. If this is called twice, the first code counts.
pub fn exit(code: i32) {
    runtime::with(|runtime| runtime.request_exit(code));
}

/// A moment: nanoseconds since 1970, in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp {
    nanos: u64,
}

impl Timestamp {
    /// That many nanoseconds after 1970 began.
    pub const fn from_nanos(nanos: u64) -> Self {
        Timestamp { nanos }
    }

    /// Nanoseconds since 1970.
    pub const fn as_nanos(self) -> u64 {
        self.nanos
    }

    /// Time since 1970.
    pub const fn since_1970(self) -> Duration {
        Duration::from_nanos(self.nanos)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    /// Stops at the end of time, in the year 2554.
    fn add(self, duration: Duration) -> Timestamp {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Timestamp { nanos: self.nanos.saturating_add(nanos) }
    }
}

impl AddAssign<Duration> for Timestamp {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub for Timestamp {
    type Output = Duration;

    /// The time between the two; zero if `earlier` is the later one.
    fn sub(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }
}

impl fmt::Display for Timestamp {
    /// Seconds since 1970, with nanoseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.since_1970();
        write!(f, "{}.{:09}", since.as_secs(), since.subsec_nanos())
    }
}
