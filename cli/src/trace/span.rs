//! A message as a span: from its delivery to its answer.

use ambrosia_core::{InstanceUuid, Lsn, Timestamp};
use serde::{Serialize, Serializer};
use serde_json::Value;

/// Where a message was delivered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Place {
    pub(crate) lsn: Lsn,
    /// Which of the messages of the record, from 0.
    pub(crate) index: u32,
}

/// When and where a message was answered, and by what.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Answer {
    #[serde(serialize_with = "number")]
    pub(crate) lsn: Lsn,
    #[serde(serialize_with = "nanoseconds")]
    pub(crate) time: Timestamp,
    /// The value, or a text that says why there is none.
    pub(crate) value: Value,
    pub(crate) success: bool,
}

/// A message, and what is known of it. The JSON is an interface for scripts.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Span {
    /// Its number in the trace; the first has 0.
    pub(crate) number: usize,
    /// Number of the message that brought it about.
    pub(crate) parent: Option<usize>,
    /// The instance that gets it.
    pub(crate) instance: String,
    #[serde(serialize_with = "text")]
    pub(crate) uuid: Option<InstanceUuid>,
    /// Where it was delivered, if it was.
    #[serde(flatten, serialize_with = "place")]
    pub(crate) place: Option<Place>,
    /// When it was delivered, or sent if it was not.
    #[serde(serialize_with = "nanoseconds")]
    pub(crate) time: Timestamp,
    pub(crate) kind: String,
    pub(crate) source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) call_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<String>,
    /// The trace that the request belongs to, as its client said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) traceparent: Option<String>,
    pub(crate) arguments: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<Answer>,
    /// Why what follows from it is not here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

impl Span {
    /// What a person calls it.
    pub(crate) fn title(&self) -> String {
        match &self.method {
            Some(method) if self.kind == "impulse" => method.clone(),
            Some(method) => format!("{} {method}", self.kind),
            None => self.kind.clone(),
        }
    }
}

fn number<S: Serializer>(lsn: &Lsn, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(lsn.0)
}

fn text<S: Serializer>(uuid: &Option<InstanceUuid>, serializer: S) -> Result<S::Ok, S::Error> {
    uuid.map(|uuid| uuid.to_string()).serialize(serializer)
}

/// Since 1970.
fn nanoseconds<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.0)
}

fn place<S: Serializer>(place: &Option<Place>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Shown {
        lsn: Option<u64>,
        index: Option<u32>,
    }
    Shown { lsn: place.map(|place| place.lsn.0), index: place.map(|place| place.index) }.serialize(serializer)
}
