//! Every replica's prefix of a log is identical, whoever reigns and whatever breaks: what was durable once stays, at
//! its lsn, and nothing leaves a process before its record is durable.

use std::collections::{BTreeMap, BTreeSet};

use ambrosia_core::{InstanceUuid, Lsn, Record, Remedy, is_void};
use ambrosia_storage::{FileLog, LogError, LogStore};

use crate::{damage::Flip, process::Process, sim::Sim, wishes::fulfilled_by};

/// The records that were durable once, by instance and by lsn from 1. The link of each stands for it and all before it.
/// They are kept here for good, whatever of the log is removed.
#[derive(Default)]
pub(crate) struct Logs {
    records: BTreeMap<InstanceUuid, Vec<Record>>,
    /// Records of which clients have seen answers.
    answered: BTreeSet<(InstanceUuid, Lsn)>,
}

impl Logs {
    /// A process learns that the record is durable, from the log or as its writer. True if it is the first to do so.
    pub(crate) fn on_durable(&mut self, uuid: InstanceUuid, record: &Record) -> bool {
        let records = self.records.entry(uuid).or_default();
        let (at, known) = (record.lsn().0 as usize - 1, records.len());
        assert!(at <= known, "the log has no gap: record {} is durable, and {known} are known", at + 1);
        if let Some(known) = records.get(at) {
            assert_eq!(
                known.header().link(),
                record.header().link(),
                "two different records were durable at lsn {}",
                at + 1
            );
            return false;
        }
        records.push(record.clone());
        true
    }

    /// Something leaves a process because of the record `after`, which has that link there.
    pub(crate) fn on_leaving(&self, uuid: InstanceUuid, after: Lsn, executed: Option<u64>) {
        let durable = self.link(uuid, after);
        assert!(durable.is_some(), "something was shown of record {after} before it was durable");
        assert_eq!(durable, executed, "what is shown comes from the record that is durable at lsn {after}");
    }

    /// A client sees an answer that was brought about by that record.
    pub(crate) fn on_answered(&mut self, uuid: InstanceUuid, lsn: Lsn) {
        self.answered.insert((uuid, lsn));
    }

    /// What a record held that was left out is seen of its mend, and so not before that is durable.
    pub(crate) fn check_answers(&self) {
        for (uuid, lsn) in &self.answered {
            assert!(!self.is_mended(*uuid, *lsn), "an answer was seen of record {lsn}, which brought about nothing");
        }
    }

    /// The link of a record that was durable once.
    pub(crate) fn link(&self, uuid: InstanceUuid, lsn: Lsn) -> Option<u64> {
        self.records(uuid).get((lsn.0 as usize).checked_sub(1)?).map(|record| record.header().link())
    }

    /// The last record that was durable once.
    pub(crate) fn head(&self, uuid: InstanceUuid) -> Lsn {
        Lsn(self.records(uuid).len() as u64)
    }

    /// The wishes fulfilled among them, with their records.
    pub(crate) fn fulfilled(&self, uuid: InstanceUuid) -> Vec<(Lsn, Remedy)> {
        self.records(uuid).iter().filter_map(fulfilled_by).collect()
    }

    /// Whether what that record held was delivered by a mend.
    pub(crate) fn is_mended(&self, uuid: InstanceUuid, lsn: Lsn) -> bool {
        let records = self.records(uuid);
        let record = (lsn.0 as usize).checked_sub(1).and_then(|at| records.get(at));
        record.is_some_and(|record| is_void(record, &records[lsn.0 as usize..]))
    }

    /// All of them.
    pub(crate) fn records(&self, uuid: InstanceUuid) -> &[Record] {
        self.records.get(&uuid).map_or(&[], Vec::as_slice)
    }
}

impl Sim {
    /// What is there of a log has no hole, whatever was removed of it, and is what was durable once.
    pub(crate) fn check_whole_log(&self, process: &Process, log: &FileLog) {
        match self.undisturbed(|| self.read_whole_log(process, log)) {
            Ok(()) => {}
            Err(error @ LogError::Corrupt { .. }) => {
                let flipped = self.instances.borrow()[process.place.instance].flip.as_ref().is_some_and(Flip::is_log);
                assert!(flipped, "the log has no hole: {error}");
            }
            Err(error) => panic!("a log can be read: {error}"),
        }
    }

    fn read_whole_log(&self, process: &Process, log: &FileLog) -> Result<(), LogError> {
        let mut tail = match log.tail(Lsn(1)) {
            Err(LogError::Missing { first, .. }) => log.tail(first)?,
            tail => tail?,
        };
        loop {
            let records = tail.read()?;
            if records.is_empty() {
                return Ok(());
            }
            let witness = self.witness.borrow();
            for record in &records {
                let known = witness.logs.link(process.uuid, record.lsn());
                let same = known.is_none_or(|known| known == record.header().link());
                assert!(same, "what was durable at lsn {} is still there", record.lsn());
            }
        }
    }
}
