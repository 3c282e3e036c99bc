//! What is durable in truth, and the promises that are compared with it.

use std::collections::{BTreeMap, BTreeSet};

use ambrosia_core::{Epoch, Lsn, Record, RecordKind};
use ambrosia_shared_log::{EngineHead, Group, LogFault, Position, Rows, Standing};
use ambrosia_storage::LogId;

/// All records of a log that were ever durable and still are, from genesis on; trimming leaves them here.
#[derive(Debug, Default)]
pub(super) struct Witness {
    truth: BTreeMap<LogId, Vec<Standing>>,
    /// What was durable at any time.
    ever: BTreeSet<(LogId, Position)>,
    /// When which epoch was raised durably.
    raised: BTreeMap<LogId, Vec<(u64, Epoch)>>,
    /// When an older state was restored.
    restored_at: Option<u64>,
    /// Logs of which something was lost by that.
    pub(super) rolled_back: BTreeSet<LogId>,
}

impl Witness {
    pub(super) fn begin(&mut self, log: LogId, genesis: &Record) {
        self.ever.insert((log, Standing::at(genesis).last));
        self.truth.insert(log, vec![Standing::at(genesis)]);
    }

    pub(super) fn end(&self, log: LogId) -> Standing {
        *self.truth[&log].last().expect("a log begins with genesis")
    }

    /// Whether that is a record of the log.
    pub(super) fn has(&self, log: LogId, position: Position) -> bool {
        let at = position.lsn.0.checked_sub(1).and_then(|at| self.truth[&log].get(at as usize));
        at.is_some_and(|standing| standing.last == position)
    }

    pub(super) fn was_durable(&self, log: LogId, position: Position) -> bool {
        self.ever.contains(&(log, position))
    }

    /// A group was replicated: nothing before it changes, it follows, and one reign has each record.
    pub(super) fn on_group(&mut self, group: &Group) {
        let log = group.log;
        let mut bytes = group.bytes.clone();
        while !bytes.is_empty() {
            let record = Record::split_from(&mut bytes).expect("a group holds records");
            let (before, header) = (self.end(log), record.header());
            assert!(
                header.lsn > before.last.lsn,
                "record {} of log {log}, which was durable, is written once more by epoch {}",
                header.lsn,
                header.epoch
            );
            assert_eq!(header.lsn, before.last.lsn.next(), "log {log} has a gap");
            assert_eq!(header.previous, before.last.link, "record {} of log {log} does not follow", header.lsn);
            assert!(header.epoch >= before.epoch, "a deposed writer has appended record {} of log {log}", header.lsn);
            let begins = header.epoch > before.epoch;
            assert_eq!(begins, header.kind == RecordKind::Epoch, "a reign begins by an epoch record, and only so");
            let standing = Standing::at(&record);
            self.ever.insert((log, standing.last));
            self.truth.get_mut(&log).expect("there is such a log").push(standing);
        }
        assert_eq!(self.end(log).last, group.last, "a group is what its row says");
    }

    pub(super) fn on_raised(&mut self, head: &EngineHead, now: u64) {
        self.raised.entry(head.log).or_default().push((now, head.epoch));
    }

    /// An older state was restored.
    pub(super) fn on_restored(&mut self, rows: &Rows, now: u64) {
        self.restored_at = Some(now);
        for (log, truth) in &mut self.truth {
            let head = rows.head(*log).expect("no log is made after the backup");
            let raised = self.raised.entry(*log).or_default();
            let newest = raised.last().map_or(Epoch(0), |(_, epoch)| *epoch);
            if truth.len() as u64 > head.last.lsn.0 || newest > head.epoch {
                self.rolled_back.insert(*log);
            }
            truth.truncate(head.last.lsn.0 as usize);
            raised.retain(|(_, epoch)| *epoch <= head.epoch);
            assert_eq!(truth.last().expect("not empty").last, head.last, "the backup is a state that there was");
        }
    }

    /// Records that were handed on: they follow what was handed on before, and are durable.
    pub(super) fn check_read(&self, log: LogId, from: Standing, records: &[Record]) {
        let mut before = from.last;
        for record in records {
            let at = Standing::at(record).last;
            assert_eq!(
                (at.lsn, record.header().previous),
                (before.lsn.next(), before.link),
                "a reader leaves nothing out"
            );
            assert!(self.was_durable(log, at), "record {} of log {log} was handed on and is not durable", at.lsn);
            before = at;
        }
    }

    /// Nothing was found to be wrong by a read that was begun then. A record that the log has lost may be there again: a writer that
    /// was not told whether it was written writes the same bytes once more, and until they are durable they are at the end.
    pub(super) fn check_goes_on(&self, log: LogId, from: Standing, begun: u64, rows: &Rows) {
        let is_last = || rows.head(log).is_some_and(|head| head.last == from.last);
        assert!(
            self.restored_at.is_none_or(|at| begun <= at) || self.has(log, from.last) || is_last(),
            "a reader that has seen record {} of log {log} was not told that the log does not have it any more",
            from.last.lsn
        );
    }

    /// A record that a writer was told to be durable.
    pub(super) fn check_durable(&self, log: LogId, position: Position) {
        assert!(
            self.was_durable(log, position),
            "record {} of log {log} was told durable, and it is not",
            position.lsn
        );
    }

    /// A fault that a host was told of a log.
    pub(super) fn check_fault(&self, log: LogId, fault: &LogFault, rows: &Rows) {
        match fault {
            LogFault::Unavailable(_) => {}
            LogFault::Missing { asked, .. } => {
                let first = rows.head(log).expect("no log is removed").first;
                // An older state has what was trimmed later.
                let may_be_back = self.restored_at.is_some();
                assert!(first > *asked || may_be_back, "log {log} has record {asked}");
            }
            LogFault::WentBack { .. } | LogFault::Rewritten { .. } => {
                assert!(self.rolled_back.contains(&log), "a log that is whole was refused: {fault}");
            }
            LogFault::Gone { .. } | LogFault::Corrupt { .. } | LogFault::TooLarge { .. } => panic!("{fault}"),
        }
    }

    /// A reign ended by another one.
    pub(super) fn check_fenced(&self, log: LogId, by: Epoch, rows: &Rows) {
        let newest = rows.head(log).expect("no log is removed").epoch;
        assert!(
            newest >= by || self.rolled_back.contains(&log),
            "log {log} has epoch {newest}, and a writer was told that it was deposed by {by}"
        );
    }

    /// A reign was found to be the newest by a look that was begun then.
    pub(super) fn check_confirmed(&self, log: LogId, epoch: Epoch, begun: u64) {
        let raised = self.raised.get(&log).into_iter().flatten();
        let newest = raised.filter(|(at, _)| *at < begun).map(|(_, epoch)| *epoch).max();
        assert!(
            newest.is_none_or(|newest| newest <= epoch) || self.rolled_back.contains(&log),
            "the reign {epoch} of log {log} was found to be the newest, and {newest:?} had begun before"
        );
    }

    /// The record before that one.
    pub(super) fn before(&self, log: LogId, lsn: Lsn) -> Standing {
        self.truth[&log][lsn.0 as usize - 2]
    }
}
