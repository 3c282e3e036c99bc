//! What is said on a connection of its own, until it is written. Its task writes it, when it is told to; or whoever has gathered
//! something for many connections writes on each of them what its socket takes at once, and no task of theirs is woken for it.
//!
//! What waits here is counted, and not bounded: see `connection.rs`.
//!
//! **Architecture Invariant:** frames are written in the order in which they were said, each of them whole, whoever writes.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use crate::{
    connection::{ConnectionError, ConnectionHandle, WRITE_BYTES_FULL},
    frame::{self, FRAME_HEADER_BYTES, Frame},
    halves::WriteHalf,
    request,
};

/// Room for so many frames is kept.
const FRAMES_KEPT: usize = 64;

/// More than that waits for somebody who reads slowly, or not at all.
const ROOM_BYTES: usize = 16 << 20;

/// See the head of the file.
#[derive(Default)]
pub(crate) struct Line {
    state: Mutex<State>,
    /// Bytes of the frames that wait, about. Changed only while the state is locked.
    waiting: AtomicUsize,
    /// Wakes whoever waits until it has room.
    room: Notify,
    /// Wakes the task of the connection: there is something for it to write.
    bell: Notify,
    /// Wakes whoever waits until it is over.
    over: Notify,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Frame>,
    /// Frames that were taken from there, as bytes, of which the first `written` have gone.
    bytes: Vec<u8>,
    written: usize,
    /// Nothing follows.
    is_ending: bool,
    socket: Socket,
}

#[derive(Default)]
enum Socket {
    /// The handshake is not done.
    #[default]
    NotYet,
    /// It is written to in that version of the protocol.
    Open(Arc<WriteHalf>, u16),
    /// Nobody reads what is said.
    Over,
}

/// How far it was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wrote {
    /// All that was said.
    All,
    /// There is more.
    Some,
    /// All, and nothing follows.
    End,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a frame written.
    pub(crate) fn say(&self, frame: Frame) {
        self.gather(frame);
        self.ring();
    }

    /// Takes a frame, which is written once somebody is told to, or says something else.
    pub(crate) fn gather(&self, frame: Frame) {
        let mut state = self.lock();
        if !matches!(state.socket, Socket::Over) {
            self.waiting.fetch_add(frame.held_bytes(), Ordering::Relaxed);
            state.frames.push_back(frame);
        }
    }

    /// Waits until not too much waits to be written, or nothing is written any more.
    pub(crate) async fn wait_for_room(&self) {
        while self.waiting.load(Ordering::Relaxed) > ROOM_BYTES {
            // From here on it is told.
            let room = self.room.notified();
            if self.waiting.load(Ordering::Relaxed) > ROOM_BYTES {
                room.await;
            }
        }
    }

    /// Has what was gathered written.
    pub(crate) fn ring(&self) {
        self.bell.notify_one();
    }

    /// Nothing follows: once all is written the connection ends.
    pub(crate) fn end(&self) {
        self.lock().is_ending = true;
        self.ring();
    }

    /// Waits until all is written behind which nothing follows, or the other side has ended the connection.
    pub(crate) async fn wait_until_over(&self) {
        loop {
            // From here on it is told.
            let over = self.over.notified();
            if matches!(self.lock().socket, Socket::Over) {
                return;
            }
            over.await;
        }
    }

    /// Writes some of what was said, as much as the socket takes and no more than makes a write full.
    fn write(&self) -> io::Result<Wrote> {
        let mut state = self.lock();
        let State { frames, bytes, written, is_ending, socket } = &mut *state;
        let Socket::Open(writer, version) = socket else {
            return Ok(Wrote::All); // it is written when the socket is open
        };
        if *written == bytes.len() {
            *written = 0;
            bytes.clear();
            bytes.shrink_to(4 * WRITE_BYTES_FULL);
            while bytes.len() < WRITE_BYTES_FULL
                && let Some(frame) = frames.pop_front()
            {
                let held = frame.held_bytes();
                let waited = self.waiting.fetch_sub(held, Ordering::Relaxed);
                if waited > ROOM_BYTES && waited - held <= ROOM_BYTES {
                    self.room.notify_waiters();
                }
                frame::encode(&request::to_version(*version, frame), bytes);
            }
            if frames.is_empty() {
                frames.shrink_to(FRAMES_KEPT);
            }
        }
        if !bytes.is_empty() {
            assert!(bytes.len() >= FRAME_HEADER_BYTES && *written < bytes.len(), "a frame has bytes");
            match writer.try_write(&bytes[*written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(more) => *written += more,
                Err(full) if full.kind() == io::ErrorKind::WouldBlock => return Ok(Wrote::Some),
                Err(error) => return Err(error),
            }
        }
        let is_all = *written == bytes.len() && frames.is_empty() && writer.try_flush()?;
        Ok(match (is_all, *is_ending) {
            (false, _) => Wrote::Some,
            (true, false) => Wrote::All,
            (true, true) => Wrote::End,
        })
    }
}

/// The side of a line that writes. Dropped, what was not written never is.
pub(crate) struct Writing(pub(crate) Arc<Line>);

impl Writing {
    /// Writes what is said, until nothing follows, or the other side takes nothing for that time.
    pub(crate) async fn serve(
        self,
        writer: WriteHalf,
        version: u16,
        stands_still: Option<Duration>,
    ) -> Result<(), ConnectionError> {
        let (line, writer) = (&self.0, Arc::new(writer));
        line.lock().socket = Socket::Open(Arc::clone(&writer), version);
        loop {
            match line.write()? {
                Wrote::All => line.bell.notified().await,
                Wrote::Some => match stands_still {
                    None => writer.writable().await?,
                    Some(limit) => {
                        let writable = timeout(limit, writer.writable()).await;
                        writable.map_err(|_| ConnectionError::StandsStill(limit))??;
                    }
                },
                // Dropped, the socket ends for the other side.
                Wrote::End => return Ok(()),
            }
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let before = {
            let mut state = self.0.lock();
            self.0.waiting.store(0, Ordering::Relaxed);
            std::mem::replace(&mut *state, State { socket: Socket::Over, ..State::default() })
        };
        self.0.room.notify_waiters();
        // What the frames share is let go outside of the lock.
        drop(before);
        self.0.over.notify_waiters();
    }
}

/// Connections for which something was gathered, and is to be written.
#[derive(Default)]
pub struct Gathered(Vec<Arc<Line>>);

impl Gathered {
    /// Takes what was gathered for that connection. What needs no socket goes at once.
    pub fn add(&mut self, handle: &ConnectionHandle) {
        match handle.line() {
            Some(line) => self.0.push(Arc::clone(line)),
            None => handle.flush(),
        }
    }

    /// Whether it is worth to be written by a task of its own; if not, it goes.
    pub fn is_for_many(&mut self) -> bool {
        if let [one] = &self.0[..] {
            one.ring();
            self.0.clear();
        }
        !self.0.is_empty()
    }

    /// Writes on each connection what its socket takes at once. It waits for nothing; what is left its own task writes.
    pub fn write(self) {
        for line in self.0 {
            // Of an error the task of the connection learns by itself.
            if !matches!(line.write(), Ok(Wrote::All)) {
                line.ring();
            }
        }
    }
}

#[cfg(test)]
mod tests;
