//! Pipes as a test needs them.

#![allow(unsafe_code, reason = "the size and the mode of a pipe are set by a system call")]

use std::{io, os::fd::AsRawFd};

/// Makes a pipe as small as the kernel allows; returns how many bytes it holds.
pub fn shrink_pipe(pipe: &impl AsRawFd) -> io::Result<usize> {
    // SAFETY: fcntl has no memory effects in this process with this command.
    let capacity = unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, 1) };
    usize::try_from(capacity).map_err(|_| io::Error::last_os_error())
}

/// Has writes to a full pipe fail in place of waiting.
pub fn make_nonblocking(pipe: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: fcntl has no memory effects in this process with this command.
    match unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
