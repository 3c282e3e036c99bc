//! The only place that reads the wall clock.

use ambrosia_core::Timestamp;

/// Where the driver gets the time for its inputs.
pub trait Clock: Send {
    /// Nanoseconds since 1970. It may jump; the core keeps the time of records from falling.
    fn now(&self) -> Timestamp;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        // A clock before 1970 is a clock that was never set; records then keep the time of the one before.
        Timestamp(since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)))
    }
}
