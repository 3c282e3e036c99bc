//! Whether other hosts are alive, for whoever wants to know that now.
//!
//! It is seen by their beats, with an own clock: as for a vacancy, silence counts only while it is looked at.
//!
//! **Architecture Invariant:** it says who runs, and never who may write.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use ambrosia_storage::{HEARTBEAT_SILENCE, IoError};

use super::desk::Desk;
use crate::{
    engine::{Answered, HostId, Request},
    limits::BEAT_INTERVAL,
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
    /// Since when it is looked at without a gap, and does not beat.
    silent_since: Instant,
    looked: Instant,
    is_gone: bool,
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

    /// Looks at hosts until of each is known whether it is alive, which takes no longer than [`HEARTBEAT_SILENCE`] while the
    /// engine answers.
    pub(super) fn lives(&self, desk: &Desk, hosts: BTreeSet<HostId>) -> Result<BTreeMap<HostId, Life>, IoError> {
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
                } else if sight.is_gone && is_fresh(sight.looked) {
                    known.insert(*host, life(false, sight.silent_since));
                }
            }
            unknown.retain(|host| !known.contains_key(host));
            if unknown.is_empty() {
                return Ok(known);
            }
            self.look(desk, &unknown)?;
            let is_decided = |host: &HostId| {
                lock(&self.seen)
                    .get(host)
                    .is_some_and(|sight| sight.is_gone || sight.beaten.is_some_and(|at| at >= now))
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
            let new = Sight { beats, beaten: None, silent_since: now, looked: now, is_gone: false };
            let sight = seen.entry(*host).or_insert(new);
            let gap = now.saturating_duration_since(sight.looked);
            if sight.beats != beats {
                *sight = Sight { beaten: Some(now), ..new };
            } else if !sight.is_gone && gap > BEAT_INTERVAL {
                // What happened meanwhile was not seen.
                sight.silent_since = now;
            }
            sight.looked = now;
            sight.is_gone |= now.saturating_duration_since(sight.silent_since) >= HEARTBEAT_SILENCE;
        }
        Ok(())
    }
}
