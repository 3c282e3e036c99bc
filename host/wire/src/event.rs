//! Events of an instance, for whoever listens (`docs/formats.md`).

use ambrosia_core::{
    Event, EventId, Lsn, Timestamp,
    limits::{EVENT_TOPIC_BYTES_MAX, EVENTS_BYTES_MAX},
};
use bytes::{Buf, Bytes};

use crate::{
    frame::{FRAME_HEADER_BYTES, Frame, FrameKind, WireError},
    request::take,
};

/// What stands in an event before its topic: lsn, 8; index, 4; bytes of the topic, 2; reserved, 2; time, 8.
const PREFIX_BYTES: usize = 24;

/// Largest body of an event.
pub(crate) const EVENT_FRAME_MAX: usize = PREFIX_BYTES + EVENTS_BYTES_MAX;

/// What an event counts of what a listener takes: the bytes of its frame, about.
pub fn event_counts(event: &Event) -> u64 {
    (FRAME_HEADER_BYTES + PREFIX_BYTES + event.topic.len() + event.value.len()) as u64
}

/// Appends the body of an event.
pub(crate) fn encode_event(event: &Event, out: &mut Vec<u8>) {
    let Event { id: EventId { lsn, index }, time, topic, value } = event;
    let topic_bytes = u16::try_from(topic.len()).expect("a topic has few bytes");
    out.extend_from_slice(&lsn.0.to_le_bytes());
    out.extend_from_slice(&index.to_le_bytes());
    out.extend_from_slice(&topic_bytes.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&time.0.to_le_bytes());
    out.extend_from_slice(topic.as_bytes());
    out.extend_from_slice(value);
}

/// Reads the body of an event. The value shares its bytes.
pub(crate) fn decode_event(mut body: Bytes) -> Result<Frame, WireError> {
    let shape = || WireError::Shape(FrameKind::Event);
    if body.len() < PREFIX_BYTES {
        return Err(shape());
    }
    let id = EventId { lsn: Lsn(body.get_u64_le()), index: body.get_u32_le() };
    let topic_bytes = usize::from(body.get_u16_le());
    if body.get_u16_le() != 0 {
        return Err(WireError::Reserved);
    }
    let time = Timestamp(body.get_u64_le());
    if topic_bytes > EVENT_TOPIC_BYTES_MAX {
        return Err(shape());
    }
    let topic = take(&mut body, topic_bytes).ok_or_else(shape)?;
    let topic = std::str::from_utf8(&topic).map_err(|_| shape())?.to_owned();
    Ok(Frame::Event(Event { id, time, topic, value: body }))
}
