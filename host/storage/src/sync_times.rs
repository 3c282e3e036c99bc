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
    sum: Duration,
    max: Duration,
}

impl Default for SyncTimes {
    fn default() -> Self {
        SyncTimes { counts: [0; BUCKETS], sum: Duration::ZERO, max: Duration::ZERO }
    }
}

impl SyncTimes {
    /// Counts one.
    pub fn add(&mut self, time: Duration) {
        let micros = time.as_micros().max(1) as f64;
        let bucket = (micros.log2() * STEPS as f64) as usize;
        self.counts[bucket.min(BUCKETS - 1)] += 1;
        self.sum += time;
        self.max = self.max.max(time);
    }

    /// Counts all that others are.
    pub fn add_all(&mut self, others: &SyncTimes) {
        self.counts.iter_mut().zip(others.counts).for_each(|(count, more)| *count += more);
        self.sum += others.sum;
        self.max = self.max.max(others.max);
    }

    /// How many there were, one bucket to each doubling: up to which time, and how many that took longer than those of the bucket
    /// before.
    pub fn doublings(&self) -> impl Iterator<Item = (Duration, u64)> {
        let counts = self.counts.chunks(STEPS).map(|bucket| bucket.iter().sum());
        (1..).map(|doubling| Duration::from_micros(1 << doubling)).zip(counts)
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        self.sum
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

    #[test]
    fn doublings_count_each_once_and_add_up() {
        let micros = |micros| Duration::from_micros(micros);
        let (mut times, mut others) = (SyncTimes::default(), SyncTimes::default());
        [1, 3, 3, 7, 100].into_iter().for_each(|time| times.add(micros(time)));
        others.add(micros(1000));
        times.add_all(&others);
        let counted: Vec<_> = times.doublings().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(micros(2), 1), (micros(4), 2), (micros(8), 1), (micros(128), 1), (micros(1024), 1)]);
        assert_eq!((times.sum(), times.max()), (micros(1114), micros(1000)));
    }
}
