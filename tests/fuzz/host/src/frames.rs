//! Frames between hosts and clients (`docs/formats.md`), as anybody who can connect may send them.
//!
//! The first byte says into which pieces the network cuts the stream. The rest is read twice: as it is, and with the
//! checksums put right, for random bytes never have them.

use ambrosia_core::check_travelling;
use ambrosia_fuzz::corpus::Seed;
use ambrosia_test_allocations::within;
use ambrosia_wire::{FRAME_HEADER_BYTES, Frame, FrameDecoder, WireError};
use bytes::BytesMut;

/// One call of the decoder may copy what it was given, and no more: text is owned, messages are shared.
const MEMORY_PER_BYTE: usize = 1;
/// What a buffer needs to be shared.
const MEMORY_SLACK: usize = 256;

/// Offsets in the header of a frame.
const CHECKSUM_AT: usize = 8;

/// Receives the bytes as a stranger, as somebody who was welcomed, and as a host with streams.
pub fn target(bytes: &[u8]) {
    let Some((piece, stream)) = bytes.split_first() else { return };
    let mut repaired = stream.to_vec();
    repair_checksums(&mut repaired);
    for stream in [stream, &repaired] {
        for decoder in [
            FrameDecoder::handshake(),
            FrameDecoder::welcomed(),
            FrameDecoder::of_streams(),
            FrameDecoder::of_relay(1 << 20),
        ] {
            let whole = receive(decoder, stream, stream.len().max(1));
            assert_eq!(receive(decoder, stream, usize::from(*piece) + 1), whole, "where it is cut makes no difference");
            whole.frames.iter().for_each(|frame| check_frame(decoder, frame));
        }
    }
}

/// Golden files of the protocol, and all of them behind each other.
pub fn seeds() -> Vec<Seed> {
    macro_rules! golden {
        ($($name:literal),*) => {
            [$(($name, &include_bytes!(concat!("../../../../host/wire/golden/wire-", $name, ".bin"))[..])),*]
        };
    }
    let golden = golden![
        "v1-accepted",
        "v1-acknowledge",
        "v1-answer-failure",
        "v1-answer",
        "v1-client-hello",
        "v1-client-welcome",
        "v1-elsewhere",
        "v1-hello",
        "v1-messages",
        "v1-refused-elsewhere",
        "v1-refused",
        "v1-rejected",
        "v1-request-answer",
        "v1-request-durable",
        "v1-welcome",
        "v2-answer",
        "v2-answer-failure",
        "v2-request-answer",
        "v2-request-durable",
        "v3-ended",
        "v3-host-hello",
        "v3-host-welcome",
        "v3-method-table",
        "v3-methods",
        "v3-no-methods",
        "v3-stream-acknowledge",
        "v3-stream-close",
        "v3-stream-credit",
        "v3-stream-elsewhere",
        "v3-stream-hello",
        "v3-stream-messages",
        "v3-stream-refused",
        "v3-stream-welcome",
        "v6-relay-hello",
        "v6-relay-welcome",
        "v6-relayed"
    ];
    let (streams, others): (Vec<_>, Vec<_>) = golden.iter().partition(|(name, _)| name.starts_with("v3-stream-"));
    let behind_each_other =
        |golden: &[&(&str, &[u8])]| golden.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect::<Vec<u8>>();
    let mut seeds: Vec<Seed> = golden
        .iter()
        .map(|(name, bytes)| (format!("seed-{}", name.trim_start_matches("v1-")), [&[255][..], bytes].concat()))
        .collect();
    seeds.push(("seed-all".to_owned(), [&[6][..], &behind_each_other(&others)].concat()));
    seeds.push(("seed-all-streams".to_owned(), [&[6][..], &behind_each_other(&streams)].concat()));
    // A frame of a stream within one of another, and one that announces more credit than there is.
    let nested = [&[1, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0][..], &streams[0].1[FRAME_HEADER_BYTES..]].concat();
    seeds.push(("seed-stream-in-stream".to_owned(), frame(6, &nested)));
    let credit = [&[1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0][..], &[255; 8]].concat();
    seeds.push(("seed-credit-without-end".to_owned(), frame(6, &credit)));
    let claims = FRONTS.iter().map(|(name, front)| (format!("seed-claims-{name}"), huge_claim(front)));
    seeds.extend(claims);
    seeds
}

/// What stands in a control frame before each of its strings: a byte for the variant, then the fields.
const FRONTS: [(&str, &[u8]); 16] = [
    ("hello-from", &[0, 1]),
    ("hello-to", &[0, 1, 0, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 3]),
    ("client-hello-to", &[2, 1]),
    ("refused-reason", &[4, 0]),
    ("request", &[5]),
    ("request-method", &[5, 0]),
    ("request-arguments", &[5, 0, 0]),
    ("rejected", &[6]),
    ("rejected-reason", &[6, 0]),
    ("accepted", &[7]),
    ("answer", &[8]),
    ("answer-value", &[8, 0, 1]),
    ("elsewhere-address", &[15, 0]),
    ("method-table", &[18]),
    ("no-methods-reason", &[19]),
    ("ended-reason", &[20]),
];

/// A frame whose next string claims to be 2^60 bytes long: to make room for it would be the end.
fn huge_claim(front: &[u8]) -> Vec<u8> {
    frame(1, &[front, &[253, 0, 0, 0, 0, 0, 0, 0, 0x10], b"a few"].concat())
}

/// A frame that comes as a whole.
fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let checksum = crc32c::crc32c(body).to_le_bytes();
    [&[255, body.len() as u8, 0, 0, 0, kind, 0, 0, 0][..], &checksum, body].concat()
}

/// Puts the checksum of each frame right that is there as a whole.
fn repair_checksums(stream: &mut [u8]) {
    let mut rest = stream;
    while let Some(header) = rest.first_chunk::<FRAME_HEADER_BYTES>() {
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let (header, behind) = rest.split_at_mut(FRAME_HEADER_BYTES);
        let Some(body) = behind.get(..length) else { return };
        header[CHECKSUM_AT..].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
        rest = &mut behind[length..];
    }
}

/// What came of a stream.
#[derive(PartialEq, Debug)]
struct Received {
    frames: Vec<Frame>,
    error: Option<WireError>,
    /// Bytes that are no whole frame yet.
    rest: usize,
}

fn receive(decoder: FrameDecoder, stream: &[u8], piece: usize) -> Received {
    let mut received = BytesMut::with_capacity(stream.len());
    let mut frames = Vec::new();
    for piece in stream.chunks(piece) {
        received.extend_from_slice(piece);
        loop {
            let given = received.len();
            let next = within(MEMORY_PER_BYTE * given + MEMORY_SLACK, || decoder.next(&mut received));
            match next {
                Ok(Some(frame)) => {
                    assert!(given - received.len() >= FRAME_HEADER_BYTES, "a frame takes bytes");
                    frames.push(frame);
                }
                Ok(None) => {
                    assert_eq!(received.len(), given, "what is not whole stays");
                    break;
                }
                // What is left of a stream that was cut off does not matter.
                Err(error) => return Received { frames, error: Some(error), rest: 0 },
            }
        }
    }
    Received { frames, error: None, rest: received.len() }
}

/// A frame is written as something that is read as the same frame, and holds what a frame may.
fn check_frame(decoder: FrameDecoder, frame: &Frame) {
    let mut encoded = Vec::new();
    frame.encode(&mut encoded);
    let again = receive(decoder, &encoded, encoded.len());
    assert_eq!((&again.frames[..], again.error, again.rest), (std::slice::from_ref(frame), None, 0));
    let said = match frame {
        Frame::OfStream { stream, frame } => {
            assert!(
                stream.0 > 0 && !matches!(**frame, Frame::OfStream { .. }),
                "a stream has a number, and none in it"
            );
            frame
        }
        frame => frame,
    };
    if let Frame::Messages { first_seq, count, messages } = said {
        assert_eq!(check_travelling(messages), Ok(*count), "messages were checked");
        assert!(*count > 0 && first_seq.0 > 0 && first_seq.0.checked_add(u64::from(*count)).is_some());
    }
}
