//! The time of one reign.

use core::time::Duration;

use crate::Timestamp;

/// A step of the wall clock that is worth a word. What a clock is slewed by stays below it.
const JUMP_MIN: Duration = Duration::from_secs(1);

/// The time of one reign: what the wall clock showed at its beginning, and what has passed since.
///
/// So a wall clock that jumps moves no timer and makes no remembered result old. Until the reign ends it is only looked
/// at, so that a jump is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReignClock {
    began: Timestamp,
    /// The time that had passed when it began.
    began_at: Duration,
    /// How far the wall clock is ahead, in nanoseconds, as far as it was told.
    told_ahead: i128,
}

impl ReignClock {
    /// Begins where the wall clock stands, and not before the last record.
    pub(super) fn begin(wall: Timestamp, last: Timestamp, now: Duration) -> Self {
        let began = wall.max(last);
        ReignClock { began, began_at: now, told_ahead: i128::from(wall.0) - i128::from(began.0) }
    }

    /// How far the wall clock was behind the last record at the beginning, in nanoseconds, if that is worth a word.
    pub(super) fn behind(&self) -> Option<i128> {
        (self.told_ahead.unsigned_abs() >= JUMP_MIN.as_nanos()).then_some(-self.told_ahead)
    }

    /// The time for the next record.
    pub(super) fn time(&self, now: Duration) -> Timestamp {
        let passed = now.saturating_sub(self.began_at);
        Timestamp(self.began.0.saturating_add(passed.as_nanos() as u64))
    }

    /// By how many nanoseconds the wall clock has jumped since this was asked last, if it has.
    pub(super) fn jump(&mut self, wall: Timestamp, now: Duration) -> Option<i128> {
        let ahead = i128::from(wall.0) - i128::from(self.time(now).0);
        let jump = ahead - self.told_ahead;
        if jump.unsigned_abs() < JUMP_MIN.as_nanos() {
            return None;
        }
        self.told_ahead = ahead;
        Some(jump)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const HOUR: u64 = 3600 * SECOND;

    #[test]
    fn a_jump_of_the_wall_clock_is_told_once_and_moves_nothing() {
        let now = Duration::from_secs(100);
        let mut clock = ReignClock::begin(Timestamp(10 * HOUR), Timestamp(5), now);
        let mut wall = 10 * HOUR;
        assert_eq!((clock.behind(), clock.time(now), clock.jump(Timestamp(wall), now)), (None, Timestamp(wall), None));
        wall += 2 * HOUR;
        assert_eq!(clock.jump(Timestamp(wall), now), Some(i128::from(2 * HOUR)));
        assert_eq!((clock.jump(Timestamp(wall), now), clock.time(now)), (None, Timestamp(10 * HOUR)));
        wall -= 2 * HOUR;
        assert_eq!(clock.jump(Timestamp(wall), now), Some(-i128::from(2 * HOUR)));
        wall += SECOND / 2;
        assert_eq!(clock.jump(Timestamp(wall), now), None, "clocks are slewed all the time");
        assert_eq!(clock.time(now + Duration::from_secs(3)), Timestamp(10 * HOUR + 3 * SECOND), "time passes");
    }

    #[test]
    fn a_reign_begins_not_before_the_last_record_and_goes_on_by_what_passes() {
        let now = Duration::from_secs(7);
        let mut clock = ReignClock::begin(Timestamp(HOUR), Timestamp(7 * HOUR), now);
        assert_eq!((clock.behind(), clock.time(now)), (Some(i128::from(6 * HOUR)), Timestamp(7 * HOUR)));
        assert_eq!(clock.jump(Timestamp(HOUR), now), None, "that was told at the beginning");
        assert_eq!(clock.time(now + Duration::from_nanos(1)), Timestamp(7 * HOUR + 1));
    }
}
