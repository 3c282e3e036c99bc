//! A request that was acknowledged is done once and keeps its result for ever, and its record has the trace that it belongs to.

use std::collections::BTreeMap;

use ambrosia_core::{Answer, DeliverBody, InstanceUuid, MethodId, Record, RecordKind, RequestId, TraceContext};

use crate::model::POISON;

/// MessagePack string: the answer to a request that an operator has skipped.
const SKIPPED: &[u8] = b"\xb6skipped by an operator";

/// A client's request.
pub(crate) struct Request {
    pub(crate) instance: usize,
    pub(crate) uuid: InstanceUuid,
    pub(crate) id: RequestId,
    pub(crate) method: MethodId,
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
        if !answer.success {
            assert!(request.method == POISON, "the model answers every request that it can handle");
            assert_eq!(answer.value, SKIPPED, "who asked for what was skipped is told so");
        }
        let first = request.answer.get_or_insert_with(|| answer.clone());
        assert_eq!(*first, answer, "a request keeps its answer");
    }

    /// A record that no other has been seen in the place of.
    pub(crate) fn on_landed(&self, record: &Record) {
        if record.header().kind != RecordKind::Deliver {
            return;
        }
        let body = DeliverBody::decode(record.body()).expect("sealed by the core");
        let said = body.requests.iter().filter_map(|entry| Some((entry.call_id, trace_of(&entry.request)?)));
        let written = body.traces.iter().map(|entry| (entry.call_id, entry.context));
        assert!(said.eq(written), "a record has the traces that its requests belong to");
    }

    fn asked(&mut self, id: &RequestId) -> &mut Request {
        let number = self.numbers.get(id).expect("only what was asked is answered");
        &mut self.all[*number]
    }
}

/// The trace that a client says that this request belongs to: every second one says one.
pub(crate) fn trace_of(id: &RequestId) -> Option<TraceContext> {
    let number = id.as_bytes().iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    (number % 2 == 0).then(|| TraceContext::new(u128::from(number) << 64 | 1, number | 1, 1).expect("not 0"))
}
