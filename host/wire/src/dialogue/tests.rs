//! The other side of a dialogue is the test itself.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
};

use ambrosia_core::{RequestId, limits::ARGUMENTS_BYTES_MAX};
use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::{Control, PROTOCOL_VERSION};

/// A dialogue and the other side of it, in that version of the protocol.
async fn pair(version: u16) -> (Dialogue, Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
    let address = listener.local_addr().expect("it has an address");
    let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (_handle, mut ours) = Connection::new(ours.expect("it listens")).expect("a socket");
    let (_handle, mut theirs) = Connection::new(theirs.expect("somebody comes").0).expect("a socket");
    ours.welcome(version);
    theirs.welcome(version);
    (Dialogue::of(ours), theirs)
}

/// More than a socket takes at once.
fn large(id: &str) -> Frame {
    let arguments = Bytes::from(vec![7; ARGUMENTS_BYTES_MAX]);
    Frame::Request {
        request: RequestId::new(id).expect("short"),
        method: "add".to_owned(),
        arguments,
        wait: true,
        trace: None,
    }
}

/// Listens, and gives that up at once.
fn stops_to_listen(dialogue: &mut Dialogue) {
    let heard = pin!(dialogue.hear()).poll(&mut Context::from_waker(Waker::noop()));
    assert!(heard.is_pending(), "nothing was said");
}

#[tokio::test]
async fn who_stops_to_listen_loses_neither_what_was_said_nor_what_comes() {
    let (mut dialogue, mut other) = pair(PROTOCOL_VERSION).await;
    let (first, second, answer) = (large("1"), large("2"), large("answer"));
    dialogue.say(&first);
    stops_to_listen(&mut dialogue);
    assert!(0 < dialogue.written && dialogue.written < dialogue.said.len(), "a part of it is written");
    dialogue.say(&second);
    stops_to_listen(&mut dialogue);
    let other = async {
        for said in [&first, &second] {
            assert!(other.read_frame().await.expect("it comes") == *said, "it comes as it was said");
        }
        other.write_frame(&answer).await.expect("somebody listens");
    };
    // It listens a bit, again and again.
    let listening = std::future::poll_fn(|context| pin!(dialogue.hear()).poll(context));
    let ((), heard) = tokio::join!(other, listening);
    assert!(heard.expect("it answers") == answer, "it comes as it was said");
    assert!(dialogue.said.is_empty() && dialogue.said.capacity() <= WRITE_BYTES_FULL, "no memory is kept for it");
}

#[tokio::test]
async fn what_the_other_side_says_is_heard_while_it_takes_nothing() {
    let (mut dialogue, mut other) = pair(PROTOCOL_VERSION).await;
    dialogue.say(&large("1"));
    let refused = Frame::Control(Control::Refused { elsewhere: true, reason: "no".to_owned() });
    other.write_frame(&refused).await.expect("it fits");
    assert!(matches!(dialogue.hear().await, Ok(Frame::Control(Control::Refused { .. }))));
}

#[tokio::test]
async fn the_end_of_the_other_side_is_heard_behind_what_it_has_said() {
    let (mut dialogue, mut other) = pair(PROTOCOL_VERSION).await;
    let last = Frame::Control(Control::ClientWelcome { epoch: 1 });
    other.write_frame(&last).await.expect("it fits");
    drop(other);
    assert!(dialogue.hear().await.expect("it was said") == last);
    assert!(matches!(dialogue.hear().await, Err(ConnectionError::Closed)));
}

#[tokio::test]
async fn an_older_side_is_spoken_to_in_its_words() {
    let (mut dialogue, mut other) = pair(1).await;
    let request = Frame::Request {
        request: RequestId::new("1").expect("short"),
        method: "add".to_owned(),
        arguments: Bytes::from_static(b"\x90"),
        wait: true,
        trace: None,
    };
    dialogue.say(&request);
    let answer = Control::Answer { request: b"1".to_vec(), success: true, value: vec![0xc0] };
    other.write_frame(&Frame::Control(answer)).await.expect("it fits");
    let heard = dialogue.hear().await.expect("it answers");
    assert!(matches!(heard, Frame::Answer { success: true, .. }), "{heard:?}");
    assert!(matches!(other.read_frame().await, Ok(Frame::Control(Control::Request { .. }))));
}
