//! A histogram of durations: four buckets to each doubling, from a microsecond to over an hour.
//!
//! **Architecture Invariant:** its size is fixed, however long the log runs.

use std::time::Duration;

const STEPS: usize = 4;
const BUCKETS: usize = 32 * STEPS;

/// How long flushes took.
#[derive(Clone, Debug)]
pub struct SyncTimes {
    counts: [u64; BUCKETS],
    max: Duration,
}

impl Default for SyncTimes {
    fn default() -> Self {
        SyncTimes { counts: [0; BUCKETS], max: Duration::ZERO }
    }
}

impl SyncTimes {
    /// Counts one.
    pub fn add(&mut self, time: Duration) {
        let micros = time.as_micros().max(1) as f64;
        let bucket = (micros.log2() * STEPS as f64) as usize;
        self.counts[bucket.min(BUCKETS - 1)] += 1;
        self.max = self.max.max(time);
    }

    /// The time that the given part of all flushes did not exceed, to 19 %; zero if there was none.
    pub fn quantile(&self, part: f64) -> Duration {
        let total: u64 = self.counts.iter().sum();
        let wanted = (total as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= wanted {
                let upper = ((bucket + 1) as f64 / STEPS as f64).exp2();
                return Duration::from_nanos((upper * 1000.0) as u64).min(self.max);
            }
        }
        Duration::ZERO
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_near() {
        let mut times = SyncTimes::default();
        assert_eq!(times.quantile(0.5), Duration::ZERO);
        for micros in 1..=1000 {
            times.add(Duration::from_micros(micros));
        }
        let median = times.quantile(0.5).as_micros();
        assert!((500..=600).contains(&median), "{median}");
        assert_eq!(times.quantile(1.0), Duration::from_millis(1));
    }
}
