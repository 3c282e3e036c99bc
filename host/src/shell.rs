//! What a member calls while it steps, and the commands that it puts out.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use ambrosia_core::{
    Epoch, Record, RecordHeader,
    member::{Command, FenceLook, Shell, StopCause},
};
use ambrosia_engine::WasmGuest;
use ambrosia_storage::{AppendError, LOG_QUEUE_BYTES_MAX, LogWriter, Presence};

use crate::{driver::Replica, record_times::RecordTimes};

/// What surrounds the member of a process while it steps.
pub(crate) struct ProcessShell {
    presence: Arc<dyn Presence>,
    commands: VecDeque<Command>,
    /// The log of the reign.
    pub(crate) writer: Option<Box<dyn LogWriter>>,
    /// When records were made, of those that this process has applied.
    pub(crate) times: RecordTimes,
    /// Since when the guest works for the next record.
    works_since: Instant,
}

impl ProcessShell {
    pub(crate) fn new(presence: Arc<dyn Presence>) -> Self {
        let (commands, times, works_since) = (VecDeque::new(), RecordTimes::default(), Instant::now());
        ProcessShell { presence, commands, writer: None, times, works_since }
    }

    /// What the guest does from here on is work for the next record.
    pub(crate) fn begin_work(&mut self) {
        self.works_since = Instant::now();
    }

    /// The next command to be carried out.
    pub(crate) fn next(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    pub(crate) fn has_commands(&self) -> bool {
        !self.commands.is_empty()
    }

    /// Whether the log takes more records. It says when that changes.
    pub(crate) fn log_has_room(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| writer.queued_bytes() <= LOG_QUEUE_BYTES_MAX)
    }
}

impl Shell<WasmGuest> for ProcessShell {
    fn append(&mut self, record: Record) -> Result<(), StopCause> {
        let writer = self.writer.as_mut().expect("a member that reigns has a log to write");
        let appended = match writer.append(record) {
            Ok(()) => Ok(()),
            Err(AppendError::Fenced { by }) => Err(StopCause::Fenced { by }),
            Err(AppendError::Failed(reason)) => Err(StopCause::Failed(reason)),
            Err(error @ AppendError::Misplaced { .. }) => panic!("the core numbers and chains records: {error}"),
        };
        self.begin_work();
        appended
    }

    fn look_at_fence(&mut self, number: u64) -> Result<FenceLook, Epoch> {
        self.writer.as_mut().expect("a member that reigns has a log to write").look_at_fence(number)
    }

    fn applied(&mut self, header: &RecordHeader, replica: &mut Replica) -> u64 {
        assert_eq!(header.lsn, replica.applied(), "a record is told of once it was applied");
        let work = self.works_since.elapsed();
        self.begin_work();
        self.times.note(header.lsn, header.time);
        self.presence.set_applied(replica.applied());
        self.presence.set_waiting(replica.waiting_handlers());
        work.as_nanos() as u64
    }

    fn carry(&mut self, command: Command) {
        self.commands.push_back(command);
    }
}
