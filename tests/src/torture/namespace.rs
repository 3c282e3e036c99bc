//! Namespaces of the network and of mounts, and children that don't outlive their starter.
//!
//! A network namespace here has no name: the kernel removes it, with all links in it, when its last file and process
//! are gone. A mount in a namespace of its own vanishes in the same way. So whatever way this program ends, nothing of
//! them is left behind.

#![allow(unsafe_code, reason = "namespaces and the signal at a parent's death are system calls")]

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::PathBuf,
    process::Command,
};

use anyhow::Context;

use super::tool::run_tool;

/// A network of its own. All threads and processes that enter it see its links and loopback addresses only.
pub(crate) struct NetworkNamespace(File);

/// Where the calling thread finds its own network namespace.
const OWN_NETWORK: &str = "/proc/thread-self/ns/net";

impl NetworkNamespace {
    /// A new one, with its loopback device up.
    pub(crate) fn new() -> anyhow::Result<NetworkNamespace> {
        let made = std::thread::spawn(|| {
            // SAFETY: it changes what this thread, which ends at once, sees of the network.
            check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
            File::open(OWN_NETWORK)
        });
        let namespace = made.join().expect("two system calls do not panic").context("make a network namespace")?;
        let namespace = NetworkNamespace(namespace);
        namespace.within(|| run_tool("ip", &["link", "set", "lo", "up"]))??;
        Ok(namespace)
    }

    /// Does something in it. Sockets made and processes started there stay in it.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> anyhow::Result<T> {
        let own = File::open(OWN_NETWORK).context("open the own network namespace")?;
        self.enter()?;
        let done = work();
        set_network(&own).context("go back to the own network namespace")?;
        Ok(done)
    }

    /// The calling thread, and all that it starts, is in it from here on.
    pub(crate) fn enter(&self) -> anyhow::Result<()> {
        set_network(&self.0).context("enter a network namespace")
    }

    /// A path by which other programs know it, as long as this process has it.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()))
    }
}

fn set_network(namespace: &File) -> io::Result<()> {
    // SAFETY: it changes what this thread sees of the network, and touches no memory.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// From here on what the calling thread and all that it starts mount is seen by them alone.
pub(crate) fn leave_mounts_of_others() -> io::Result<()> {
    // SAFETY: it changes what this thread sees of the file systems, and touches no memory.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    // SAFETY: the paths are constants that end with zero; the file system type and data are not read for this change.
    check(unsafe {
        libc::mount(
            c"none".as_ptr(),
            c"/".as_ptr(),
            std::ptr::null(),
            libc::MS_REC | libc::MS_PRIVATE,
            std::ptr::null(),
        )
    })
}

/// Lets a child be killed when the thread that starts it ends, in whatever way, and keeps Ctrl-C from it.
pub(crate) fn bind_to_this_thread(command: &mut Command) -> &mut Command {
    // SAFETY: prctl with these arguments is one system call, which is allowed between fork and exec.
    unsafe { command.process_group(0).pre_exec(|| check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))) }
}

/// Whether this process may do what only root may.
pub(crate) fn is_root() -> bool {
    // SAFETY: it has no effects.
    unsafe { libc::geteuid() == 0 }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
