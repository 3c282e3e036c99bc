//! Sees at the start that the process may have what it needs, so that running out of it is an error with a name.
//!
//! Libraries panic where a thread or a descriptor is not to be had. What is asked for here is given back at once.

#![allow(unsafe_code, reason = "limits of a process are raised by setrlimit alone")]

use std::{fs::File, io, sync::mpsc::channel, thread};

use crate::run::RunError;

/// Threads of a primary with a standby's memories: driver, heartbeat, network, log, printer and so on; and those of further
/// members, who share theirs.
const THREADS: usize = 16;
const THREADS_MORE_MAX: usize = 64;

/// Open files of a primary without peers, beyond those open at the start; and those of each further member.
const DESCRIPTORS: usize = 24;
const DESCRIPTORS_MORE: usize = 8;

/// Asks for all that so many replicas need.
pub(crate) fn check(replicas: usize) -> Result<(), RunError> {
    let more = replicas.saturating_sub(1);
    if more > 0 {
        raise_descriptors(DESCRIPTORS + DESCRIPTORS_MORE * more);
    }
    check_descriptors(DESCRIPTORS + DESCRIPTORS_MORE * more).map_err(RunError::Descriptors)?;
    check_threads(thread::Builder::new, THREADS + more.min(THREADS_MORE_MAX)).map_err(RunError::Thread)
}

/// Asks for what so many more replicas need, beside those that run.
pub(crate) fn check_more(replicas: usize) -> Result<(), RunError> {
    let count = DESCRIPTORS + DESCRIPTORS_MORE * replicas;
    if check_descriptors(count).is_err() {
        raise_descriptors(count);
    }
    check_descriptors(count).map_err(RunError::Descriptors)
}

/// Has the process hold as many connections as the system lets it: a client of HTTP has one each, and may have many.
pub(crate) fn raise_for_connections() {
    raise_descriptors(usize::try_from(i32::MAX).expect("it fits a usize"));
}

/// Has the process open so many more files, if the system lets it: what it may have by default is meant for less.
fn raise_descriptors(count: usize) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls are given a whole value that lives until they return.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            let wanted = limit.rlim_cur.saturating_add(count as libc::rlim_t);
            limit.rlim_cur = wanted.min(limit.rlim_max);
            // If it is refused, the check that follows says so.
            let _refused = libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

fn check_descriptors(count: usize) -> io::Result<()> {
    let files: io::Result<Vec<File>> = (0..count).map(|_| File::open("/dev/null")).collect();
    files.map(drop)
}

/// Has that many threads at once.
fn check_threads(builder: impl Fn() -> thread::Builder, count: usize) -> io::Result<()> {
    thread::scope(|scope| {
        let mut holds = Vec::new();
        for _ in 0..count {
            let (hold, held) = channel::<()>();
            // It ends when the other end of its channel is dropped.
            let wait = move || assert!(held.recv().is_err(), "nothing is ever sent");
            builder().spawn_scoped(scope, wait)?;
            holds.push(hold);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_enough() {
        check(1).expect("the tests run on it");
    }

    #[test]
    fn what_is_not_to_be_had_is_an_error() {
        let greedy = || thread::Builder::new().stack_size(1 << 50);
        assert!(check_threads(greedy, 1).is_err());
        let error = check_descriptors(1 << 21).expect_err("no process may have so many");
        let text = RunError::Descriptors(error).to_string();
        assert!(text.contains("ulimit -n"), "{text}");
    }
}
