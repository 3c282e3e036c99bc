//! Reading records: what several logs want is read together, while only so many reads are on their way.

use core::time::Duration;
use std::collections::VecDeque;

use super::{Committer, Purpose, answers::reason};
use crate::{
    engine::{Answer, Answered, ReadFrom, Request},
    limits::{READ_BYTES_MAX, READ_LOGS_MAX, READS_MAX},
    task::TaskId,
};

/// Tasks that want to read.
#[derive(Debug, Default)]
pub(super) struct Reads {
    pub(super) waiting: VecDeque<TaskId>,
    /// How many requests are on their way.
    asked: usize,
}

impl Committer {
    pub(super) fn ask_to_read(&mut self, now: Duration) {
        while self.reads.asked < READS_MAX {
            let (mut ids, mut wanted) = (Vec::new(), Vec::<ReadFrom>::new());
            while ids.len() < READ_LOGS_MAX
                && let Some(id) = self.reads.waiting.pop_front()
            {
                let Some(task) = self.tasks.get_mut(&id) else { continue };
                wanted.push(task.on_reading());
                ids.push(id);
            }
            if ids.is_empty() {
                return;
            }
            self.reads.asked += 1;
            self.ask(Request::Read { wanted, bytes: READ_BYTES_MAX }, Purpose::Read(ids), now);
        }
    }

    pub(super) fn on_read(&mut self, ids: &[TaskId], answer: Answer, now: Duration) {
        self.reads.asked -= 1;
        let result = match answer {
            Ok(Answered::Read { session, logs }) if (1..=ids.len()).contains(&logs.len()) => Ok((session, logs)),
            other => Err(reason(other)),
        };
        match result {
            Ok((session, logs)) => {
                let (read, left) = ids.split_at(logs.len());
                for (id, log) in read.iter().zip(logs) {
                    self.tell(*id, now, |task, events| task.on_read(Ok((session, log)), now, events));
                }
                // They have waited longer than whoever has asked since.
                for id in left.iter().rev() {
                    if let Some(task) = self.tasks.get_mut(id) {
                        task.on_not_read();
                        self.reads.waiting.push_front(*id);
                    }
                }
            }
            Err(reason) => {
                for id in ids {
                    self.tell(*id, now, |task, events| task.on_read(Err(reason.clone()), now, events));
                }
            }
        }
    }
}
