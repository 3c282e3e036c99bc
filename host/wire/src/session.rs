//! Requests of sessions and their answers, in the layout of messages (`docs/formats.md`), as requests with ids are.

use ambrosia_core::{CallId, Lsn, Message, MessageKind, MethodId, Seq, SessionId, Ticket, push_message};
use bytes::{Buf, Bytes};

use crate::{
    frame::{Frame, FrameKind, WireError},
    request::{only_message, take},
};

/// Bytes of a request before the name of its method: session, ticket, seq, confirmed, length of the name, reserved.
const REQUEST_PREFIX_BYTES: usize = 16 + 3 * size_of::<u64>() + 2 * size_of::<u16>();
const _: () = assert!(REQUEST_PREFIX_BYTES == 44);

/// What a request of a session says beside its method and arguments.
pub(crate) struct Numbers {
    pub(crate) session: SessionId,
    pub(crate) ticket: Ticket,
    pub(crate) seq: Seq,
    pub(crate) confirmed: Seq,
}

/// Appends the body of a request.
pub(crate) fn encode_session_request(numbers: &Numbers, method: &str, arguments: &[u8], out: &mut Vec<u8>) {
    let name_bytes = u16::try_from(method.len()).expect("a method has a name that fits a frame");
    let Numbers { session, ticket, seq, confirmed } = numbers;
    out.extend_from_slice(&session.0);
    for number in [ticket.0, seq.0, confirmed.0] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&name_bytes.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(method.as_bytes());
    let (kind, method) = (MessageKind::Impulse, MethodId::of(method));
    push_message(out, Message { kind, method, call_id: CallId(0), arguments });
}

/// Reads the body of a request. The arguments share its bytes.
pub(crate) fn decode_session_request(mut body: Bytes) -> Result<Frame, WireError> {
    let shape = || WireError::Shape(FrameKind::SessionRequest);
    if body.len() < REQUEST_PREFIX_BYTES {
        return Err(shape());
    }
    let mut session = SessionId::default();
    body.copy_to_slice(&mut session.0);
    let (ticket, seq, confirmed) = (Ticket(body.get_u64_le()), Seq(body.get_u64_le()), Seq(body.get_u64_le()));
    let name_bytes = body.get_u16_le();
    if body.get_u16_le() != 0 {
        return Err(WireError::Reserved);
    }
    // The last number is one that another could follow.
    if ticket == Ticket(0) || seq == Seq(0) || seq == Seq(u64::MAX) || confirmed >= seq {
        return Err(shape());
    }
    let name = take(&mut body, name_bytes.into()).ok_or_else(shape)?;
    let method = std::str::from_utf8(&name).map_err(|_| shape())?.to_owned();
    let (message, arguments) = only_message(body, FrameKind::SessionRequest)?;
    let is_of_it = message == (MessageKind::Impulse, MethodId::of(&method));
    if !is_of_it {
        return Err(shape());
    }
    Ok(Frame::SessionRequest { session, ticket, seq, confirmed, method, arguments })
}

/// Appends the body of an answer.
pub(crate) fn encode_session_answer(
    (ticket, seq, lsn): (Ticket, Seq, Lsn),
    success: bool,
    value: &[u8],
    out: &mut Vec<u8>,
) {
    for number in [ticket.0, seq.0, lsn.0] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    let kind = if success { MessageKind::Reply } else { MessageKind::Error };
    push_message(out, Message { kind, method: MethodId(0), call_id: CallId(0), arguments: value });
}

/// Reads the body of an answer. The value shares its bytes.
pub(crate) fn decode_session_answer(mut body: Bytes) -> Result<Frame, WireError> {
    let shape = || WireError::Shape(FrameKind::SessionAnswer);
    let mut number = || body.try_get_u64_le().map_err(|_| shape());
    let (ticket, seq, lsn) = (Ticket(number()?), Seq(number()?), Lsn(number()?));
    if ticket == Ticket(0) || seq == Seq(0) || lsn == Lsn(0) {
        return Err(shape());
    }
    let ((kind, method), value) = only_message(body, FrameKind::SessionAnswer)?;
    let success = kind == MessageKind::Reply;
    if method != MethodId(0) || !(success || kind == MessageKind::Error) {
        return Err(shape());
    }
    Ok(Frame::SessionAnswer { ticket, seq, success, value, lsn })
}
