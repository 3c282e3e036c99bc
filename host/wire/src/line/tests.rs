//! The other side reads what comes, frame by frame.

use std::sync::{Arc, Mutex};

use ambrosia_core::{
    RequestId, Seq, SessionId, Ticket,
    limits::{ARGUMENTS_BYTES_MAX, INBOX_BYTES_MAX, SESSION_UNDER_WAY_BYTES_MAX},
};
use bytes::Bytes;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::*;
use crate::{Connection, Control, PROTOCOL_VERSION, Permit};

/// Both ends of a connection whose handshake is done, and the sending end of the first.
async fn connected() -> (ConnectionHandle, Connection, Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
    let address = listener.local_addr().expect("it has an address");
    let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (handle, mut ours) = Connection::new(ours.expect("it listens")).expect("a socket");
    let (_handle, mut theirs) = Connection::new(theirs.expect("somebody comes").0).expect("a socket");
    ours.welcome(PROTOCOL_VERSION);
    theirs.welcome(PROTOCOL_VERSION);
    (handle, ours, theirs)
}

/// The sending end of a connection that is served, and the other side.
async fn served() -> (ConnectionHandle, JoinHandle<ConnectionError>, Connection) {
    let (handle, ours, theirs) = connected().await;
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

/// What was taken from a client.
type Taken = Arc<Mutex<Vec<(Frame, Permit)>>>;

/// A connection of a client that is served, the client, and what is taken from it.
async fn served_client() -> (ConnectionHandle, JoinHandle<ConnectionError>, Connection, Taken) {
    served_client_for(Duration::from_secs(3600)).await
}

/// The same, if it may take nothing for so long.
async fn served_client_for(
    stands_still: Duration,
) -> (ConnectionHandle, JoinHandle<ConnectionError>, Connection, Taken) {
    let (handle, mut ours, theirs) = connected().await;
    ours.expect_client();
    ours.stands_still = Some(stands_still);
    let taken = Taken::default();
    let take = {
        let taken = Arc::clone(&taken);
        move |frame, permit| {
            taken.lock().expect("no panic").push((frame, permit));
            Ok(())
        }
    };
    (handle, tokio::spawn(ours.serve(take)), theirs, taken)
}

fn count(taken: &Mutex<Vec<(Frame, Permit)>>) -> usize {
    taken.lock().expect("no panic").len()
}

/// An answer that the socket does not take at once.
fn large_answer() -> Frame {
    Frame::QueryAnswer { number: 0, success: true, value: Bytes::from(vec![7; 8 << 20]), lsn: ambrosia_core::Lsn(0) }
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_not_read_either_until_it_does() {
    let (handle, _serving, mut client, taken) = served_client().await;
    client.write_frame(&numbered(1)).await.expect("it is there");
    while count(&taken) == 0 {
        tokio::task::yield_now().await;
    }
    (0..8).for_each(|_| handle.send(large_answer()));
    let line = Arc::clone(handle.line().expect("it is its own"));
    assert!(line.waiting.load(Ordering::Relaxed) > ROOM_BYTES);
    // One may have been waited for already.
    for number in 2..100 {
        client.write_frame(&numbered(number)).await.expect("it is there");
    }
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(count(&taken) <= 2, "a client that reads nothing was read {} times", count(&taken));
    for _ in 0..8 {
        assert!(client.read_frame().await.expect("it comes") == large_answer());
    }
    while count(&taken) < 99 {
        tokio::task::yield_now().await;
    }
    assert_eq!(line.waiting.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_client_that_takes_nothing_for_long_is_let_go() {
    let (handle, serving, _client, _taken) = served_client_for(Duration::from_millis(100)).await;
    (0..8).for_each(|_| handle.send(large_answer()));
    let ended = serving.await.expect("no panic");
    assert!(matches!(ended, ConnectionError::StandsStill(_)), "{ended}");
}

#[tokio::test]
async fn what_a_client_has_under_way_in_sessions_is_bounded_and_what_it_confirms_passes() {
    let (_handle, serving, mut client, taken) = served_client().await;
    let request = |seq| Frame::SessionRequest {
        session: SessionId([1; 16]),
        ticket: Ticket(1),
        seq: Seq(seq),
        confirmed: Seq(0),
        method: "add".to_owned(),
        arguments: Bytes::from(vec![7; 16 << 20]),
    };
    let all = SESSION_UNDER_WAY_BYTES_MAX as u64 / (16 << 20) - 1;
    for seq in 1..=all {
        client.write_frame(&request(seq)).await.expect("it is there");
    }
    let confirmed = Control::SessionConfirmed { session: [1; 16], ticket: 1, confirmed: 1 };
    client.write_frame(&Frame::Control(confirmed.clone())).await.expect("it is there");
    while count(&taken) < all as usize + 1 {
        tokio::task::yield_now().await;
    }
    assert!(taken.lock().expect("no panic").last().expect("it is there").0 == Frame::Control(confirmed));
    // What was logged counts no more.
    taken.lock().expect("no panic").remove(0);
    client.write_frame(&request(all + 1)).await.expect("it is there");
    while count(&taken) < all as usize + 1 {
        tokio::task::yield_now().await;
    }
    client.write_frame(&request(all + 2)).await.expect("it is there");
    let ended = serving.await.expect("no panic");
    assert!(matches!(ended, ConnectionError::TooMuch), "{ended}");
}

#[tokio::test]
async fn who_asks_very_much_at_once_is_not_read_until_it_was_looked_at() {
    let (_handle, _serving, mut client, taken) = served_client().await;
    for _ in 0..1000 {
        client.write_frame(&Frame::Control(Control::Methods)).await.expect("it is there");
    }
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let before = count(&taken);
    assert!((1..=INBOX_BYTES_MAX / (256 << 10)).contains(&before), "{before} wait at once");
    let mut seen = 0;
    while seen < 1000 {
        seen += std::mem::take(&mut *taken.lock().expect("no panic")).len();
        tokio::task::yield_now().await;
    }
}
