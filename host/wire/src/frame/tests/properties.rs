//! What the decoder does with bytes of anybody: it never panics, it allocates no more than it was given, and where the
//! network cuts the stream makes no difference.

use ambrosia_core::{
    Answer, CallId, Event, EventId, Lsn, Message, MessageKind, MethodId, RequestId, RequestStatus, Seq, SessionId,
    Ticket, Timestamp, TraceContext, push_message,
};
use ambrosia_test_allocations::counting;
use bytes::BytesMut;
use proptest::{collection::vec, prelude::*, sample::Index};

use super::super::{FRAME_HEADER_BYTES, Frame, FrameDecoder, PROTOCOL_VERSIONS, StreamNumber, WireError, encode};
use crate::{
    control::{self, Control},
    request::{is_said_as_it_is, to_version},
};

/// Allocated beside the bytes of a frame: what a buffer needs to be shared.
const SLACK_BYTES: usize = 256;

/// A length of 2^60 in bincode.
const HUGE_LENGTH: [u8; 9] = [253, 0, 0, 0, 0, 0, 0, 0, 0x10];

fn octets() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..20), vec(any::<u8>(), 240..300)]
}

fn peers() -> impl Strategy<Value = Control> {
    let waits = (any::<u64>(), any::<u64>(), any::<Option<u64>>(), any::<u64>(), any::<Option<u64>>());
    let peer = (any::<String>(), any::<String>(), any::<String>(), any::<u64>(), waits);
    let peer = peer.prop_map(|(name, state, reason, since_ms, (messages, bytes, oldest_ms, calls, oldest_call))| {
        Control::Peer { name, state, reason, since_ms, messages, bytes, oldest_ms, calls, oldest_call }
    });
    prop_oneof![Just(Control::Peers), peer, Just(Control::PeersEnd)]
}

fn methods() -> impl Strategy<Value = Control> {
    prop_oneof![
        Just(Control::Methods),
        octets().prop_map(|table| Control::MethodTable { table }),
        any::<String>().prop_map(|reason| Control::NoMethods { reason }),
        any::<String>().prop_map(|reason| Control::Ended { reason }),
    ]
}

fn checkpoints() -> impl Strategy<Value = Control> {
    prop_oneof![
        Just(Control::Checkpoint),
        (any::<u64>(), any::<u16>()).prop_map(|(lsn, replica)| Control::CheckpointAsked { lsn, replica }),
        any::<String>().prop_map(|reason| Control::CheckpointRefused { reason }),
    ]
}

fn controls() -> impl Strategy<Value = Control> {
    let (text, numbers) = (any::<String>, || prop_oneof![any::<u64>(), 0..300_u64]);
    prop_oneof![
        (any::<u16>(), text(), any::<[u8; 16]>(), numbers(), text())
            .prop_map(|(version, from, from_uuid, epoch, to)| Control::Hello { version, from, from_uuid, epoch, to }),
        (any::<[u8; 16]>(), numbers()).prop_map(|(uuid, received)| Control::Welcome { uuid, received }),
        (any::<u16>(), text()).prop_map(|(version, to)| Control::ClientHello { version, to }),
        numbers().prop_map(|epoch| Control::ClientWelcome { epoch }),
        (any::<bool>(), text()).prop_map(|(elsewhere, reason)| Control::Refused { elsewhere, reason }),
        (octets(), text(), octets(), any::<bool>()).prop_map(|(request, method, arguments, wait)| Control::Request {
            request,
            method,
            arguments,
            wait
        }),
        (octets(), text()).prop_map(|(request, reason)| Control::Rejected { request, reason }),
        octets().prop_map(|request| Control::Accepted { request }),
        (octets(), any::<bool>(), octets()).prop_map(|(request, success, value)| Control::Answer {
            request,
            success,
            value
        }),
        peers(),
        (numbers(), text()).prop_map(|(epoch, address)| Control::Elsewhere { epoch, address }),
        checkpoints(),
        (any::<u16>(), any::<u32>()).prop_map(|(version, streams_max)| Control::HostWelcome { version, streams_max }),
        methods(),
        (any::<u16>(), text(), any::<u16>()).prop_map(|(version, to, replica)| Control::ReplicaHello {
            version,
            to,
            replica
        }),
        any::<u64>().prop_map(|applied| Control::ReplicaWelcome { applied }),
        (any::<u64>(), any::<[u8; 16]>(), octets()).prop_map(|(promise, token, value)| Control::Resolve {
            promise,
            token,
            value
        }),
        (any::<u64>(), any::<[u8; 16]>(), any::<bool>()).prop_map(|(promise, token, is_known)| Control::Resolved {
            promise,
            token,
            is_known
        }),
        outgoing(),
        (octets(), any::<u64>()).prop_map(|(request, lsn)| Control::AcceptedAt { request, lsn }),
        listening(),
        Just(Control::Remembered),
        any::<[u64; 6]>().prop_map(|[results, bytes, under_way, results_max, bytes_max, age_s_max]| {
            Control::RememberedTold { results, bytes, under_way, results_max, bytes_max, age_s_max }
        }),
        schedules(),
        controls_of_sessions(),
    ]
}

fn controls_of_sessions() -> impl Strategy<Value = Control> {
    let (id, numbers) = (any::<[u8; 16]>, any::<[u64; 3]>);
    prop_oneof![
        (id(), id()).prop_map(|(session, opening)| Control::OpenSession { session, opening }),
        (id(), id(), numbers(), any::<u32>()).prop_map(|(session, opening, [ticket, accepted, confirmed], window)| {
            Control::SessionOpened { session, opening, ticket, accepted, confirmed, window }
        }),
        (id(), any::<[u64; 2]>(), any::<u8>(), any::<String>()).prop_map(
            |(session, [ticket, seq], refusal, reason)| {
                Control::SessionRefused { session, ticket, seq, refusal, reason }
            }
        ),
        (id(), any::<[u64; 2]>()).prop_map(|(session, [ticket, confirmed])| Control::SessionConfirmed {
            session,
            ticket,
            confirmed
        }),
        Just(Control::Sessions),
        Just(Control::Stall),
        (any::<Option<u64>>(), any::<String>()).prop_map(|(since_ms, reason)| Control::StallTold { since_ms, reason }),
        (any::<String>(), any::<u64>()).prop_map(|(to, behind)| Control::NextPrimary { to, behind }),
        any::<String>().prop_map(|token| Control::Token { token }),
        (any::<String>(), any::<u16>(), any::<[Option<u64>; 2]>(), any::<String>()).prop_map(
            |(name, replica, [epoch, stalled_ms], reason)| Control::Replica {
                name,
                replica,
                epoch,
                stalled_ms,
                reason
            }
        ),
        any::<[u64; 4]>().prop_map(|[sessions, under_way, results, bytes]| {
            Control::SessionsTold { sessions, under_way, results, bytes }
        }),
    ]
}

fn schedules() -> impl Strategy<Value = Control> {
    let texts = (any::<String>(), any::<String>(), any::<String>(), any::<String>());
    prop_oneof![
        Just(Control::Schedules),
        (texts, any::<Option<u64>>(), any::<Option<u64>>()).prop_map(|((method, cron, zone, missed), next, done)| {
            Control::Schedule { method, cron, zone, missed, next, done }
        }),
        Just(Control::SchedulesEnd),
    ]
}

fn listening() -> impl Strategy<Value = Control> {
    let id = any::<(u64, u32)>;
    prop_oneof![
        (any::<Option<(u64, u32)>>(), any::<u64>()).prop_map(|(after, until)| Control::Listen { after, until }),
        (id(), id()).prop_map(|(after, newest)| Control::Listening { after, newest }),
        (id(), id()).prop_map(|(after, through)| Control::EventsLost { after, through }),
    ]
}

fn events() -> impl Strategy<Value = Frame> {
    let event = (any::<(u64, u32, u64)>(), "\\PC{0,60}", octets()).prop_map(|((lsn, index, time), topic, value)| {
        let id = EventId { lsn: Lsn(lsn), index };
        Frame::Event(Event { id, time: Timestamp(time), topic, value: value.into() })
    });
    prop_oneof![event, any::<u64>().prop_map(|until| Frame::Listened { until })]
}

fn outgoing() -> impl Strategy<Value = Control> {
    let text = any::<String>;
    prop_oneof![
        Just(Control::Outgoing),
        (any::<(u64, u32, u64, Option<u64>)>(), text(), text()).prop_map(
            |((id, tries, age_ms, next_try_ms), what, error)| {
                Control::OutgoingRequest { id, what, tries, age_ms, next_try_ms, error }
            }
        ),
        any::<u64>().prop_map(|count| Control::OutgoingEnd { count }),
    ]
}

fn messages() -> impl Strategy<Value = Frame> {
    let kinds =
        prop::sample::select(vec![MessageKind::Fork, MessageKind::Call, MessageKind::Reply, MessageKind::Error]);
    let message = (kinds, any::<u32>(), any::<u64>(), octets());
    (1..u64::MAX / 2, vec(message, 1..5)).prop_map(|(first_seq, gathered)| {
        let mut messages = Vec::new();
        for (kind, method, call_id, arguments) in &gathered {
            let (method, call_id) = (MethodId(*method), CallId(*call_id));
            push_message(&mut messages, Message { kind: *kind, method, call_id, arguments });
        }
        Frame::Messages { first_seq: Seq(first_seq), count: gathered.len() as u32, messages: messages.into() }
    })
}

/// None if an id is drawn as 0.
fn traces() -> impl Strategy<Value = Option<TraceContext>> {
    (any::<bool>(), any::<u128>(), any::<u64>(), any::<u8>())
        .prop_map(|(is_said, trace, span, flags)| TraceContext::new(trace, span, flags).filter(|_| is_said))
}

fn requests() -> impl Strategy<Value = Frame> {
    let id = || vec(any::<u8>(), 1..=RequestId::BYTES_MAX).prop_map(|id| RequestId::new(id).expect("not too long"));
    prop_oneof![
        (id(), any::<String>(), octets(), any::<bool>(), traces()).prop_map(
            |(request, method, arguments, wait, trace)| Frame::Request {
                request,
                method,
                arguments: arguments.into(),
                wait,
                trace,
            },
        ),
        (id(), any::<bool>(), octets(), any::<u64>()).prop_map(|(request, success, value, lsn)| {
            Frame::Answer { request, success, value: value.into(), lsn: Lsn(lsn) }
        }),
        (any::<u64>(), any::<String>(), octets(), any::<u64>(), any::<u32>()).prop_map(
            |(number, method, arguments, at_least, wait_ms)| Frame::Query {
                number,
                method,
                arguments: arguments.into(),
                at_least: Lsn(at_least),
                wait_ms
            }
        ),
        (any::<u64>(), any::<bool>(), octets(), any::<u64>()).prop_map(|(number, success, value, lsn)| {
            Frame::QueryAnswer { number, success, value: value.into(), lsn: Lsn(lsn) }
        }),
        (any::<u64>(), id(), any::<u32>()).prop_map(|(number, request, wait_ms)| Frame::Inquiry {
            number,
            request,
            wait_ms
        }),
        (any::<u64>(), statuses()).prop_map(|(number, status)| Frame::InquiryAnswer { number, status }),
        sessions(),
    ]
}

fn sessions() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (any::<[u8; 16]>(), 1..u64::MAX, (1..u64::MAX - 1, any::<u64>()), any::<String>(), octets()).prop_map(
            |(session, ticket, (seq, confirmed), method, arguments)| Frame::SessionRequest {
                session: SessionId(session),
                ticket: Ticket(ticket),
                seq: Seq(seq),
                confirmed: Seq(confirmed % seq),
                method,
                arguments: arguments.into(),
            }
        ),
        (1..u64::MAX, 1..u64::MAX, 1..u64::MAX, any::<bool>(), octets()).prop_map(
            |(ticket, seq, lsn, success, value)| Frame::SessionAnswer {
                ticket: Ticket(ticket),
                seq: Seq(seq),
                success,
                value: value.into(),
                lsn: Lsn(lsn),
            }
        ),
    ]
}

fn statuses() -> impl Strategy<Value = RequestStatus> {
    let answered = |(accepted, more, success, value): (u64, u32, bool, Vec<u8>)| RequestStatus::Answered {
        accepted: Lsn(accepted),
        lsn: Lsn(accepted + u64::from(more)),
        answer: Answer { success, value: value.into() },
    };
    prop_oneof![
        Just(RequestStatus::Unknown),
        (1..u64::MAX).prop_map(|accepted| RequestStatus::UnderWay { accepted: Lsn(accepted) }),
        (1..u64::MAX / 2, any::<u32>(), any::<bool>(), octets()).prop_map(answered),
    ]
}

fn frames() -> impl Strategy<Value = Vec<Frame>> {
    let acknowledge = any::<u64>().prop_map(|seq| Frame::Acknowledge(Seq(seq)));
    vec(prop_oneof![controls().prop_map(Frame::Control), messages(), acknowledge, requests(), events()], 0..8)
}

/// What hosts say on the streams of a connection.
fn frames_of_streams() -> impl Strategy<Value = Vec<Frame>> {
    let acknowledge = any::<u64>().prop_map(|seq| Frame::Acknowledge(Seq(seq)));
    let credit = any::<u64>().prop_map(|until| Frame::Credit { until });
    let frame =
        prop_oneof![small_controls().prop_map(Frame::Control), messages(), acknowledge, credit, Just(Frame::Close)];
    let of_stream = (1..u64::MAX, frame)
        .prop_map(|(stream, frame)| Frame::OfStream { stream: StreamNumber(stream), frame: Box::new(frame) });
    vec(prop_oneof![9 => of_stream, 1 => small_controls().prop_map(Frame::Control)], 0..8)
}

/// Controls that a stranger may say.
fn small_controls() -> impl Strategy<Value = Control> {
    controls().prop_filter("too large before the handshake", |control| {
        let mut body = Vec::new();
        control::encode(control, &mut body);
        body.len() <= 4096
    })
}

/// Bytes around which the decoder has reasons to look further: a frame with a right length and checksum.
fn sealed(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_le_bytes();
    [&length[..], &[kind, 0, 0, 0], &crc32c::crc32c(body).to_le_bytes(), body].concat()
}

/// Bytes that often look like short lengths, variants and long numbers of bincode.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![any::<u8>(), 0..20_u8, 250..=255_u8], 0..200)
}

/// All frames in what is received piece by piece. What each one allocates is not more than what it was read from.
fn decode_pieces<'a>(
    decoder: FrameDecoder,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Frame>, Result<usize, WireError>) {
    let (mut received, mut frames) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        received.extend_from_slice(piece);
        loop {
            let given = received.len();
            let (frame, allocated) = counting(|| decoder.next(&mut received));
            assert!(allocated <= given + SLACK_BYTES, "{allocated} bytes allocated for {given}");
            match frame {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    (frames, Ok(received.len()))
}

/// Decodes the body of a control frame and checks what that allocates.
fn decode_control(body: &[u8]) -> Option<Control> {
    let (control, allocated) = counting(|| control::decode(body));
    assert!(allocated <= body.len() + SLACK_BYTES, "{allocated} bytes allocated for {}", body.len());
    control
}

#[test]
fn a_control_frame_that_claims_a_huge_length_allocates_no_such_thing() {
    for length in [&HUGE_LENGTH[..], &[253, 255, 255, 255, 255, 255, 255, 255, 255], &[252, 0, 0, 0, 5], &[251, 0, 255]]
    {
        // The fields before the first string or bytes of each variant.
        for front in [
            &[0, 1][..],
            &[0, 1, 0, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 3],
            &[2, 1],
            &[4, 0],
            &[5],
            &[5, 0],
            &[5, 0, 0],
            &[6],
            &[6, 0],
            &[7],
            &[8],
            &[8, 0, 1],
            &[18],
            &[19],
            &[20],
        ] {
            assert_eq!(decode_control(&[front, length, b"a few"].concat()), None, "{front:?} {length:?}");
            let frame = sealed(1, &[front, length, b"a few"].concat());
            let (frames, end) = decode_pieces(FrameDecoder::handshake(), [&frame[..]].into_iter());
            assert_eq!((frames, end), (vec![], Err(WireError::Shape(super::super::FrameKind::Control))));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn where_the_stream_is_cut_makes_no_difference(frames in frames(), cuts in vec(any::<Index>(), 0..30)) {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| encode(frame, &mut bytes));
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|range| &bytes[range[0]..range[1]]);
        prop_assert_eq!(decode_pieces(FrameDecoder::welcomed(), pieces), (frames, Ok(0)));
    }

    #[test]
    fn where_streams_are_cut_makes_no_difference(frames in frames_of_streams(), cuts in vec(any::<Index>(), 0..30)) {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| encode(frame, &mut bytes));
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|range| &bytes[range[0]..range[1]]);
        prop_assert_eq!(decode_pieces(FrameDecoder::of_streams(), pieces), (frames, Ok(0)));
    }

    #[test]
    fn a_stream_that_ends_anywhere_gives_the_frames_before(frames in frames(), end: Index) {
        let (mut bytes, mut ends) = (Vec::new(), vec![0]);
        for frame in &frames {
            encode(frame, &mut bytes);
            ends.push(bytes.len());
        }
        let end = end.index(bytes.len() + 1);
        let whole = ends.iter().filter(|at| **at <= end).count() - 1;
        let (decoded, rest) = decode_pieces(FrameDecoder::welcomed(), [&bytes[..end]].into_iter());
        prop_assert_eq!(&decoded, &frames[..whole]);
        prop_assert_eq!(rest, Ok(end - ends[whole]));
    }

    #[test]
    fn bytes_of_anything_do_no_harm(bytes in bodies(), kind in 0..9_u8, within in 0..9_u8) {
        let mut sealed = sealed(kind, &bytes);
        if kind == 6 && bytes.len() > 8 {
            sealed = self::sealed(kind, &[&bytes[..8], &[within, 0, 0, 0, 0, 0, 0, 0], &bytes[8..]].concat());
        }
        let mut announcing_more = sealed.clone();
        announcing_more[2] ^= 0x40;
        for decoder in [FrameDecoder::handshake(), FrameDecoder::welcomed(), FrameDecoder::of_streams()] {
            for bytes in [&bytes, &sealed, &announcing_more] {
                let (frames, end) = decode_pieces(decoder, bytes.chunks(7));
                prop_assert!(frames.len() <= bytes.len() / FRAME_HEADER_BYTES);
                prop_assert!(end.is_err() || end.is_ok_and(|rest| rest <= bytes.len()));
            }
        }
    }

    #[test]
    fn a_changed_byte_changes_one_frame_at_most(frames in frames(), at: Index, change in 1..=255_u8) {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| encode(frame, &mut bytes));
        prop_assume!(!bytes.is_empty());
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        let (decoded, _) = decode_pieces(FrameDecoder::welcomed(), [&bytes[..]].into_iter());
        prop_assert!(decoded.len() <= frames.len());
        // A changed kind may make another frame of it: only the body has a checksum.
        let same = decoded.iter().zip(&frames).take_while(|(decoded, frame)| decoded == frame).count();
        prop_assert!(same + 1 >= decoded.len() || decoded[same + 1..] == frames[same + 1..decoded.len()]);
    }

    #[test]
    fn what_a_version_says_as_it_is_is_put_into_no_other_words(frames in frames(), version in PROTOCOL_VERSIONS) {
        for frame in frames {
            if is_said_as_it_is(version, &frame) {
                prop_assert_eq!(to_version(version, frame.clone()), frame);
            }
        }
    }

    #[test]
    fn control_frames_are_read_back_and_a_cut_one_is_none(control in controls(), cut: Index) {
        let mut body = Vec::new();
        control::encode(&control, &mut body);
        prop_assert_eq!(decode_control(&body[..cut.index(body.len())]), None);
        prop_assert_eq!(decode_control(&body), Some(control));
        body.push(0);
        prop_assert_eq!(decode_control(&body), None);
    }

    #[test]
    fn control_frames_of_anything_do_no_harm(body in bodies(), variant in 0..21_u8, at: Index) {
        decode_control(&body);
        decode_control(&[&[variant], &body[..]].concat());
        let (front, back) = body.split_at(at.index(body.len() + 1));
        decode_control(&[&[variant], front, &HUGE_LENGTH, back].concat());
    }
}
