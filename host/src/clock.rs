//! The only place that reads the clocks of the machine for the core.

use std::time::Duration;

use ambrosia_core::Timestamp;
use ambrosia_storage::time_since_boot;

/// A step of the wall clock that is worth a word. What a clock is slewed by stays below it.
const JUMP_MIN: Duration = Duration::from_secs(1);

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

/// The time of one reign: what the wall clock showed at its beginning, and what has passed since.
///
/// So a wall clock that jumps moves no timer and makes no remembered result old. Until the reign ends it is only looked
/// at, so that a jump is said.
pub(crate) struct ReignClock {
    wall: Box<dyn Clock>,
    /// Time that has passed, also while the machine was suspended.
    uptime: fn() -> Duration,
    began: Timestamp,
    uptime_at_begin: Duration,
    /// How far the wall clock is ahead, in nanoseconds, as far as it was said.
    said_ahead: i128,
}

impl ReignClock {
    /// Begins where the wall clock stands, and not before the last record.
    pub(crate) fn begin(wall: Box<dyn Clock>, last: Timestamp) -> Self {
        ReignClock::with_uptime(wall, last, time_since_boot)
    }

    fn with_uptime(wall: Box<dyn Clock>, last: Timestamp, uptime: fn() -> Duration) -> Self {
        let now = wall.now();
        let said_ahead = i128::from(now.0) - i128::from(now.max(last).0);
        if said_ahead.unsigned_abs() >= JUMP_MIN.as_nanos() {
            tracing::warn!(
                "the clock of this machine is {} behind the last record; time goes on from there",
                seconds(said_ahead)
            );
        }
        ReignClock { wall, uptime, began: now.max(last), uptime_at_begin: uptime(), said_ahead }
    }

    /// The time for the next record.
    pub(crate) fn now(&self) -> Timestamp {
        let passed = (self.uptime)().saturating_sub(self.uptime_at_begin);
        Timestamp(self.began.0.saturating_add(passed.as_nanos() as u64))
    }

    /// Says if the wall clock has jumped since the last look.
    pub(crate) fn look(&mut self) {
        if let Some(jump) = self.jump() {
            tracing::warn!(
                "the clock of this machine jumped by {}; this reign goes on by the time that passes, and the next one begins \
                 at the clock or at the last record, whichever is later",
                seconds(jump)
            );
        }
    }

    /// By how many nanoseconds the wall clock has jumped since this was asked last, if it has.
    fn jump(&mut self) -> Option<i128> {
        let ahead = i128::from(self.wall.now().0) - i128::from(self.now().0);
        let jump = ahead - self.said_ahead;
        if jump.unsigned_abs() < JUMP_MIN.as_nanos() {
            return None;
        }
        self.said_ahead = ahead;
        Some(jump)
    }
}

fn seconds(nanoseconds: i128) -> String {
    format!("{:.1} s", nanoseconds as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use super::*;

    /// A wall clock that a test sets.
    struct Set(Arc<AtomicU64>);

    impl Clock for Set {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::Relaxed))
        }
    }

    const SECOND: u64 = 1_000_000_000;
    const HOUR: u64 = 3600 * SECOND;

    /// Stands still, so that nothing passes.
    fn no_uptime() -> Duration {
        Duration::from_secs(100)
    }

    #[test]
    fn a_jump_of_the_wall_clock_is_said_once_and_moves_nothing() {
        let wall = Arc::new(AtomicU64::new(10 * HOUR));
        let mut clock = ReignClock::with_uptime(Box::new(Set(Arc::clone(&wall))), Timestamp(5), no_uptime);
        assert_eq!((clock.now(), clock.jump()), (Timestamp(10 * HOUR), None));
        wall.fetch_add(2 * HOUR, Ordering::Relaxed);
        assert_eq!(clock.jump(), Some(i128::from(2 * HOUR)));
        assert_eq!((clock.jump(), clock.now()), (None, Timestamp(10 * HOUR)));
        wall.fetch_sub(2 * HOUR, Ordering::Relaxed);
        assert_eq!(clock.jump(), Some(-i128::from(2 * HOUR)));
        wall.fetch_add(SECOND / 2, Ordering::Relaxed);
        assert_eq!(clock.jump(), None, "clocks are slewed all the time");
        assert_eq!(clock.now(), Timestamp(10 * HOUR));
    }

    #[test]
    fn a_reign_begins_not_before_the_last_record_and_goes_on_by_what_passes() {
        let wall = Arc::new(AtomicU64::new(HOUR));
        let clock = ReignClock::begin(Box::new(Set(Arc::clone(&wall))), Timestamp(7 * HOUR));
        let first = clock.now();
        assert!(first >= Timestamp(7 * HOUR) && first < Timestamp(8 * HOUR));
        wall.store(100 * HOUR, Ordering::Relaxed);
        let begin = std::time::Instant::now();
        while clock.now() == first {
            assert!(begin.elapsed() < Duration::from_secs(10), "time passes");
        }
        assert!(clock.now() < Timestamp(8 * HOUR));
    }

    #[test]
    fn a_clock_that_was_never_set_is_an_error() {
        assert_eq!(timestamp(None), Err(ClockError::BeforeEpoch));
        assert_eq!(timestamp(Some(Duration::from_secs(600 * 366 * 86_400))), Err(ClockError::TooLate));
        assert_eq!(timestamp(Some(Duration::from_nanos(7))), Ok(Timestamp(7)));
        assert!(SystemClock::check().expect("the clock of this machine is set").now() > Timestamp(0));
    }
}
