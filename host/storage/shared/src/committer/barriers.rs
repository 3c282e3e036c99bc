//! Barriers: one for all that was read in its session.

use core::time::Duration;
use std::collections::BTreeMap;

use super::{Committer, Purpose, answers::reason};
use crate::{
    engine::{Answer, Answered, Request, Session},
    task::TaskId,
};

/// Tasks that wait for a barrier; whether one for the session is on its way.
#[derive(Debug, Default)]
pub(super) struct Barriers(BTreeMap<Session, (Vec<TaskId>, bool)>);

impl Barriers {
    /// A task has read something in that session.
    pub(super) fn place(&mut self, session: Session, id: TaskId) {
        self.0.entry(session).or_default().0.push(id);
    }
}

impl Committer {
    pub(super) fn ask_for_barriers(&mut self, now: Duration) {
        let mut asked = Vec::new();
        for (session, (waiting, is_asked)) in &mut self.barriers.0 {
            if !*is_asked && !waiting.is_empty() {
                *is_asked = true;
                let mut ids = std::mem::take(waiting);
                ids.retain(|id| self.tasks.contains_key(id));
                ids.iter().for_each(|id| self.tasks.get_mut(id).expect("it is there").on_barring());
                asked.push((*session, ids));
            }
        }
        for (session, ids) in asked {
            self.ask(Request::Barrier { session }, Purpose::Barrier(session, ids), now);
        }
    }

    pub(super) fn on_barred(&mut self, session: Session, ids: &[TaskId], answer: Answer, now: Duration) {
        let result = match answer {
            Ok(Answered::Barred) => Ok(()),
            other => Err(reason(other)),
        };
        // What was read in a session that is over fails too when it asks.
        if let Some((waiting, is_asked)) = self.barriers.0.get_mut(&session) {
            *is_asked = false;
            if waiting.is_empty() {
                self.barriers.0.remove(&session);
            }
        }
        for id in ids {
            self.tell(*id, now, |task, events| task.on_barred(result.clone(), now, events));
        }
    }
}
