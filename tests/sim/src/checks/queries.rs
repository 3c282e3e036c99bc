//! What a query sees is the state behind a durable record, and a primary's is none from before an answer that was seen when it
//! was asked: queries of primaries are linearizable with the requests. What one process answers never goes back.

use std::collections::BTreeMap;

use ambrosia_core::{InstanceUuid, Lsn};

use crate::ids::ProcessId;

/// A client's query.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) uuid: InstanceUuid,
    /// The newest record of which an answer had been seen.
    pub(crate) floor: Lsn,
    /// The record that it waits for.
    pub(crate) at_least: Lsn,
}

#[derive(Default)]
pub(crate) struct Queries {
    pub(crate) all: Vec<Asked>,
    /// The newest record of each instance of which an answer was seen.
    seen: BTreeMap<InstanceUuid, Lsn>,
    /// The record at which a process has answered last.
    answered: BTreeMap<ProcessId, Lsn>,
}

impl Queries {
    /// A client is about to ask. Returns the number of that.
    pub(crate) fn add(&mut self, uuid: InstanceUuid) -> usize {
        let floor = self.seen.get(&uuid).copied().unwrap_or_default();
        self.all.push(Asked { uuid, floor, at_least: Lsn(0) });
        self.all.len() - 1
    }

    /// A client sees the answer to a request, which that record has brought about.
    pub(crate) fn on_answered(&mut self, uuid: InstanceUuid, lsn: Lsn) {
        let seen = self.seen.entry(uuid).or_default();
        *seen = lsn.max(*seen);
    }

    /// A process has answered that query at that record.
    pub(crate) fn check(&mut self, process: ProcessId, number: usize, at: Lsn, reigns: bool) {
        let Asked { floor, at_least, .. } = self.all[number];
        if reigns {
            assert!(at >= floor, "a primary answered at {at} what was asked when {floor} had been seen");
        }
        assert!(at >= at_least, "a query that waits for {at_least} was answered at {at}");
        let last = self.answered.entry(process).or_default();
        assert!(at >= *last, "a replica answered at {last}, and then at {at}");
        *last = at;
    }
}
