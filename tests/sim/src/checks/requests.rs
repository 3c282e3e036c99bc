//! A request that was acknowledged is done once and keeps its result for ever.

use std::collections::BTreeMap;

use ambrosia_core::{Answer, InstanceUuid, RequestId};

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
pub(crate) struct Requests {
    pub(crate) all: Vec<Request>,
    numbers: BTreeMap<RequestId, usize>,
}

impl Requests {
    /// A client is about to ask that. Returns its number.
    pub(crate) fn add(&mut self, request: Request) -> usize {
        let number = self.all.len();
        self.numbers.insert(request.id.clone(), number);
        self.all.push(request);
        number
    }

    pub(crate) fn on_accepted(&mut self, id: &RequestId) {
        self.asked(id).accepted = true;
    }

    pub(crate) fn on_answered(&mut self, id: &RequestId, answer: Answer) {
        let request = self.asked(id);
        assert!(answer.success, "the model answers every request");
        let first = request.answer.get_or_insert_with(|| answer.clone());
        assert_eq!(*first, answer, "a request keeps its answer");
    }

    fn asked(&mut self, id: &RequestId) -> &mut Request {
        let number = self.numbers.get(id).expect("only what was asked is answered");
        &mut self.all[*number]
    }
}
