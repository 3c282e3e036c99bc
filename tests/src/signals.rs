//! Signals to processes that a test has started itself.

#![allow(unsafe_code, reason = "sending a signal is a system call")]

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// SIGKILL: dies at once.
    Kill,
    /// SIGSTOP: stands still, keeps its locks and sockets.
    Stop,
    /// SIGCONT: goes on.
    Continue,
    /// SIGTERM: ends in order.
    Terminate,
    /// SIGINT: as Ctrl-C does.
    Interrupt,
}

/// Sends a signal to one process.
pub fn signal(pid: u32, signal: Signal) -> std::io::Result<()> {
    let number = match signal {
        Signal::Kill => libc::SIGKILL,
        Signal::Stop => libc::SIGSTOP,
        Signal::Continue => libc::SIGCONT,
        Signal::Terminate => libc::SIGTERM,
        Signal::Interrupt => libc::SIGINT,
    };
    let pid = i32::try_from(pid).map_err(std::io::Error::other)?;
    assert!(pid > 1, "one process is meant, not a group and not init");
    // SAFETY: kill has no memory effects in this process.
    match unsafe { libc::kill(pid, number) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Waits until a child that was sent [`Signal::Stop`] stands still: until one of its threads takes the signal, all
/// others run on.
pub(crate) fn wait_until_stopped(pid: u32) -> std::io::Result<()> {
    // SAFETY: all-zero bytes are a siginfo_t, which waitid fills.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let events = libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT;
    // SAFETY: `info` lives until waitid returns. WNOWAIT leaves the child to be waited for by its owner.
    match unsafe { libc::waitid(libc::P_PID, pid, &raw mut info, events) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
