//! Every replica's prefix of a log is identical, whoever reigns and whatever breaks: what was durable once stays, at
//! its lsn, and nothing leaves a process before its record is durable.

use std::collections::BTreeMap;

use ambrosia_core::{InstanceUuid, Lsn, Record};

/// The records that were durable once, by instance: the link of each, by lsn from 1. A link stands for the record and
/// all before it.
#[derive(Default)]
pub(crate) struct Logs {
    links: BTreeMap<InstanceUuid, Vec<u64>>,
}

impl Logs {
    /// A process learns that the record is durable, from the log or as its writer. True if it is the first to do so.
    pub(crate) fn on_durable(&mut self, uuid: InstanceUuid, record: &Record) -> bool {
        let links = self.links.entry(uuid).or_default();
        let (at, link) = (record.lsn().0 as usize - 1, record.header().link());
        assert!(at <= links.len(), "the log has no gap: record {} is durable, and {} are known", at + 1, links.len());
        if let Some(known) = links.get(at) {
            assert_eq!(*known, link, "two different records were durable at lsn {}", at + 1);
            return false;
        }
        links.push(link);
        true
    }

    /// Something leaves a process because of the record `after`, which has that link there.
    pub(crate) fn on_leaving(&self, uuid: InstanceUuid, after: Lsn, executed: Option<u64>) {
        let durable = self.link(uuid, after);
        assert!(durable.is_some(), "something was shown of record {after} before it was durable");
        assert_eq!(durable, executed, "what is shown comes from the record that is durable at lsn {after}");
    }

    /// The link of a record that was durable once.
    pub(crate) fn link(&self, uuid: InstanceUuid, lsn: Lsn) -> Option<u64> {
        self.links.get(&uuid)?.get(lsn.0 as usize - 1).copied()
    }

    /// The last record that was durable once.
    pub(crate) fn head(&self, uuid: InstanceUuid) -> Lsn {
        Lsn(self.links.get(&uuid).map_or(0, Vec::len) as u64)
    }
}
