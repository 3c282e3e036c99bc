//! Tests of the frames; the golden files and the properties in files of their own.

mod golden;
mod properties;

use ambrosia_core::{CallId, Message, MessageKind, MethodId, push_message};

use super::*;

fn messages(count: u32, bytes: usize) -> Frame {
    let mut encoded = Vec::new();
    for _ in 0..count {
        let arguments = &vec![7; bytes];
        let message = Message { kind: MessageKind::Fork, method: MethodId(1), call_id: CallId(0), arguments };
        push_message(&mut encoded, message);
    }
    Frame::Messages { first_seq: Seq(5), count, messages: encoded.into() }
}

fn decode_all(bytes: &[u8]) -> Result<Vec<Frame>, WireError> {
    let mut received = BytesMut::from(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = FrameDecoder::welcomed().next(&mut received)? {
        frames.push(frame);
    }
    Ok(frames)
}

#[test]
fn frames_read_back_as_they_were_written() {
    let frames = vec![messages(3, 64), Frame::Acknowledge(Seq(9))];
    let mut bytes = Vec::new();
    frames.iter().for_each(|frame| encode(frame, &mut bytes));
    assert_eq!(decode_all(&bytes), Ok(frames));
}

#[test]
fn many_messages_are_split_into_bounded_frames_without_loss() {
    let mut bytes = Vec::new();
    encode(&messages(10_000, 100), &mut bytes);
    let mut next = Seq(5);
    for frame in decode_all(&bytes).expect("encoded just above") {
        let Frame::Messages { first_seq, count, messages } = frame else { panic!("only messages were sent") };
        assert_eq!(first_seq, next);
        assert!(messages.len() <= MESSAGES_FRAME_FULL);
        next = Seq(next.0 + u64::from(count));
    }
    assert_eq!(next, Seq(10_005));
}

#[test]
fn every_flipped_bit_is_an_error_or_an_unfinished_frame() {
    let mut bytes = Vec::new();
    encode(&messages(2, 10), &mut bytes);
    let whole = decode_all(&bytes);
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(decode_all(&damaged) != whole, "bit {bit}");
    }
}

#[test]
fn whatever_stands_in_a_reserved_byte_of_a_frame_it_is_refused() {
    let mut bytes = Vec::new();
    encode(&messages(2, 10), &mut bytes);
    let words = FRAME_HEADER_BYTES + 12..FRAME_HEADER_BYTES + MESSAGES_PREFIX_BYTES;
    for at in (RESERVED_AT..CHECKSUM_AT).chain(words) {
        for value in 1..=u8::MAX {
            let mut later = bytes.clone();
            later[at] = value;
            let checksum = crc32c::crc32c(&later[FRAME_HEADER_BYTES..]);
            later[CHECKSUM_AT..FRAME_HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
            assert_eq!(decode_all(&later), Err(WireError::Reserved), "byte {at}");
        }
    }
}

#[test]
fn a_stranger_can_send_small_control_frames_only() {
    let mut bytes = BytesMut::from(&[0xff, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0][..]);
    let max = HANDSHAKE_FRAME_MAX;
    assert_eq!(FrameDecoder::handshake().next(&mut bytes), Err(WireError::TooLarge { length: 0xffff, max }));
    let mut bytes = BytesMut::from(&b"GET / HTTP/1.1\r\n\r\n"[..]);
    assert_eq!(FrameDecoder::handshake().next(&mut bytes), Err(WireError::UnknownKind(b'/')));
}

/// What one stream says, with the kind of that at its place.
fn of_stream(stream: u64, kind: u8, contents: &[u8]) -> Vec<u8> {
    let prefix = [&stream.to_le_bytes()[..], &[kind, 0, 0, 0, 0, 0, 0, 0]].concat();
    sealed(6, &[&prefix, contents].concat())
}

/// A frame with a right length and checksum.
fn sealed(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_le_bytes();
    [&length[..], &[kind, 0, 0, 0], &crc32c::crc32c(body).to_le_bytes(), body].concat()
}

fn decode_of_streams(bytes: &[u8]) -> Result<Option<Frame>, WireError> {
    FrameDecoder::of_streams().next(&mut BytesMut::from(bytes))
}

#[test]
fn a_stream_says_nothing_but_what_belongs_there() {
    let eight = [9, 0, 0, 0, 0, 0, 0, 0];
    let of = |frame| Ok(Some(Frame::OfStream { stream: StreamNumber(3), frame: Box::new(frame) }));
    assert_eq!(decode_of_streams(&of_stream(3, 3, &eight)), of(Frame::Acknowledge(Seq(9))));
    assert_eq!(decode_of_streams(&of_stream(3, 7, &eight)), of(Frame::Credit { until: 9 }));
    assert_eq!(decode_of_streams(&of_stream(3, 8, &[])), of(Frame::Close));
    for kind in [0, 4, 5, 6, 9, 255] {
        assert_eq!(decode_of_streams(&of_stream(3, kind, &[])), Err(WireError::UnknownKind(kind)));
    }
    let shape = WireError::Shape(FrameKind::Stream);
    for stream in [0, u64::MAX] {
        assert_eq!(decode_of_streams(&of_stream(stream, 8, &[])), Err(shape.clone()));
    }
    assert_eq!(decode_of_streams(&sealed(6, &[1; 15])), Err(shape));
    for kind in [3, 7] {
        assert!(matches!(decode_of_streams(&of_stream(3, kind, &[0; 7])), Err(WireError::Shape(_))));
        assert_eq!(decode_of_streams(&of_stream(3, kind, &[0; 9])), Err(WireError::TooLarge { length: 9, max: 8 }));
    }
    assert_eq!(decode_of_streams(&of_stream(3, 8, &[0])), Err(WireError::TooLarge { length: 1, max: 0 }));
    let (length, max) = (HANDSHAKE_FRAME_MAX + 1, HANDSHAKE_FRAME_MAX);
    assert_eq!(decode_of_streams(&of_stream(3, 1, &vec![0; length])), Err(WireError::TooLarge { length, max }));
    for at in 9..16 {
        let mut body = [&3_u64.to_le_bytes()[..], &[8, 0, 0, 0, 0, 0, 0, 0]].concat();
        body[at] = 1;
        assert_eq!(decode_of_streams(&sealed(6, &body)), Err(WireError::Reserved), "byte {at}");
    }
}

#[test]
fn streams_are_where_they_were_agreed_upon_and_nothing_else_is_there() {
    let bytes = of_stream(3, 8, &[]);
    for decoder in [FrameDecoder::handshake(), FrameDecoder::welcomed()] {
        assert_eq!(decoder.next(&mut BytesMut::from(&bytes[..])), Err(WireError::UnknownKind(6)));
    }
    for kind in [2, 3, 4, 5, 7, 8] {
        for decoder in [FrameDecoder::of_streams(), FrameDecoder::handshake()] {
            let bytes = sealed(kind, &[]);
            assert_eq!(decoder.next(&mut BytesMut::from(&bytes[..])), Err(WireError::UnknownKind(kind)));
        }
    }
    let huge = [0xff, 0xff, 0xff, 0xff, 6, 0, 0, 0, 0, 0, 0, 0];
    let max = STREAM_PREFIX_BYTES + MESSAGES_FRAME_MAX;
    assert_eq!(decode_of_streams(&huge), Err(WireError::TooLarge { length: 0xffff_ffff, max }));
}

#[test]
fn kinds_that_do_not_travel_are_refused() {
    let mut encoded = Vec::new();
    let message = Message { kind: MessageKind::Impulse, method: MethodId(1), call_id: CallId(0), arguments: &[] };
    push_message(&mut encoded, message);
    let mut bytes = Vec::new();
    encode_whole(&Frame::Messages { first_seq: Seq(1), count: 1, messages: encoded.into() }, &mut bytes);
    assert_eq!(decode_all(&bytes), Err(MessageError::NotTravelling(MessageKind::Impulse).into()));
}
