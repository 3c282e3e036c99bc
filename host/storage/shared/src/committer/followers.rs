//! Whoever follows a log, or watches it for a vacancy. What is seen of the logs is a hint, so no barrier is asked for.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use ambrosia_storage::{LogId, Vacancy};

use super::{Committer, Purpose, answers::next_part};
use crate::{
    engine::{Answer, Answered, Claim, EngineHead, Known, Request, Seen},
    event::Event,
    limits::FOLLOW_INTERVAL,
    task::{Follow, Task, TaskId},
};

/// Tasks that follow a log, or watch it, and when their heads are looked at.
#[derive(Debug, Default)]
pub(super) struct Followers {
    pub(super) tasks: BTreeSet<TaskId>,
    look_at: Duration,
    /// A request for some is on its way.
    is_asked: bool,
    /// How far those are that are looked at in parts.
    after: Option<LogId>,
}

impl Followers {
    /// Whoever comes is told at once.
    pub(super) fn add(&mut self, id: TaskId, now: Duration) {
        self.tasks.insert(id);
        self.look_at = now;
    }

    /// When they are looked at next.
    pub(super) fn time(&self) -> Option<Duration> {
        (!self.tasks.is_empty() && !self.is_asked).then_some(self.look_at)
    }
}

impl Committer {
    pub(super) fn ask_what_is_followed(&mut self, now: Duration) {
        if self.followers.is_asked || self.followers.look_at > now || self.followers.tasks.is_empty() {
            return;
        }
        self.followers.look_at = now + FOLLOW_INTERVAL;
        let mut known: BTreeMap<LogId, Option<Known>> = BTreeMap::new();
        for id in &self.followers.tasks {
            let Some(Task::Follow(follow)) = self.tasks.get(id) else { panic!("a follower is a task") };
            let own = follow.head.map(|head| head.known());
            // Whoever knows less is told what is no news for others.
            let of = known.entry(follow.log).or_insert(own);
            *of = of.filter(|of| own == Some(*of));
        }
        let part = next_part(known, &mut self.followers.after);
        if self.followers.after.is_some() {
            self.followers.look_at = now;
        }
        let logs = part.into_iter().map(|(log, known)| Seen { log, known }).collect();
        self.followers.is_asked = true;
        self.ask(Request::Heads { logs }, Purpose::Follow, now);
    }

    pub(super) fn on_followed(&mut self, answer: Answer, now: Duration) {
        self.followers.is_asked = false;
        let Ok(Answered::Heads { heads, gone, .. }) = answer else { return };
        let heads: BTreeMap<LogId, EngineHead> = heads.into_iter().map(|head| (head.log, head)).collect();
        for id in self.followers.tasks.clone() {
            let Some(Task::Follow(follow)) = self.tasks.get_mut(&id) else { panic!("a follower is a task") };
            let is_gone = gone.contains(&follow.log);
            if is_gone && !follow.is_gone && !follow.is_watch {
                self.events.push_back((id, Event::Gone));
            }
            follow.is_gone = is_gone;
            if let Some(head) = heads.get(&follow.log)
                && follow.head != Some(*head)
            {
                follow.head = Some(*head);
                if !follow.is_watch {
                    self.events.push_back((id, Event::Changed(*head)));
                }
            }
        }
        self.look_for_vacancies(now);
    }

    /// What was to be read of a log could not be: whoever follows it is told again what there is.
    pub(super) fn see_anew(&mut self, log: LogId) {
        for id in &self.followers.tasks {
            if let Some(Task::Follow(follow)) = self.tasks.get_mut(id)
                && follow.log == log
            {
                follow.head = None;
            }
        }
    }

    /// Tells whoever watches a log that nobody seems to be its primary.
    pub(super) fn look_for_vacancies(&mut self, now: Duration) {
        let mut vacant = Vec::new();
        for id in &self.followers.tasks {
            if let Some(Task::Follow(Follow { log, head: Some(head), is_watch: true, .. })) = self.tasks.get(id) {
                let epoch = head.epoch;
                if !head.is_reigned || head.claim.host == self.lives.me && !self.has_claim(*log, head.claim) {
                    vacant.push((*id, Vacancy::Released(epoch)));
                } else if self.lives.is_silent(head.claim.host, now) {
                    vacant.push((*id, Vacancy::Silent(epoch)));
                }
            }
        }
        for (id, vacancy) in vacant {
            self.forget(id);
            self.events.push_back((id, Event::Vacant(vacancy)));
        }
    }

    /// Whether a reign that the engine says is of this host is: one whose end it did not hear of is not.
    fn has_claim(&self, log: LogId, claim: Claim) -> bool {
        self.tasks.values().any(|task| match task {
            Task::Writer(writer) => writer.log == log && writer.claim() == claim && !writer.has_ended(),
            Task::Takeover(takeover) => takeover.raise().claim == claim && !takeover.has_ended(),
            _ => false,
        })
    }
}
