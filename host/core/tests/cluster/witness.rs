//! Sees what every process shows and asserts that it is consistent, whoever shows it.

use std::collections::{BTreeMap, BTreeSet};

use ambrosia_core::{Answer, InstanceUuid, Lsn, RequestId};

use crate::{counts::Counts, log::Log, process::Process, streams::Streams};

/// A client's request.
pub(crate) struct Request {
    pub(crate) instance: usize,
    pub(crate) uuid: InstanceUuid,
    pub(crate) id: RequestId,
    pub(crate) arguments: Vec<u8>,
    pub(crate) accepted: bool,
    pub(crate) answer: Option<Answer>,
}

#[derive(Default)]
pub(crate) struct Witness {
    pub(crate) counts: Counts,
    pub(crate) streams: Streams,
    pub(crate) requests: Vec<Request>,
    /// Digest and history of the guest after the record with that link, of whichever replica came there first.
    states: BTreeMap<(InstanceUuid, u64), (u64, u64)>,
    printed: BTreeSet<(InstanceUuid, Vec<u8>)>,
}

impl Witness {
    /// Replicas that have applied the same records are equal.
    pub(crate) fn on_applied(&mut self, process: &Process) {
        let link = *process.links.last().expect("genesis is applied from the start");
        let state = (process.replica.digest(), process.replica.guest().history);
        let first = self.states.entry((process.genesis().uuid, link)).or_insert(state);
        assert_eq!(*first, state, "replicas that applied the same records are equal");
        self.counts.compared += 1;
    }

    /// Something leaves a process because of the record `after`: that very record is in the log.
    pub(crate) fn on_leaving(&mut self, process: &Process, log: &Log, after: Lsn) {
        if after == Lsn(0) {
            return;
        }
        let executed = process.links.get(after.0 as usize - 1).copied();
        assert_eq!(log.link_at(after.0), executed, "nothing leaves before its record is durable");
    }

    pub(crate) fn on_printed(&mut self, uuid: InstanceUuid, bytes: &[u8]) {
        assert!(self.printed.insert((uuid, bytes.to_vec())), "a line is shown once");
        self.counts.prints += 1;
    }

    pub(crate) fn on_accepted(&mut self, id: &RequestId) {
        self.request(id).accepted = true;
    }

    pub(crate) fn on_answered(&mut self, id: &RequestId, answer: Answer) {
        self.counts.answers += 1;
        let request = self.request(id);
        assert!(answer.success);
        let first = request.answer.get_or_insert(answer.clone());
        assert_eq!(*first, answer, "a request keeps its answer");
    }

    fn request(&mut self, id: &RequestId) -> &mut Request {
        self.requests.iter_mut().find(|request| request.id == *id).expect("only what was asked is answered")
    }
}
