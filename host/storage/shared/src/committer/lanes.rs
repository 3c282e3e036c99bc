//! Appending: groups of different logs go together by no timer. While a request of a lane is on its way, what else has a group
//! gathers, and is the next request.

use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};

use ambrosia_storage::LogId;

use super::{Committer, Purpose, answers::unfit};
use crate::{
    engine::{Answer, Answered, AppendFault, Fault, Group, Request},
    limits::{REQUEST_BYTES_MAX, REQUEST_LOGS_MAX},
    task::{Task, TaskId},
};

/// The ways by which groups go. A log always has the same one.
#[derive(Debug)]
pub(super) struct Lanes(Vec<LaneState>);

#[derive(Debug, Default)]
struct LaneState {
    is_busy: bool,
    ready: VecDeque<TaskId>,
}

impl Lanes {
    pub(super) fn new(lanes: u8) -> Lanes {
        Lanes((0..lanes.max(1)).map(|_| LaneState::default()).collect())
    }

    /// A task has a group of that log.
    pub(super) fn place(&mut self, log: LogId, id: TaskId) {
        let sum = log.0.0.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        let lane = (sum % self.0.len() as u64) as usize;
        self.0[lane].ready.push_back(id);
    }
}

impl Committer {
    pub(super) fn ask_to_append(&mut self, now: Duration) {
        for lane in 0..self.lanes.0.len() {
            self.ask_by_lane(lane, now);
        }
    }

    fn ask_by_lane(&mut self, lane: usize, now: Duration) {
        if self.lanes.0[lane].is_busy {
            return;
        }
        let (mut groups, mut ids, mut left) = (Vec::<Group>::new(), Vec::new(), Vec::new());
        let (mut logs, mut bytes) = (BTreeSet::new(), 0);
        while let Some(id) = self.lanes.0[lane].ready.pop_front() {
            let Some(Task::Writer(writer)) = self.tasks.get_mut(&id) else { continue };
            let group = writer.group();
            if !logs.insert(group.log) {
                // An earlier reign of this host has a group of the same log.
                left.push(id);
                continue;
            }
            if !groups.is_empty() && (bytes + group.bytes.len() > REQUEST_BYTES_MAX || ids.len() == REQUEST_LOGS_MAX) {
                self.lanes.0[lane].ready.push_front(id);
                break;
            }
            bytes += group.bytes.len();
            groups.push(group.clone());
            writer.on_sent();
            ids.push(id);
        }
        self.lanes.0[lane].ready.extend(left);
        if !groups.is_empty() {
            self.lanes.0[lane].is_busy = true;
            self.ask(Request::Append { groups }, Purpose::Append(lane, ids), now);
        }
    }

    pub(super) fn on_appended(&mut self, lane: usize, ids: &[TaskId], answer: Answer, now: Duration) {
        self.lanes.0[lane].is_busy = false;
        let failed = |fault: Fault| ids.iter().map(|_| Err(AppendFault::Failed(fault.clone()))).collect();
        let results: Vec<_> = match answer {
            Ok(Answered::Appended(results)) if results.len() == ids.len() => results,
            Ok(other) => failed(Fault::Unknown(unfit(&other))),
            Err(fault) => failed(fault),
        };
        for (id, result) in ids.iter().zip(results) {
            self.tell(*id, now, |task, events| match task {
                Task::Writer(writer) => writer.on_appended(result, now, events),
                _ => unreachable!("only a writer appends"),
            });
        }
    }
}
