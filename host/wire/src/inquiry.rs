//! Inquiries after requests and their answers (`docs/formats.md`); a result is in the layout of messages, as in answers to requests.

use ambrosia_core::{Answer, CallId, Lsn, Message, MessageKind, MethodId, RequestId, RequestStatus, push_message};
use bytes::{Buf, Bytes};

use crate::{
    frame::{Frame, FrameKind, WireError},
    request::{only_message, take},
};

const UNKNOWN: u8 = 0;
const UNDER_WAY: u8 = 1;
const ANSWERED: u8 = 2;

/// Bytes behind the state of a request that have no meaning yet.
const RESERVED_BYTES: usize = 7;

/// Appends the body of an inquiry.
pub(crate) fn encode_inquiry(number: u64, request: &RequestId, wait_ms: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&wait_ms.to_le_bytes());
    out.extend_from_slice(&[request.as_bytes().len() as u8, 0, 0, 0]);
    out.extend_from_slice(request.as_bytes());
}

/// Reads the body of an inquiry.
pub(crate) fn decode_inquiry(mut body: Bytes) -> Result<Frame, WireError> {
    let shape = || WireError::Shape(FrameKind::Inquiry);
    let number = body.try_get_u64_le().map_err(|_| shape())?;
    let wait_ms = body.try_get_u32_le().map_err(|_| shape())?;
    let id_bytes = body.try_get_u8().map_err(|_| shape())?;
    if take(&mut body, 3).ok_or_else(shape)?[..] != [0; 3] {
        return Err(WireError::Reserved);
    }
    let request = take(&mut body, id_bytes.into()).and_then(|id| RequestId::new(id).ok()).ok_or_else(shape)?;
    if body.is_empty() { Ok(Frame::Inquiry { number, request, wait_ms }) } else { Err(shape()) }
}

/// Appends the body of an answer to an inquiry.
pub(crate) fn encode_inquiry_answer(number: u64, status: &RequestStatus, out: &mut Vec<u8>) {
    let (state, accepted, lsn) = match status {
        RequestStatus::Unknown => (UNKNOWN, Lsn(0), Lsn(0)),
        RequestStatus::UnderWay { accepted } => (UNDER_WAY, *accepted, Lsn(0)),
        RequestStatus::Answered { accepted, lsn, .. } => (ANSWERED, *accepted, *lsn),
    };
    out.extend_from_slice(&number.to_le_bytes());
    out.push(state);
    out.extend_from_slice(&[0; RESERVED_BYTES]);
    out.extend_from_slice(&accepted.0.to_le_bytes());
    out.extend_from_slice(&lsn.0.to_le_bytes());
    if let RequestStatus::Answered { answer: Answer { success, value }, .. } = status {
        let kind = if *success { MessageKind::Reply } else { MessageKind::Error };
        push_message(out, Message { kind, method: MethodId(0), call_id: CallId(0), arguments: value });
    }
}

/// Reads the body of an answer to an inquiry. A result shares its bytes.
pub(crate) fn decode_inquiry_answer(mut body: Bytes) -> Result<Frame, WireError> {
    let shape = || WireError::Shape(FrameKind::InquiryAnswer);
    let number = body.try_get_u64_le().map_err(|_| shape())?;
    let state = body.try_get_u8().map_err(|_| shape())?;
    if take(&mut body, RESERVED_BYTES).ok_or_else(shape)?[..] != [0; RESERVED_BYTES] {
        return Err(WireError::Reserved);
    }
    let accepted = Lsn(body.try_get_u64_le().map_err(|_| shape())?);
    let lsn = Lsn(body.try_get_u64_le().map_err(|_| shape())?);
    let status = match (state, accepted, lsn, body.is_empty()) {
        (UNKNOWN, Lsn(0), Lsn(0), true) => RequestStatus::Unknown,
        (UNDER_WAY, Lsn(1..), Lsn(0), true) => RequestStatus::UnderWay { accepted },
        (ANSWERED, Lsn(1..), _, false) if accepted <= lsn => {
            let ((kind, method), value) = only_message(body, FrameKind::InquiryAnswer)?;
            let success = kind == MessageKind::Reply;
            if method != MethodId(0) || !(success || kind == MessageKind::Error) {
                return Err(shape());
            }
            RequestStatus::Answered { accepted, lsn, answer: Answer { success, value } }
        }
        _ => return Err(shape()),
    };
    Ok(Frame::InquiryAnswer { number, status })
}
