//! Follows a log on files.
//!
//! **Architecture Invariant:** it returns nothing above the durable lsn, which is read before the list of segments.

use ambrosia_core::{Epoch, EpochBody, Lsn, Record, Timestamp};

use super::{
    cursor::{Cursor, Stop},
    file_log::FileLog,
    log_thread::LogTurns,
};
use crate::{AcquireError, Acquired, Events, LogError, LogTail, OnRead};

/// Bytes after which [`LogTail::read`] returns.
const BUDGET_BYTES: usize = 4 << 20;
/// The same for the first read of one that was forked; each further one is twice as large.
const FORKED_BUDGET_BYTES: usize = 256 << 10;

/// Reads a log on files as far as it is durable.
pub struct FileTail {
    cursor: Cursor,
    log: FileLog,
    /// Count of segments when the cursor's list was made.
    layout: u64,
    /// Bytes after which the next read returns.
    budget: usize,
}

impl FileTail {
    pub(crate) fn open(log: FileLog, from: Lsn) -> Result<FileTail, LogError> {
        let durable = log.control().durable();
        let layout = log.control().layout();
        let cursor = Cursor::open(log.shared_directory().clone(), from, durable)?;
        Ok(FileTail { cursor, log, layout, budget: BUDGET_BYTES })
    }

    /// As [`LogTail::acquire`], for simulators: the caller does the turns of the log.
    pub fn acquire_by_turns(
        self,
        over: Epoch,
        me: EpochBody,
        now: Timestamp,
        events: Events,
    ) -> Result<(Acquired, LogTurns), AcquireError> {
        self.log.acquire_by_turns(over, me, now, self.cursor, events)
    }

    fn read_to(&mut self, durable: Lsn) -> Result<Vec<Record>, LogError> {
        let layout = self.log.control().layout();
        if layout != self.layout {
            self.cursor.relist()?;
            self.layout = layout;
        }
        let mut records = Vec::new();
        let budget = self.budget;
        self.budget = (budget * 2).min(BUDGET_BYTES);
        match self.cursor.read(durable, budget, |_, record| records.push(record))? {
            Stop::Fault(fault) if records.is_empty() => Err(self.cursor.corrupt(&fault)),
            // The records before the damage are good; the next call meets it again.
            Stop::Fault(_) | Stop::Satisfied => Ok(records),
        }
    }
}

impl LogTail for FileTail {
    fn read(&mut self) -> Result<Vec<Record>, LogError> {
        let durable = self.log.control().durable();
        if self.cursor.next_lsn() <= durable { self.read_to(durable) } else { Ok(Vec::new()) }
    }

    fn begin_read(mut self: Box<Self>, done: OnRead) {
        let records = self.read();
        done(self, records);
    }

    fn position(&self) -> Lsn {
        self.cursor.next_lsn()
    }

    fn link(&self) -> u64 {
        self.cursor.last().link
    }

    fn fork(&self) -> Box<dyn LogTail> {
        let budget = FORKED_BUDGET_BYTES;
        Box::new(FileTail { cursor: self.cursor.clone(), log: self.log.clone(), layout: self.layout, budget })
    }

    fn acquire(
        self: Box<Self>,
        over: Epoch,
        me: EpochBody,
        now: Timestamp,
        events: Events,
    ) -> Result<Acquired, AcquireError> {
        self.log.acquire(over, me, now, self.cursor, events)
    }
}
