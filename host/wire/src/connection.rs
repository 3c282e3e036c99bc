//! One TCP connection after its handshake: frames in to the mailbox, frames out from a queue.
//!
//! The queue outwards is not bounded here: what is in it shares its bytes with an outbox, which is. Inwards, each
//! connection has [`Permits`]; messages carry theirs until they are logged, and without permits
//! the socket is not read: that is how back-pressure reaches the sender.

use std::sync::atomic::{AtomicU64, Ordering};

use ambrosia_core::ConnectionId;
use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};

use crate::{
    frame::{self, Frame, FrameDecoder, PROTOCOL_VERSION, PROTOCOL_VERSIONS, WireError},
    permits::{Permit, Permits},
    request,
};

/// Bytes gathered before they are written, while there are frames.
const WRITE_BYTES_FULL: usize = 64 << 10;

/// Bytes asked for in one read: few of somebody who says little, for many connections are idle, and more as they come.
const READ_BYTES: std::ops::RangeInclusive<usize> = 4 << 10..=256 << 10;

/// The sending end of a connection, held by whoever sends. Dropped, what is queued is written and the connection ends.
pub struct ConnectionHandle {
    /// Number of the connection in this process.
    pub id: ConnectionId,
    queue: mpsc::UnboundedSender<Queued>,
}

/// What waits to be written.
enum Queued {
    Frame(Frame),
    /// Nothing follows: write what is there and end the connection.
    End,
}

impl ConnectionHandle {
    /// Queues a frame. On a connection that has ended, nothing happens: its end is reported by itself.
    pub fn send(&self, frame: Frame) {
        let _ended_already = self.queue.send(Queued::Frame(frame));
    }

    /// Waits until everything queued is written, or the other side has ended the connection.
    pub async fn finish(self) {
        if self.queue.send(Queued::End).is_ok() {
            self.queue.closed().await;
        }
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The system says so.
    #[error("{0}")]
    Io(#[from] std::io::Error),
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
}

/// A connection: both halves of the socket and the queue to be written.
pub struct Connection {
    /// Its number in this process.
    pub id: ConnectionId,
    reader: FrameReader,
    writer: OwnedWriteHalf,
    queue: mpsc::UnboundedReceiver<Queued>,
    /// Version of the protocol that the other side speaks.
    version: u16,
}

static LAST_CONNECTION: AtomicU64 = AtomicU64::new(0);

impl Connection {
    /// Wraps a socket; only handshake frames are read from it at first.
    ///
    /// # Errors
    /// If the system does not take an option of the socket.
    pub fn new(socket: TcpStream) -> std::io::Result<(ConnectionHandle, Connection)> {
        socket.set_nodelay(true)?;
        let (read_half, writer) = socket.into_split();
        let (sender, queue) = mpsc::unbounded_channel();
        let id = ConnectionId(LAST_CONNECTION.fetch_add(1, Ordering::Relaxed) + 1);
        let reader = FrameReader {
            half: read_half,
            received: BytesMut::new(),
            read_bytes: *READ_BYTES.start(),
            decoder: FrameDecoder::handshake(),
            permits: Permits::new(),
        };
        Ok((
            ConnectionHandle { id, queue: sender },
            Connection { id, reader, writer, queue, version: PROTOCOL_VERSION },
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

    /// The handshake is done in that version of the protocol: larger frames and messages are read from here on.
    pub fn welcome(&mut self, version: u16) {
        assert!(PROTOCOL_VERSIONS.contains(&version), "another version was refused");
        self.version = version;
        self.reader.decoder = FrameDecoder::welcomed();
    }

    /// Writes what is queued and gives each frame that comes to `take`, until either side ends. What the two of them say in
    /// an older version is put into the words of this one, and back.
    pub async fn serve(self, mut take: impl FnMut(Frame, Permit) -> Result<(), ConnectionError>) -> ConnectionError {
        let Connection { mut reader, writer, queue, version, .. } = self;
        let reading = async {
            loop {
                let frame = request::of_version_1(reader.next().await?)?;
                let permit = reader.permit(&frame).await;
                take(frame, permit)?;
            }
        };
        tokio::select! {
            ended = reading => {
                let ended: Result<std::convert::Infallible, ConnectionError> = ended;
                match ended { Ok(never) => match never {}, Err(error) => error }
            }
            ended = write_queued(writer, queue, version) => ended.err().unwrap_or(ConnectionError::Closed),
        }
    }
}

/// Writes frames as they come, many at once, until the queue is closed and empty.
async fn write_queued(
    mut writer: OwnedWriteHalf,
    mut queue: mpsc::UnboundedReceiver<Queued>,
    version: u16,
) -> Result<(), ConnectionError> {
    let said = |frame| if version == 1 { request::to_version_1(frame) } else { frame };
    let mut bytes = Vec::new();
    while let Some(Queued::Frame(frame)) = queue.recv().await {
        frame::encode(&said(frame), &mut bytes);
        let mut end = false;
        while !end
            && bytes.len() < WRITE_BYTES_FULL
            && let Ok(queued) = queue.try_recv()
        {
            match queued {
                Queued::Frame(frame) => frame::encode(&said(frame), &mut bytes),
                Queued::End => end = true,
            }
        }
        assert!(bytes.len() >= frame::FRAME_HEADER_BYTES, "a frame has bytes");
        writer.write_all(&bytes).await?;
        bytes.clear();
        bytes.shrink_to(4 * WRITE_BYTES_FULL);
        if end {
            break;
        }
    }
    Ok(writer.shutdown().await?)
}

struct FrameReader {
    half: OwnedReadHalf,
    received: BytesMut,
    /// Bytes asked for in the next read.
    read_bytes: usize,
    decoder: FrameDecoder,
    permits: Permits,
}

impl FrameReader {
    async fn next(&mut self) -> Result<Frame, ConnectionError> {
        loop {
            if let Some(frame) = self.decoder.next(&mut self.received)? {
                return Ok(frame);
            }
            assert!(READ_BYTES.contains(&self.read_bytes), "a read has bounds");
            // The buffer grows with what really arrives, never with what a header announces.
            self.received.reserve(self.read_bytes);
            match self.half.read_buf(&mut self.received).await? {
                0 => return Err(ConnectionError::Closed),
                read if read >= self.read_bytes => self.read_bytes = (self.read_bytes * 4).min(*READ_BYTES.end()),
                _ => {}
            }
        }
    }

    /// Waits until what the frame holds may be queued. A frame larger than all permits takes all of them.
    async fn permit(&self, frame: &Frame) -> Permit {
        let bytes = match frame {
            Frame::Messages { messages, .. } => messages.len(),
            Frame::Request { arguments, .. } => arguments.len(),
            _ => return Permit::NONE,
        };
        self.permits.acquire(bytes).await
    }
}
