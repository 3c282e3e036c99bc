//! Whether other hosts are alive, for whoever wants to know that now.
//!
//! It is seen by their beats, with an own clock: as for a vacancy, silence counts only while it is looked at, so of the time between two
//! looks no more counts than one beat. When the engine was away, or another node answers, all come back to it at different times: so of a while
//! after that nothing counts.
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
    engine::{Answered, HostId, Request, Session},
    limits::{BEAT_INTERVAL, ENGINE_GRACE, KEYS_TIME},
    shell::host::lock,
};

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Who was seen to beat so long ago counts as alive without another look.
const FRESH: Duration = Duration::from_millis(2 * BEAT_INTERVAL.as_millis() as u64);

/// Whoever asks waits no longer: the engine may be away for [`KEYS_TIME`], and then [`ENGINE_GRACE`] begins.
const LIVES_TIME: Duration = Duration::from_millis(2 * KEYS_TIME.as_millis() as u64);
const _: () = assert!(
    LIVES_TIME.as_millis() > (KEYS_TIME.as_millis() + ENGINE_GRACE.as_millis() + 4 * BEAT_INTERVAL.as_millis())
);

/// What is known of the lives of other hosts.
#[derive(Default)]
pub(super) struct Observer {
    seen: Mutex<Seen>,
}

/// What was seen of them.
#[derive(Default)]
struct Seen {
    hosts: BTreeMap<HostId, Sight>,
    /// Where it was seen.
    session: Option<Session>,
    /// The engine was away, and has not answered since.
    was_away: bool,
    /// No silence before that counts.
    grace_until: Option<Instant>,
}

impl Seen {
    /// What is known of these hosts there.
    fn on_told(&mut self, session: Session, of: &BTreeSet<HostId>, beats: &BTreeMap<HostId, u64>, now: Instant) {
        // Whoever looks for the first time has seen nothing that is over.
        let is_other = self.session.replace(session).is_some_and(|before| before != session);
        if std::mem::take(&mut self.was_away) || is_other {
            // Another node may know of other beats.
            self.hosts.clear();
            self.grace_until = Some(now + ENGINE_GRACE);
        }
        for host in of {
            let beats = beats.get(host).copied().unwrap_or(0);
            self.hosts.entry(*host).or_insert(Sight::new(beats, now)).on_told(beats, now, self.grace_until);
        }
    }
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

    /// It was looked at again. No silence before the end of the grace counts.
    fn on_told(&mut self, beats: u64, now: Instant, grace_until: Option<Instant>) {
        if self.beats != beats {
            *self = Sight { beaten: Some(now), ..Sight::new(beats, now) };
            return;
        }
        // What happened meanwhile was not seen. A slow engine is asked less often, but a few looks without a beat say the same there.
        let from = grace_until.map_or(self.looked, |until| until.max(self.looked));
        self.silence += now.saturating_duration_since(from).min(BEAT_INTERVAL);
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
    /// looks; and [`ENGINE_GRACE`] more once the engine was away.
    pub(super) fn lives(&self, desk: &Desk, hosts: BTreeSet<HostId>) -> Result<BTreeMap<HostId, Life>, IoError> {
        self.lives_within(desk, hosts, LIVES_TIME)
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
            for (host, sight) in lock(&self.seen).hosts.iter().filter(|(host, _)| unknown.contains(host)) {
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
                    .hosts
                    .get(host)
                    .is_some_and(|sight| sight.is_gone() || sight.beaten.is_some_and(|at| at >= now))
            };
            if !unknown.iter().all(is_decided) {
                thread::park_timeout(LOOK_INTERVAL);
            }
        }
    }

    fn look(&self, desk: &Desk, hosts: &BTreeSet<HostId>) -> Result<(), IoError> {
        let (request, asked) = (Request::Lives { of: hosts.iter().copied().collect() }, Instant::now());
        let concluded = desk.ask_within(request, KEYS_TIME);
        let now = Instant::now();
        let mut seen = lock(&self.seen);
        seen.was_away |= concluded.was_away(now.saturating_duration_since(asked));
        // Whoever has only begun to look has had to do with it before.
        seen.was_away |= seen.session.is_none() && desk.was_away();
        match concluded.answer.map_err(|fault| desk.error(fault))? {
            Answered::Beats { session, beats } => seen.on_told(session, hosts, &beats.into_iter().collect(), now),
            other => return Err(desk.unfit(&other)),
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
    use std::sync::{Arc, OnceLock};

    use super::*;
    use crate::{
        MemoryEngine,
        engine::{Answering, Engine, EngineFacts, Fault, Lane},
        limits::ENGINE_GAP,
    };

    /// Answers at these times, with that many beats; what is known of the host then, if it is decided.
    fn seen(answers: &[(u64, u64)]) -> Vec<Option<bool>> {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let (first, beats) = answers[0];
        let mut sight = Sight::new(beats, at(first));
        let tell = |(time, beats): &(u64, u64)| {
            sight.on_told(*beats, at(*time), None);
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

    /// A host that beats no more, as these sessions show it, each asked every 50 ms from its time on, in milliseconds; when it is gone.
    fn gone(mut seen: Seen, sessions: &[(u64, u64)]) -> Option<u64> {
        let (began, host) = (Instant::now(), HostId([2; 16]));
        (0..20_000).step_by(50).find(|at| {
            let (_, session) = sessions.iter().rfind(|(from, _)| from <= at).expect("one answers from the beginning");
            let now = began + Duration::from_millis(*at);
            seen.on_told(Session(*session), &[host].into(), &[(host, 7)].into(), now);
            seen.hosts[&host].is_gone()
        })
    }

    #[test]
    fn when_the_engine_was_away_or_another_node_answers_nobody_is_gone_for_a_while_and_then_who_is() {
        let silence = HEARTBEAT_SILENCE.as_millis() as u64;
        let grace = ENGINE_GRACE.as_millis() as u64;
        assert_eq!(gone(Seen::default(), &[(0, 1)]), Some(silence), "whoever has only begun to look waits no longer");
        assert_eq!(gone(Seen::default(), &[(0, 1), (400, 2)]), Some(400 + grace + silence));
        assert_eq!(gone(Seen { was_away: true, ..Seen::default() }, &[(0, 1)]), Some(grace + silence));
    }

    /// An engine that is away for so long, from the first question on.
    #[derive(Default)]
    struct Away {
        engine: MemoryEngine,
        since: OnceLock<Instant>,
    }

    impl Engine for Away {
        fn ask(&self, lane: Lane, request: Request, answer: Answering) {
            match self.since.get_or_init(Instant::now).elapsed() > ENGINE_GAP {
                true => self.engine.ask(lane, request, answer),
                false => answer(Err(Fault::Unavailable("the connection was refused".to_owned()))),
            }
        }

        fn facts(&self) -> EngineFacts {
            self.engine.facts()
        }
    }

    #[test]
    fn an_engine_that_refuses_and_then_answers_was_away() {
        let desk = Desk::new(Arc::new(Away::default()), HostId([1; 16]));
        let observer = Observer::default();
        observer.look(&desk, &[HostId([2; 16])].into()).expect("it is there again");
        assert!(lock(&observer.seen).grace_until.is_some());
    }

    #[test]
    fn beats_that_another_node_knows_of_are_no_sign_of_life() {
        let (now, host) = (Instant::now(), HostId([2; 16]));
        let mut seen = Seen::default();
        for (session, beats) in [(1, 7), (2, 6)] {
            seen.on_told(Session(session), &[host].into(), &[(host, beats)].into(), now);
            assert_eq!(seen.hosts[&host].beaten, None);
        }
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
