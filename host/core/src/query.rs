//! Queries: methods that change nothing, answered without a record.
//!
//! **Architecture Invariant:** the replicated state can't change here, since nothing has a mutable reference to it.

use core::time::Duration;

use bytes::Bytes;

use crate::{
    Answer, CallId, ConnectionId, Delivered, Effects, Fault, Guest, Lsn, Message, MessageKind, MethodId, Outcome,
    PeerIndex, Replica, Seq, begin_run, finish_run, limits::ARGUMENTS_BYTES_MAX, push_message,
};

/// The one message of a query is called that, so that its reply is told from another one.
const CALL: CallId = CallId(1);

/// Somebody wants to know something of the state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Query {
    /// Who asks.
    pub connection: ConnectionId,
    /// What that calls the query.
    pub number: u64,
    /// The method to run.
    pub method: MethodId,
    /// Its arguments, as they were encoded by who asks.
    pub arguments: Bytes,
    /// The state is to have come so far.
    pub at_least: Lsn,
    /// For how long that may be waited for.
    pub wait: Duration,
}

/// What a query has come to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueryAnswer {
    /// Who has asked.
    pub connection: ConnectionId,
    /// What that calls the query.
    pub number: u64,
    /// What the method gave back, or why it could not be run.
    pub answer: Answer,
    /// The last record that the state was made of, of which the answer tells.
    pub at: Lsn,
}

impl<G: Guest> Replica<G> {
    /// Runs a method that changes nothing on the state as it is. Nothing of that is kept, and what it prints is dropped.
    pub fn query(&mut self, method: MethodId, arguments: &[u8]) -> Answer {
        if let Some(reason) = self.why_it_stands() {
            return Answer::failed(&reason);
        }
        let runs = runs(method, arguments);
        let mut delivered = Delivered::default();
        let (guest, world) = self.guest_and_world();
        match guest.query(&runs, world, &mut delivered).and_then(|()| only_reply(&delivered)) {
            Ok(answer) => answer,
            Err(fault) => Answer::failed(&said(&fault)),
        }
    }

    /// Why nothing can be asked; `None` if the instance goes on.
    fn why_it_stands(&self) -> Option<String> {
        match (self.outcome(), self.void()) {
            (Some(Outcome::Finished { code, lsn }), _) => {
                Some(format!("the instance has finished with exit code {code} at lsn {lsn}"))
            }
            (Some(Outcome::Halted { fault, lsn }), _) => Some(format!("the instance has halted at lsn {lsn}: {fault}")),
            (None, Some(lsn)) => Some(format!("the instance stands at lsn {lsn} until that record is mended")),
            (None, None) => None,
        }
    }
}

/// What of a fault is said to who has asked: what the guest says of itself is in its stderr.
fn said(fault: &Fault) -> String {
    let stderr = fault.stderr.trim();
    if stderr.is_empty() { fault.reason.clone() } else { format!("{}: {stderr}", fault.reason) }
}

fn runs(method: MethodId, arguments: &[u8]) -> Vec<u8> {
    let mut runs = Vec::with_capacity(crate::RUN_HEADER_BYTES + crate::MESSAGE_HEADER_BYTES + arguments.len());
    let at = begin_run(&mut runs, PeerIndex::OUTSIDE, Seq(0));
    push_message(&mut runs, Message { kind: MessageKind::Impulse, method, call_id: CALL, arguments });
    finish_run(&mut runs, at, 1);
    runs
}

/// The reply to the one message, if there is nothing but that.
fn only_reply(delivered: &Delivered) -> Result<Answer, Fault> {
    let mut answer = None;
    for effect in Effects::new(&delivered.effects) {
        let effect = effect.map_err(|error| Fault::because(error.to_string()))?;
        let (kind, target) = (effect.message.kind, effect.target);
        let is_reply = kind.answers() && target == PeerIndex::OUTSIDE && effect.message.call_id == CALL;
        if !is_reply || answer.is_some() {
            return Err(Fault::because(format!(
                "a query may bring about nothing but its reply, and this one brought about {kind:?}: let the method be an \
                 update"
            )));
        }
        if effect.message.arguments.len() > ARGUMENTS_BYTES_MAX {
            return Err(Fault::because("the value that the query gave back is too large"));
        }
        let value = Bytes::copy_from_slice(effect.message.arguments);
        answer = Some(Answer { success: kind == MessageKind::Reply, value });
    }
    answer.ok_or_else(|| Fault::because("the query waits for something, which it can't: let the method be an update"))
}

impl Answer {
    /// One that says why there is none.
    pub fn failed(reason: &str) -> Answer {
        Answer { success: false, value: message_pack_text(reason).into() }
    }
}

/// A text as MessagePack.
fn message_pack_text(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("a reason is short");
    let mut bytes = vec![0xdb];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push_effect;

    fn delivered(effects: &[(MessageKind, PeerIndex, CallId)]) -> Delivered {
        let mut delivered = Delivered::default();
        for (kind, target, call_id) in effects {
            let message = Message { kind: *kind, method: MethodId(0), call_id: *call_id, arguments: b"\xc0" };
            push_effect(&mut delivered.effects, 0, *target, message);
        }
        delivered
    }

    #[test]
    fn the_one_reply_is_the_answer_and_all_else_is_refused() {
        let reply = (MessageKind::Reply, PeerIndex::OUTSIDE, CALL);
        let error = (MessageKind::Error, PeerIndex::OUTSIDE, CALL);
        for (effect, success) in [(reply, true), (error, false)] {
            let answer = only_reply(&delivered(&[effect])).expect("it is one");
            assert_eq!((answer.success, &answer.value[..]), (success, &b"\xc0"[..]));
        }
        let others = [
            (MessageKind::Fork, PeerIndex(1), CallId(0)),
            (MessageKind::Call, PeerIndex(1), CallId(2)),
            (MessageKind::Reply, PeerIndex(1), CALL),
            (MessageKind::Reply, PeerIndex::OUTSIDE, CallId(2)),
            (MessageKind::Exit, PeerIndex::OUTSIDE, CallId(0)),
            (MessageKind::SetTimer, PeerIndex::OUTSIDE, CallId(3)),
            reply,
        ];
        for other in others {
            for effects in [&[other, reply][..], &[reply, other]] {
                let fault = only_reply(&delivered(effects)).expect_err("a query does nothing");
                assert!(fault.reason.contains("nothing but its reply"), "{}", fault.reason);
            }
        }
        assert!(only_reply(&Delivered::default()).expect_err("it waits").reason.contains("waits for something"));
        let cut_off = Delivered { effects: vec![1, 2, 3], ..Delivered::default() };
        only_reply(&cut_off).expect_err("these are no effects");
    }
}
