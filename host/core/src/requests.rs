//! Requests of clients: which impulse each became, and its result, so that a repeated request is done once.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::{
    CallId, Lsn, RequestId,
    limits::{RESULTS_BYTES_MAX, RESULTS_MAX},
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
    answered: VecDeque<RequestId>,
    answer_bytes: usize,
}

impl Requests {
    pub(crate) fn get(&self, id: &RequestId) -> Option<&Request> {
        self.by_id.get(id)
    }

    /// The impulse `call` of the record `lsn` belongs to the request `id`.
    pub(crate) fn accept(&mut self, id: RequestId, call: CallId, lsn: Lsn) {
        let request = Request { accepted: lsn, answer: None };
        let before = self.by_id.insert(id.clone(), request);
        assert!(before.is_none(), "a request is accepted once");
        self.by_call.insert(call, id);
    }

    /// The impulse `call` has a result. Returns its request; `None` if it belongs to none.
    pub(crate) fn answer(&mut self, call: CallId, lsn: Lsn, answer: Answer) -> Option<RequestId> {
        let id = self.by_call.remove(&call)?;
        let request = self.by_id.get_mut(&id).expect("both maps are changed together");
        self.answer_bytes += answer.value.len();
        request.answer = Some((lsn, answer));
        self.answered.push_back(id.clone());
        self.forget_oldest();
        Some(id)
    }

    /// The latest result is always kept, however large.
    fn forget_oldest(&mut self) {
        while self.answered.len() > 1 && (self.answered.len() > RESULTS_MAX || self.answer_bytes > RESULTS_BYTES_MAX) {
            let oldest = self.answered.pop_front().expect("there is more than one");
            let request = self.by_id.remove(&oldest).expect("what was answered is known");
            let (_, answer) = request.answer.expect("it is in the list of answered ones");
            self.answer_bytes -= answer.value.len();
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&RequestId, &Request)> {
        self.by_id.iter()
    }

    pub(crate) fn validate(&self) {
        assert_eq!(self.by_id.len(), self.by_call.len() + self.answered.len());
        assert!(self.answered.len() <= RESULTS_MAX);
    }
}

#[cfg(test)]
mod tests;
