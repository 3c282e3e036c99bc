//! Which hosts are alive, as seen by one that may itself be cut off or stand still.
//!
//! A host that does not reach the engine sees nobody beat, and one that was frozen sees what has long passed: so silence counts only
//! while the observer's own beats are answered, and only in one session, for another node may know of other beats. When the engine itself was away all begin at different times: so for a while after
//! that no silence counts. An engine that is slow is not away: whoever has had that while of it goes on to count, and of each gap less.
//!
//! **Architecture Invariant:** it says who should be asked to give way, and never who may write: a false suspicion costs a change of
//! the primary, and no record.

use core::time::Duration;
use std::collections::BTreeMap;

use ambrosia_storage::HEARTBEAT_SILENCE;

use crate::{
    engine::{HostId, Session},
    limits::{BEAT_INTERVAL, ENGINE_GAP, ENGINE_GRACE},
};

/// What a host knows of the lives of others.
#[derive(Debug)]
pub(crate) struct Lives {
    pub(crate) me: HostId,
    /// How often it has said that it is alive.
    beats: u64,
    /// When an own beat was answered last, and where.
    answered: Option<(Duration, Session)>,
    grace_until: Duration,
    /// When the last beat was sent.
    sent: Duration,
    /// When a beat was answered last that took as long as an engine is away.
    slow: Option<Duration>,
    seen: BTreeMap<HostId, (u64, Duration)>,
}

impl Lives {
    pub(crate) fn new(me: HostId) -> Lives {
        let zero = Duration::ZERO;
        Lives { me, beats: 0, answered: None, grace_until: zero, sent: zero, slow: None, seen: BTreeMap::new() }
    }

    /// The number of the next beat, which is sent now.
    pub(crate) fn beat(&mut self, now: Duration) -> u64 {
        (self.beats, self.sent) = (self.beats + 1, now);
        self.beats
    }

    /// An own beat was answered, with those of the hosts that it asked about.
    pub(crate) fn on_answer(&mut self, session: Session, of: &[HostId], beats: &[(HostId, u64)], now: Duration) {
        let before = self.answered.replace((now, session));
        let gap = before.map_or(Duration::ZERO, |(before, _)| now.saturating_sub(before));
        if gap > ENGINE_GAP && !self.is_slow(before.map(|(before, _)| before), now) {
            self.grace_until = now + ENGINE_GRACE;
        }
        if before.is_some_and(|(_, before)| before != session) {
            self.seen.clear();
        }
        self.seen.retain(|host, _| of.contains(host));
        // Others are answered as late: of a slow engine it takes three beats that they have not said, too.
        let counts = gap.min(if gap > ENGINE_GAP { BEAT_INTERVAL } else { 2 * BEAT_INTERVAL });
        for host in of {
            // Who has never said that it is alive is as silent as who does no more.
            let beats = beats.iter().find(|(of, _)| of == host).map_or(0, |(_, beats)| *beats);
            let Some((known, silent)) = self.seen.get_mut(host) else {
                self.seen.insert(*host, (beats, Duration::ZERO));
                continue;
            };
            *silent = if *known == beats { *silent + counts } else { Duration::ZERO };
            *known = beats;
        }
    }

    /// Whether a long gap is one of an engine that has been slow all the time, and was not away: the beat that was answered now was sent in
    /// time, and another one took as long shortly before. The first one that does may be of an engine that stood still.
    fn is_slow(&mut self, before: Option<Duration>, now: Duration) -> bool {
        if before.is_none_or(|before| self.sent.saturating_sub(before) > ENGINE_GAP) {
            return false;
        }
        let slow = self.slow.replace(now);
        slow.is_some_and(|slow| now.saturating_sub(slow) <= 2 * ENGINE_GRACE)
    }

    /// Whether a host counts as gone.
    pub(crate) fn is_silent(&self, host: HostId, now: Duration) -> bool {
        let silent = self.seen.get(&host).map_or(Duration::ZERO, |(_, silent)| *silent);
        silent >= HEARTBEAT_SILENCE && now >= self.grace_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: HostId = HostId([2; 16]);

    fn millis(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    /// Answers of own beats at these times, with that many of the other; whether that counts as gone then.
    fn silence(answers: &[(u64, u64)]) -> Vec<bool> {
        silence_of(answers.iter().map(|(at, beats)| (*at, *at, *beats)))
    }

    /// The same, of beats that were sent before.
    fn silence_of(answers: impl IntoIterator<Item = (u64, u64, u64)>) -> Vec<bool> {
        let mut lives = Lives::new(HostId([1; 16]));
        let answer = |(sent, at, beats)| {
            lives.beat(millis(sent));
            lives.on_answer(Session(1), &[OTHER], &[(OTHER, beats)], millis(at));
            lives.is_silent(OTHER, millis(at))
        };
        answers.into_iter().map(answer).collect()
    }

    #[test]
    fn a_host_that_beats_no_more_is_gone_and_one_that_beats_is_not() {
        assert_eq!(silence(&[(0, 1), (200, 1), (400, 1), (600, 1), (800, 2)]), [false, false, false, true, false]);
        assert!(!silence(&[(0, 1), (200, 2), (400, 3), (600, 3), (800, 4), (1000, 4), (1200, 5)]).contains(&true));
    }

    #[test]
    fn silence_counts_only_while_own_beats_are_answered() {
        // Of a gap no more counts than two beats.
        assert_eq!(silence(&[(0, 1), (950, 1), (1150, 1)]), [false, false, true]);
        assert_eq!(silence(&[(0, 1), (950, 1), (1000, 2)]), [false, false, false]);
    }

    #[test]
    fn after_the_engine_was_away_nobody_is_gone_for_a_while() {
        let mut answers = vec![(0, 1), (200, 1), (10_000, 1)];
        answers.extend((1..30).map(|n| (10_000 + n * 200, 1)));
        let gone = silence(&answers);
        let first = gone.iter().position(|gone| *gone).map(|at| answers[at].0);
        assert_eq!(first, Some(15_000), "and then it is");
    }

    /// Each beat is sent when the one before is answered.
    fn on_a_slow_engine(latency: u64, beats: impl Fn(u64) -> u64) -> Option<u64> {
        let answers = (0..20).map(|n| (n * latency, (n + 1) * latency, beats(n)));
        let gone = silence_of(answers).iter().position(|gone| *gone)?;
        Some((gone as u64 + 1) * latency)
    }

    #[test]
    fn on_a_slow_engine_a_dead_host_is_gone_in_the_end_and_one_that_beats_as_slowly_is_not() {
        for (latency, gone) in [(1100, 7700), (1900, 9500), (3800, 15_200)] {
            assert_eq!(on_a_slow_engine(latency, |_| 1), Some(gone), "{latency} ms");
            assert_eq!(on_a_slow_engine(latency, |n| n / 2), None, "it takes twice as long, {latency} ms");
        }
        // Not each of them is slow.
        let answers = (0..20).map(|n| (n * 1000, n * 1000 + 100 + n % 2 * 900, 1));
        assert_eq!(
            silence_of(answers).iter().position(|gone| *gone),
            Some(7),
            "once the grace of the first one is over"
        );
    }

    #[test]
    fn an_engine_that_leaves_beats_unanswered_again_and_again_was_away_each_time() {
        let answers = (0..20).map(|n| (n * 2000, n * 2000 + 100, 1));
        assert!(!silence_of(answers).contains(&true));
    }

    #[test]
    fn who_has_never_beaten_is_gone_after_the_same_time() {
        let mut lives = Lives::new(HostId([1; 16]));
        for at in [0, 200, 400] {
            lives.on_answer(Session(1), &[OTHER], &[], millis(at));
            assert!(!lives.is_silent(OTHER, millis(at)));
        }
        lives.on_answer(Session(1), &[OTHER], &[], millis(600));
        assert!(lives.is_silent(OTHER, millis(600)));
    }

    #[test]
    fn silence_of_one_session_does_not_count_in_another() {
        let mut lives = Lives::new(HostId([1; 16]));
        for (at, session) in [(0, 1), (200, 1), (400, 1), (600, 2), (800, 2), (1000, 2)] {
            lives.on_answer(Session(session), &[OTHER], &[(OTHER, 1)], millis(at));
            assert!(!lives.is_silent(OTHER, millis(at)), "at {at}");
        }
        lives.on_answer(Session(2), &[OTHER], &[(OTHER, 1)], millis(1200));
        assert!(lives.is_silent(OTHER, millis(1200)));
    }
}
