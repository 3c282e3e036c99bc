//! Locks on byte ranges of a file, held by an open file and gone with it, however its process ends.
//!
//! **Architecture Invariant:** a lock says who should act, and never that an act is safe: that is for the fence.
#![allow(unsafe_code, reason = "open-file-description locks exist only as fcntl")]

use std::{
    fs::{File, OpenOptions},
    io,
    ops::Range,
    os::fd::AsRawFd,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// Between two tries of a wait that has a limit.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// The lock of a range of bytes, until dropped.
#[derive(Debug)]
pub(crate) struct ByteLock {
    _file: File,
}

impl ByteLock {
    /// Takes the lock if nobody holds any byte of the range.
    pub(crate) fn try_take(path: &Path, range: Range<u64>) -> io::Result<Option<ByteLock>> {
        let file = open(path)?;
        match fcntl(&file, libc::F_OFD_SETLK, &mut exclusive(range)) {
            Ok(()) => Ok(Some(ByteLock { _file: file })),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until nobody holds any byte of the range, and takes it.
    pub(crate) fn take(path: &Path, range: Range<u64>) -> io::Result<ByteLock> {
        let file = open(path)?;
        loop {
            match fcntl(&file, libc::F_OFD_SETLKW, &mut exclusive(range.clone())) {
                Ok(()) => return Ok(ByteLock { _file: file }),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes the lock as soon as nobody holds any byte of the range. `None` if that takes longer than `limit`.
    pub(crate) fn take_within(path: &Path, range: Range<u64>, limit: Duration) -> io::Result<Option<ByteLock>> {
        // The kernel has no wait with a limit but one that a signal ends, and signals belong to the whole process.
        let begin = Instant::now();
        loop {
            if let Some(lock) = ByteLock::try_take(path, range.clone())? {
                return Ok(Some(lock));
            }
            if begin.elapsed() >= limit {
                return Ok(None);
            }
            thread::park_timeout(LOOK_INTERVAL);
        }
    }
}

/// Whether anybody, this process too, holds a byte of the range; returns the first such byte.
pub(crate) fn held_byte(path: &Path, range: Range<u64>) -> io::Result<Option<u64>> {
    // To ask for a lock takes no right to write.
    let file = File::open(path)?;
    let mut lock = exclusive(range);
    fcntl(&file, libc::F_OFD_GETLK, &mut lock)?;
    Ok((i32::from(lock.l_type) != libc::F_UNLCK).then_some(lock.l_start as u64))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

fn exclusive(range: Range<u64>) -> libc::flock {
    assert!(range.start < range.end && range.end <= i64::MAX as u64, "ranges are constants of the layout");
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: range.start as libc::off_t,
        l_len: (range.end - range.start) as libc::off_t,
        l_pid: 0,
    }
}

fn fcntl(file: &File, command: libc::c_int, lock: &mut libc::flock) -> io::Result<()> {
    // SAFETY: the descriptor is open and `lock` is valid for reading and writing during the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(lock)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_held_until_dropped() {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        let path = file.path();
        let seven = ByteLock::try_take(path, 7..8).expect("works").expect("free");
        assert!(ByteLock::try_take(path, 7..8).expect("works").is_none());
        assert!(ByteLock::try_take(path, 0..100).expect("works").is_none());
        assert!(ByteLock::try_take(path, 8..9).expect("works").is_some());
        assert_eq!(held_byte(path, 0..100).expect("works"), Some(7));
        drop(seven);
        assert_eq!(held_byte(path, 0..100).expect("works"), None);
        let taken = ByteLock::take(path, 7..8).expect("free again");
        assert!(ByteLock::take_within(path, 0..9, Duration::ZERO).expect("works").is_none());
        drop(taken);
        assert!(ByteLock::take_within(path, 0..9, Duration::ZERO).expect("works").is_some());
    }
}
