//! A small file mapped by all processes, used as atomic words, and waiting for a word to change.
//!
//! **Architecture Invariant:** the mapping is only ever touched through atomics, so that no process can see half of
//! what another one stores.
#![allow(unsafe_code, reason = "a mapping shared between processes and the futex call exist only in unsafe form")]

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    sync::atomic::{AtomicU32, AtomicU64},
    time::Duration,
};

use memmap2::{MmapMut, MmapOptions, MmapRaw};

use super::ownership::create_or_open_file;
use crate::io_error::is_refusal_to_write;

use super::system::machine_uptime;

/// A shared mapping of a whole file.
///
/// One that is not writable must not be stored to: the kernel would kill the process.
pub(crate) struct SharedPage {
    map: MmapRaw,
    is_writable: bool,
    /// Device and number of the file; `None` of memory without one.
    file: Option<(u64, u64)>,
}

impl SharedPage {
    /// Maps the file at `path`, made or extended with zeros to `bytes`. Two processes must not be at it at once.
    pub(crate) fn create_or_open(path: &Path, bytes: usize) -> io::Result<SharedPage> {
        let file = create_or_open_file(path)?;
        extend(&file, bytes)?;
        let map = MmapOptions::new().len(bytes).map_raw(&file)?;
        Ok(SharedPage { map, is_writable: true, file: Some(identity(&file.metadata()?)) })
    }

    /// Maps `bytes` of the file at `path`, for reading only if this process may not write it. `None` if there is no
    /// such file, or it is shorter: then somebody is making it.
    pub(crate) fn open(path: &Path, bytes: usize) -> io::Result<Option<SharedPage>> {
        let (file, is_writable) = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => (file, true),
            Err(error) if is_refusal_to_write(&error) => (File::open(path)?, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if metadata.len() < bytes as u64 {
            return Ok(None);
        }
        let mut options = MmapOptions::new();
        options.len(bytes);
        let map = if is_writable { options.map_raw(&file)? } else { options.map_raw_read_only(&file)? };
        Ok(Some(SharedPage { map, is_writable, file: Some(identity(&metadata)) }))
    }

    /// Zeros that no other process sees.
    pub(crate) fn private(bytes: usize) -> io::Result<SharedPage> {
        Ok(SharedPage { map: MmapMut::map_anon(bytes)?.into(), is_writable: false, file: None })
    }

    /// Whether it may be stored to, which others then see.
    pub(crate) fn is_writable(&self) -> bool {
        self.is_writable
    }

    /// Whether the file at `path` is the one that was mapped.
    pub(crate) fn is_at(&self, path: &Path) -> io::Result<bool> {
        match std::fs::metadata(path) {
            Ok(metadata) => Ok(self.file == Some(identity(&metadata))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The 64-bit word at byte `offset`.
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.map.len(), "offsets are constants of the layout");
        // SAFETY: inside the mapping, which lives as long as `self`, and aligned; all zeros is a valid value, and
        // every access everywhere is atomic.
        unsafe { &*self.map.as_mut_ptr().add(offset).cast::<AtomicU64>() }
    }

    /// The 32-bit word at byte `offset`, fit for [`futex_wait`].
    pub(crate) fn futex(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.map.len(), "offsets are constants of the layout");
        // SAFETY: as in `word`; no offset is used with both widths.
        unsafe { &*self.map.as_mut_ptr().add(offset).cast::<AtomicU32>() }
    }
}

/// Device and number of a file: no two files that are there at once have the same.
fn identity(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Writes real zeros: a hole would be filled at the first store into the mapping, and a full disk would then kill.
fn extend(file: &File, bytes: usize) -> io::Result<()> {
    let length = file.metadata()?.len() as usize;
    if length < bytes {
        file.write_all_at(&vec![0; bytes - length], length as u64)?;
        file.sync_all()?;
    }
    Ok(())
}

/// Blocks while `word` holds `seen`, until woken or `timeout` ran out. May return early.
pub(crate) fn futex_wait(word: &AtomicU32, seen: u32, timeout: Duration) {
    let seconds = timeout.as_secs().min(1 << 30) as libc::time_t;
    let timeout = libc::timespec { tv_sec: seconds, tv_nsec: timeout.subsec_nanos().into() };
    // SAFETY: both pointers are valid for the call. Every result, errors too, means "look again".
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, seen, &raw const timeout);
    }
}

/// Words that the kernel waits for at once.
pub(crate) const FUTEXES_MAX: usize = 128;

/// Blocks until one of `words`, at most [`FUTEXES_MAX`], does not hold what is beside it, until woken, or `timeout` ran
/// out. May return early.
///
/// # Errors
/// If the kernel can't do it: it is older than Linux 5.16, or a container forbids the call.
pub(crate) fn futex_wait_any(words: &[(&AtomicU32, u32)], timeout: Duration) -> io::Result<()> {
    /// `struct futex_waitv` of linux/futex.h.
    #[repr(C)]
    struct Waiter {
        value: u64,
        address: u64,
        flags: u32,
        reserved: u32,
    }
    const FUTEX2_SIZE_U32: u32 = 2;
    let waiter = |(word, seen): &(&AtomicU32, u32)| Waiter {
        value: u64::from(*seen),
        address: word.as_ptr() as u64,
        flags: FUTEX2_SIZE_U32,
        reserved: 0,
    };
    let waiters: Vec<_> = words.iter().map(waiter).collect();
    let until = machine_uptime() + timeout.min(Duration::from_secs(1 << 30));
    let until = libc::timespec { tv_sec: until.as_secs() as libc::time_t, tv_nsec: until.subsec_nanos().into() };
    // SAFETY: the waiters and the time live until the call returns, and so do the words, which are borrowed.
    let woken = unsafe {
        libc::syscall(
            libc::SYS_futex_waitv,
            waiters.as_ptr(),
            waiters.len() as libc::c_uint,
            0 as libc::c_uint,
            &raw const until,
            libc::CLOCK_MONOTONIC,
        )
    };
    if woken >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ETIMEDOUT | libc::EINTR) => Ok(()),
        _ => Err(error),
    }
}

/// Wakes all that wait for `word`, in every process.
pub(crate) fn futex_wake_all(word: &AtomicU32) {
    // SAFETY: the pointer is valid for the call.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn two_mappings_of_a_file_are_the_same_memory() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("page");
        let here = SharedPage::create_or_open(&path, 4096).expect("maps");
        let there = SharedPage::create_or_open(&path, 4096).expect("maps");
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                while there.futex(8).load(Ordering::Acquire) == 0 {
                    futex_wait(there.futex(8), 0, Duration::from_secs(5));
                }
                there.word(64).load(Ordering::Relaxed)
            });
            here.word(64).store(77, Ordering::Relaxed);
            here.futex(8).store(1, Ordering::Release);
            futex_wake_all(here.futex(8));
            assert_eq!(waiter.join().expect("no panic"), 77);
        });
    }
}
