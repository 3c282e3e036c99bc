//! Follows a log on files.
//!
//! **Architecture Invariant:** it returns nothing above the durable lsn, which is read before the list of segments.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ambrosia_core::{Lsn, Record};

use super::{
    control::Control,
    cursor::{Cursor, Stop},
};
use crate::{Interrupter, LogError, LogTail};

/// Bytes after which [`LogTail::next`] returns.
const BUDGET_BYTES: usize = 4 << 20;

/// Reads a log on files as far as it is durable.
pub(crate) struct FileTail {
    cursor: Cursor,
    control: Arc<Control>,
    /// Count of segments when the cursor's list was made.
    layout: u64,
    interrupted: Arc<AtomicBool>,
}

impl FileTail {
    pub(crate) fn open(
        directory: &Arc<super::log_directory::LogDirectory>,
        control: Arc<Control>,
        from: Lsn,
    ) -> Result<FileTail, LogError> {
        let durable = control.durable();
        let layout = control.layout();
        let cursor = Cursor::open(directory.clone(), from, durable)?;
        Ok(FileTail { cursor, control, layout, interrupted: Arc::default() })
    }

    pub(crate) fn into_cursor(self) -> Cursor {
        self.cursor
    }

    /// Whether the tail reads the log that `control` belongs to.
    pub(crate) fn reads(&self, directory: &super::log_directory::LogDirectory) -> bool {
        self.cursor.directory().path == directory.path && self.cursor.directory().uuid == directory.uuid
    }

    fn read_to(&mut self, durable: Lsn) -> Result<Vec<Record>, LogError> {
        let layout = self.control.layout();
        if layout != self.layout {
            self.cursor.relist()?;
            self.layout = layout;
        }
        let mut records = Vec::new();
        match self.cursor.read(durable, BUDGET_BYTES, |_, record| records.push(record))? {
            Stop::Fault(fault) if records.is_empty() => Err(self.cursor.corrupt(&fault)),
            // The records before the damage are good; the next call meets it again.
            Stop::Fault(_) | Stop::Satisfied => Ok(records),
        }
    }
}

impl LogTail for FileTail {
    fn next(&mut self, wait: Duration) -> Result<Vec<Record>, LogError> {
        let begin = Instant::now();
        loop {
            let seen = self.control.durable_changes();
            let durable = self.control.durable();
            if self.cursor.next_lsn() <= durable {
                return self.read_to(durable);
            }
            let Some(rest) = wait.checked_sub(begin.elapsed()).filter(|rest| !rest.is_zero()) else {
                return Ok(Vec::new());
            };
            if self.interrupted.swap(false, Ordering::SeqCst) {
                return Ok(Vec::new());
            }
            self.control.wait_for_durable(seen, rest);
        }
    }

    fn position(&self) -> Lsn {
        self.cursor.next_lsn()
    }

    fn link(&self) -> u64 {
        self.cursor.last().link
    }

    fn interrupter(&self) -> Interrupter {
        let (interrupted, control) = (self.interrupted.clone(), self.control.clone());
        Interrupter::new(move || {
            interrupted.store(true, Ordering::SeqCst);
            control.wake_durable_waiters();
        })
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}
