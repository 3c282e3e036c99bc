//! Whether other hosts are alive, for whoever wants to know that now.
//!
//! It is seen by their beats, with an own clock: as for a vacancy, silence counts only while it is looked at, so of the time between two
//! looks no more counts than one beat.
//!
//! **Architecture Invariant:** it says who runs, and never who may write.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use ambrosia_storage::{HEARTBEAT_SILENCE, IoError};

use super::desk::Desk;
use crate::{
    engine::{Answered, HostId, Request},
    limits::{BEAT_INTERVAL, KEYS_TIME},
    shell::host::lock,
};

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Who was seen to beat so long ago counts as alive without another look.
const FRESH: Duration = Duration::from_millis(2 * BEAT_INTERVAL.as_millis() as u64);

/// What is known of the lives of other hosts.
#[derive(Default)]
pub(super) struct Observer {
    seen: Mutex<BTreeMap<HostId, Sight>>,
}

#[derive(Clone, Copy)]
struct Sight {
    beats: u64,
    /// When it was seen to have beaten.
    beaten: Option<Instant>,
    /// Since when it was seen to have beaten no more often.
    since: Instant,
    /// How much of that counts.
    silence: Duration,
    looked: Instant,
}

impl Sight {
    fn new(beats: u64, now: Instant) -> Sight {
        Sight { beats, beaten: None, since: now, silence: Duration::ZERO, looked: now }
    }

    /// It was looked at again.
    fn on_told(&mut self, beats: u64, now: Instant) {
        if self.beats != beats {
            *self = Sight { beaten: Some(now), ..Sight::new(beats, now) };
            return;
        }
        // What happened meanwhile was not seen. A slow engine is asked less often, but a few looks without a beat say the same there.
        self.silence += now.saturating_duration_since(self.looked).min(BEAT_INTERVAL);
        self.looked = now;
    }

    fn is_gone(&self) -> bool {
        self.silence >= HEARTBEAT_SILENCE
    }
}

/// What was found out of a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Life {
    pub(super) is_alive: bool,
    /// How long it has not been heard of, at least.
    pub(super) silence: Duration,
}

impl Observer {
    pub(super) fn is_alive(&self, desk: &Desk, host: HostId) -> Result<bool, IoError> {
        Ok(self.lives(desk, [host].into())?[&host].is_alive)
    }

    /// Looks at hosts until of each is known whether it is alive: that takes as long as [`HEARTBEAT_SILENCE`], and on a slow engine four
    /// looks.
    pub(super) fn lives(&self, desk: &Desk, hosts: BTreeSet<HostId>) -> Result<BTreeMap<HostId, Life>, IoError> {
        self.lives_within(desk, hosts, KEYS_TIME)
    }

    fn lives_within(
        &self,
        desk: &Desk,
        hosts: BTreeSet<HostId>,
        time: Duration,
    ) -> Result<BTreeMap<HostId, Life>, IoError> {
        let began = Instant::now();
        let mut known = BTreeMap::new();
        let mut unknown = hosts;
        if unknown.remove(&desk.me) {
            known.insert(desk.me, Life { is_alive: true, silence: Duration::ZERO });
        }
        loop {
            let now = Instant::now();
            for (host, sight) in lock(&self.seen).iter().filter(|(host, _)| unknown.contains(host)) {
                let life = |is_alive, since: Instant| Life { is_alive, silence: now.saturating_duration_since(since) };
                let is_fresh = |since: Instant| now.saturating_duration_since(since) < FRESH;
                if let Some(beaten) = sight.beaten.filter(|beaten| is_fresh(*beaten)) {
                    known.insert(*host, life(true, beaten));
                } else if sight.is_gone() && is_fresh(sight.looked) {
                    known.insert(*host, life(false, sight.since));
                }
            }
            unknown.retain(|host| !known.contains_key(host));
            if unknown.is_empty() {
                return Ok(known);
            }
            if now.saturating_duration_since(began) > time {
                return Err(undecided(desk, unknown.len(), time));
            }
            self.look(desk, &unknown)?;
            let is_decided = |host: &HostId| {
                lock(&self.seen)
                    .get(host)
                    .is_some_and(|sight| sight.is_gone() || sight.beaten.is_some_and(|at| at >= now))
            };
            if !unknown.iter().all(is_decided) {
                thread::park_timeout(LOOK_INTERVAL);
            }
        }
    }

    fn look(&self, desk: &Desk, hosts: &BTreeSet<HostId>) -> Result<(), IoError> {
        let told = match desk.ask(Request::Lives { of: hosts.iter().copied().collect() })? {
            Answered::Beats { beats, .. } => beats,
            other => return Err(desk.unfit(&other)),
        };
        let told: BTreeMap<HostId, u64> = told.into_iter().collect();
        let now = Instant::now();
        let mut seen = lock(&self.seen);
        for host in hosts {
            let beats = told.get(host).copied().unwrap_or(0);
            seen.entry(*host).or_insert(Sight::new(beats, now)).on_told(beats, now);
        }
        Ok(())
    }
}

/// Whoever asks can't wait for ever, however slow the engine is.
fn undecided(desk: &Desk, hosts: usize, time: Duration) -> IoError {
    let seconds = time.as_secs();
    let reason = format!(
        "it answered too slowly to see within {seconds} s whether {hosts} hosts are alive: try again once it is quicker"
    );
    IoError { action: "use", place: desk.place(), source: io::Error::new(io::ErrorKind::TimedOut, reason) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::MemoryEngine;

    /// Answers at these times, with that many beats; what is known of the host then, if it is decided.
    fn seen(answers: &[(u64, u64)]) -> Vec<Option<bool>> {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let (first, beats) = answers[0];
        let mut sight = Sight::new(beats, at(first));
        let tell = |(time, beats): &(u64, u64)| {
            sight.on_told(*beats, at(*time));
            if sight.beaten == Some(at(*time)) { Some(true) } else { sight.is_gone().then_some(false) }
        };
        answers.iter().map(tell).collect()
    }

    #[test]
    fn a_dead_host_is_gone_however_slow_the_engine_is_and_one_that_beats_is_not() {
        for latency in [200, 350, 2000] {
            let answers: Vec<_> = (0..4).map(|look| (look * (latency + 50), 7)).collect();
            assert_eq!(seen(&answers), [None, None, None, Some(false)], "{latency} ms");
        }
        assert_eq!(seen(&[(0, 1), (2000, 1), (4000, 2), (6000, 2)]), [None, None, Some(true), None]);
        assert_eq!(seen(&[(0, 1), (300, 1), (600, 1), (900, 1), (1200, 2)])[3..], [Some(false), Some(true)]);
    }

    #[test]
    fn time_in_which_nobody_looked_is_no_silence() {
        assert_eq!(seen(&[(0, 1), (3_600_000, 1), (3_600_050, 1)]), [None; 3]);
    }

    #[test]
    fn what_is_not_decided_in_time_is_an_error() {
        let (me, other) = (HostId([1; 16]), HostId([2; 16]));
        let desk = Desk::new(Arc::new(MemoryEngine::default()), me);
        let observer = Observer::default();
        let error = observer.lives_within(&desk, [other].into(), Duration::ZERO).expect_err("nothing was decided");
        assert_eq!(error.source.kind(), io::ErrorKind::TimedOut);
        assert!(!observer.lives(&desk, [me, other].into()).expect("it is decided")[&other].is_alive);
    }
}
