//! Handles of processes, and one wait for the ends of all of them.
//!
//! **Architecture Invariant:** a handle stays that of its process: the number of a process that has ended may be given to
//! another one, its handle never is.
#![allow(unsafe_code, reason = "pidfd_open and epoll exist only as system calls")]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// Ends that one wait returns at most.
const ENDS_MAX: usize = 64;

/// A handle of the process that has this number now.
///
/// # Errors
/// `ESRCH` if none has, and others if the kernel has no such handles, or no more of them.
pub(crate) fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
    // SAFETY: two numbers are given. The handle closes at `exec`, as the kernel has it.
    let handle = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if handle < 0 { Err(io::Error::last_os_error()) } else { Ok(owned(handle as i32)) }
}

/// Ends the process of a handle at once, as `kill -9` does.
///
/// # Errors
/// `ESRCH` if it has ended, `EPERM` if it is somebody else's.
pub(crate) fn kill(handle: BorrowedFd<'_>) -> io::Result<()> {
    let (no_details, no_flags) = (std::ptr::null::<libc::siginfo_t>(), 0);
    // SAFETY: the handle is open during the call, and the kernel makes the details of the signal up where there are none.
    let sent =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, handle.as_raw_fd(), libc::SIGKILL, no_details, no_flags) };
    if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Waits for many handles at once. Some may be added while somebody waits.
pub(crate) struct Ends(OwnedFd);

impl Ends {
    pub(crate) fn new() -> io::Result<Ends> {
        // SAFETY: a flag is given.
        let made = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if made < 0 { Err(io::Error::last_os_error()) } else { Ok(Ends(owned(made))) }
    }

    /// Waits for the end of that process too, or for that of what is written to a pipe, until the handle is closed.
    pub(crate) fn add(&self, handle: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: key };
        let (set, handle) = (self.0.as_raw_fd(), handle.as_raw_fd());
        // SAFETY: both are open during the call, which reads the event and keeps nothing of it.
        match unsafe { libc::epoll_ctl(set, libc::EPOLL_CTL_ADD, handle, &raw mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Waits for the next ends; returns their keys, or none after a signal. An end is returned again until its handle is closed.
    pub(crate) fn wait(&self) -> io::Result<Vec<u64>> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; ENDS_MAX];
        // SAFETY: there is room for as many events as are said.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), ENDS_MAX as i32, -1) };
        match usize::try_from(count) {
            Ok(count) => Ok(events[..count].iter().map(|event| event.u64).collect()),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(Vec::new()),
                error => Err(error),
            },
        }
    }
}

fn owned(handle: i32) -> OwnedFd {
    // SAFETY: the kernel has just made it, and nobody else knows of it.
    unsafe { OwnedFd::from_raw_fd(handle) }
}
