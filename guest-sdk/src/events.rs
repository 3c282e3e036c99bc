//! Events for whoever listens outside.

use std::fmt;

use serde::Serialize;

use crate::{
    codec,
    layout::{MessageKind, OUTSIDE},
    runtime,
};

/// Bytes of a topic, at most.
const TOPIC_BYTES_MAX: usize = 256;

/// Emits an event: listeners outside get it once what led to it is durable, and in the order of emitting. The host keeps
/// the newest ones, 4096 of 4 MiB together, for who comes back. Whether somebody listens makes no difference.
///
/// The topic is for listeners to choose by; those that begin with `ambrosia.` are the host's own.
///
/// ```
/// # fn example() {
/// ambrosia::emit("order-paid", &("order-17", 4200_u64));
/// # }
/// ```
///
/// Panics if it can't be sent: see [`try_emit`].
#[track_caller]
pub fn emit<T: Serialize + ?Sized>(topic: &str, value: &T) {
    try_emit(topic, value).unwrap_or_else(|error| panic!("{error}"));
}

/// The same, or an error.
///
/// # Errors
/// If the topic has more than 256 bytes or is one of the host's own, or the value can't be encoded, or is too large.
pub fn try_emit<T: Serialize + ?Sized>(topic: &str, value: &T) -> Result<(), EmitError> {
    let error = |reason| EmitError { topic: topic.to_string(), reason };
    if topic.len() > TOPIC_BYTES_MAX {
        return Err(error(format!("its topic has {} bytes, of at most {TOPIC_BYTES_MAX}", topic.len())));
    }
    if topic.starts_with("ambrosia.") {
        return Err(error("topics that begin with `ambrosia.` are the host's own".to_string()));
    }
    let encode = |out: &mut Vec<u8>| {
        out.extend((topic.len() as u16).to_le_bytes());
        out.extend(topic.as_bytes());
        codec::encode_value(out, value)
    };
    runtime::with(|runtime| runtime.push_encoded(OUTSIDE, MessageKind::Emit, 0, 0, encode)).map_err(error)
}

/// An event that can't be emitted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EmitError {
    topic: String,
    reason: String,
}

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topic: String = self.topic.chars().take(64).collect();
        write!(f, "the event `{topic}` can't be emitted: {}", self.reason)
    }
}

impl std::error::Error for EmitError {}
