//! Idle writers look whether they were deposed: whoever has a group on its way learns of it by that.

use core::time::Duration;
use std::collections::BTreeMap;

use ambrosia_storage::LogId;

use super::{
    Committer, Purpose,
    answers::{next_part, reason},
};
use crate::{
    engine::{Answer, Answered, EngineHead, Request, Seen},
    limits::FENCE_LOOK_INTERVAL,
    task::{Task, TaskId},
};

/// When that is done.
#[derive(Debug, Default)]
pub(super) struct Fences {
    look_at: Duration,
    /// A request for some is on its way.
    is_asked: bool,
    /// How far those are that are looked at in parts.
    after: Option<LogId>,
    /// When that began which is on its way, or the first of those that have failed since one has not.
    began: Option<Duration>,
}

impl Fences {
    /// When they are looked at next.
    pub(super) fn time(&self) -> Option<Duration> {
        (!self.is_asked).then_some(self.look_at)
    }
}

impl Committer {
    /// Idle writers look whether they were deposed.
    pub(super) fn watch_fences(&mut self, now: Duration) {
        if self.fences.is_asked || self.fences.look_at > now {
            return;
        }
        let mut logs = BTreeMap::new();
        for (id, task) in &self.tasks {
            if let Task::Writer(writer) = task
                && writer.is_idle()
            {
                logs.entry(writer.log).or_insert((*id, writer.known()));
            }
        }
        let part = next_part(logs, &mut self.fences.after);
        self.fences.look_at = if self.fences.after.is_some() { now } else { now + FENCE_LOOK_INTERVAL };
        if !part.is_empty() {
            self.fences.is_asked = true;
            self.fences.began.get_or_insert(now);
            let ids = part.iter().map(|(_, (id, _))| *id).collect();
            let seen = |(log, (_, known))| Seen { log, known: Some(known) };
            let logs = part.into_iter().map(seen).collect();
            self.ask(Request::Heads { logs }, Purpose::Watch(ids), now);
        }
    }

    /// What has changed is looked at again by whoever it concerns; what could not be seen is seen next time.
    pub(super) fn on_watched(&mut self, ids: &[TaskId], answer: Answer, now: Duration) {
        self.fences.is_asked = false;
        let (heads, gone) = match answer {
            Ok(Answered::Heads { heads, gone, .. }) => (heads, gone),
            other => return self.on_unseen(ids, &reason(other), now),
        };
        self.fences.began = None;
        let heads: BTreeMap<LogId, EngineHead> = heads.into_iter().map(|head| (head.log, head)).collect();
        for id in ids {
            let Some(Task::Writer(writer)) = self.tasks.get_mut(id) else { continue };
            let mut events = Vec::new();
            writer.on_watched(None, &mut events);
            self.events.extend(events.into_iter().map(|event| (*id, event)));
            let head = heads.get(&writer.log);
            head.into_iter().for_each(|head| writer.on_shown(head));
            // A store that has gone back may have come to the same epoch again, by another claim.
            let is_its = |head: &EngineHead| head.epoch == writer.epoch && head.claim == writer.claim();
            let is_other = head.is_some_and(|head| !is_its(head));
            if writer.is_idle() && (is_other || gone.contains(&writer.log)) {
                writer.on_doubt(now);
                self.place(*id, now);
            }
        }
    }

    /// The engine can't be reached. Whoever has nothing on its way learns of it by this alone.
    fn on_unseen(&mut self, ids: &[TaskId], reason: &str, now: Duration) {
        let waited = self.fences.began.map_or(Duration::ZERO, |began| now.saturating_sub(began));
        for id in ids {
            let Some(Task::Writer(writer)) = self.tasks.get_mut(id) else { continue };
            let mut events = Vec::new();
            writer.on_watched(Some((reason, waited)), &mut events);
            self.events.extend(events.into_iter().map(|event| (*id, event)));
        }
    }
}
