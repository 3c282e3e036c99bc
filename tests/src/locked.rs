//! Locks on bytes of files, as the program takes them, held by a test.

#![allow(unsafe_code, reason = "open-file-description locks exist only as fcntl")]

use std::{fs::File, io, ops::Range, os::fd::AsRawFd, path::Path};

/// Bytes of a file that this process holds locked, until dropped.
#[derive(Debug)]
pub struct LockedBytes {
    _file: File,
}

impl LockedBytes {
    /// Locks them; an error if another process holds one.
    pub fn take(path: &Path, range: Range<u64>) -> io::Result<LockedBytes> {
        let file = File::options().read(true).write(true).open(path)?;
        let lock = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: i64::try_from(range.start).map_err(io::Error::other)?,
            l_len: i64::try_from(range.end - range.start).map_err(io::Error::other)?,
            l_pid: 0,
        };
        // SAFETY: the descriptor is open, and `lock` is valid for the call.
        match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } {
            0 => Ok(LockedBytes { _file: file }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
