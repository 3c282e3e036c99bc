//! The two ends of a socket after its handshake: in clear text, or by TLS.
//!
//! **Architecture Invariant:** in clear text each call is one of the socket's own and no more.

use std::{
    io::{self, BufRead, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::security::Socket;

/// So many bytes wait at most, encrypted, until the socket takes them.
const WAITING_BYTES_MAX: usize = 256 << 10;

/// So many bytes are asked for in one read: few of somebody who says little, and more as they come.
const READ_BYTES: std::ops::RangeInclusive<usize> = 4 << 10..=64 << 10;

/// The receiving end.
pub(crate) enum ReadHalf {
    Plain(OwnedReadHalf),
    Tls(TlsReadHalf),
}

/// The sending end. Dropped, the other side sees the end.
pub(crate) enum WriteHalf {
    Plain(OwnedWriteHalf),
    Tls(TlsWriteHalf),
}

/// What was decrypted comes from here.
pub(crate) struct TlsReadHalf {
    half: OwnedReadHalf,
    session: Session,
    /// What has come and is encrypted, from `taken` on.
    received: Vec<u8>,
    taken: usize,
    filled: usize,
}

/// What is to be encrypted goes in here.
pub(crate) struct TlsWriteHalf {
    half: OwnedWriteHalf,
    session: Session,
}

/// What both ends share.
#[derive(Clone)]
struct Session(Arc<Mutex<rustls::Connection>>);

impl Session {
    fn lock(&self) -> MutexGuard<'_, rustls::Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Both ends of a socket.
pub(crate) fn split(socket: Socket) -> (ReadHalf, WriteHalf) {
    match socket {
        Socket::Plain(socket) => {
            let (read, write) = socket.into_split();
            (ReadHalf::Plain(read), WriteHalf::Plain(write))
        }
        Socket::Tls(socket, mut session) => {
            session.set_buffer_limit(Some(WAITING_BYTES_MAX));
            let (read, write) = socket.into_split();
            let session = Session(Arc::new(Mutex::new(*session)));
            let read = TlsReadHalf { half: read, session: session.clone(), received: Vec::new(), taken: 0, filled: 0 };
            (ReadHalf::Tls(read), WriteHalf::Tls(TlsWriteHalf { half: write, session }))
        }
    }
}

impl ReadHalf {
    /// Reads what has come, as much as there is room for in `into`; 0 at the end.
    pub(crate) async fn read_buf(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        match self {
            ReadHalf::Plain(half) => half.read_buf(into).await,
            ReadHalf::Tls(half) => half.read_buf(into).await,
        }
    }
}

impl WriteHalf {
    /// Writes as much as is taken at once.
    ///
    /// # Errors
    /// If nothing is, an error that says so: it would block.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            WriteHalf::Plain(half) => half.try_write(bytes),
            WriteHalf::Tls(half) => half.try_write(bytes),
        }
    }

    /// Whether the socket has all that was taken. If not, more of it may go once the socket is writable.
    pub(crate) fn try_flush(&self) -> io::Result<bool> {
        match self {
            WriteHalf::Plain(_) => Ok(true),
            WriteHalf::Tls(half) => half.try_flush(),
        }
    }

    /// Waits until the socket takes something.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        match self {
            WriteHalf::Plain(half) => half.writable().await,
            WriteHalf::Tls(half) => half.half.writable().await,
        }
    }

    /// Writes all of it.
    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            WriteHalf::Plain(half) => half.write_all(bytes).await,
            WriteHalf::Tls(half) => half.write_all(bytes).await,
        }
    }

    /// Writes some of it; dropped, it has taken none. Of nothing, it waits until the socket has all that was taken.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            WriteHalf::Plain(half) => half.write(bytes).await,
            WriteHalf::Tls(half) => {
                half.flush().await?;
                half.try_write(bytes)
            }
        }
    }

    /// Ends this direction.
    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            WriteHalf::Plain(half) => half.shutdown().await,
            WriteHalf::Tls(half) => half.shutdown().await,
        }
    }
}

impl TlsReadHalf {
    async fn read_buf(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        loop {
            if let Some(read) = self.decrypt(into)? {
                return Ok(read);
            }
            self.half.readable().await?;
            if self.filled == self.received.len() {
                let more = (4 * self.filled).clamp(*READ_BYTES.start(), *READ_BYTES.end());
                self.received.resize(more, 0);
            }
            match self.half.try_read(&mut self.received) {
                Ok(0) => return Ok(0), // an end without a word of TLS is one all the same: frames have their lengths
                Ok(read) => (self.taken, self.filled) = (0, read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Decrypts what has come, as much as there is room for; `None` if more has to come first.
    fn decrypt(&mut self, into: &mut BytesMut) -> io::Result<Option<usize>> {
        let mut session = self.session.lock();
        loop {
            let read = take(&mut session, into)?;
            if read != Some(0) {
                return Ok(read.or(Some(0)));
            }
            if self.taken == self.filled {
                return Ok(None);
            }
            let mut rest = &self.received[self.taken..self.filled];
            let before = rest.len();
            session.read_tls(&mut rest)?;
            self.taken += before - rest.len();
            let processed = session.process_new_packets();
            // An answer, or what is wrong: what does not go now goes with what is written next.
            let _later = push(&mut session, self.half.as_ref());
            processed.map_err(io::Error::other)?;
        }
    }
}

/// Takes what is decrypted. `Some(0)` if nothing is, `None` at the end.
fn take(session: &mut rustls::Connection, into: &mut BytesMut) -> io::Result<Option<usize>> {
    let mut reader = session.reader();
    let mut read = 0;
    loop {
        let room = into.capacity() - into.len();
        let chunk = match reader.fill_buf() {
            Ok([]) => return Ok((read > 0).then_some(read)),
            Ok(chunk) => &chunk[..chunk.len().min(room)],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Some(read)),
            Err(error) => return Err(error),
        };
        if chunk.is_empty() {
            return Ok(Some(read)); // there is no room for more
        }
        into.extend_from_slice(chunk);
        let taken = chunk.len();
        reader.consume(taken);
        read += taken;
    }
}

impl TlsWriteHalf {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut session = self.session.lock();
        push(&mut session, self.half.as_ref())?;
        if session.wants_write() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = session.writer().write(bytes)?;
        push(&mut session, self.half.as_ref())?;
        Ok(taken)
    }

    fn try_flush(&self) -> io::Result<bool> {
        let mut session = self.session.lock();
        push(&mut session, self.half.as_ref())?;
        Ok(!session.wants_write())
    }

    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_write(bytes) {
                Ok(taken) => bytes = &bytes[taken..],
                Err(full) if full.kind() == io::ErrorKind::WouldBlock => self.half.writable().await?,
                Err(error) => return Err(error),
            }
        }
        self.flush().await
    }

    async fn flush(&self) -> io::Result<()> {
        while !self.try_flush()? {
            self.half.writable().await?;
        }
        Ok(())
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        self.session.lock().send_close_notify();
        self.flush().await?;
        self.half.shutdown().await
    }
}

impl Drop for TlsWriteHalf {
    fn drop(&mut self) {
        let mut session = self.session.lock();
        session.send_close_notify();
        // If the socket is full, or gone, the other side sees the end of that alone.
        let _gone = push(&mut session, self.half.as_ref());
    }
}

/// Gives the socket what is encrypted, as much as it takes.
fn push(session: &mut rustls::Connection, socket: &TcpStream) -> io::Result<()> {
    while session.wants_write() {
        match session.write_tls(&mut Trying(socket)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(full) if full.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes what the socket takes at once.
struct Trying<'a>(&'a TcpStream);

impl Write for Trying<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, bytes: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
