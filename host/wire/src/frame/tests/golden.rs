//! Golden files of protocols 1 to 6: frames as they once went over a wire. They are never changed, only added to, and every
//! later program that speaks that protocol reads and writes them. `AMBROSIA_BLESS=1` writes those that are missing.

use std::{env, fs, path::PathBuf};

use ambrosia_core::{
    Answer, CallId, Event, EventId, Lsn, Message, MessageKind, MethodId, RequestId, RequestStatus, Seq, SessionId,
    Ticket, Timestamp, push_message,
};
use bytes::BytesMut;

use super::super::{FRAME_HEADER_BYTES, Frame, FrameDecoder, PROTOCOL_VERSION, StreamNumber, WireError, encode};
use crate::{control::Control, request::to_version};

const _: () = assert!(PROTOCOL_VERSION == 6, "golden files of a new protocol lie beside those of the old one");

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

/// The frame in the golden file `wire-v1-{name}.bin` is `frame`, and this program makes the same bytes of it.
fn check(name: &str, kind: u8, frame: &Frame) {
    check_file(&format!("wire-v1-{name}.bin"), kind, frame);
}

fn check_file(name: &str, kind: u8, frame: &Frame) {
    let path = path(name);
    let mut made = Vec::new();
    encode(frame, &mut made);
    if env::var_os("AMBROSIA_BLESS").is_some() && !path.exists() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        fs::write(&path, &made).expect("writable");
    }
    let golden = fs::read(&path).unwrap_or_else(|_| panic!("{name} is missing: bless it with AMBROSIA_BLESS=1"));
    assert_eq!(golden, made, "{name}: the protocol changed; raise its version and keep reading this one");
    assert_eq!(golden[4..8], [kind, 0, 0, 0]);
    let mut received = BytesMut::from(&golden[..]);
    let decoded = decoder_of(kind).next(&mut received).expect("golden files stay readable");
    assert_eq!(decoded.as_ref(), Some(frame));
    assert!(received.is_empty(), "one frame a file");
}

/// Who reads a frame of that kind.
fn decoder_of(kind: u8) -> FrameDecoder {
    match kind {
        6 => FrameDecoder::of_streams(),
        17 => FrameDecoder::of_relay(1 << 20),
        _ => FrameDecoder::welcomed(),
    }
}

/// As [`check`], and before the handshake is done the frame is read as well.
fn check_control(name: &str, index: u8, control: Control) {
    let frame = Frame::Control(control);
    check(name, 1, &frame);
    let golden = fs::read(path(&format!("wire-v1-{name}.bin"))).expect("it was just read");
    assert_eq!(golden[FRAME_HEADER_BYTES], index, "the number of a variant is its index");
    let decoded = FrameDecoder::handshake().next(&mut BytesMut::from(&golden[..]));
    assert_eq!(decoded, Ok(Some(frame)));
}

#[test]
fn hellos_of_protocol_1_stay_readable() {
    let (from, to) = ("client-1".to_owned(), "Server-1.eu_2".to_owned());
    let hello = Control::Hello { version: 1, from, from_uuid: [0xa1; 16], epoch: 300, to: to.clone() };
    check_control("hello", 0, hello);
    check_control("welcome", 1, Control::Welcome { uuid: [0xb2; 16], received: 70_000 });
    check_control("client-hello", 2, Control::ClientHello { version: 1, to });
    check_control("client-welcome", 3, Control::ClientWelcome { epoch: 0x0102_0304_0506_0708 });
}

#[test]
fn refusals_of_protocol_1_stay_readable() {
    let refused = |elsewhere, reason: &str| Control::Refused { elsewhere, reason: reason.to_owned() };
    check_control("refused", 4, refused(false, "this host speaks version 1, the other side speaks version 2"));
    check_control("elsewhere", 15, Control::Elsewhere { epoch: 300, address: "[::1]:65535".to_owned() });
    check_control("refused-elsewhere", 4, refused(true, "this replica is not the primary — «ask» another"));
}

#[test]
fn requests_and_answers_of_protocol_1_stay_readable() {
    let request = b"client-7/12".to_vec();
    let (method, arguments) = ("deposit".to_owned(), [&b"\x92\xcd\x01\x2c\xc5\x01\x2c"[..], &[0xfb; 300]].concat());
    let asks = |wait| Control::Request {
        request: request.clone(),
        method: method.clone(),
        arguments: arguments.clone(),
        wait,
    };
    let answer = |success, value: &[u8]| Control::Answer { request: request.clone(), success, value: value.to_vec() };
    check_control("request-durable", 5, asks(false));
    check_control("request-answer", 5, asks(true));
    let reason = "the guest has no method deposit".to_owned();
    check_control("rejected", 6, Control::Rejected { request: request.clone(), reason });
    check_control("accepted", 7, Control::Accepted { request: request.clone() });
    check_control("answer", 8, answer(true, b"\xcd\x01\x2c"));
    check_control("answer-failure", 8, answer(false, b"\xa4gone"));
}

#[test]
fn what_is_said_of_checkpoints_in_protocol_1_stays_readable() {
    check_control("checkpoint", 9, Control::Checkpoint);
    check_control("checkpoint-asked", 10, Control::CheckpointAsked { lsn: 70_000, replica: 63 });
    check_control("checkpoint-refused", 11, Control::CheckpointRefused { reason: "«no»".to_owned() });
}

#[test]
fn what_is_said_of_peers_in_protocol_1_stays_readable() {
    check_control("peers", 12, Control::Peers);
    let peer = |state: &str, reason: &str, oldest_ms, oldest_call| Control::Peer {
        name: "Server-1.eu_2".to_owned(),
        state: state.to_owned(),
        reason: reason.to_owned(),
        since_ms: 70_000,
        messages: 300,
        bytes: 1 << 20,
        oldest_ms,
        calls: 2,
        oldest_call,
    };
    check_control("peer", 13, peer("not registered", "no «such» instance", Some(69_000), Some(0x0102_0304)));
    check_control("peer-connected", 13, peer("connected", "", None, None));
    check_control("peers-end", 14, Control::PeersEnd);
}

#[test]
fn messages_of_protocol_1_stay_readable() {
    let message = |kind, method, call_id, arguments| Message { kind, method, call_id: CallId(call_id), arguments };
    let method = MethodId::of("receive_message");
    let mut messages = Vec::new();
    for travelling in [
        message(MessageKind::Fork, method, 0, &b"\x90"[..]),
        message(MessageKind::Call, method, 0x0607_0809, b"\x91\xa2hi"),
        message(MessageKind::Reply, MethodId(0), 8, b"\xc0"),
        message(MessageKind::Error, MethodId(0), 9, b"\xa2no"),
    ] {
        push_message(&mut messages, travelling);
    }
    let first_seq = Seq(0x0102_0304_0506_0708);
    check("messages", 2, &Frame::Messages { first_seq, count: 4, messages: messages.into() });
}

#[test]
fn acknowledgements_of_protocol_1_stay_readable() {
    check("acknowledge", 3, &Frame::Acknowledge(Seq(0x0102_0304_0506_0708)));
}

#[test]
fn requests_and_answers_of_protocol_2_stay_readable() {
    let request = RequestId::new("client-7/12").expect("short");
    let (method, arguments) = ("deposit".to_owned(), [&b"\x92\xcd\x01\x2c\xc5\x01\x2c"[..], &[0xfb; 300]].concat());
    let asks = |wait| Frame::Request {
        request: request.clone(),
        method: method.clone(),
        arguments: arguments.clone().into(),
        wait,
        trace: None,
    };
    let answer = |success, value: &'static [u8]| Frame::Answer {
        request: request.clone(),
        success,
        value: value.into(),
        lsn: Lsn(0),
    };
    check_file("wire-v2-request-durable.bin", 4, &asks(false));
    check_file("wire-v2-request-answer.bin", 4, &asks(true));
    check_file("wire-v2-answer.bin", 5, &answer(true, b"\xcd\x01\x2c"));
    check_file("wire-v2-answer-failure.bin", 5, &answer(false, b"\xa4gone"));
}

#[test]
fn requests_of_protocol_6_stay_readable_and_earlier_ones_hear_of_no_trace() {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().expect("the standard's own example");
    let asks = |trace| Frame::Request {
        request: RequestId::new("client-7/12").expect("short"),
        method: "deposit".to_owned(),
        arguments: b"\x91\xcd\x01\x2c"[..].into(),
        wait: true,
        trace,
    };
    check_file("wire-v6-request-trace.bin", 4, &asks(Some(trace)));
    assert_eq!(to_version(6, asks(Some(trace))), asks(Some(trace)));
    assert_eq!(to_version(5, asks(Some(trace))), asks(None));
}

#[test]
fn hellos_of_hosts_of_protocol_3_stay_readable() {
    let host_hello = Frame::Control(Control::host_hello(3));
    check_file("wire-v3-host-hello.bin", 1, &host_hello);
    let welcome = Frame::Control(Control::HostWelcome { version: 3, streams_max: 16_384 });
    check_file("wire-v3-host-welcome.bin", 1, &welcome);
    for name in ["wire-v3-host-hello.bin", "wire-v3-host-welcome.bin"] {
        let golden = fs::read(path(name)).expect("it was just read");
        assert!(FrameDecoder::handshake().next(&mut BytesMut::from(&golden[..])).is_ok());
    }
    assert_eq!(Control::host_hello(3).version_of_host(), Some(3));
    assert_eq!(Control::host_hello(2).version_of_host(), None, "that was no hello of a host yet");
}

#[test]
fn what_is_said_of_methods_in_protocol_3_stays_readable() {
    let check = |name: &str, index: u8, control: Control| {
        let name = format!("wire-v3-{name}.bin");
        check_file(&name, 1, &Frame::Control(control));
        let golden = fs::read(path(&name)).expect("it was just read");
        assert_eq!(golden[FRAME_HEADER_BYTES], index, "the number of a variant is its index");
    };
    check("methods", 17, Control::Methods);
    check("method-table", 18, Control::MethodTable { table: [&b"ambrosia-methods 2"[..], &[0xfb; 300]].concat() });
    check("no-methods", 19, Control::NoMethods { reason: "too «large»".to_owned() });
    check("ended", 20, Control::Ended { reason: "instance bank finished with exit code 3 at lsn 9".to_owned() });
}

#[test]
fn what_is_said_on_streams_in_protocol_3_stays_readable() {
    let stream = StreamNumber(0x0102_0304_0506_0708);
    let check = |name: &str, frame: Frame| {
        let frame = Frame::OfStream { stream, frame: Box::new(frame) };
        check_file(&format!("wire-v3-stream-{name}.bin"), 6, &frame);
    };
    let (from, to) = ("client-1".to_owned(), "Server-1.eu_2".to_owned());
    check("hello", Frame::Control(Control::Hello { version: 3, from, from_uuid: [0xa1; 16], epoch: 300, to }));
    check("welcome", Frame::Control(Control::Welcome { uuid: [0xb2; 16], received: 70_000 }));
    check("refused", Frame::Control(Control::Refused { elsewhere: true, reason: "not here".to_owned() }));
    check("elsewhere", Frame::Control(Control::Elsewhere { epoch: 301, address: "127.0.0.1:4711".to_owned() }));
    let mut messages = Vec::new();
    let (method, arguments) = (MethodId::of("receive_message"), &b"\x91\xa2hi"[..]);
    push_message(&mut messages, Message { kind: MessageKind::Call, method, call_id: CallId(0x0607_0809), arguments });
    let first_seq = Seq(0x0102_0304_0506_0708);
    check("messages", Frame::Messages { first_seq, count: 1, messages: messages.into() });
    check("acknowledge", Frame::Acknowledge(first_seq));
    check("credit", Frame::Credit { until: 0x0102_0304_0506_0708 });
    check("close", Frame::Close);
}

#[test]
fn queries_and_answers_of_protocol_4_stay_readable() {
    let (number, lsn) = (0x0102_0304_0506_0708, Lsn(70_000));
    let arguments = [&b"\x92\xcd\x01\x2c\xc5\x01\x2c"[..], &[0xfb; 300]].concat().into();
    let query = Frame::Query { number, method: "balance".to_owned(), arguments, at_least: lsn, wait_ms: 30_000 };
    check_file("wire-v4-query.bin", 9, &query);
    let answer = |success, value: &'static [u8]| Frame::QueryAnswer { number, success, value: value.into(), lsn };
    check_file("wire-v4-query-answer.bin", 10, &answer(true, b"\xcd\x01\x2c"));
    check_file("wire-v4-query-answer-failure.bin", 10, &answer(false, b"\xa4gone"));
    let request = RequestId::new("client-7/12").expect("short");
    let answer = Frame::Answer { request, success: true, value: b"\xcd\x01\x2c"[..].into(), lsn };
    check_file("wire-v4-answer.bin", 5, &answer);
    let to = "Server-1.eu_2".to_owned();
    let hello = Frame::Control(Control::ReplicaHello { version: 4, to, replica: 63 });
    let welcome = Frame::Control(Control::ReplicaWelcome { applied: 70_000 });
    for (name, index, frame) in [("wire-v4-replica-hello.bin", 21, hello), ("wire-v4-replica-welcome.bin", 22, welcome)]
    {
        check_file(name, 1, &frame);
        let golden = fs::read(path(name)).expect("it was just read");
        assert_eq!(golden[FRAME_HEADER_BYTES], index, "the number of a variant is its index");
        assert!(FrameDecoder::handshake().next(&mut BytesMut::from(&golden[..])).is_ok());
    }
    let (promise, token) = (0x0102_0304_0506, [0x5e; 16]);
    let resolve = Control::Resolve { promise, token, value: b"\x92\xc3\xcd\x01\x2c".to_vec() };
    let resolved = Control::Resolved { promise, token, is_known: true };
    for (name, index, control) in [("wire-v4-resolve.bin", 23, resolve), ("wire-v4-resolved.bin", 24, resolved)] {
        check_file(name, 1, &Frame::Control(control));
        let golden = fs::read(path(name)).expect("it was just read");
        assert_eq!(golden[FRAME_HEADER_BYTES], index, "the number of a variant is its index");
    }
}

#[test]
fn what_is_asked_and_told_of_a_request_of_protocol_4_stays_readable() {
    let (number, request) = (0x0102_0304_0506_0708, RequestId::new("client-7/12").expect("short"));
    check_file("wire-v4-inquiry.bin", 13, &Frame::Inquiry { number, request: request.clone(), wait_ms: 30_000 });
    let answered = |success, value: &'static [u8]| {
        let answer = Answer { success, value: value.into() };
        RequestStatus::Answered { accepted: Lsn(70_000), lsn: Lsn(70_001), answer }
    };
    let told = [
        ("unknown", RequestStatus::Unknown),
        ("under-way", RequestStatus::UnderWay { accepted: Lsn(70_000) }),
        ("answered", answered(true, b"\xcd\x01\x2c")),
        ("failed", answered(false, b"\xa4gone")),
    ];
    for (name, status) in told {
        check_file(&format!("wire-v4-inquiry-{name}.bin"), 14, &Frame::InquiryAnswer { number, status });
    }
    let accepted = Control::AcceptedAt { request: request.as_bytes().to_vec(), lsn: 70_000 };
    check_file("wire-v4-accepted-at.bin", 1, &Frame::Control(accepted));
    let golden = fs::read(path("wire-v4-accepted-at.bin")).expect("it was just read");
    assert_eq!(golden[FRAME_HEADER_BYTES], 28, "the number of a variant is its index");
}

#[test]
fn what_is_told_of_requests_to_the_world_outside_stays_readable() {
    let request = Control::OutgoingRequest {
        id: 70_000,
        what: "POST https://api.example.com/v1/charges".to_owned(),
        tries: 3,
        age_ms: 12_345,
        next_try_ms: Some(300),
        error: "the server answered with status 503".to_owned(),
    };
    let told = [
        ("wire-v4-outgoing.bin", 25, Control::Outgoing),
        ("wire-v4-outgoing-request.bin", 26, request),
        ("wire-v4-outgoing-end.bin", 27, Control::OutgoingEnd { count: 1 }),
    ];
    for (name, index, control) in told {
        check_file(name, 1, &Frame::Control(control));
        let golden = fs::read(path(name)).expect("it was just read");
        assert_eq!(golden[FRAME_HEADER_BYTES], index, "the number of a variant is its index");
    }
}

#[test]
fn what_is_said_of_events_in_protocol_4_stays_readable() {
    let (lsn, id) = (0x0102_0304_0506_0708, EventId { lsn: Lsn(0x0102_0304_0506_0708), index: 0x090a_0b0c });
    let (topic, value) = ("paid «soon»".to_owned(), b"\x92\xc3\xcd\x01\x2c"[..].into());
    let event = Event { id, time: Timestamp(0x1112_1314_1516_1718), topic, value };
    check_file("wire-v4-event.bin", 11, &Frame::Event(event));
    check_file("wire-v4-listened.bin", 12, &Frame::Listened { until: 0x0102_0304_0506_0708 });
    let told = [
        ("wire-v4-listen.bin", 29, Control::Listen { after: Some((lsn, 300)), until: 70_000 }),
        ("wire-v4-listen-from-now.bin", 29, Control::Listen { after: None, until: 70_000 }),
        ("wire-v4-listening.bin", 30, Control::Listening { after: (0, 0), newest: (lsn, 300) }),
        ("wire-v4-events-lost.bin", 31, Control::EventsLost { after: (7, 1), through: (lsn, 300) }),
    ];
    for (name, index, control) in told {
        check_file(name, 1, &Frame::Control(control));
        let golden = fs::read(path(name)).expect("it was just read");
        assert_eq!(golden[FRAME_HEADER_BYTES], index, "the number of a variant is its index");
    }
}

#[test]
fn what_is_told_of_what_is_remembered_stays_readable() {
    let told = Control::RememberedTold {
        results: 70_000,
        bytes: 1 << 20,
        under_way: 3,
        results_max: 100_000,
        bytes_max: 64 << 20,
        age_s_max: 3600,
    };
    for (name, index, control) in
        [("wire-v4-remembered.bin", 32, Control::Remembered), ("wire-v4-remembered-told.bin", 33, told)]
    {
        check_file(name, 1, &Frame::Control(control));
        let golden = fs::read(path(name)).expect("it was just read");
        assert_eq!(golden[FRAME_HEADER_BYTES], index, "the number of a variant is its index");
    }
}

#[test]
fn what_is_told_of_schedules_stays_readable() {
    let schedule = Control::Schedule {
        method: "report".to_owned(),
        cron: "0 3 * * *".to_owned(),
        zone: "Europe/Berlin".to_owned(),
        missed: "one".to_owned(),
        next: Some(1_800_000_000_000_000_000),
        done: None,
    };
    let told = [
        ("wire-v4-schedules.bin", 34, Control::Schedules),
        ("wire-v4-schedule.bin", 35, schedule),
        ("wire-v4-schedules-end.bin", 36, Control::SchedulesEnd),
    ];
    for (name, index, control) in told {
        check_file(name, 1, &Frame::Control(control));
        let golden = fs::read(path(name)).expect("it was just read");
        assert_eq!(golden[FRAME_HEADER_BYTES], index, "the number of a variant is its index");
    }
}

#[test]
fn what_is_said_in_sessions_of_protocol_5_stays_readable() {
    let (session, opening, ticket) = ([0xd1; 16], [0xe2; 16], 0x0102_0304_0506_0708);
    let arguments = [&b"\x92\xcd\x01\x2c\xc5\x01\x2c"[..], &[0xfb; 300]].concat().into();
    let request = Frame::SessionRequest {
        session: SessionId(session),
        ticket: Ticket(ticket),
        seq: Seq(70_000),
        confirmed: Seq(69_000),
        method: "deposit".to_owned(),
        arguments,
    };
    check_file("wire-v5-session-request.bin", 15, &request);
    let answer = |success, value: &'static [u8]| Frame::SessionAnswer {
        ticket: Ticket(ticket),
        seq: Seq(70_000),
        success,
        value: value.into(),
        lsn: Lsn(80_000),
    };
    check_file("wire-v5-session-answer.bin", 16, &answer(true, b"\xcd\x01\x2c"));
    check_file("wire-v5-session-answer-failure.bin", 16, &answer(false, b"\xa4gone"));
    let (accepted, confirmed, window) = (70_000, 69_000, 1024);
    let reason = "the session has ended".to_owned();
    let told = [
        ("open-session", 37, Control::OpenSession { session, opening }),
        ("session-opened", 38, Control::SessionOpened { session, opening, ticket, accepted, confirmed, window }),
        ("session-refused", 39, Control::SessionRefused { session, ticket, seq: 70_001, refusal: 1, reason }),
        ("session-confirmed", 40, Control::SessionConfirmed { session, ticket, confirmed }),
        ("sessions", 41, Control::Sessions),
        ("sessions-told", 42, Control::SessionsTold { sessions: 300, under_way: 3, results: 70_000, bytes: 1 << 20 }),
        ("stall", 43, Control::Stall),
        (
            "stall-told",
            44,
            Control::StallTold { since_ms: Some(70_000), reason: "no answer came within 4 s".to_owned() },
        ),
        ("token", 46, Control::Token { token: "ambrosia_secret".to_owned() }),
        ("next-primary", 45, Control::NextPrimary { to: "server".to_owned(), behind: 70_000 }),
    ];
    for (name, index, control) in told {
        let name = format!("wire-v5-{name}.bin");
        check_file(&name, 1, &Frame::Control(control));
        let golden = fs::read(path(&name)).expect("it was just read");
        assert_eq!(golden[FRAME_HEADER_BYTES], index, "the number of a variant is its index");
    }
}

#[test]
fn what_is_said_of_a_store_through_a_host_stays_readable() {
    let relayed = Frame::Relayed { number: 70_000, contents: b"\x01\x02\x0a"[..].into() };
    check_file("wire-v6-relayed.bin", 17, &relayed);
    let told = [
        ("relay-hello", 47, Control::RelayHello { version: 1 }),
        ("relay-welcome", 48, Control::RelayWelcome { facts: b"facts".to_vec() }),
        ("replicas", 49, Control::Replicas),
        (
            "replica",
            50,
            Control::Replica {
                name: "server".to_owned(),
                replica: 1,
                epoch: Some(70_000),
                stalled_ms: Some(70_001),
                reason: "no answer came within 4 s".to_owned(),
            },
        ),
        ("replicas-end", 51, Control::ReplicasEnd),
    ];
    for (name, index, control) in told {
        let name = format!("wire-v6-{name}.bin");
        let frame = Frame::Control(control);
        check_file(&name, 1, &frame);
        let golden = fs::read(path(&name)).expect("it was just read");
        assert_eq!(golden[FRAME_HEADER_BYTES], index, "the number of a variant is its index");
        let decoded = FrameDecoder::handshake().next(&mut BytesMut::from(&golden[..]));
        assert_eq!(decoded, Ok(Some(frame)));
    }
}

#[test]
fn what_is_relayed_is_read_on_its_own_connection_alone_and_no_more_than_it_may_be() {
    let frame = |length| {
        let mut bytes = Vec::new();
        encode(&Frame::Relayed { number: 1, contents: vec![7; length].into() }, &mut bytes);
        BytesMut::from(&bytes[..])
    };
    let read = |decoder: FrameDecoder, length| decoder.next(&mut frame(length));
    assert!(matches!(read(FrameDecoder::of_relay(100), 100), Ok(Some(Frame::Relayed { number: 1, .. }))));
    let too_large = read(FrameDecoder::of_relay(100), 101);
    assert_eq!(too_large, Err(WireError::TooLarge { length: 109, max: 108 }));
    for decoder in [FrameDecoder::handshake(), FrameDecoder::welcomed(), FrameDecoder::of_streams()] {
        assert_eq!(read(decoder, 100), Err(WireError::UnknownKind(17)));
    }
    let mut request = Vec::new();
    encode(&Frame::Acknowledge(Seq(1)), &mut request);
    let other = FrameDecoder::of_relay(100).next(&mut BytesMut::from(&request[..]));
    assert_eq!(other, Err(WireError::UnknownKind(3)));
}

#[test]
fn every_golden_file_is_a_frame() {
    let files = fs::read_dir(path("")).expect("the golden files are here");
    let mut count = 0;
    for file in files {
        let bytes = fs::read(file.expect("readable").path()).expect("readable");
        assert!(matches!(decoder_of(bytes[4]).next(&mut BytesMut::from(&bytes[..])), Ok(Some(_))));
        count += 1;
    }
    assert!(count >= 21 + 4 + 8 + 6, "one for each control frame and each other kind");
}
