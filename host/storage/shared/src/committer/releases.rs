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
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            let (epoch, claim) = match task {
                Task::Writer(writer) => writer.on_releasing(),
                Task::Takeover(takeover) => takeover.on_releasing(),
                Task::Read(_) | Task::Head(_) | Task::Follow(_) => unreachable!("they have no reign"),
            };
            let log = task.log();
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
            Task::Takeover(takeover) => takeover.on_released(&result, now),
            Task::Read(_) | Task::Head(_) | Task::Follow(_) => unreachable!("they have no reign"),
        });
    }
}
