//! Reads on from a record: what it returns is durable, and follows what was returned before link by link.
//!
//! **Architecture Invariant:** nothing that an engine shows is handed on, and no fault of a log is told, before a barrier has
//! returned in the session in which it was read.

use ambrosia_core::{Epoch, Lsn, Record, Timestamp};
use ambrosia_storage::LogId;

use crate::{
    engine::{EngineHead, Group, LogRead, Position, ReadFrom, Session},
    fault::LogFault,
    limits::READ_BYTES_MAX,
};

/// The last record that somebody has read, and what of it the next one has to follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// The record.
    pub last: Position,
    /// Its epoch.
    pub epoch: Epoch,
    /// When it was made.
    pub time: Timestamp,
}

impl Standing {
    /// Of a record.
    pub fn at(record: &Record) -> Standing {
        let header = record.header();
        Standing { last: Position::of(header), epoch: header.epoch, time: header.time }
    }
}

/// A reader of one log.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) log: LogId,
    /// How far it has returned records.
    pub(crate) standing: Standing,
}

/// What was read, as far as it can be believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// There is nothing new to be seen.
    Nothing,
    /// Records, or a fault of the log, if a barrier returns in that session.
    Seen(Session, Result<Vec<Record>, LogFault>),
}

impl Reader {
    pub(crate) fn wanted(&self) -> ReadFrom {
        ReadFrom { log: self.log, from: self.standing.last.lsn.next(), bytes: READ_BYTES_MAX }
    }

    /// Judges what [`Reader::wanted`] was answered with.
    pub(crate) fn judge(&self, session: Session, read: &LogRead) -> Found {
        match self.check(read.head, &read.groups) {
            Ok(records) if records.is_empty() => Found::Nothing,
            result => Found::Seen(session, result),
        }
    }

    /// The barrier has returned: goes on behind what was read.
    pub(crate) fn take(&mut self, records: &[Record]) {
        if let Some(last) = records.last() {
            assert!(last.lsn() > self.standing.last.lsn, "a reader reads forwards");
            self.standing = Standing::at(last);
        }
    }

    fn check(&self, head: Option<EngineHead>, groups: &[Group]) -> Result<Vec<Record>, LogFault> {
        let (log, at) = (self.log, self.standing.last);
        let head = head.ok_or(LogFault::Gone { log })?;
        if head.last.lsn < at.lsn || head.epoch < self.standing.epoch {
            return Err(went_back(at.lsn, self.standing.epoch, head));
        }
        if head.last.lsn == at.lsn && head.last.link != at.link {
            return Err(LogFault::Rewritten { log, lsn: at.lsn });
        }
        if head.first > at.lsn.next() {
            return Err(LogFault::Missing { log, asked: at.lsn.next(), first: head.first, last: head.last.lsn });
        }
        let mut records = Vec::new();
        for group in groups {
            self.check_group(group, &mut records)?;
        }
        Ok(records)
    }

    /// Adds the records of a group that are news.
    fn check_group(&self, group: &Group, records: &mut Vec<Record>) -> Result<(), LogFault> {
        let log = self.log;
        let mut bytes = group.bytes.clone();
        let mut last = None;
        while !bytes.is_empty() {
            let before = records.last().map_or(self.standing, Standing::at);
            let lsn = before.last.lsn.next();
            let corrupt = |reason: &str| LogFault::Corrupt { log, lsn, reason: reason.to_owned() };
            let record = Record::split_from(&mut bytes).map_err(|error| corrupt(&error.to_string()))?;
            last = Some(Standing::at(&record).last);
            if record.lsn() < lsn && records.is_empty() {
                // The reader began in the middle of a group.
                if record.lsn() == before.last.lsn && record.header().link() != before.last.link {
                    return Err(LogFault::Rewritten { log, lsn: record.lsn() });
                }
                continue;
            }
            if record.lsn() != lsn {
                return Err(corrupt(&format!("record {} stands there", record.lsn())));
            }
            if record.header().previous != before.last.link {
                return Err(LogFault::Rewritten { log, lsn: before.last.lsn });
            }
            if record.header().epoch < before.epoch {
                return Err(corrupt("its epoch is lower than that of the record before"));
            }
            records.push(record);
        }
        if last == Some(group.last) {
            return Ok(());
        }
        Err(LogFault::Corrupt { log, lsn: group.first(), reason: "its group is not what its row says".to_owned() })
    }
}

/// Where a reader stands who begins with `from`: `groups` begin with the one that holds the record before, or with the first there is.
pub(crate) fn find(log: LogId, from: Lsn, read: &LogRead) -> Result<Standing, LogFault> {
    let LogRead { head, groups } = read;
    let head = head.ok_or(LogFault::Gone { log })?;
    let missing = LogFault::Missing { log, asked: from, first: head.first, last: head.last.lsn };
    if from.0 == 0 || from < head.first || from > head.last.lsn.next() {
        return Err(missing);
    }
    for group in groups {
        let mut bytes = group.bytes.clone();
        while !bytes.is_empty() {
            let lsn = group.first();
            let corrupt = |error: ambrosia_core::RecordError| LogFault::Corrupt { log, lsn, reason: error.to_string() };
            let record = Record::split_from(&mut bytes).map_err(corrupt)?;
            if record.lsn().next() == from {
                return Ok(Standing::at(&record));
            }
            if record.lsn() == from {
                let last = Position { lsn: Lsn(from.0 - 1), link: record.header().previous };
                return Ok(Standing { last, ..Standing::default() });
            }
        }
    }
    Err(missing)
}

/// The fault of a store that has lost a record.
pub(crate) fn went_back(had: Lsn, epoch: Epoch, head: EngineHead) -> LogFault {
    LogFault::WentBack { log: head.log, had, epoch, last: head.last.lsn, last_epoch: head.epoch }
}
