//! Saying that this host is alive, and hearing of others: once for all its logs.

use core::time::Duration;
use std::collections::BTreeSet;

use super::{Committer, Purpose};
use crate::{
    engine::{Answer, Answered, HostId, Request},
    limits::BEAT_INTERVAL,
    task::{Follow, Task},
};

/// When that is done.
#[derive(Debug, Default)]
pub(super) struct Beats {
    say_at: Duration,
    /// One is on its way.
    is_asked: bool,
}

impl Beats {
    /// When the next one is due.
    pub(super) fn time(&self) -> Option<Duration> {
        (!self.is_asked).then_some(self.say_at)
    }
}

impl Committer {
    /// Whether others should know that this host is alive, or it them.
    pub(super) fn is_active(&self) -> bool {
        self.announced > 0 || self.writers > 0 || !self.followers.tasks.is_empty()
    }

    /// Others are to know from now on that this host is alive, whatever it does.
    pub fn announce(&mut self) {
        self.announced += 1;
    }

    /// The same, no more for that reason.
    pub fn withdraw(&mut self) {
        self.announced -= 1;
    }

    pub(super) fn say_that_it_is_alive(&mut self, now: Duration) {
        if self.beats.is_asked || self.beats.say_at > now || !self.is_active() {
            return;
        }
        (self.beats.say_at, self.beats.is_asked) = (now + BEAT_INTERVAL, true);
        let watched = self.followers.tasks.iter().filter_map(|id| match self.tasks.get(id) {
            Some(Task::Follow(Follow { head: Some(head), is_watch: true, .. })) => Some(head.claim.host),
            _ => None,
        });
        let of: BTreeSet<HostId> = watched.filter(|host| *host != self.lives.me).collect();
        let of: Vec<HostId> = of.into_iter().collect();
        let (host, beats) = (self.lives.me, self.lives.beat(now));
        self.ask(Request::Beat { host, beats, of: of.clone() }, Purpose::Beat(of), now);
    }

    pub(super) fn on_beat(&mut self, of: &[HostId], answer: Answer, now: Duration) {
        self.beats.is_asked = false;
        if let Ok(Answered::Beats { session, beats }) = answer {
            self.lives.on_answer(session, of, &beats, now);
            self.look_for_vacancies(now);
        }
    }
}
