//! Reading records: a log a request, and only so many at a time.

use core::time::Duration;
use std::collections::VecDeque;

use super::{Committer, Purpose, answers::reason};
use crate::{
    engine::{Answer, Answered},
    limits::READS_MAX,
    task::{Task, TaskId},
};

/// Tasks that want to read.
#[derive(Debug, Default)]
pub(super) struct Reads {
    pub(super) waiting: VecDeque<TaskId>,
    /// How many are on their way.
    asked: usize,
}

impl Committer {
    pub(super) fn ask_to_read(&mut self, now: Duration) {
        while self.reads.asked < READS_MAX
            && let Some(id) = self.reads.waiting.pop_front()
        {
            let request = match self.tasks.get_mut(&id) {
                None => continue,
                Some(Task::Takeover(takeover)) => {
                    takeover.on_reading();
                    takeover.reader().request()
                }
                Some(Task::Read(read)) => {
                    read.on_reading();
                    read.request()
                }
                Some(Task::Writer(_) | Task::Head(_) | Task::Follow(_)) => unreachable!("they look at heads"),
            };
            self.reads.asked += 1;
            self.ask(request, Purpose::Read(id), now);
        }
    }

    pub(super) fn on_read(&mut self, id: TaskId, answer: Answer, now: Duration) {
        self.reads.asked -= 1;
        let read = match answer {
            Ok(Answered::Read { session, head, groups }) => Ok((session, head, groups)),
            other => Err(reason(other)),
        };
        self.tell(id, now, |task, events| match task {
            Task::Takeover(takeover) => takeover.on_read(read, now, events),
            Task::Read(once) => once.on_read(read, events),
            Task::Writer(_) | Task::Head(_) | Task::Follow(_) => unreachable!("they look at heads"),
        });
    }
}
