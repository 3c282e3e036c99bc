//! The other side reads what comes, frame by frame.

use ambrosia_core::{RequestId, Seq, limits::ARGUMENTS_BYTES_MAX};
use bytes::Bytes;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::*;
use crate::{Connection, PROTOCOL_VERSION};

/// The sending end of a connection that is served, and the other side.
async fn served() -> (ConnectionHandle, JoinHandle<ConnectionError>, Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
    let address = listener.local_addr().expect("it has an address");
    let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (handle, mut ours) = Connection::new(ours.expect("it listens")).expect("a socket");
    let (_handle, mut theirs) = Connection::new(theirs.expect("somebody comes").0).expect("a socket");
    ours.welcome(PROTOCOL_VERSION);
    theirs.welcome(PROTOCOL_VERSION);
    (handle, tokio::spawn(ours.serve(|_, _| Ok(()))), theirs)
}

/// Every hundredth is larger than a write, and one is more than a socket takes.
fn numbered(number: u64) -> Frame {
    let bytes = match number {
        250 => ARGUMENTS_BYTES_MAX,
        number if number.is_multiple_of(100) => 2 * WRITE_BYTES_FULL,
        _ => return Frame::Acknowledge(Seq(number)),
    };
    let request = RequestId::new(number.to_string()).expect("short");
    Frame::Request {
        request,
        method: "add".to_owned(),
        arguments: Bytes::from(vec![7; bytes]),
        wait: true,
        trace: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn frames_come_whole_and_in_order_whoever_writes_them() {
    const COUNT: u64 = 500;
    let (handle, _serving, mut other) = served().await;
    let reading = tokio::spawn(async move {
        for number in 0..COUNT {
            assert!(other.read_frame().await.expect("it comes") == numbered(number), "frame {number} comes next");
        }
    });
    for number in 0..COUNT {
        if number % 3 == 0 {
            handle.send(numbered(number));
            continue;
        }
        assert!(handle.gather(numbered(number)), "it waits to be written");
        let mut gathered = Gathered::default();
        gathered.add(&handle);
        if number % 3 == 1 {
            gathered.add(&handle);
            assert!(gathered.is_for_many());
            tokio::spawn(async { gathered.write() });
        } else {
            assert!(!gathered.is_for_many(), "the task of the connection was told");
        }
        if number % 7 == 0 {
            tokio::task::yield_now().await;
        }
    }
    reading.await.expect("all came");
}

#[tokio::test]
async fn what_is_gathered_is_written_without_a_wake_of_the_connection_and_not_before() {
    let (handle, _serving, mut other) = served().await;
    handle.send(numbered(1));
    assert!(other.read_frame().await.expect("it comes") == numbered(1));
    handle.gather(numbered(2));
    tokio::task::yield_now().await;
    let line = handle.line().expect("it is its own");
    assert_eq!(line.lock().frames.len(), 1, "nobody was told");
    let mut gathered = Gathered::default();
    gathered.add(&handle);
    gathered.write();
    assert!(line.lock().frames.is_empty(), "it was written at once");
    assert!(other.read_frame().await.expect("it comes") == numbered(2));
}

#[tokio::test]
async fn who_finishes_waits_until_all_is_written_or_the_other_side_has_gone() {
    let (handle, serving, mut other) = served().await;
    handle.gather(numbered(1));
    handle.gather(numbered(250));
    let finishing = tokio::spawn(handle.finish());
    assert!(other.read_frame().await.expect("it comes") == numbered(1));
    assert!(!finishing.is_finished(), "more is to be written than the socket takes");
    assert!(other.read_frame().await.expect("it comes") == numbered(250));
    assert!(matches!(other.read_frame().await, Err(ConnectionError::Closed)), "nothing follows");
    finishing.await.expect("it was waited for");
    serving.await.expect("it has ended");

    let (handle, serving, other) = served().await;
    handle.send(numbered(250));
    drop(other);
    serving.await.expect("it has ended");
    handle.send(numbered(1));
    assert!(handle.line().expect("it is its own").lock().frames.is_empty(), "nobody would read it");
    handle.finish().await;
}

#[tokio::test]
async fn a_connection_that_is_never_served_keeps_nobody_waiting() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
    let socket = TcpStream::connect(listener.local_addr().expect("it has one")).await.expect("it listens");
    let (handle, connection) = Connection::new(socket).expect("a socket");
    handle.send(numbered(1));
    drop(connection);
    handle.finish().await;
}
