//! Since when the log of a reign takes nothing, for whoever asks: what a driver knows, told also where that one waits.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use ambrosia_core::Epoch;

/// Whether the log of a replica's reign takes records.
#[derive(Default)]
pub(crate) struct Stall(Mutex<Option<Stalled>>);

struct Stalled {
    /// The reign.
    epoch: Epoch,
    since: Instant,
    /// For a person.
    reason: String,
}

impl Stall {
    fn lock(&self) -> MutexGuard<'_, Option<Stalled>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log of that reign takes nothing, since then.
    pub(crate) fn begin(&self, epoch: Epoch, since: Instant, reason: String) {
        *self.lock() = Some(Stalled { epoch, since, reason });
    }

    /// It goes on.
    pub(crate) fn end(&self) {
        *self.lock() = None;
    }

    /// For how many milliseconds the log of that reign has taken nothing, and why; none and empty if it takes records.
    pub(crate) fn told(&self, epoch: Epoch) -> (Option<u64>, String) {
        match &*self.lock() {
            Some(stalled) if stalled.epoch == epoch => {
                (Some(stalled.since.elapsed().as_millis() as u64), stalled.reason.clone())
            }
            _ => (None, String::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_of_the_reign_that_is_asked_for() {
        let stall = Stall::default();
        assert_eq!(stall.told(Epoch(1)), (None, String::new()));
        stall.begin(Epoch(1), Instant::now(), "the disk is full".to_owned());
        assert!(matches!(stall.told(Epoch(1)), (Some(_), reason) if reason == "the disk is full"));
        assert_eq!(stall.told(Epoch(2)), (None, String::new()), "the reign after it");
        stall.end();
        assert_eq!(stall.told(Epoch(1)), (None, String::new()));
    }
}
