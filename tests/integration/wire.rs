//! Strangers at the listening port: garbage, frames too large, handshakes never finished, and impostors.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use ambrosia_core::{CallId, Message, MessageKind, MethodId, push_message};
use ambrosia_tests::Cluster;
use serde_json::json;

use crate::support::{Replicas, Session, cluster};

pub(crate) const CONTROL: u8 = 1;
pub(crate) const MESSAGES: u8 = 2;
pub(crate) const ACKNOWLEDGE: u8 = 3;
pub(crate) const REQUEST: u8 = 4;
const ANSWER: u8 = 5;
/// `FrameKind::Control`, `Control::ClientHello` and `Control::Hello`, version 1.
const CLIENT_HELLO: u8 = 2;
pub(crate) const HELLO: u8 = 0;

pub(crate) fn connect(cluster: &Cluster, instance: &str) -> TcpStream {
    let status = cluster.status(instance);
    let address = status["primary"]["address"].as_str().expect("it runs").to_owned();
    let socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a time above zero");
    socket
}

/// A frame as `docs/formats.md` has it.
pub(crate) fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as u32).to_le_bytes().to_vec();
    bytes.extend([kind, 0, 0, 0]);
    bytes.extend(crc32c::crc32c(body).to_le_bytes());
    bytes.extend(body);
    bytes
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

pub(crate) fn client_hello(version: u8, to: &str) -> Vec<u8> {
    frame(CONTROL, &[vec![CLIENT_HELLO, version], text(to)].concat())
}

pub(crate) fn peer_hello(from: &str, uuid: [u8; 16], to: &str) -> Vec<u8> {
    frame(CONTROL, &[vec![HELLO, 1], text(from), uuid.to_vec(), vec![1], text(to)].concat())
}

/// Sends `bytes`; the host must end the connection. Returns what it said before.
pub(crate) fn sends_and_is_cut_off(socket: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    // The host may hang up before it has read all.
    let _hung_up = socket.write_all(bytes);
    let mut answer = Vec::new();
    match socket.read_to_end(&mut answer) {
        Ok(_) => answer,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => answer,
        Err(error) => panic!("the host did not end the connection: {error}"),
    }
}

/// The host serves requests, is the same process in the same epoch, and has logged nothing that was not sent.
pub(crate) fn check_unharmed(cluster: &Cluster, counter: &mut Replicas, total: u64) {
    assert_eq!(cluster.send("counter", "add", json!([1])), total);
    assert_eq!(counter.reign().epoch, 1);
    let log = cluster.log("counter");
    let messages = log.iter().flat_map(|record| record["messages"].as_array().cloned().unwrap_or_default());
    assert_eq!(messages.filter(|message| message["method"] == "add").count() as u64, total);
}

#[test]
fn garbage_instead_of_a_handshake_ends_that_connection_only() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 1);
    let garbage: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut damaged = client_hello(1, "counter");
    *damaged.last_mut().expect("it has bytes") ^= 1;
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &garbage, &[0; 64], &[0xff; 64], &damaged, &frame(CONTROL, &[200, 1])]
    {
        assert_eq!(sends_and_is_cut_off(&mut connect(&cluster, "counter"), bytes), b"");
    }
    counter.host(0).wait_for_word("does not speak Ambrosia's protocol");
    check_unharmed(&cluster, &mut counter, 1);
}

#[test]
fn frames_that_announce_too_much_are_refused_before_they_are_read() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 1);
    let header = |length: u32, kind: u8| [&length.to_le_bytes()[..], &[kind, 0, 0, 0], &[0; 4]].concat();
    for length in [4097, 1 << 20, u32::MAX] {
        let answer = sends_and_is_cut_off(&mut connect(&cluster, "counter"), &header(length, CONTROL));
        assert_eq!(answer, b"", "before the handshake");
    }
    counter.host(0).wait_for_word("a frame of 4294967295 bytes where at most 4096 are allowed");
    for (length, kind) in [(200 << 20, CONTROL), (200 << 20, MESSAGES), (9, ACKNOWLEDGE), (u32::MAX, MESSAGES)] {
        let mut socket = connect(&cluster, "counter");
        let bytes = [client_hello(1, "counter"), header(length, kind)].concat();
        sends_and_is_cut_off(&mut socket, &bytes);
        counter.host(0).wait_for_word(&format!("a frame of {length} bytes where at most"));
    }
    check_unharmed(&cluster, &mut counter, 1);
}

#[test]
fn handshakes_that_are_never_finished_are_ended_and_block_nobody() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 1);
    let hello = client_hello(1, "counter");
    let mut half: Vec<TcpStream> = (0..100).map(|_| connect(&cluster, "counter")).collect();
    for (at, socket) in half.iter_mut().enumerate() {
        socket.write_all(&hello[..at % hello.len()]).expect("the host listens");
    }
    check_unharmed(&cluster, &mut counter, 1);
    for socket in &mut half {
        assert_eq!(sends_and_is_cut_off(socket, b""), b"");
    }
    check_unharmed(&cluster, &mut counter, 2);
}

#[test]
fn another_version_of_the_protocol_and_another_instance_are_refused_with_the_reason() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 1);
    for (hello, reason) in [
        (client_hello(99, "counter"), "this host speaks versions 1 to 6 of the protocol, the other side version 99"),
        (client_hello(1, "server"), "this host runs the instance counter, not \"server\""),
        (peer_hello("sender", [7; 16], "server"), "this host runs the instance counter, not \"server\""),
    ] {
        let answer = sends_and_is_cut_off(&mut connect(&cluster, "counter"), &hello);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains(reason), "{answer:?} does not give {reason:?}");
    }
    check_unharmed(&cluster, &mut counter, 1);
}

/// The next frame: its kind and its body.
pub(crate) fn next_frame(socket: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut header = [0; 12];
    socket.read_exact(&mut header).expect("the host answers");
    let mut body = vec![0; u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize];
    socket.read_exact(&mut body).expect("a frame comes as a whole");
    (header[4], body)
}

#[test]
fn a_client_gets_its_answer_in_the_words_of_the_version_that_it_speaks() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 1);
    // Control::Request and Control::Answer of version 1; arguments [5], then a result of 5.
    let request = frame(CONTROL, &[&[5][..], &text("r1"), &text("add"), &[2, 0x91, 5, 1]].concat());
    let mut socket = connect(&cluster, "counter");
    socket.write_all(&[client_hello(1, "counter"), request].concat()).expect("the host listens");
    assert_eq!(next_frame(&mut socket), (CONTROL, vec![3, 1]), "the welcome");
    assert_eq!(next_frame(&mut socket), (CONTROL, [&[8][..], &text("r1"), &[1, 1, 5]].concat()));
    // The frames of version 2 have a message in them.
    let message = |kind, method, arguments| {
        let mut bytes = Vec::new();
        push_message(&mut bytes, Message { kind, method, call_id: CallId(0), arguments });
        bytes
    };
    let add = |method: &str, of: MethodId| {
        let prefix = [2, 1, method.len() as u8, 0];
        frame(
            REQUEST,
            &[&prefix[..], b"r2", method.as_bytes(), &message(MessageKind::Impulse, of, &[0x91, 2])].concat(),
        )
    };
    let mut socket = connect(&cluster, "counter");
    let request = add("add", MethodId::of("add"));
    socket.write_all(&[client_hello(2, "counter"), request].concat()).expect("the host listens");
    assert_eq!(next_frame(&mut socket), (CONTROL, vec![3, 1]), "the welcome");
    let answer = [&[2, 0, 0, 0][..], b"r2", &message(MessageKind::Reply, MethodId(0), &[7])].concat();
    assert_eq!(next_frame(&mut socket), (ANSWER, answer));
    // A name and an id that do not belong together.
    let mut socket = connect(&cluster, "counter");
    let mixed = [client_hello(2, "counter"), add("add", MethodId::of("get"))].concat();
    sends_and_is_cut_off(&mut socket, &mixed);
    counter.host(0).wait_for_word("a frame of kind Request has a malformed body");
    assert_eq!(cluster.send("counter", "add", json!([1])), 8);
    assert_eq!(counter.reign().epoch, 1);
}

/// Bytes of the uuid of an instance.
pub(crate) fn uuid(cluster: &Cluster, instance: &str) -> [u8; 16] {
    let digits = cluster.status(instance)["uuid"].as_str().expect("a text").replace('-', "");
    std::array::from_fn(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("hexadecimal digits"))
}

fn messages(first_seq: u64, count: u32, messages: &[u8]) -> Vec<u8> {
    let prefix = [&first_seq.to_le_bytes()[..], &count.to_le_bytes(), &[0; 4]].concat();
    frame(MESSAGES, &[&prefix, messages].concat())
}

#[test]
fn messages_of_a_client_or_malformed_are_refused() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 1);
    cluster.register("sender", "sender", 1);
    let hello = peer_hello("sender", uuid(&cluster, "sender"), "counter");
    for bytes in [
        [&client_hello(1, "counter")[..], &messages(1, 1, &[0; 24])].concat(),
        [&hello[..], &messages(1, 1, &[0xff; 24])].concat(),
        [&hello[..], &messages(1, 0, &[])].concat(),
        [&hello[..], &messages(0, 1, &[])].concat(),
        [&hello[..], &messages(u64::MAX, 2, &[])].concat(),
        [&hello[..], &frame(ACKNOWLEDGE, &[0; 8])].concat(),
    ] {
        sends_and_is_cut_off(&mut connect(&cluster, "counter"), &bytes);
    }
    check_unharmed(&cluster, &mut counter, 1);
}

/// Messages of a stream for `receive` of the receiver, which holds its own count against their numbers, from 0.
pub(crate) fn numbered(first_seq: u64, count: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in first_seq - 1..first_seq - 1 + u64::from(count) {
        let (kind, method) = (MessageKind::Fork, MethodId::of("receive"));
        push_message(&mut bytes, Message { kind, method, call_id: CallId(0), arguments: &number.to_le_bytes() });
    }
    messages(first_seq, count, &bytes)
}

#[test]
fn messages_that_a_peer_sends_again_are_handled_once_and_a_gap_is_refused() {
    let cluster = cluster();
    let mut receiver = Replicas::of(&cluster, "receiver", "receiver", 1);
    cluster.register("sender", "sender", 1);
    let hello = peer_hello("sender", uuid(&cluster, "sender"), "receiver");
    let sends = |frames: &[Vec<u8>], received: u64| {
        let mut socket = connect(&cluster, "receiver");
        socket.write_all(&[&hello[..], &frames.concat()].concat()).expect("the host listens");
        let mut session = Session::new(&cluster, "receiver");
        session.call_until("report", |report| report[0].as_u64() >= Some(received));
        assert_eq!(session.call("report", json!([])), json!([received, 0]));
    };
    sends(&[numbered(1, 3)], 3);
    sends(&[numbered(1, 3), numbered(1, 1), numbered(2, 4)], 5);
    receiver.kill(0);
    receiver.start(0);
    receiver.next_reign();
    sends(&[numbered(3, 3), numbered(6, 2), numbered(6, 2)], 7);

    let mut socket = connect(&cluster, "receiver");
    sends_and_is_cut_off(&mut socket, &[hello.clone(), numbered(9, 1)].concat());
    assert_eq!(cluster.send("receiver", "report", json!([])), json!([7, 0]));
}
