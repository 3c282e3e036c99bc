//! Telling that reigns have ended.

use core::time::Duration;

use super::{Committer, Purpose, answers::reason};
use crate::{
    engine::{Answer, Answered, Request},
    task::{Task, TaskId},
};

impl Committer {
    pub(super) fn ask_to_release(&mut self, now: Duration) {
        while let Some(id) = self.releasing.pop_front() {
            let Some(Task::Writer(writer)) = self.tasks.get_mut(&id) else { continue };
            writer.on_releasing();
            let (log, epoch, claim) = (writer.log, writer.epoch, writer.claim());
            self.ask(Request::Release { log, epoch, claim }, Purpose::Release(id), now);
        }
    }

    pub(super) fn on_released(&mut self, id: TaskId, answer: Answer, now: Duration) {
        let result = match answer {
            Ok(Answered::Released) => Ok(()),
            other => Err(reason(other)),
        };
        self.tell(id, now, |task, events| match task {
            Task::Writer(writer) => writer.on_released(result, now, events),
            _ => unreachable!("only a writer ends a reign"),
        });
    }
}
