//! Requests of clients: which impulse each became, and its result, so that a repeated request is done once.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::{
    CallId, Lsn, RequestId, Timestamp,
    limits::{RESULTS_AGE_NS_MAX, RESULTS_BYTES_MAX, RESULTS_MAX},
};

/// What a request came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// False if the method could not be run: the bytes then hold a text (MessagePack string).
    pub success: bool,
    /// The value that the method returned, as it encoded it.
    pub value: Bytes,
}

/// State of one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Request {
    /// Record that holds the impulse.
    pub(crate) accepted: Lsn,
    /// Result, and the record that brought it about.
    pub(crate) answer: Option<(Lsn, Answer)>,
}

/// All requests that are remembered. The oldest results are forgotten first; a request without a result never is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Requests {
    by_id: BTreeMap<RequestId, Request>,
    by_call: BTreeMap<CallId, RequestId>,
    /// In the order of their answers, with the time of the record that brought each about.
    answered: VecDeque<(Timestamp, RequestId)>,
    answer_bytes: usize,
    /// Sum of the digests of all entries: looking at each of them anew would take too long.
    digest: u64,
}

impl Requests {
    pub(crate) fn get(&self, id: &RequestId) -> Option<&Request> {
        self.by_id.get(id)
    }

    /// The impulse `call` of the record `lsn` belongs to the request `id`.
    pub(crate) fn accept(&mut self, id: RequestId, call: CallId, lsn: Lsn) {
        let request = Request { accepted: lsn, answer: None };
        self.digest = self.digest.wrapping_add(request.digest(&id));
        let before = self.by_id.insert(id.clone(), request);
        assert!(before.is_none(), "a request is accepted once");
        self.by_call.insert(call, id);
    }

    /// The impulse `call` has a result by the record `lsn` of that time. Returns its request; `None` if it belongs to
    /// none.
    pub(crate) fn answer(&mut self, call: CallId, lsn: Lsn, time: Timestamp, answer: Answer) -> Option<RequestId> {
        let id = self.by_call.remove(&call)?;
        let request = self.by_id.get_mut(&id).expect("both maps are changed together");
        self.answer_bytes += answer.value.len();
        self.digest = self.digest.wrapping_sub(request.digest(&id));
        request.answer = Some((lsn, answer));
        self.digest = self.digest.wrapping_add(request.digest(&id));
        self.answered.push_back((time, id.clone()));
        self.forget_oldest(time);
        Some(id)
    }

    /// The latest result is always kept, however large.
    fn forget_oldest(&mut self, now: Timestamp) {
        while self.answered.len() > 1 {
            let (time, _) = self.answered.front().expect("there is more than one");
            let too_old = now.0.saturating_sub(time.0) > RESULTS_AGE_NS_MAX;
            if !too_old && self.answered.len() <= RESULTS_MAX && self.answer_bytes <= RESULTS_BYTES_MAX {
                return;
            }
            let (_, oldest) = self.answered.pop_front().expect("there is more than one");
            let request = self.by_id.remove(&oldest).expect("what was answered is known");
            self.digest = self.digest.wrapping_sub(request.digest(&oldest));
            let (_, answer) = request.answer.expect("it is in the list of answered ones");
            self.answer_bytes -= answer.value.len();
        }
    }

    /// Adds a result that a checkpoint holds, after all older ones. `None` if it can't be.
    pub(crate) fn resume_answered(&mut self, time: Timestamp, id: RequestId, request: Request) -> Option<()> {
        let (_, answer) = request.answer.as_ref()?;
        self.answer_bytes += answer.value.len();
        self.answered.push_back((time, id.clone()));
        self.resume(id, request)?;
        (self.answered.len() <= RESULTS_MAX).then_some(())
    }

    /// Adds a request that a checkpoint holds and that has no result yet. `None` if it can't be.
    pub(crate) fn resume_pending(&mut self, call: CallId, id: RequestId, request: Request) -> Option<()> {
        self.by_call.insert(call, id.clone()).is_none().then_some(())?;
        self.resume(id, request)
    }

    fn resume(&mut self, id: RequestId, request: Request) -> Option<()> {
        self.digest = self.digest.wrapping_add(request.digest(&id));
        self.by_id.insert(id, request).is_none().then_some(())
    }

    /// Those that have a result, in the order of their results.
    pub(crate) fn answered(&self) -> impl ExactSizeIterator<Item = (Timestamp, &RequestId, &Request)> {
        self.answered.iter().map(|(time, id)| (*time, id, &self.by_id[id]))
    }

    /// Those that have none yet, each with its impulse.
    pub(crate) fn pending(&self) -> impl ExactSizeIterator<Item = (CallId, &RequestId, &Request)> {
        self.by_call.iter().map(|(call, id)| (*call, id, &self.by_id[id]))
    }

    /// Differs if any request or result does.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn validate(&self) {
        assert_eq!(self.by_id.len(), self.by_call.len() + self.answered.len());
        assert!(self.answered.len() <= RESULTS_MAX);
    }
}

impl Request {
    fn digest(&self, id: &RequestId) -> u64 {
        let mut bytes = id.as_bytes().to_vec();
        bytes.extend_from_slice(&self.accepted.0.to_le_bytes());
        if let Some((lsn, answer)) = &self.answer {
            bytes.extend_from_slice(&lsn.0.to_le_bytes());
            bytes.push(u8::from(answer.success));
            bytes.extend_from_slice(&answer.value);
        }
        xxhash_rust::xxh3::xxh3_64(&bytes)
    }
}

#[cfg(test)]
mod tests;
