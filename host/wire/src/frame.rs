//! Frames between hosts, and between a host and its clients (`docs/formats.md`).
//!
//! **Architecture Invariant:** frames are bounded and checked before they are believed, and nothing here does I/O.

use std::ops::RangeInclusive;

use ambrosia_core::{
    Event, Lsn, MessageError, Messages, RequestId, RequestStatus, Seq, SessionId, Ticket, TraceContext,
    check_travelling, limits::ARGUMENTS_BYTES_MAX,
};
use bytes::{Buf, Bytes, BytesMut};

use crate::{
    control::{self, Control},
    event::{EVENT_FRAME_MAX, decode_event, encode_event},
    inquiry::{decode_inquiry, decode_inquiry_answer, encode_inquiry, encode_inquiry_answer},
    query::{decode_query, decode_query_answer, encode_query, encode_query_answer},
    request::{decode_answer, decode_request, encode_answer, encode_request},
    session::{Numbers, decode_session_answer, decode_session_request, encode_session_answer, encode_session_request},
};

/// Newest version of the protocol.
pub const PROTOCOL_VERSION: u16 = 6;

/// Version of the protocol that a client says, the lowest one that has all that requests need. One that wants to know of
/// methods says [`METHODS_VERSION`].
pub const CLIENT_VERSION: u16 = 2;

/// The version of the protocol that brought the question for methods.
pub const METHODS_VERSION: u16 = 3;

/// The version of the protocol that brought queries, and records of answers.
pub const QUERIES_VERSION: u16 = 4;

/// The version of the protocol that brought inquiries after requests, and records of what was accepted.
pub const INQUIRIES_VERSION: u16 = 4;

/// The version of the protocol that brought promises that are fulfilled from outside.
pub const PROMISES_VERSION: u16 = 4;

/// The version of the protocol that brought events to listen to.
pub const EVENTS_VERSION: u16 = 4;

/// The version of the protocol that brought sessions.
pub const SESSIONS_VERSION: u16 = 5;

/// The version of the protocol that brought requests that say to which trace they belong.
pub const TRACES_VERSION: u16 = 6;

/// Version of the protocol of a connection that carries one stream, whatever the host speaks beside it.
pub const SINGLE_STREAM_VERSION: u16 = 1;

/// The version of the protocol that brought connections of many streams.
pub const STREAMS_VERSION: u16 = 3;

/// Versions that a host takes; a handshake with another one is refused.
pub const PROTOCOL_VERSIONS: RangeInclusive<u16> = 1..=PROTOCOL_VERSION;

const LENGTH_AT: usize = 0;
const KIND_AT: usize = LENGTH_AT + size_of::<u32>();
/// Written as zeros, and refused if they are not: a later version means something by them.
const RESERVED_AT: usize = KIND_AT + size_of::<u8>();
const RESERVED_BYTES: usize = 3;
const CHECKSUM_AT: usize = RESERVED_AT + RESERVED_BYTES;
/// Bytes of a frame before its body.
pub const FRAME_HEADER_BYTES: usize = CHECKSUM_AT + size_of::<u32>();
const _: () = assert!(FRAME_HEADER_BYTES == 12);

/// Bytes of a messages frame before the messages: first seq, count, and a reserved word, which is zero too.
const MESSAGES_PREFIX_BYTES: usize = 16;

/// What stands in a frame of a stream before what it says: number of the stream, 8; kind, 1; reserved, 7, zero.
const STREAM_PREFIX_BYTES: usize = 16;

/// A frame of several messages is ended here.
pub(crate) const MESSAGES_FRAME_FULL: usize = 256 << 10;

/// Largest body of a frame of messages: one message of the largest size.
const MESSAGES_FRAME_MAX: usize = MESSAGES_PREFIX_BYTES + ARGUMENTS_BYTES_MAX + MESSAGES_FRAME_FULL + 4096;

/// Largest body of a request or an answer.
const REQUEST_FRAME_MAX: usize = ARGUMENTS_BYTES_MAX + 4096;

/// Largest body of an inquiry.
const INQUIRY_FRAME_MAX: usize = 16 + RequestId::BYTES_MAX;

/// Largest body of a handshake, which comes from somebody unknown.
const HANDSHAKE_FRAME_MAX: usize = 4096;

/// Largest body of what is relayed.
pub const RELAYED_FRAME_MAX: usize = RELAYED_PREFIX_BYTES + (136 << 20);

/// What stands in a relayed frame before what is relayed: its number.
const RELAYED_PREFIX_BYTES: usize = size_of::<u64>();

/// What a frame holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FrameKind {
    /// Handshakes and whatever is rare: see [`Control`].
    Control = 1,
    /// Messages of a stream.
    Messages = 2,
    /// The stream is durable up to a message.
    Acknowledge = 3,
    /// A client wants a method run; since version 2.
    Request = 4,
    /// The result of a request; since version 2.
    Answer = 5,
    /// One of the others, within a stream; since version 3.
    Stream = 6,
    /// How much a stream takes; only within a stream.
    Credit = 7,
    /// A stream ends; only within a stream.
    Close = 8,
    /// A client asks something that changes nothing; since version 4.
    Query = 9,
    /// What a query has come to; since version 4.
    QueryAnswer = 10,
    /// Something that the guest told to whoever listens; since version 4.
    Event = 11,
    /// How much whoever listens takes; since version 4.
    Listened = 12,
    /// A client asks what has become of a request; since version 4.
    Inquiry = 13,
    /// What has become of it; since version 4.
    InquiryAnswer = 14,
    /// A client wants a method run in its session; since version 5.
    SessionRequest = 15,
    /// The result of that; since version 5.
    SessionAnswer = 16,
    /// Something is asked of the store of a host, or answered; only on a connection for that.
    Relayed = 17,
}

/// The number of a stream in its connection. Whoever connects counts them, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct StreamNumber(pub u64);

impl StreamNumber {
    pub(crate) fn next(self) -> StreamNumber {
        StreamNumber(self.0 + 1)
    }
}

impl std::fmt::Display for StreamNumber {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(out)
    }
}

/// One frame, decoded.
#[derive(Clone, PartialEq, Debug)]
pub enum Frame {
    /// Handshakes and whatever is rare.
    Control(Control),
    /// Consecutive messages of a stream.
    Messages {
        /// Number of the first.
        first_seq: Seq,
        /// How many there are.
        count: u32,
        /// The messages, checked.
        messages: Bytes,
    },
    /// The stream is durable up to this message.
    Acknowledge(Seq),
    /// A client wants a method run.
    Request {
        /// Chosen by the client.
        request: RequestId,
        /// Name of the method.
        method: String,
        /// Encoded arguments.
        arguments: Bytes,
        /// False if the client is content with the request being durable.
        wait: bool,
        /// The trace that it belongs to; not said before version 6.
        trace: Option<TraceContext>,
    },
    /// The result of a request is durable.
    Answer {
        /// Id of the request, as its client chose it.
        request: RequestId,
        /// False if the value is the text of a failure.
        success: bool,
        /// Encoded result.
        value: Bytes,
        /// The record that brought it about; 0 if that is not said, as before version 4.
        lsn: Lsn,
    },
    /// A client asks something that changes nothing.
    Query {
        /// What the client calls it.
        number: u64,
        /// Name of the method.
        method: String,
        /// Encoded arguments.
        arguments: Bytes,
        /// The state is to have come so far.
        at_least: Lsn,
        /// For how long that may be waited for, in milliseconds.
        wait_ms: u32,
    },
    /// What a query has come to.
    QueryAnswer {
        /// What its client calls it.
        number: u64,
        /// False if the value is the text of a failure.
        success: bool,
        /// Encoded result.
        value: Bytes,
        /// The last record of the state that was asked; 0 if it was not asked, for there can be no such query.
        lsn: Lsn,
    },
    /// A client asks what has become of a request.
    Inquiry {
        /// What the client calls it.
        number: u64,
        /// The request.
        request: RequestId,
        /// For how long the result may be waited for, in milliseconds.
        wait_ms: u32,
    },
    /// What has become of a request.
    InquiryAnswer {
        /// What its client calls the inquiry.
        number: u64,
        /// As far as it is durable.
        status: RequestStatus,
    },
    /// A client wants a method run in its session.
    SessionRequest {
        /// Which session.
        session: SessionId,
        /// By what the host named the opening of it.
        ticket: Ticket,
        /// Its number in the session.
        seq: Seq,
        /// All results up to this one have reached the client.
        confirmed: Seq,
        /// Name of the method.
        method: String,
        /// Encoded arguments.
        arguments: Bytes,
    },
    /// The result of a request of a session is durable.
    SessionAnswer {
        /// The opening of the session.
        ticket: Ticket,
        /// The request.
        seq: Seq,
        /// False if the value is the text of a failure.
        success: bool,
        /// Encoded result.
        value: Bytes,
        /// The record that brought it about.
        lsn: Lsn,
    },
    /// Something is asked of the store of a host, or answered.
    Relayed {
        /// What whoever asks calls the question.
        number: u64,
        /// Whoever has the store knows what it means.
        contents: Bytes,
    },
    /// Something that the guest told to whoever listens.
    Event(Event),
    /// Whoever listens takes events that count up to this in all; see [`event_counts`].
    Listened {
        /// Since it began to listen. Never less than before.
        until: u64,
    },
    /// What is said on one stream of a connection that carries many.
    OfStream {
        /// Which one.
        stream: StreamNumber,
        /// Control, messages, acknowledgement, credit or close.
        frame: Box<Frame>,
    },
    /// The stream takes messages that count up to this in all; see `docs/formats.md` for what each counts.
    Credit {
        /// Since the stream was opened. Never less than before.
        until: u64,
    },
    /// Nothing follows from this side of the stream.
    Close,
}

impl Frame {
    /// Appends the frame to `out`, a frame of messages as several if they are many.
    ///
    /// # Panics
    /// If arguments or a value exceed [`ARGUMENTS_BYTES_MAX`], or if it is of a kind that is said within a stream only.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode(self, out);
    }

    /// What it takes in memory while it waits, about.
    pub(crate) fn held_bytes(&self) -> usize {
        let contents = match self {
            Frame::Messages { messages, .. } => messages.len(),
            Frame::Request { arguments, .. }
            | Frame::Query { arguments, .. }
            | Frame::SessionRequest { arguments, .. } => arguments.len(),
            Frame::Answer { value, .. } | Frame::QueryAnswer { value, .. } | Frame::SessionAnswer { value, .. } => {
                value.len()
            }
            Frame::Relayed { contents, .. } => contents.len(),
            Frame::Event(event) => event.value.len(),
            Frame::Control(Control::MethodTable { table }) => table.len(),
            Frame::OfStream { frame, .. } => return frame.held_bytes(),
            Frame::Control(_)
            | Frame::Acknowledge(_)
            | Frame::InquiryAnswer { .. }
            | Frame::Inquiry { .. }
            | Frame::Listened { .. }
            | Frame::Credit { .. }
            | Frame::Close => 0,
        };
        contents + size_of::<Frame>()
    }

    /// What kind of frame it is.
    pub fn kind(&self) -> FrameKind {
        match self {
            Frame::Control(_) => FrameKind::Control,
            Frame::Messages { .. } => FrameKind::Messages,
            Frame::Acknowledge(_) => FrameKind::Acknowledge,
            Frame::Request { .. } => FrameKind::Request,
            Frame::Answer { .. } => FrameKind::Answer,
            Frame::Query { .. } => FrameKind::Query,
            Frame::QueryAnswer { .. } => FrameKind::QueryAnswer,
            Frame::Event(_) => FrameKind::Event,
            Frame::Listened { .. } => FrameKind::Listened,
            Frame::Inquiry { .. } => FrameKind::Inquiry,
            Frame::InquiryAnswer { .. } => FrameKind::InquiryAnswer,
            Frame::SessionRequest { .. } => FrameKind::SessionRequest,
            Frame::SessionAnswer { .. } => FrameKind::SessionAnswer,
            Frame::Relayed { .. } => FrameKind::Relayed,
            Frame::OfStream { .. } => FrameKind::Stream,
            Frame::Credit { .. } => FrameKind::Credit,
            Frame::Close => FrameKind::Close,
        }
    }
}

/// Why some bytes are not a frame. The connection ends.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WireError {
    /// The kind has no meaning.
    #[error("a frame of unknown kind {0}: the other side does not speak Ambrosia's protocol")]
    UnknownKind(u8),
    /// A reserved byte is not zero.
    #[error("a reserved byte of a frame is not zero: the other side is of a later version. Use that version here, too")]
    Reserved,
    /// The length exceeds what the kind may have.
    #[error("a frame of {length} bytes where at most {max} are allowed")]
    TooLarge {
        /// As announced.
        length: usize,
        /// As allowed here.
        max: usize,
    },
    /// Something was changed on the way.
    #[error("the checksum of a frame does not match")]
    Checksum,
    /// The body does not have the shape of its kind.
    #[error("a frame of kind {0:?} has a malformed body")]
    Shape(FrameKind),
    /// A message inside is not one.
    #[error("a frame holds a bad message: {0}")]
    Message(#[from] MessageError),
    /// The number of messages differs from what the frame says.
    #[error("a frame announces {announced} messages and holds {found}")]
    Count {
        /// As announced.
        announced: u32,
        /// As counted.
        found: u32,
    },
}

/// Appends a frame to `out`, a frame of messages as several if they are many.
pub(crate) fn encode(frame: &Frame, out: &mut Vec<u8>) {
    match frame {
        Frame::Messages { first_seq, count, messages } => {
            let (mut first_seq, mut count, mut messages) = (*first_seq, *count, messages.clone());
            while let Some(fitting) = take_fitting(&mut first_seq, &mut count, &mut messages) {
                encode_whole(&fitting, out);
            }
            encode_whole(&Frame::Messages { first_seq, count, messages }, out);
        }
        Frame::Credit { .. } | Frame::Close => panic!("{:?} is said within a stream only", frame.kind()),
        frame => encode_whole(frame, out),
    }
}

/// Appends a frame to `out` as one of a stream, messages however many they are.
pub(crate) fn encode_in_stream(stream: StreamNumber, frame: &Frame, out: &mut Vec<u8>) {
    assert!(stream > StreamNumber(0), "streams are counted from 1");
    encode_body(out, FrameKind::Stream, |out| {
        out.extend_from_slice(&stream.0.to_le_bytes());
        out.extend_from_slice(&[frame.kind() as u8, 0, 0, 0, 0, 0, 0, 0]);
        encode_contents(frame, out);
    });
}

fn encode_whole(frame: &Frame, out: &mut Vec<u8>) {
    match frame {
        Frame::OfStream { stream, frame } => encode_in_stream(*stream, frame, out),
        frame => encode_body(out, frame.kind(), |out| encode_contents(frame, out)),
    }
}

/// Appends what stands in a frame behind its header.
fn encode_contents(frame: &Frame, out: &mut Vec<u8>) {
    match frame {
        Frame::Control(control) => control::encode(control, out),
        Frame::Acknowledge(seq) => out.extend_from_slice(&seq.0.to_le_bytes()),
        Frame::Messages { first_seq, count, messages } => {
            out.extend_from_slice(&first_seq.0.to_le_bytes());
            out.extend_from_slice(&count.to_le_bytes());
            out.extend_from_slice(&0_u32.to_le_bytes());
            out.extend_from_slice(messages);
        }
        Frame::Request { request, method, arguments, wait, trace } => {
            encode_request(request, method, arguments, *wait, *trace, out);
        }
        Frame::Answer { request, success, value, lsn } => encode_answer(request, *success, value, *lsn, out),
        Frame::Query { number, method, arguments, at_least, wait_ms } => {
            encode_query(*number, method, arguments, (*at_least, *wait_ms), out);
        }
        Frame::QueryAnswer { number, success, value, lsn } => encode_query_answer(*number, *success, value, *lsn, out),
        Frame::Inquiry { number, request, wait_ms } => encode_inquiry(*number, request, *wait_ms, out),
        Frame::InquiryAnswer { number, status } => encode_inquiry_answer(*number, status, out),
        Frame::SessionRequest { session, ticket, seq, confirmed, method, arguments } => {
            let numbers = Numbers { session: *session, ticket: *ticket, seq: *seq, confirmed: *confirmed };
            encode_session_request(&numbers, method, arguments, out);
        }
        Frame::SessionAnswer { ticket, seq, success, value, lsn } => {
            encode_session_answer((*ticket, *seq, *lsn), *success, value, out);
        }
        Frame::Relayed { number, contents } => {
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(contents);
        }
        Frame::Event(event) => encode_event(event, out),
        Frame::Credit { until } | Frame::Listened { until } => out.extend_from_slice(&until.to_le_bytes()),
        Frame::Close => {}
        Frame::OfStream { .. } => unreachable!("a frame of a stream has no stream in it"),
    }
}

/// Takes as many messages off the front as one frame is to have; `None` if one frame is to have all of them.
pub(crate) fn take_fitting(first_seq: &mut Seq, count: &mut u32, messages: &mut Bytes) -> Option<Frame> {
    if messages.len() <= MESSAGES_FRAME_FULL || *count <= 1 {
        return None;
    }
    let (fit, bytes) = fitting(messages);
    if fit == *count {
        return None;
    }
    let taken = Frame::Messages { first_seq: *first_seq, count: fit, messages: messages.split_to(bytes) };
    *first_seq = Seq(first_seq.0 + u64::from(fit));
    *count -= fit;
    Some(taken)
}

/// How many messages from the front fit into one frame, at least one, and their bytes.
fn fitting(messages: &[u8]) -> (u32, usize) {
    let mut fit = (0, 0);
    for message in Messages::new(messages) {
        let length = message.expect("messages are checked where they come in").encoded_len();
        if fit.0 > 0 && fit.1 + length > MESSAGES_FRAME_FULL {
            break;
        }
        fit = (fit.0 + 1, fit.1 + length);
    }
    fit
}

fn encode_body(out: &mut Vec<u8>, kind: FrameKind, body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.resize(at + FRAME_HEADER_BYTES, 0);
    body(out);
    let length = out.len() - at - FRAME_HEADER_BYTES;
    let checksum = crc32c::crc32c(&out[at + FRAME_HEADER_BYTES..]);
    out[at + LENGTH_AT..at + KIND_AT].copy_from_slice(&(length as u32).to_le_bytes());
    out[at + KIND_AT] = kind as u8;
    out[at + CHECKSUM_AT..at + FRAME_HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

/// Takes frames off a growing buffer of received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameDecoder(Stage);

/// How far a connection has come, and so what may be said on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Handshake,
    Welcomed,
    Streams,
    /// With bodies of at most so many bytes.
    Relay(usize),
}

impl FrameDecoder {
    /// For somebody who has not said yet who they are: small control frames only.
    pub fn handshake() -> Self {
        FrameDecoder(Stage::Handshake)
    }

    /// For a peer or client whose handshake was accepted.
    pub fn welcomed() -> Self {
        FrameDecoder(Stage::Welcomed)
    }

    /// For a host whose connection carries streams.
    pub fn of_streams() -> Self {
        FrameDecoder(Stage::Streams)
    }

    /// For whoever uses the store of a host, or that host. What is relayed has at most so many bytes.
    pub fn of_relay(bytes_max: usize) -> Self {
        FrameDecoder(Stage::Relay(bytes_max.saturating_add(RELAYED_PREFIX_BYTES).min(RELAYED_FRAME_MAX)))
    }

    /// The next frame, if `received` holds a whole one. It is taken off `received`.
    pub fn next(&self, received: &mut BytesMut) -> Result<Option<Frame>, WireError> {
        let Some(header) = received.first_chunk::<FRAME_HEADER_BYTES>() else {
            return Ok(None);
        };
        let field = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let length = field(LENGTH_AT) as usize;
        let kind = self.kind(header[KIND_AT], length)?;
        if header[RESERVED_AT..CHECKSUM_AT] != [0; RESERVED_BYTES] {
            return Err(WireError::Reserved);
        }
        let checksum = field(CHECKSUM_AT);
        if received.len() < FRAME_HEADER_BYTES + length {
            return Ok(None);
        }
        received.advance(FRAME_HEADER_BYTES);
        let body = received.split_to(length).freeze();
        if crc32c::crc32c(&body) != checksum {
            return Err(WireError::Checksum);
        }
        decode_body(kind, body).map(Some)
    }

    fn kind(&self, byte: u8, length: usize) -> Result<FrameKind, WireError> {
        let (kind, max) = match (byte, self.0) {
            (1, Stage::Welcomed) => (FrameKind::Control, REQUEST_FRAME_MAX),
            (1, _) => (FrameKind::Control, HANDSHAKE_FRAME_MAX),
            (2, Stage::Welcomed) => (FrameKind::Messages, MESSAGES_FRAME_MAX),
            (3, Stage::Welcomed) => (FrameKind::Acknowledge, size_of::<u64>()),
            (4, Stage::Welcomed) => (FrameKind::Request, REQUEST_FRAME_MAX),
            (5, Stage::Welcomed) => (FrameKind::Answer, REQUEST_FRAME_MAX),
            (9, Stage::Welcomed) => (FrameKind::Query, REQUEST_FRAME_MAX),
            (10, Stage::Welcomed) => (FrameKind::QueryAnswer, REQUEST_FRAME_MAX),
            (11, Stage::Welcomed) => (FrameKind::Event, EVENT_FRAME_MAX),
            (12, Stage::Welcomed) => (FrameKind::Listened, size_of::<u64>()),
            (13, Stage::Welcomed) => (FrameKind::Inquiry, INQUIRY_FRAME_MAX),
            (14, Stage::Welcomed) => (FrameKind::InquiryAnswer, REQUEST_FRAME_MAX),
            (15, Stage::Welcomed) => (FrameKind::SessionRequest, REQUEST_FRAME_MAX),
            (16, Stage::Welcomed) => (FrameKind::SessionAnswer, REQUEST_FRAME_MAX),
            (17, Stage::Relay(max)) => (FrameKind::Relayed, max),
            (6, Stage::Streams) => (FrameKind::Stream, STREAM_PREFIX_BYTES + MESSAGES_FRAME_MAX),
            _ => return Err(WireError::UnknownKind(byte)),
        };
        if length > max {
            return Err(WireError::TooLarge { length, max });
        }
        Ok(kind)
    }
}

/// Reads a frame of a stream.
fn decode_of_stream(mut body: Bytes) -> Result<Frame, WireError> {
    let shape = || WireError::Shape(FrameKind::Stream);
    if body.len() < STREAM_PREFIX_BYTES {
        return Err(shape());
    }
    let stream = StreamNumber(body.get_u64_le());
    let byte = body.get_u8();
    if body.split_to(STREAM_PREFIX_BYTES - size_of::<u64>() - size_of::<u8>()).iter().any(|byte| *byte != 0) {
        return Err(WireError::Reserved);
    }
    let (kind, max) = match byte {
        1 => (FrameKind::Control, HANDSHAKE_FRAME_MAX),
        2 => (FrameKind::Messages, MESSAGES_FRAME_MAX),
        3 => (FrameKind::Acknowledge, size_of::<u64>()),
        7 => (FrameKind::Credit, size_of::<u64>()),
        8 => (FrameKind::Close, 0),
        _ => return Err(WireError::UnknownKind(byte)),
    };
    if body.len() > max {
        return Err(WireError::TooLarge { length: body.len(), max });
    }
    // The number of the last stream is one that another could follow.
    if stream == StreamNumber(0) || stream == StreamNumber(u64::MAX) {
        return Err(shape());
    }
    Ok(Frame::OfStream { stream, frame: Box::new(decode_body(kind, body)?) })
}

fn decode_body(kind: FrameKind, mut body: Bytes) -> Result<Frame, WireError> {
    match kind {
        FrameKind::Stream => decode_of_stream(body),
        FrameKind::Credit | FrameKind::Listened => {
            let until = body.try_get_u64_le().map_err(|_| WireError::Shape(kind))?;
            Ok(if kind == FrameKind::Credit { Frame::Credit { until } } else { Frame::Listened { until } })
        }
        FrameKind::Event => decode_event(body),
        FrameKind::Relayed => {
            let number = body.try_get_u64_le().map_err(|_| WireError::Shape(kind))?;
            Ok(Frame::Relayed { number, contents: body })
        }
        FrameKind::Close => Ok(Frame::Close),
        FrameKind::Control => control::decode(&body).map(Frame::Control).ok_or(WireError::Shape(kind)),
        FrameKind::Request => decode_request(body),
        FrameKind::Answer => decode_answer(body),
        FrameKind::Query => decode_query(body),
        FrameKind::QueryAnswer => decode_query_answer(body),
        FrameKind::SessionRequest => decode_session_request(body),
        FrameKind::SessionAnswer => decode_session_answer(body),
        FrameKind::Inquiry => decode_inquiry(body),
        FrameKind::InquiryAnswer => decode_inquiry_answer(body),
        FrameKind::Acknowledge => {
            let seq = body.try_get_u64_le().map_err(|_| WireError::Shape(kind))?;
            Ok(Frame::Acknowledge(Seq(seq)))
        }
        FrameKind::Messages => {
            if body.len() < MESSAGES_PREFIX_BYTES {
                return Err(WireError::Shape(kind));
            }
            let first_seq = Seq(body.get_u64_le());
            let count = body.get_u32_le();
            if body.get_u32_le() != 0 {
                return Err(WireError::Reserved);
            }
            let found = check_travelling(&body)?;
            if found != count || count == 0 || first_seq == Seq(0) {
                return Err(WireError::Count { announced: count, found });
            }
            if first_seq.0.checked_add(u64::from(count)).is_none() {
                return Err(WireError::Shape(kind));
            }
            Ok(Frame::Messages { first_seq, count, messages: body })
        }
    }
}

#[cfg(test)]
mod tests;
