//! Kills the process of a replica, and no other one.
//!
//! **Architecture Invariant:** the number of a process is believed only together with a handle that was opened before the
//! replica was seen to run: a number may be given to another process, a handle never is.

use std::os::fd::AsFd;

use ambrosia_core::ReplicaIndex;

use crate::{IoError, Member, Members, ProcessPlace, Role, file::pidfd};

/// The process of a replica was not killed.
#[derive(Debug, thiserror::Error)]
pub enum KillError {
    /// There is no process.
    #[error("replica {0} does not run, so there is nothing to be killed")]
    NotRunning(ReplicaIndex),
    /// Its number means another process here.
    #[error("replica {replica} runs as process {pid}{place}, and can be killed there only")]
    Elsewhere {
        /// Its number.
        replica: ReplicaIndex,
        /// Its process there.
        pid: u32,
        /// Where that runs.
        place: ProcessPlace,
    },
    /// This process would kill itself.
    #[error("replica {0} runs in this process")]
    Myself(ReplicaIndex),
    /// The operating system refused.
    #[error(
        "process {pid} of replica {replica} can't be killed: {error}. It was started by another user, or the kernel forbids it"
    )]
    Refused {
        /// The replica.
        replica: ReplicaIndex,
        /// Its process.
        pid: u32,
        /// What the system says.
        error: std::io::Error,
    },
    /// It can't be seen who runs.
    #[error(transparent)]
    Io(#[from] IoError),
}

/// Ends the process of a replica as `kill -9` does; returns what the replica was doing. All replicas in that process are gone
/// with it.
///
/// # Errors
/// If it does not run on this machine, or the system refuses.
pub fn kill_member(members: &dyn Members, replica: ReplicaIndex) -> Result<Member, KillError> {
    let running = || -> Result<Member, KillError> {
        let members = members.running()?;
        let found = members.into_iter().find(|member| member.replica == replica && member.role != Role::Down);
        found.ok_or(KillError::NotRunning(replica))
    };
    let first = running()?;
    let pid = first.pid;
    if !first.place.is_here() {
        return Err(KillError::Elsewhere { replica, pid, place: first.place });
    }
    if pid == std::process::id() {
        return Err(KillError::Myself(replica));
    }
    let refused = |error: std::io::Error| match error.raw_os_error() {
        Some(libc::ESRCH) => KillError::NotRunning(replica),
        _ => KillError::Refused { replica, pid, error },
    };
    let handle = pidfd::open(pid).map_err(refused)?;
    // It runs after the handle was opened, and has the same number: so the handle is its own.
    let member = running()?;
    if member.pid != pid {
        return Err(KillError::NotRunning(replica));
    }
    pidfd::kill(handle.as_fd()).map_err(refused)?;
    Ok(member)
}
