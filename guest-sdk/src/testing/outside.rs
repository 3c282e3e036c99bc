//! The world outside: what the immortal asks of it, and what it answers.

use serde::{Serialize, de::DeserializeOwned};

use super::{Harness, delivery::Incoming, sent};
use crate::{
    Immortal, PromiseUrl, codec,
    http::{Bytes, Content, HttpError, Outcome, Response},
    layout::{Message, MessageKind, OUTSIDE},
};

/// An HTTP request of the immortal that waits for its outcome.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// What [`Harness::respond`] names it by. The host makes the `Idempotency-Key` of it.
    pub id: u64,
    /// `GET`, `POST`, …
    pub method: String,
    /// With placeholders of secrets.
    pub url: String,
    /// In their order, with placeholders of secrets.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: Vec<u8>,
    /// How often the host would try.
    pub tries: u32,
    /// Whether it is never repeated.
    pub once: bool,
    /// Whether it may be repeated whatever its method.
    pub idempotent: bool,
}

impl Outgoing {
    /// Its body, read as JSON.
    ///
    /// Panics if it is of another type.
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("the body is of another type: {error}"))
    }
}

/// An event that the immortal has emitted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Its topic.
    pub topic: String,
    bytes: Vec<u8>,
}

impl Event {
    /// Its value.
    ///
    /// Panics if it is of another type.
    pub fn value<T: DeserializeOwned>(&self) -> T {
        codec::decode_value(&self.bytes).unwrap_or_else(|error| panic!("the event is of another type: {error}"))
    }
}

/// What the immortal has to do with the world outside.
#[derive(Default)]
pub(super) struct Outside {
    requests: Vec<Outgoing>,
    promises: Vec<u64>,
    events: Vec<Event>,
    lines: Vec<Vec<u8>>,
}

impl Outside {
    pub(super) fn on_effect(&mut self, message: Message<'_>) {
        let Message { kind, call_id, arguments, .. } = message;
        match kind {
            MessageKind::Request => self.requests.push(outgoing(call_id, arguments)),
            MessageKind::CancelRequest => self.requests.retain(|request| request.id != call_id),
            MessageKind::Promise => self.promises.push(call_id),
            MessageKind::CancelPromise => self.promises.retain(|promise| *promise != call_id),
            MessageKind::Emit => self.events.push(event(arguments)),
            MessageKind::Log => self.lines.push(arguments.to_vec()),
            kind => panic!("{} is nothing for the world outside", kind.word()),
        }
    }
}

fn outgoing(id: u64, arguments: &[u8]) -> Outgoing {
    let content: Content = codec::decode_value(arguments).expect("a request is as the SDK writes it");
    let Content { method, url, headers, body, tries, once, idempotent, .. } = content;
    Outgoing { id, method, url, headers, body: body.0, tries, once, idempotent }
}

fn event(arguments: &[u8]) -> Event {
    let (length, rest) = arguments.split_first_chunk().expect("a topic has a length");
    let (topic, bytes) = rest.split_at(usize::from(u16::from_le_bytes(*length)));
    Event { topic: String::from_utf8(topic.to_vec()).expect("a topic is UTF-8"), bytes: bytes.to_vec() }
}

/// The world outside.
impl<S: Immortal> Harness<S> {
    /// The HTTP requests that wait for an outcome, in the order in which they were sent.
    pub fn requests(&self) -> &[Outgoing] {
        &self.outside.requests
    }

    /// Lets the request `id` have that response.
    ///
    /// Panics if it does not wait for one.
    pub fn respond(&mut self, id: u64, response: Response) {
        let Response { status, headers, body } = response;
        self.settle_request(
            id,
            &Outcome { status: Some(status), headers, body: Bytes(body), error: None, kind: None, tries: 1 },
        );
    }

    /// Lets the request `id` have a response with that status, and `value` as its JSON.
    pub fn respond_json<T: Serialize + ?Sized>(&mut self, id: u64, status: u16, value: &T) {
        let body = serde_json::to_vec(value).expect("the value can be written as JSON");
        let headers = vec![("content-type".to_string(), "application/json".to_string())];
        self.respond(id, Response { status, headers, body });
    }

    /// Lets the request `id` fail.
    ///
    /// Panics if it does not wait, or for [`HttpError::Body`], which the immortal makes itself of a response.
    pub fn fail(&mut self, id: u64, error: &HttpError) {
        let (kind, reason, tries) = match error {
            HttpError::Refused(reason) => ("refused", reason.clone(), 0),
            HttpError::Failed { reason, tries } => ("failed", reason.clone(), *tries),
            HttpError::TimedOut { tries } => ("timeout", "the time is up".to_string(), *tries),
            HttpError::Unknown(reason) => ("unknown", reason.clone(), 1),
            HttpError::Body(_) => panic!("respond with a body that can't be read"),
        };
        let (error, kind) = (Some(reason), Some(kind.to_string()));
        self.settle_request(
            id,
            &Outcome { status: None, headers: Vec::new(), body: Bytes(Vec::new()), error, kind, tries },
        );
    }

    fn settle_request(&mut self, id: u64, outcome: &Outcome) {
        let at = self.outside.requests.iter().position(|request| request.id == id);
        self.outside.requests.remove(at.expect("a request waits for its outcome once"));
        let arguments = sent::encoded(outcome);
        self.deliver(OUTSIDE, &[Incoming { call_id: id, arguments, ..Incoming::bare(MessageKind::Outcome) }]);
    }

    /// Fulfils the promise of that URL, as somebody outside does who was given it. False if nobody waits for it (any more).
    pub fn resolve<T: Serialize + ?Sized>(&mut self, url: &str, value: &T) -> bool {
        let known = |id: &u64| url.ends_with(&self.promise_path(*id));
        let Some(at) = self.outside.promises.iter().position(known) else { return false };
        let id = self.outside.promises.remove(at);
        let arguments = sent::encoded(value);
        self.deliver(OUTSIDE, &[Incoming { call_id: id, arguments, ..Incoming::bare(MessageKind::Resolved) }]);
        true
    }

    /// The paths of the promises that somebody waits for, in the order in which they were made. [`PromiseUrl::path`] is the same.
    pub fn promises(&self) -> Vec<String> {
        self.outside.promises.iter().map(|id| self.promise_path(*id)).collect()
    }

    fn promise_path(&self, id: u64) -> String {
        PromiseUrl::path_of(&self.name, id, &crate::host::native::token(id))
    }

    /// The events that were emitted, oldest first.
    pub fn events(&self) -> &[Event] {
        &self.outside.events
    }

    /// The lines of the log, oldest first: `warn the message field=value …`, with values as JSON.
    pub fn log_lines(&self) -> Vec<String> {
        self.outside.lines.iter().map(|line| shown(line)).collect()
    }

    /// Sets a configured value.
    pub fn configure<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        self.runtime.world.borrow_mut().configured.insert(name.to_string(), sent::encoded(value));
    }
}

fn shown(line: &[u8]) -> String {
    use std::collections::BTreeMap;

    #[derive(serde::Deserialize)]
    struct Line {
        level: String,
        message: String,
        fields: BTreeMap<String, serde_json::Value>,
    }

    let line: Line = codec::decode_value(line).expect("a line is as the SDK writes it");
    let fields: String = line.fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    format!("{} {}{fields}", line.level, line.message)
}
