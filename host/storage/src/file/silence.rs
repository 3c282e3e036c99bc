//! How long a primary has been silent, as seen by an observer that may itself have been stopped.
//!
//! **Architecture Invariant:** only time in which the observer was running counts, so that a machine that wakes from
//! a stall does not declare everybody else dead.

use std::time::{Duration, Instant};

use crate::vacancy_watcher::LOOK_INTERVAL;

/// Watches a sign of life. Of a gap between two looks that is longer than their interval, no more than two of these count.
pub(crate) struct Silence<S> {
    sign: S,
    looked: Instant,
    silent: Duration,
}

impl<S: PartialEq> Silence<S> {
    pub(crate) fn new(sign: S, now: Instant) -> Self {
        Silence { sign, looked: now, silent: Duration::ZERO }
    }

    /// How long the sign has not changed. To be called every [`LOOK_INTERVAL`].
    pub(crate) fn look(&mut self, sign: S, now: Instant) -> Duration {
        if sign == self.sign {
            self.silent += now.saturating_duration_since(self.looked).min(2 * LOOK_INTERVAL);
        } else {
            self.silent = Duration::ZERO;
            self.sign = sign;
        }
        self.looked = now;
        self.silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stalled_observer_declares_nobody_dead() {
        let begin = Instant::now();
        let mut silence = Silence::new(1, begin);
        assert_eq!(silence.look(1, begin + LOOK_INTERVAL), LOOK_INTERVAL);
        assert_eq!(silence.look(1, begin + Duration::from_secs(3600)), 3 * LOOK_INTERVAL);
        assert_eq!(silence.look(2, begin + Duration::from_secs(3601)), Duration::ZERO);
    }
}
