//! Requests and their answers, in the layout of messages (`docs/formats.md`): the bytes that a client sends are those that
//! are logged, and nobody encodes them in between.

use ambrosia_core::{
    CallId, Lsn, MESSAGE_HEADER_BYTES, Message, MessageKind, Messages, MethodId, RequestId, TraceContext, push_message,
};
use bytes::{Buf, Bytes};

use crate::{
    control::Control,
    frame::{Frame, FrameKind, INQUIRIES_VERSION, PROTOCOL_VERSION, QUERIES_VERSION, TRACES_VERSION, WireError},
};

/// Flag of a request: its client waits for the answer.
const WAITS: u8 = 1;

/// Flag of a request: behind the name of the method stands the trace that it belongs to.
const HAS_TRACE: u8 = 2;

/// The only flag of an answer: the record follows that brought it about.
const HAS_RECORD: u8 = 1;

/// Appends the body of a request.
pub(crate) fn encode_request(
    request: &RequestId,
    method: &str,
    arguments: &[u8],
    wait: bool,
    trace: Option<TraceContext>,
    out: &mut Vec<u8>,
) {
    let name_bytes = u16::try_from(method.len()).expect("a method has a name that fits a frame");
    out.push(request.as_bytes().len() as u8);
    out.push(if wait { WAITS } else { 0 } | if trace.is_some() { HAS_TRACE } else { 0 });
    out.extend_from_slice(&name_bytes.to_le_bytes());
    out.extend_from_slice(request.as_bytes());
    out.extend_from_slice(method.as_bytes());
    if let Some(trace) = trace {
        out.extend_from_slice(&trace.to_bytes());
    }
    push_message(
        out,
        Message { kind: MessageKind::Impulse, method: MethodId::of(method), call_id: CallId(0), arguments },
    );
}

/// Reads the body of a request. The arguments share its bytes.
pub(crate) fn decode_request(mut body: Bytes) -> Result<Frame, WireError> {
    let shape = || WireError::Shape(FrameKind::Request);
    let id_bytes = body.try_get_u8().map_err(|_| shape())?;
    let flags = body.try_get_u8().map_err(|_| shape())?;
    let name_bytes = body.try_get_u16_le().map_err(|_| shape())?;
    if flags & !(WAITS | HAS_TRACE) != 0 {
        return Err(WireError::Reserved);
    }
    let request = take(&mut body, id_bytes.into()).and_then(|id| RequestId::new(id).ok()).ok_or_else(shape)?;
    let name = take(&mut body, name_bytes.into()).ok_or_else(shape)?;
    let method = std::str::from_utf8(&name).map_err(|_| shape())?.to_owned();
    let trace = if flags & HAS_TRACE == 0 { None } else { Some(take_trace(&mut body).ok_or_else(shape)?) };
    let (message, arguments) = only_message(body, FrameKind::Request)?;
    let is_of_it = message == (MessageKind::Impulse, MethodId::of(&method));
    let wait = flags & WAITS != 0;
    if is_of_it { Ok(Frame::Request { request, method, arguments, wait, trace }) } else { Err(shape()) }
}

fn take_trace(body: &mut Bytes) -> Option<TraceContext> {
    let bytes = take(body, TraceContext::BYTES)?;
    TraceContext::from_bytes(bytes[..].try_into().ok()?)
}

/// Appends the body of an answer. A record of 0 is not said.
pub(crate) fn encode_answer(request: &RequestId, success: bool, value: &[u8], lsn: Lsn, out: &mut Vec<u8>) {
    let has_record = lsn > Lsn(0);
    out.extend_from_slice(&[request.as_bytes().len() as u8, if has_record { HAS_RECORD } else { 0 }, 0, 0]);
    if has_record {
        out.extend_from_slice(&lsn.0.to_le_bytes());
    }
    out.extend_from_slice(request.as_bytes());
    let kind = if success { MessageKind::Reply } else { MessageKind::Error };
    push_message(out, Message { kind, method: MethodId(0), call_id: CallId(0), arguments: value });
}

/// Reads the body of an answer. The value shares its bytes.
pub(crate) fn decode_answer(mut body: Bytes) -> Result<Frame, WireError> {
    let shape = || WireError::Shape(FrameKind::Answer);
    let id_bytes = body.try_get_u8().map_err(|_| shape())?;
    let flags = body.try_get_u8().map_err(|_| shape())?;
    if flags & !HAS_RECORD != 0 || take(&mut body, 2).ok_or_else(shape)?[..] != [0; 2] {
        return Err(WireError::Reserved);
    }
    let lsn = if flags == HAS_RECORD { Lsn(body.try_get_u64_le().map_err(|_| shape())?) } else { Lsn(0) };
    if flags == HAS_RECORD && lsn == Lsn(0) {
        return Err(shape());
    }
    let request = take(&mut body, id_bytes.into()).and_then(|id| RequestId::new(id).ok()).ok_or_else(shape)?;
    match only_message(body, FrameKind::Answer)? {
        ((MessageKind::Reply, MethodId(0)), value) => Ok(Frame::Answer { request, success: true, value, lsn }),
        ((MessageKind::Error, MethodId(0)), value) => Ok(Frame::Answer { request, success: false, value, lsn }),
        _ => Err(shape()),
    }
}

pub(crate) fn take(body: &mut Bytes, bytes: usize) -> Option<Bytes> {
    (body.len() >= bytes).then(|| body.split_to(bytes))
}

/// MessageKind, method and arguments of the one message that is left of a body.
pub(crate) fn only_message(body: Bytes, of: FrameKind) -> Result<((MessageKind, MethodId), Bytes), WireError> {
    let mut messages = Messages::new(&body);
    let message = messages.next().ok_or(WireError::Shape(of))??;
    if !messages.rest().is_empty() || message.call_id != CallId(0) {
        return Err(WireError::Shape(of));
    }
    let arguments = body.slice(MESSAGE_HEADER_BYTES..);
    assert_eq!(arguments, message.arguments, "the arguments of the only message are the rest of its bytes");
    Ok(((message.kind, message.method), arguments))
}

/// Whether that version of the protocol says a frame as it is, so that [`to_version`] would change nothing. False where that is
/// not so plain.
pub(crate) fn is_said_as_it_is(version: u16, frame: &Frame) -> bool {
    match frame {
        Frame::Query { .. } | Frame::Inquiry { .. } => true,
        Frame::Request { trace: None, .. } => version > 1,
        _ => version >= PROTOCOL_VERSION,
    }
}

/// A frame as that version of the protocol says it.
pub(crate) fn to_version(version: u16, frame: Frame) -> Frame {
    match frame {
        Frame::Answer { request, success, value, .. } if version < QUERIES_VERSION => {
            let answer = Frame::Answer { request, success, value, lsn: Lsn(0) };
            if version == 1 { to_version_1(answer) } else { answer }
        }
        Frame::Control(Control::AcceptedAt { request, lsn: _ }) if version < INQUIRIES_VERSION => {
            Frame::Control(Control::Accepted { request })
        }
        frame if version == 1 => to_version_1(frame),
        Frame::Request { request, method, arguments, wait, .. } if version < TRACES_VERSION => {
            Frame::Request { request, method, arguments, wait, trace: None }
        }
        frame => frame,
    }
}

/// A frame as version 1 of the protocol says it.
fn to_version_1(frame: Frame) -> Frame {
    Frame::Control(match frame {
        Frame::Request { request, method, arguments, wait, trace: _ } => {
            Control::Request { request: request.as_bytes().to_vec(), method, arguments: arguments.to_vec(), wait }
        }
        Frame::Answer { request, success, value, lsn: _ } => {
            Control::Answer { request: request.as_bytes().to_vec(), success, value: value.to_vec() }
        }
        frame => return frame,
    })
}

/// What version 1 says in a control frame, as this version says it.
pub(crate) fn of_version_1(frame: Frame) -> Result<Frame, WireError> {
    let id = |request: Vec<u8>, kind| RequestId::new(request).map_err(|_| WireError::Shape(kind));
    Ok(match frame {
        Frame::Control(Control::Request { request, method, arguments, wait }) => {
            let request = id(request, FrameKind::Request)?;
            Frame::Request { request, method, arguments: arguments.into(), wait, trace: None }
        }
        Frame::Control(Control::Answer { request, success, value }) => {
            Frame::Answer { request: id(request, FrameKind::Answer)?, success, value: value.into(), lsn: Lsn(0) }
        }
        frame => frame,
    })
}
