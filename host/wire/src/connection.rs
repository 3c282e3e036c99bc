//! One TCP connection after its handshake, of a client or of a stream alone: frames in to the mailbox, frames out from a
//! queue. See [`crate::Trunk`] for those that carry many streams. Who sends does not see whether there is a socket at all: both ends may be
//! in one process ([`ConnectionHandle::within`]).
//!
//! The queue outwards is not bounded here for peers: what is in it shares its bytes with an outbox, which is. For a client
//! ([`Connection::expect_client`]) it is: as long as too much waits for it, nothing is taken from it. Inwards, each
//! connection has [`Permits`]; messages carry theirs until they are logged, and without permits
//! the socket is not read: that is how back-pressure reaches the sender. What is asked in sessions can't be held back so, since the confirmations
//! for which it may wait come behind it: a client knows how much that may be, and is let go if it sends more.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ambrosia_core::ConnectionId;
use bytes::BytesMut;
use tokio::sync::{mpsc, oneshot};

use crate::{
    control::Control,
    frame::{self, Frame, FrameDecoder, PROTOCOL_VERSION, PROTOCOL_VERSIONS, StreamNumber, WireError},
    halves::{self, ReadHalf, WriteHalf},
    line::{Line, Writing},
    permits::{Permit, Permits},
    request,
    security::{self, Security, Socket},
    streams::{Command, StreamError},
};

/// Bytes gathered before they are written, while there are frames.
pub(crate) const WRITE_BYTES_FULL: usize = 64 << 10;

/// Bytes asked for in one read: few of somebody who says little, for many connections are idle, and more as they come.
const READ_BYTES: std::ops::RangeInclusive<usize> = 4 << 10..=256 << 10;

/// What is relayed counts as so many bytes at least: the answer may be larger than what was asked.
const RELAYED_BYTES_MIN: usize = 256 << 10;

/// So does what is rare and answered with a table, an event of each kind, or the like.
const CONTROL_BYTES_MIN: usize = 256 << 10;

/// A query takes so much at least, for the same reason.
const QUERY_BYTES_MIN: usize = 4 << 10;

/// A client that takes nothing of what is for it for so long is let go.
const CLIENT_STANDS_STILL: Duration = Duration::from_secs(30);

/// A buffer is read into as long as it has this share of a read left.
const READS_A_BUFFER: usize = 4;

/// The sending end of a connection, or of a stream within one, held by whoever sends. Dropped, what is queued is written and
/// the connection or the stream ends.
pub struct ConnectionHandle {
    /// Number of the connection, or of the stream, in this process.
    pub id: ConnectionId,
    way: Way,
}

/// Where frames wait to be written.
enum Way {
    /// The connection is its own.
    Alone(Arc<Line>),
    /// It is one of many streams.
    Stream(StreamNumber, mpsc::UnboundedSender<Command>),
    /// Both ends are in this process.
    Within(Box<dyn FrameTaker>),
}

/// Takes what is said on a connection whose other end is in this process. Dropped, it has been told all.
pub trait FrameTaker: Send + Sync {
    /// Takes a frame. It must not wait for anything.
    fn take(&self, frame: Frame);

    /// Passes on what it has gathered, if it gathers.
    fn flush(&self) {}
}

impl ConnectionHandle {
    /// The sending end of a stream.
    pub(crate) fn of_stream(stream: StreamNumber, commands: mpsc::UnboundedSender<Command>) -> ConnectionHandle {
        ConnectionHandle { id: next_id(), way: Way::Stream(stream, commands) }
    }

    /// The sending end of a connection whose other end is in this process: it is given each frame as it is, by whoever sends it.
    pub fn within(taker: impl FrameTaker + 'static) -> ConnectionHandle {
        ConnectionHandle { id: next_id(), way: Way::Within(Box::new(taker)) }
    }

    /// What is to be written, if the connection is its own.
    pub(crate) fn line(&self) -> Option<&Arc<Line>> {
        match &self.way {
            Way::Alone(line) => Some(line),
            Way::Stream(..) | Way::Within(_) => None,
        }
    }

    /// Queues a frame as [`ConnectionHandle::send`] does, and true if that may wait: it goes with the next one that does not, by
    /// [`ConnectionHandle::flush`], or with others ([`crate::Gathered`]).
    pub fn gather(&self, frame: Frame) -> bool {
        match &self.way {
            Way::Alone(line) => line.gather(frame),
            Way::Within(taker) => taker.take(frame),
            Way::Stream(..) => {
                self.send(frame);
                return false;
            }
        }
        true
    }

    /// Has what was queued go, if it waits for that.
    pub fn flush(&self) {
        match &self.way {
            Way::Alone(line) => line.ring(),
            Way::Within(taker) => taker.flush(),
            Way::Stream(..) => {}
        }
    }

    /// Queues a frame. On a connection that has ended, nothing happens: its end is reported by itself.
    pub fn send(&self, frame: Frame) {
        match &self.way {
            Way::Alone(line) => line.say(frame),
            Way::Stream(stream, commands) => {
                let _ended_already = commands.send(Command::Send(*stream, frame));
            }
            Way::Within(taker) => taker.take(frame),
        }
    }

    /// Waits until everything queued is written, or the other side has ended the connection.
    pub async fn finish(self) {
        match &self.way {
            Way::Alone(line) => {
                line.end();
                line.wait_until_over().await;
            }
            Way::Stream(stream, commands) => {
                let (done, ended) = oneshot::channel();
                let _ended_already = commands.send(Command::End(*stream, Some(done)));
                // It is dropped and never used.
                let _dropped = ended.await;
            }
            Way::Within(taker) => taker.flush(),
        }
    }
}

impl Drop for ConnectionHandle {
    fn drop(&mut self) {
        match &self.way {
            Way::Alone(line) => line.end(),
            Way::Stream(stream, commands) => {
                let _ended_already = commands.send(Command::End(*stream, None));
            }
            Way::Within(_) => {}
        }
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The system says so.
    #[error("{0}")]
    Io(std::io::Error),
    /// The two sides don't agree on TLS, or don't believe each other.
    #[error("{0}")]
    Tls(String),
    /// Something came that is no frame.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Nothing came.
    #[error("the other side did not complete the handshake in time")]
    HandshakeTimeout,
    /// The other side says why.
    #[error("the other side refuses the connection: {0}")]
    Refused(String),
    /// The other side did, without a word.
    #[error("the other side ended the connection")]
    Closed,
    /// It is a frame, and has no meaning here.
    #[error("the other side sent a frame that does not belong here")]
    Unexpected,
    /// It breaks a rule of streams.
    #[error("the other side sent {0}")]
    Stream(#[from] StreamError),
    /// It is no question that could be relayed.
    #[error("the other side asked for something that is not relayed: {0}")]
    Relayed(String),
    /// As many streams as there may be.
    #[error("the connection has no room for another stream")]
    Full,
    /// It does not know how much it may ask.
    #[error("the other side has more under way in its sessions than a client may")]
    TooMuch,
    /// It may be gone.
    #[error("the other side has taken nothing of what is for it for {} s", .0.as_secs())]
    StandsStill(Duration),
}

impl From<std::io::Error> for ConnectionError {
    fn from(error: std::io::Error) -> ConnectionError {
        security::in_words(&error).map_or(ConnectionError::Io(error), ConnectionError::Tls)
    }
}

impl ConnectionError {
    /// Whether the other side has just gone, as a client does that asks several hosts and takes the first one that answers.
    pub fn is_hang_up(&self) -> bool {
        match self {
            ConnectionError::Closed => true,
            ConnectionError::Io(error) => matches!(
                error.kind(),
                std::io::ErrorKind::ConnectionReset
                    | std::io::ErrorKind::ConnectionAborted
                    | std::io::ErrorKind::BrokenPipe
                    | std::io::ErrorKind::UnexpectedEof
            ),
            _ => false,
        }
    }

    /// Whether the other side has said what it may not say.
    pub(crate) fn is_violation(&self) -> bool {
        matches!(
            self,
            ConnectionError::Wire(_)
                | ConnectionError::Unexpected
                | ConnectionError::Stream(_)
                | ConnectionError::TooMuch
        )
    }
}

/// A connection: both halves of the socket, and what is to be written.
pub struct Connection {
    /// Its number in this process.
    pub id: ConnectionId,
    pub(crate) reader: FrameReader,
    pub(crate) writer: WriteHalf,
    writing: Writing,
    /// Version of the protocol that the other side speaks.
    pub(crate) version: u16,
    /// Longest that a client may take nothing.
    pub(crate) stands_still: Option<Duration>,
}

static LAST_CONNECTION: AtomicU64 = AtomicU64::new(0);

fn next_id() -> ConnectionId {
    ConnectionId(LAST_CONNECTION.fetch_add(1, Ordering::Relaxed) + 1)
}

impl Connection {
    /// Wraps a socket; only handshake frames are read from it at first.
    ///
    /// # Errors
    /// If the system does not take an option of the socket.
    pub fn new(socket: impl Into<Socket>) -> std::io::Result<(ConnectionHandle, Connection)> {
        let socket = socket.into();
        socket.tcp().set_nodelay(true)?;
        let (read_half, writer) = halves::split(socket);
        let line = Arc::new(Line::default());
        let id = next_id();
        let reader = FrameReader {
            half: read_half,
            received: BytesMut::new(),
            read_bytes: *READ_BYTES.start(),
            decoder: FrameDecoder::handshake(),
            permits: Permits::new(),
            sessions: Permits::of_sessions(),
        };
        Ok((
            ConnectionHandle { id, way: Way::Alone(Arc::clone(&line)) },
            Connection { id, reader, writer, writing: Writing(line), version: PROTOCOL_VERSION, stands_still: None },
        ))
    }

    /// Reads one frame before the connection is served.
    ///
    /// # Errors
    /// If none comes, or none that may come before the handshake is done.
    pub async fn read_frame(&mut self) -> Result<Frame, ConnectionError> {
        self.reader.next().await
    }

    /// Writes one frame before the connection is served.
    ///
    /// # Errors
    /// If the connection has ended.
    pub async fn write_frame(&mut self, frame: &Frame) -> Result<(), ConnectionError> {
        self.write_frames(std::slice::from_ref(frame)).await
    }

    /// Writes frames before the connection is served, all at once.
    ///
    /// # Errors
    /// If the connection has ended.
    pub async fn write_frames(&mut self, frames: &[Frame]) -> Result<(), ConnectionError> {
        assert!(!frames.is_empty(), "somebody waits for what is written");
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame::encode(frame, &mut bytes));
        Ok(self.writer.write_all(&bytes).await?)
    }

    /// Says what is said first, behind the token of this process if it shows one.
    ///
    /// # Errors
    /// If the connection has ended.
    pub async fn say_first(&mut self, hello: Control, security: &Security) -> Result<(), ConnectionError> {
        // Before it the certificates of the host were seen.
        let token = security.token().map(|token| Control::Token { token: token.as_ref().to_owned() });
        self.write_frames(&token.into_iter().chain([hello]).map(Frame::Control).collect::<Vec<_>>()).await
    }

    /// The handshake is done in that version of the protocol: larger frames and messages are read from here on.
    pub fn welcome(&mut self, version: u16) {
        assert!(PROTOCOL_VERSIONS.contains(&version), "another version was refused");
        self.version = version;
        self.reader.decoder = FrameDecoder::welcomed();
    }

    /// The handshake is done with somebody who uses the store of a host: what is relayed is read from here on, of at most so many bytes.
    pub fn welcome_relay(&mut self, bytes_max: usize) {
        self.reader.decoder = FrameDecoder::of_relay(bytes_max);
    }

    /// The other side is a client, which is not believed to read what is for it: while much waits it is not read either, and if it takes
    /// nothing of that for long, the connection ends.
    pub fn expect_client(&mut self) {
        self.stands_still = Some(CLIENT_STANDS_STILL);
    }

    /// Writes what is queued and gives each frame that comes to `take`, until either side ends. What the two of them say in
    /// an older version is put into the words of this one, and back.
    pub async fn serve(self, mut take: impl FnMut(Frame, Permit) -> Result<(), ConnectionError>) -> ConnectionError {
        let Connection { mut reader, writer, writing, version, stands_still, .. } = self;
        let line = Arc::clone(&writing.0);
        let reading = async {
            loop {
                if stands_still.is_some() {
                    line.wait_for_room().await;
                }
                let frame = request::of_version_1(reader.next().await?)?;
                let permit = reader.permit(&frame).await?;
                take(frame, permit)?;
            }
        };
        tokio::select! {
            ended = reading => {
                let ended: Result<std::convert::Infallible, ConnectionError> = ended;
                match ended { Ok(never) => match never {}, Err(error) => error }
            }
            ended = writing.serve(writer, version, stands_still) => ended.err().unwrap_or(ConnectionError::Closed),
        }
    }
}

/// The receiving half of a socket.
pub(crate) struct FrameReader {
    half: ReadHalf,
    received: BytesMut,
    /// Bytes asked for in the next read.
    read_bytes: usize,
    decoder: FrameDecoder,
    permits: Permits,
    /// For what is asked in sessions.
    sessions: Permits,
}

impl FrameReader {
    /// What was said so far was of a handshake; from here on it is of streams.
    pub(crate) fn expect_streams(&mut self) {
        self.decoder = FrameDecoder::of_streams();
    }

    /// Reads on and forgets it, until the other side has ended the connection.
    pub(crate) async fn drain(&mut self) {
        self.received.clear();
        while matches!(self.half.read_buf(&mut self.received).await, Ok(read) if read > 0) {
            self.received.clear();
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Frame, ConnectionError> {
        loop {
            if let Some(frame) = self.decoder.next(&mut self.received)? {
                return Ok(frame);
            }
            assert!(READ_BYTES.contains(&self.read_bytes), "a read has bounds");
            // The buffer grows with what really arrives, never with what a header announces. Small frames, one at a time, share one.
            if self.received.capacity() - self.received.len() < self.read_bytes / READS_A_BUFFER {
                self.received.reserve(self.read_bytes);
            }
            let room = self.received.capacity() - self.received.len();
            match self.half.read_buf(&mut self.received).await? {
                0 => return Err(ConnectionError::Closed),
                read if read >= room => self.read_bytes = (self.read_bytes * 4).min(*READ_BYTES.end()),
                _ => {}
            }
        }
    }

    /// Waits until what the frame holds may be queued. A frame larger than all permits takes all of them.
    async fn permit(&self, frame: &Frame) -> Result<Permit, ConnectionError> {
        let bytes = match frame {
            Frame::Messages { messages, .. } => messages.len(),
            Frame::Request { arguments, .. } => arguments.len(),
            Frame::Query { arguments, .. } => arguments.len().max(QUERY_BYTES_MIN),
            Frame::Relayed { contents, .. } => contents.len().max(RELAYED_BYTES_MIN),
            Frame::SessionRequest { arguments, .. } => {
                return self.sessions.try_acquire(arguments.len()).ok_or(ConnectionError::TooMuch);
            }
            Frame::Inquiry { .. } | Frame::Listened { .. } => 0,
            // These come often, and what a session waits for may be behind them.
            Frame::Control(Control::SessionConfirmed { .. }) => 0,
            Frame::Control(Control::Resolve { value, .. }) => value.len().max(CONTROL_BYTES_MIN),
            Frame::Control(_) => CONTROL_BYTES_MIN,
            _ => return Ok(Permit::NONE),
        };
        Ok(self.permits.acquire(bytes).await)
    }
}
