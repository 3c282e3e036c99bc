//! The only place that reads the clocks of the machine for the core.

use std::time::Duration;

use ambrosia_core::Timestamp;
/// Where a reign gets the time at its beginning.
pub trait Clock: Send {
    /// Nanoseconds since 1970. It may jump at any moment.
    fn now(&self) -> Timestamp;
}

/// The wall clock of the machine.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(());

/// The wall clock can't be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClockError {
    /// It was never set.
    #[error(
        "the clock of this machine stands before 1970, so it was never set: set it (with `date --set` or a time service), \
         and try again"
    )]
    BeforeEpoch,
    /// It stands where no timestamp reaches.
    #[error("the clock of this machine stands after the year 2500: set it, and try again")]
    TooLate,
}

impl SystemClock {
    /// The clock, if it can be used.
    ///
    /// # Errors
    /// Any [`ClockError`].
    pub fn check() -> Result<Self, ClockError> {
        timestamp(since_1970()).map(|_| SystemClock(()))
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // One that was good and is bad now says nothing; who asks goes on from the last record then.
        timestamp(since_1970()).unwrap_or(Timestamp(0))
    }
}

/// The wall clock as the world outside speaks of it: in HTTP, and nowhere else.
#[allow(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
pub(crate) fn system_time() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

/// `None` before 1970.
#[allow(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
fn since_1970() -> Option<Duration> {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()
}

fn timestamp(since_1970: Option<Duration>) -> Result<Timestamp, ClockError> {
    /// Far enough below the end of the numbers that what is added to it is one, too.
    const LATEST: u128 = u64::MAX as u128 - (1 << 60);
    let nanoseconds = since_1970.ok_or(ClockError::BeforeEpoch)?.as_nanos();
    if nanoseconds > LATEST { Err(ClockError::TooLate) } else { Ok(Timestamp(nanoseconds as u64)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_never_set_is_an_error() {
        assert_eq!(timestamp(None), Err(ClockError::BeforeEpoch));
        assert_eq!(timestamp(Some(Duration::from_secs(600 * 366 * 86_400))), Err(ClockError::TooLate));
        assert_eq!(timestamp(Some(Duration::from_nanos(7))), Ok(Timestamp(7)));
        assert!(SystemClock::check().expect("the clock of this machine is set").now() > Timestamp(0));
    }
}
