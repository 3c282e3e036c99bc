//! Requests of sessions are done once, in order, and each has the answer of what stands in the log under its number.

use std::collections::BTreeMap;

use ambrosia_core::{
    Answer, CallId, DeliverBody, InstanceUuid, Message, MessageKind, Messages, MethodId, OpenSession, PeerIndex,
    Record, RecordKind, Runs, Seq, SessionId, SessionPart, Ticket,
};

use crate::{model::POISON, sessions::Client};

/// MessagePack string: the answer to a request that an operator has skipped.
const SKIPPED: &[u8] = b"\xb6skipped by an operator";

/// Tokens of requests of sessions are above those of others.
const TOKENS_FROM: u64 = 1 << 40;

/// What a client asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    pub(crate) method: MethodId,
    pub(crate) arguments: Vec<u8>,
    /// The host knows no such method.
    pub(crate) is_impossible: bool,
}

/// What the log has of one request.
enum Work {
    Delivered(MethodId, Vec<u8>),
    /// It can't be done, and was asked for with that ticket: the log does not have what it was.
    Failed(Ticket),
}

/// What the log has of one session.
#[derive(Default)]
struct Done {
    ticket: Ticket,
    /// How many were done when it was opened with a ticket.
    opened: BTreeMap<Ticket, u64>,
    /// What was done, by its number.
    requests: Vec<Work>,
    answers: BTreeMap<Seq, Answer>,
}

#[derive(Default)]
pub(crate) struct Sessions {
    pub(crate) clients: BTreeMap<SessionId, Client>,
    done: BTreeMap<SessionId, Done>,
    tickets: BTreeMap<(InstanceUuid, Ticket), SessionId>,
    tokens: u64,
    /// Requests that can't be done, for those who ask for them again.
    impossible: BTreeMap<(SessionId, Ticket, Seq), Asked>,
}

impl Sessions {
    pub(crate) fn next_token(&mut self) -> u64 {
        self.tokens += 1;
        TOKENS_FROM + self.tokens
    }

    /// A record became durable.
    pub(crate) fn on_landed(&mut self, uuid: InstanceUuid, record: &Record) {
        match record.header().kind {
            RecordKind::Session => {
                let OpenSession { session, .. } = OpenSession::decode(record.body()).expect("sealed by the core");
                let ticket = Ticket(record.lsn().0);
                let done = self.done.entry(session).or_default();
                done.opened.insert(ticket, done.requests.len() as u64);
                done.ticket = ticket;
                self.tickets.insert((uuid, ticket), session);
            }
            RecordKind::Deliver => self.on_delivered(uuid, record),
            _ => {}
        }
    }

    fn on_delivered(&mut self, uuid: InstanceUuid, record: &Record) {
        let body = DeliverBody::decode(record.body()).expect("sealed by the core");
        if body.sessions.is_empty() {
            return;
        }
        let impulses = impulses(&body);
        for run in &body.sessions {
            let session = self.tickets.get(&(uuid, run.ticket)).expect("a session was opened before it is used");
            let done = self.done.get_mut(session).expect("it was opened");
            assert_eq!(done.ticket, run.ticket, "nothing is done for who has opened a session before another one");
            let next = Seq(done.requests.len() as u64 + 1);
            match &run.part {
                SessionPart::Confirmed => assert!(run.confirmed < next, "what was not done is not confirmed"),
                SessionPart::Delivered { first_seq, first_call, count } => {
                    assert_eq!(*first_seq, next, "requests of session {session} are done once and in order");
                    for call in first_call.0..first_call.0 + u64::from(*count) {
                        let (method, arguments) = &impulses[&CallId(call)];
                        done.requests.push(Work::Delivered(*method, arguments.clone()));
                    }
                }
                SessionPart::Failed { seq, .. } => {
                    assert_eq!(*seq, next, "requests of session {session} fail once and in order");
                    done.requests.push(Work::Failed(run.ticket));
                }
            }
        }
    }

    /// A primary says what came of a request.
    pub(crate) fn on_answered(&mut self, session: SessionId, seq: Seq, answer: &Answer) {
        let done = self.done.get_mut(&session).expect("only what was opened is answered");
        let request = done.requests.get(seq.0 as usize - 1).expect("only what was done is answered");
        if !answer.success
            && let Work::Delivered(method, _) = request
        {
            assert!(*method == POISON, "the model answers every request that it can handle");
            assert_eq!(answer.value, SKIPPED, "who asked for what was skipped is told so");
        }
        let fails = matches!(request, Work::Failed(_));
        assert!(!(fails && answer.success), "what can't be done fails");
        let first = done.answers.entry(seq).or_insert_with(|| answer.clone());
        assert_eq!(first, answer, "a request of a session keeps its answer");
    }

    /// A client has its session open.
    pub(crate) fn on_opened(&self, session: SessionId, ticket: Ticket, accepted: Seq) {
        let opened = &self.done[&session].opened;
        assert_eq!(opened.get(&ticket), Some(&accepted.0), "a client is told how far its session is");
    }

    /// A client has an answer: what it asked is what was done under that number.
    pub(crate) fn check_answered(&self, session: SessionId, seq: Seq, asked: &Asked) {
        match &self.done[&session].requests[seq.0 as usize - 1] {
            Work::Delivered(method, arguments) => {
                assert!(!asked.is_impossible, "what can't be done was not");
                assert_eq!(
                    (*method, arguments),
                    (asked.method, &asked.arguments),
                    "the request was done that is answered"
                );
            }
            Work::Failed(_) => assert!(asked.is_impossible, "what can be done does not fail"),
        }
    }

    pub(crate) fn is_answered(&self, session: SessionId, seq: u64) -> bool {
        self.done[&session].answers.contains_key(&Seq(seq))
    }

    /// What was asked under those numbers, for who asks again.
    pub(crate) fn done(&self, session: SessionId, from: u64, to: u64) -> Vec<Asked> {
        let request = |seq: u64| match &self.done[&session].requests[seq as usize - 1] {
            Work::Delivered(method, arguments) => {
                Asked { method: *method, arguments: arguments.clone(), is_impossible: false }
            }
            Work::Failed(ticket) => self.impossible[&(session, *ticket, Seq(seq))].clone(),
        };
        (from..=to).map(request).collect()
    }

    /// What can't be done has a number, too.
    pub(crate) fn on_impossible(&mut self, session: SessionId, ticket: Ticket, seq: Seq, asked: &Asked) {
        self.impossible.insert((session, ticket, seq), asked.clone());
    }

    /// All that clients had answers for was done, in each life of theirs.
    pub(crate) fn check_rest(&self) {
        for done in self.done.values() {
            let answered = done.answers.last_key_value().map_or(0, |(seq, _)| seq.0);
            assert!(answered <= done.requests.len() as u64, "only what was done is answered");
        }
    }
}

/// Impulses of a record by their numbers.
fn impulses(body: &DeliverBody<'_>) -> BTreeMap<CallId, (MethodId, Vec<u8>)> {
    let outside = Runs::new(body.runs).flatten().filter(|run| run.peer == PeerIndex::OUTSIDE);
    let messages = outside.flat_map(|run| Messages::new(run.messages).flatten());
    let impulses = messages.filter(|message: &Message<'_>| message.kind == MessageKind::Impulse);
    impulses.map(|message| (message.call_id, (message.method, message.arguments.to_vec()))).collect()
}
