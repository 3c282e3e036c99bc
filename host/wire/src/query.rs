//! Queries and their answers, in the layout of messages as requests are (`docs/formats.md`).

use ambrosia_core::{CallId, Lsn, Message, MessageKind, MethodId, push_message};
use bytes::{Buf, Bytes};

use crate::{
    frame::{Frame, FrameKind, WireError},
    request::{only_message, take},
};

/// Appends the body of a query.
pub(crate) fn encode_query(
    number: u64,
    method: &str,
    arguments: &[u8],
    (at_least, wait_ms): (Lsn, u32),
    out: &mut Vec<u8>,
) {
    let name_bytes = u16::try_from(method.len()).expect("a method has a name that fits a frame");
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&at_least.0.to_le_bytes());
    out.extend_from_slice(&wait_ms.to_le_bytes());
    out.extend_from_slice(&name_bytes.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(method.as_bytes());
    let (kind, method) = (MessageKind::Impulse, MethodId::of(method));
    push_message(out, Message { kind, method, call_id: CallId(0), arguments });
}

/// Reads the body of a query. The arguments share its bytes.
pub(crate) fn decode_query(mut body: Bytes) -> Result<Frame, WireError> {
    let shape = || WireError::Shape(FrameKind::Query);
    let number = body.try_get_u64_le().map_err(|_| shape())?;
    let at_least = Lsn(body.try_get_u64_le().map_err(|_| shape())?);
    let wait_ms = body.try_get_u32_le().map_err(|_| shape())?;
    let name_bytes = body.try_get_u16_le().map_err(|_| shape())?;
    if body.try_get_u16_le().map_err(|_| shape())? != 0 {
        return Err(WireError::Reserved);
    }
    let name = take(&mut body, name_bytes.into()).ok_or_else(shape)?;
    let method = std::str::from_utf8(&name).map_err(|_| shape())?.to_owned();
    let (message, arguments) = only_message(body, FrameKind::Query)?;
    let is_of_it = message == (MessageKind::Impulse, MethodId::of(&method));
    if is_of_it { Ok(Frame::Query { number, method, arguments, at_least, wait_ms }) } else { Err(shape()) }
}

/// Appends the body of an answer to a query.
pub(crate) fn encode_query_answer(number: u64, success: bool, value: &[u8], lsn: Lsn, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&lsn.0.to_le_bytes());
    let kind = if success { MessageKind::Reply } else { MessageKind::Error };
    push_message(out, Message { kind, method: MethodId(0), call_id: CallId(0), arguments: value });
}

/// Reads the body of an answer to a query. The value shares its bytes.
pub(crate) fn decode_query_answer(mut body: Bytes) -> Result<Frame, WireError> {
    let shape = || WireError::Shape(FrameKind::QueryAnswer);
    let number = body.try_get_u64_le().map_err(|_| shape())?;
    let lsn = Lsn(body.try_get_u64_le().map_err(|_| shape())?);
    match only_message(body, FrameKind::QueryAnswer)? {
        ((MessageKind::Reply, MethodId(0)), value) => Ok(Frame::QueryAnswer { number, success: true, value, lsn }),
        ((MessageKind::Error, MethodId(0)), value) => Ok(Frame::QueryAnswer { number, success: false, value, lsn }),
        _ => Err(shape()),
    }
}
