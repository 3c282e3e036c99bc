//! Two hosts, and strangers that break the rules, over real sockets.

use std::time::Duration;

use ambrosia_core::{CallId, MESSAGE_HEADER_BYTES, Message, MessageKind, MethodId, Seq, push_message};
use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
};

use super::*;
use crate::{
    FrameDecoder,
    streams::{WINDOW_BYTES_MAX, WINDOW_BYTES_MIN},
};

/// Much longer than anything takes on a machine that has little time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Large enough that a stream does not have all of it on its way.
const MUCH_BYTES: usize = 3 * WINDOW_BYTES_MAX as usize;

/// What somebody who takes a stream was told.
enum Heard {
    Frame(Frame, Permit),
    End,
}

struct Teller(UnboundedSender<Heard>);

impl StreamTaker for Teller {
    fn take(&mut self, frame: Frame, permit: Permit) {
        let _over = self.0.send(Heard::Frame(frame, permit));
    }

    fn on_end(self: Box<Self>) {
        let _over = self.0.send(Heard::End);
    }
}

/// One end of a stream.
struct End {
    handle: ConnectionHandle,
    heard: UnboundedReceiver<Heard>,
}

impl End {
    async fn next(&mut self) -> Heard {
        timeout(PATIENCE, self.heard.recv()).await.expect("in time").expect("the end is told")
    }

    async fn next_frame(&mut self) -> (Frame, Permit) {
        match self.next().await {
            Heard::Frame(frame, permit) => (frame, permit),
            Heard::End => panic!("the stream has ended"),
        }
    }

    /// Takes messages in until there are so many bytes of them, and lets go of each at once.
    async fn take_in(&mut self, bytes: usize) {
        let mut came = 0;
        while came < bytes {
            let (Frame::Messages { messages, .. }, _permit) = self.next_frame().await else { panic!("only messages") };
            came += messages.len();
        }
        assert_eq!(came, bytes);
    }

    async fn wait_for_end(&mut self) {
        while let Heard::Frame(..) = self.next().await {}
    }
}

/// A host that welcomes each stream, and tells of it.
async fn host() -> (std::net::SocketAddr, UnboundedReceiver<End>, JoinHandle<ConnectionError>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
    let address = listener.local_addr().expect("it has an address");
    let (tell, streams) = unbounded_channel();
    let serving = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.expect("somebody comes");
        let (_handle, mut connection) = Connection::new(socket).expect("a socket");
        let Ok(Frame::Control(hello)) = connection.read_frame().await else { panic!("a hello comes first") };
        assert_eq!(hello.version_of_host(), Some(STREAMS_VERSION));
        let trunk = Trunk::welcome(connection).await.expect("the socket is open");
        let accept = |_hello, handle: ConnectionHandle| {
            handle.send(Frame::Control(Control::Welcome { uuid: [1; 16], received: 0 }));
            let (teller, heard) = unbounded_channel();
            let _over = tell.send(End { handle, heard });
            Some(Box::new(Teller(teller)) as Box<dyn StreamTaker>)
        };
        trunk.serve(accept).await
    });
    (address, streams, serving)
}

fn hello() -> Control {
    Control::Hello { version: 3, from: "a".to_owned(), from_uuid: [1; 16], epoch: 1, to: "b".to_owned() }
}

/// Opens a stream, which is welcomed.
async fn open(trunk: &TrunkHandle) -> (OpenStream, End) {
    let (teller, heard) = unbounded_channel();
    let mut kept = None;
    let take = |handle| {
        kept = Some(handle);
        Box::new(Teller(teller)) as Box<dyn StreamTaker>
    };
    let open = trunk.open(hello(), take).expect("there is room");
    let mut end = End { handle: kept.expect("it was handed over"), heard };
    assert!(matches!(end.next_frame().await.0, Frame::Control(Control::Welcome { .. })));
    (open, end)
}

async fn dial(address: std::net::SocketAddr) -> (TrunkHandle, JoinHandle<ConnectionError>) {
    let socket = TcpStream::connect(address).await.expect("it listens");
    let (_handle, connection) = Connection::new(socket).expect("a socket");
    let (handle, trunk) = Trunk::greet(connection).await.expect("it answers").expect("it knows streams");
    (handle, tokio::spawn(trunk.serve(|_, _| None)))
}

/// Messages of so many bytes in all.
fn messages(bytes: usize) -> Vec<Frame> {
    let mut message = Vec::new();
    let arguments = &[7; (16 << 10) - MESSAGE_HEADER_BYTES];
    push_message(&mut message, Message { kind: MessageKind::Fork, method: MethodId(1), call_id: CallId(0), arguments });
    let (count, message) = (bytes / message.len(), Bytes::from(message));
    assert_eq!(count * message.len(), bytes, "the messages are of a round size");
    (1..=count as u64).map(|seq| Frame::Messages { first_seq: Seq(seq), count: 1, messages: message.clone() }).collect()
}

#[tokio::test]
async fn a_stream_that_nobody_takes_in_holds_up_no_other() {
    let (address, mut streams, _serving) = host().await;
    let (trunk, _dialing) = dial(address).await;
    let (_open, stuck) = open(&trunk).await;
    let mut stuck_there = streams.recv().await.expect("it was opened");
    messages(MUCH_BYTES).into_iter().for_each(|frame| stuck.handle.send(frame));
    // What comes is held, for it stays in the channel.
    for _ in 0..3 {
        let (open, end) = open(&trunk).await;
        let mut there = streams.recv().await.expect("it was opened");
        messages(MUCH_BYTES).into_iter().for_each(|frame| end.handle.send(frame));
        there.take_in(MUCH_BYTES).await;
        there.handle.send(Frame::Acknowledge(Seq(9)));
        let mut end = end;
        assert_eq!(end.next_frame().await.0, Frame::Acknowledge(Seq(9)));
        drop(open);
        there.wait_for_end().await;
    }
    let held = stuck_there.heard.len() * (16 << 10);
    assert!(held <= WINDOW_BYTES_MIN as usize + (16 << 10), "{held} bytes came of what nobody took in");
    stuck_there.take_in(MUCH_BYTES).await;
}

#[tokio::test]
async fn a_stream_ends_for_both_sides_and_the_others_go_on() {
    let (address, mut streams, _serving) = host().await;
    let (trunk, _dialing) = dial(address).await;
    let (_kept, kept) = open(&trunk).await;
    let mut kept_there = streams.recv().await.expect("it was opened");
    // The side that was connected to ends one in order, and all that it said is heard before.
    let (_open, mut end) = open(&trunk).await;
    let there = streams.recv().await.expect("it was opened");
    there.handle.send(Frame::Control(Control::Refused { elsewhere: true, reason: "over".to_owned() }));
    timeout(PATIENCE, there.handle.finish()).await.expect("what was said is written");
    assert!(matches!(end.next_frame().await.0, Frame::Control(Control::Refused { .. })));
    end.wait_for_end().await;
    // The side that has connected drops one.
    let (open, end) = open(&trunk).await;
    let mut there = streams.recv().await.expect("it was opened");
    drop(open);
    there.wait_for_end().await;
    timeout(PATIENCE, end.handle.finish()).await.expect("there is nothing to wait for");
    messages(64 << 10).into_iter().for_each(|frame| kept.handle.send(frame));
    kept_there.take_in(64 << 10).await;
}

#[tokio::test]
async fn with_a_connection_all_its_streams_end_on_both_sides() {
    let (address, mut streams, serving) = host().await;
    let (trunk, dialing) = dial(address).await;
    let (_one, mut one) = open(&trunk).await;
    let (_two, mut two) = open(&trunk).await;
    dialing.abort();
    for _ in 0..2 {
        streams.recv().await.expect("it was opened").wait_for_end().await;
    }
    assert!(matches!(timeout(PATIENCE, serving).await, Ok(Ok(ConnectionError::Closed | ConnectionError::Io(_)))));
    // Nobody serves this end any more, and so whoever listens to it is told by the end of what tells.
    let (_, _) = (one.heard.close(), two.heard.close());
    let (address, mut streams, serving) = host().await;
    let (trunk, dialing) = dial(address).await;
    let (_one, mut one) = open(&trunk).await;
    serving.abort();
    drop(streams.recv().await);
    one.wait_for_end().await;
    assert!(timeout(PATIENCE, dialing).await.is_ok());
    assert!(trunk.has_ended());
    let refused = trunk.open(hello(), |_| Box::new(Teller(unbounded_channel().0)));
    assert!(matches!(refused.err(), Some(ConnectionError::Closed)));
}

/// What a stranger who has said these bytes is told before the connection ends, beside what the streams say.
async fn last_word(socket: &mut TcpStream) -> Option<String> {
    let mut received = BytesMut::new();
    loop {
        let read = timeout(PATIENCE, socket.read_buf(&mut received)).await.expect("in time");
        while let Some(frame) = FrameDecoder::of_streams().next(&mut received).expect("frames come") {
            if let Frame::Control(Control::Refused { reason, .. }) = frame {
                return Some(reason);
            }
        }
        if read.is_err() || read.is_ok_and(|read| read == 0) {
            return None;
        }
    }
}

fn on_stream(stream: u64, frame: Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    Frame::OfStream { stream: StreamNumber(stream), frame: Box::new(frame) }.encode(&mut bytes);
    bytes
}

#[tokio::test]
async fn whoever_breaks_a_rule_hears_why_and_all_its_streams_end() {
    let many = messages(MUCH_BYTES);
    let overrun: Vec<u8> = many[..8].iter().flat_map(|frame| on_stream(1, frame.clone())).collect();
    let greet = |stream| on_stream(stream, Frame::Control(hello()));
    for (bytes, reason) in [
        (greet(1), "a second hello of stream 1"),
        (greet(3), "a hello of stream 3 where stream 2 comes next"),
        (on_stream(2, Frame::Close), "a frame of stream 2, which was never opened"),
        ([on_stream(1, Frame::Close), on_stream(1, many[0].clone())].concat(), "a frame of stream 1, which was closed"),
        (on_stream(1, Frame::Acknowledge(Seq(1))), "a frame of kind Acknowledge that does not belong on stream 1"),
        (overrun, "messages on stream 1 without credit"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "a frame of unknown kind 47"),
    ] {
        let (address, mut streams, serving) = host().await;
        let mut socket = TcpStream::connect(address).await.expect("it listens");
        let mut first = Vec::new();
        Frame::Control(Control::host_hello(3)).encode(&mut first);
        socket.write_all(&[first, greet(1)].concat()).await.expect("it reads");
        let mut there = streams.recv().await.expect("it was opened");
        socket.write_all(&bytes).await.expect("it reads");
        let said = last_word(&mut socket).await;
        assert!(said.as_ref().is_some_and(|said| said.contains(reason)), "{said:?} does not say {reason:?}");
        // What came is held until the end, or there would be credit again.
        let mut held = Vec::new();
        while let Heard::Frame(_, permit) = there.next().await {
            held.push(permit);
        }
        drop(socket);
        assert!(timeout(PATIENCE, serving).await.is_ok());
    }
}

#[tokio::test]
async fn a_host_of_an_earlier_version_is_told_from_one_that_goes_away() {
    let refuses = Frame::Control(Control::Refused { elsewhere: false, reason: "versions 1 to 2".to_owned() });
    let later = Frame::Control(Control::HostWelcome { version: STREAMS_VERSION + 1, streams_max: 1 });
    let mut found = Vec::new();
    for answer in [Some(refuses), None, Some(later)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
        let address = listener.local_addr().expect("it has an address");
        let answering = tokio::spawn(async move {
            let (socket, _) = listener.accept().await.expect("somebody comes");
            let (_handle, mut connection) = Connection::new(socket).expect("a socket");
            let Ok(Frame::Control(Control::Hello { version: 3, .. })) = connection.read_frame().await else {
                panic!("the hello of a host comes first")
            };
            if let Some(answer) = answer {
                connection.write_frame(&answer).await.expect("somebody reads");
            }
        });
        let socket = TcpStream::connect(address).await.expect("it listens");
        let (_handle, connection) = Connection::new(socket).expect("a socket");
        found.push(timeout(PATIENCE, Trunk::greet(connection)).await.expect("in time").map(|trunk| trunk.is_some()));
        answering.await.expect("it does not panic");
    }
    assert!(matches!(found[0], Ok(false)), "{:?}", found[0]);
    assert!(matches!(found[1], Err(ConnectionError::Closed | ConnectionError::Io(_))), "{:?}", found[1]);
    assert!(matches!(found[2], Err(ConnectionError::Unexpected)), "{:?}", found[2]);
}
