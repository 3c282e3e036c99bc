//! Raising epochs: those of all candidates in one request.

use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};

use super::{Committer, Purpose, answers::unfit};
use crate::{
    engine::{Answer, Answered, EngineHead, Fault, Raise, RaiseFault, Request},
    limits::REQUEST_LOGS_MAX,
    task::{Task, TaskId},
};

/// Tasks that want to raise an epoch.
#[derive(Debug, Default)]
pub(super) struct Raises {
    pub(super) waiting: VecDeque<TaskId>,
    /// A request for some is on its way.
    is_asked: bool,
}

impl Committer {
    pub(super) fn ask_to_raise(&mut self, now: Duration) {
        if self.raises.is_asked {
            return;
        }
        let (mut logs, mut wanted) = (BTreeSet::new(), Vec::<Raise>::new());
        let (mut ids, mut left) = (Vec::new(), Vec::new());
        while let Some(id) = self.raises.waiting.pop_front() {
            let Some(Task::Takeover(takeover)) = self.tasks.get_mut(&id) else { continue };
            let raise = takeover.raise();
            if wanted.len() == REQUEST_LOGS_MAX || !logs.insert(raise.log) {
                left.push(id);
                continue;
            }
            takeover.on_raising();
            wanted.push(raise);
            ids.push(id);
        }
        self.raises.waiting.extend(left);
        if !wanted.is_empty() {
            self.raises.is_asked = true;
            self.ask(Request::Raise { wanted }, Purpose::Raise(ids), now);
        }
    }

    pub(super) fn on_raised(&mut self, ids: &[TaskId], answer: Answer, now: Duration) {
        self.raises.is_asked = false;
        let failed = |fault: Fault| ids.iter().map(|_| Err(fault.clone())).collect();
        let results: Vec<Result<Result<EngineHead, RaiseFault>, Fault>> = match answer {
            Ok(Answered::Raised(results)) if results.len() == ids.len() => results.into_iter().map(Ok).collect(),
            Ok(other) => failed(Fault::Unknown(unfit(&other))),
            Err(fault) => failed(fault),
        };
        for (id, result) in ids.iter().zip(results) {
            self.tell(*id, now, |task, events| match task {
                Task::Takeover(takeover) => takeover.on_raised(result, now, events),
                _ => unreachable!("only a candidate raises an epoch"),
            });
        }
    }
}
