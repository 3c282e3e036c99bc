//! Says how far a long replay is.

use std::time::{Duration, Instant};

use ambrosia_core::Lsn;

/// How often a long replay says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// How far a replay is.
pub(crate) struct ReplayProgress {
    began: Instant,
    reported: Instant,
}

impl ReplayProgress {
    pub(crate) fn begin() -> Self {
        let now = Instant::now();
        ReplayProgress { began: now, reported: now }
    }

    pub(crate) fn report(&mut self, applied: Lsn, durable: Lsn) {
        if self.reported.elapsed() >= PROGRESS_INTERVAL {
            self.reported = Instant::now();
            let percent = applied.0 * 100 / durable.0.max(1);
            tracing::info!("replayed {applied} of {durable} records ({percent} %)");
        }
    }

    /// Seconds that it took.
    pub(crate) fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }
}
