//! Looking at head rows: what all want of them is one request.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Committer, Purpose, answers::reason};
use crate::{
    engine::{Answer, Answered, Request, Seen},
    limits::REQUEST_LOGS_MAX,
    task::{Task, TaskId},
};

/// Tasks that want to see their head row.
#[derive(Debug, Default)]
pub(super) struct Looks {
    pub(super) waiting: VecDeque<TaskId>,
    /// A request for some is on its way.
    is_asked: bool,
}

impl Committer {
    pub(super) fn ask_for_heads(&mut self, now: Duration) {
        if self.looks.is_asked {
            return;
        }
        let (mut logs, mut ids) = (BTreeSet::new(), Vec::new());
        while let Some(id) = self.looks.waiting.pop_front() {
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            match task {
                Task::Writer(writer) => writer.on_looking(),
                Task::Head(head) => head.on_looking(),
                Task::Takeover(_) | Task::Read(_) | Task::Follow(_) => unreachable!("they do not ask for it"),
            }
            logs.insert(task.log());
            ids.push(id);
            if logs.len() == REQUEST_LOGS_MAX {
                break;
            }
        }
        if !ids.is_empty() {
            self.looks.is_asked = true;
            let logs = logs.into_iter().map(|log| Seen { log, known: None }).collect();
            self.ask(Request::Heads { logs }, Purpose::Look(ids), now);
        }
    }

    pub(super) fn on_heads(&mut self, ids: &[TaskId], answer: Answer, now: Duration) {
        self.looks.is_asked = false;
        let result = match answer {
            Ok(Answered::Heads { session, heads, .. }) => {
                Ok((session, heads.into_iter().map(|head| (head.log, head)).collect::<BTreeMap<_, _>>()))
            }
            other => Err(reason(other)),
        };
        for id in ids {
            self.tell(*id, now, |task, events| match (&result, task) {
                (Ok((session, heads)), Task::Writer(writer)) => {
                    writer.on_head(*session, heads.get(&writer.log).copied(), now);
                }
                (Err(reason), Task::Writer(writer)) => writer.on_look_failed(reason.clone(), now, events),
                (Ok((session, heads)), Task::Head(once)) => {
                    once.on_head(*session, heads.get(&once.log).copied());
                }
                (Err(reason), Task::Head(once)) => once.on_look_failed(reason.clone(), now, events),
                _ => unreachable!("only these look at heads"),
            });
        }
    }
}
