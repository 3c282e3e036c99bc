//! Whether the driver of a replica moves, so that others hear of a replica whose driver does not.
//!
//! **Architecture Invariant:** the heartbeat shows the driver's own progress. That a thread of the process can still
//! run says nothing of the replica.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use ambrosia_storage::HEARTBEAT_SILENCE;

/// A disk may take this long for what a takeover or a farewell writes. Were it less, each replica would depose the one
/// before on a machine with a slow disk, and none would ever reign.
const STORING_MAX: Duration = Duration::from_secs(10);

/// What a driver is at, and for how long it may be at it and still count as alive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Waits for something to happen: for as long as it takes.
    Waiting,
    /// Runs the guest, replays, or captures: bounded by fuel and memory, and waits for nobody.
    Computing,
    /// Writes to the disk what must be there before it goes on.
    Storing,
    /// Anything else, which is short: a lock, a directory, a socket that is not is a hang.
    Working,
}

impl Phase {
    const ALL: [Phase; 4] = [Phase::Waiting, Phase::Computing, Phase::Storing, Phase::Working];
    const BITS: u32 = 2;

    fn patience(self) -> Duration {
        match self {
            Phase::Waiting | Phase::Computing => Duration::MAX,
            Phase::Storing => STORING_MAX,
            Phase::Working => Duration::ZERO,
        }
    }
}

const _: () = assert!(Phase::ALL.len() <= 1 << Phase::BITS);

/// What the heartbeat tells others about this replica.
pub(crate) struct Vitals {
    /// Epoch of the own reign; 0 on a standby.
    pub(crate) reign: AtomicU64,
    /// How often the driver has said what it is at, and the last of it.
    progress: AtomicU64,
}

impl Vitals {
    pub(crate) fn new() -> Self {
        let vitals = Vitals { reign: AtomicU64::new(0), progress: AtomicU64::new(0) };
        vitals.enter(Phase::Computing);
        vitals
    }

    /// The driver says what it is at. For its thread only; cheap enough for each event.
    pub(crate) fn enter(&self, phase: Phase) {
        let count = (self.progress.load(Ordering::Relaxed) >> Phase::BITS) + 1;
        self.progress.store(count << Phase::BITS | phase as u64, Ordering::Release);
    }
}

/// Watches the progress of a driver.
pub(crate) struct Pulse {
    progress: u64,
    /// When the progress was seen first.
    since: Instant,
    is_missed: bool,
}

/// What is to be told of a driver.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Beat {
    /// It lives.
    Alive,
    /// It lives, and had not moved for so long.
    AliveAgain(Duration),
    /// It may be busy or may hang: nothing is told.
    None,
    /// It hangs, and has been silent for so long that others may depose it.
    Missed(Phase),
}

impl Pulse {
    pub(crate) fn new(vitals: &Vitals, now: Instant) -> Self {
        Pulse { progress: vitals.progress.load(Ordering::Acquire), since: now, is_missed: false }
    }

    /// To be called every [`ambrosia_storage::HEARTBEAT_INTERVAL`].
    pub(crate) fn look(&mut self, vitals: &Vitals, now: Instant) -> Beat {
        let progress = vitals.progress.load(Ordering::Acquire);
        if progress != self.progress {
            let still = now.saturating_duration_since(self.since);
            (self.progress, self.since) = (progress, now);
            return if std::mem::take(&mut self.is_missed) { Beat::AliveAgain(still) } else { Beat::Alive };
        }
        let phase = Phase::ALL[(progress & ((1 << Phase::BITS) - 1)) as usize];
        let still = now.saturating_duration_since(self.since);
        if still < phase.patience() {
            return Beat::Alive;
        }
        if !self.is_missed && still - phase.patience() >= HEARTBEAT_SILENCE {
            self.is_missed = true;
            return Beat::Missed(phase);
        }
        Beat::None
    }
}

#[cfg(test)]
mod tests {
    use ambrosia_storage::HEARTBEAT_INTERVAL;

    use super::*;

    /// What is told of a driver that is at `phase` and stands still, look by look.
    fn told(phase: Phase, looks: u32) -> Vec<Beat> {
        let (vitals, begin) = (Vitals::new(), Instant::now());
        vitals.enter(phase);
        let mut pulse = Pulse::new(&vitals, begin);
        (1..=looks).map(|look| pulse.look(&vitals, begin + look * HEARTBEAT_INTERVAL)).collect()
    }

    #[test]
    fn a_driver_that_waits_or_computes_is_alive_for_as_long_as_it_takes() {
        for phase in [Phase::Waiting, Phase::Computing] {
            assert!(told(phase, 10_000).iter().all(|beat| *beat == Beat::Alive), "{phase:?}");
        }
    }

    #[test]
    fn a_driver_that_hangs_is_silent_at_once_and_it_is_said_when_others_may_depose_it() {
        let told = told(Phase::Working, 20);
        assert!(told[..5].iter().all(|beat| *beat == Beat::None));
        assert_eq!(told[5], Beat::Missed(Phase::Working), "at the silence that others wait for");
        assert!(told[6..].iter().all(|beat| *beat == Beat::None), "it is said once");
    }

    #[test]
    fn a_disk_has_longer_but_not_for_ever() {
        let told = told(Phase::Storing, 120);
        let alive = told.iter().take_while(|beat| **beat == Beat::Alive).count() as u32;
        assert_eq!(alive, STORING_MAX.as_millis() as u32 / HEARTBEAT_INTERVAL.as_millis() as u32 - 1);
        assert!(told.contains(&Beat::Missed(Phase::Storing)));
    }

    #[test]
    fn a_driver_that_moves_is_alive_and_that_it_had_hung_is_said() {
        let (vitals, mut now) = (Vitals::new(), Instant::now());
        vitals.enter(Phase::Working);
        let mut pulse = Pulse::new(&vitals, now);
        let mut look = |vitals: &Vitals| {
            now += HEARTBEAT_INTERVAL;
            pulse.look(vitals, now)
        };
        for _ in 0..20 {
            vitals.enter(Phase::Working);
            assert_eq!(look(&vitals), Beat::Alive);
        }
        let missed = (0..10).filter(|_| matches!(look(&vitals), Beat::Missed(_))).count();
        vitals.enter(Phase::Working);
        assert_eq!((missed, look(&vitals)), (1, Beat::AliveAgain(11 * HEARTBEAT_INTERVAL)));
    }
}
