//! The two streams that a process writes to, without the buffers, locks and panics of the standard library.
//!
//! **Architecture Invariant:** an error of a stream is returned here and decided upon by the caller; nothing panics.

#![allow(unsafe_code, reason = "write and poll of a stream that is not owned exist only as system calls")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use ambrosia_core::PrintStream;

/// A place for bytes that may refuse them, or take some of them only.
pub(crate) trait Output: Send {
    /// Writes some of `bytes`, at least one; returns how many. An interruption is an error like any other.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Waits until a write would do something, or would say that the reader is gone; for `limit` at most. False if
    /// it would still wait.
    fn wait_until_writable(&mut self, limit: Duration) -> bool;
}

/// A stream of this process.
pub(crate) struct Stream(pub(crate) PrintStream);

impl Stream {
    fn descriptor(&self) -> i32 {
        // Both are open for as long as the process lives: the runtime opens those that were closed.
        match self.0 {
            PrintStream::Stdout => io::stdout().as_fd().as_raw_fd(),
            PrintStream::Stderr => io::stderr().as_fd().as_raw_fd(),
        }
    }
}

impl Output for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: the bytes live until the call returns, which reads no more of them than their length.
        match unsafe { libc::write(self.descriptor(), bytes.as_ptr().cast(), bytes.len()) } {
            written if written > 0 => Ok(written.cast_unsigned()),
            0 => Err(io::ErrorKind::WriteZero.into()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn wait_until_writable(&mut self, limit: Duration) -> bool {
        let mut asked = libc::pollfd { fd: self.descriptor(), events: libc::POLLOUT, revents: 0 };
        let millis = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one structure is given, and it lives until the call returns. An error means "try again".
        unsafe { libc::poll(&raw mut asked, 1, millis) != 0 }
    }
}
