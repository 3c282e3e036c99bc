//! Waits for a lock of a tool, with a limit, and tells who holds it.
//!
//! **Architecture Invariant:** nobody waits for ever for a process that may have been stopped.

use std::{fmt, io, ops::Range, os::unix::fs::MetadataExt, path::Path, time::Duration};

use super::machine::{Lock, Machine};
use crate::{IoError, io_error::IoContext};

/// Longest wait for a lock: what is done under one takes a few syncs of the disk.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Takes the lock of a range of bytes of the file at `path`. `action` says which, and fits before the path.
pub(crate) fn lock_in_time(
    machine: &dyn Machine,
    path: &Path,
    range: Range<u64>,
    action: &'static str,
) -> Result<Lock, IoError> {
    let taken = machine.lock_within(path, range.clone(), WAIT_MAX).context(action, path)?;
    taken.ok_or_else(|| {
        let text = match holder(path, &range) {
            Some(holder) => holder.to_string(),
            None => "another process, of another user or container, has held it for 10 s: find it, and let it go on \
                     or end it"
                .to_owned(),
        };
        IoError::at(path, action, io::Error::new(io::ErrorKind::TimedOut, text))
    })
}

/// A process that holds a lock.
struct Holder {
    pid: u32,
    /// As the kernel knows it.
    command: String,
    is_stopped: bool,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Holder { pid, command, is_stopped } = self;
        if *is_stopped {
            write!(
                f,
                "process {pid} ({command}), which is stopped, has held it for 10 s: let it go on (kill -CONT {pid}) \
                 or end it (kill -KILL {pid})"
            )
        } else {
            write!(f, "process {pid} ({command}) has held it for 10 s: wait for its end, or end it")
        }
    }
}

/// Who holds a byte of the range locked, as far as this process may know. The kernel names no process for such a lock,
/// but shows the locks of each descriptor.
fn holder(path: &Path, range: &Range<u64>) -> Option<Holder> {
    let inode = std::fs::metadata(path).ok()?.ino();
    let processes = std::fs::read_dir("/proc").ok()?;
    let mut pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let pid = pids.find(|pid| {
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
        descriptors
            .filter_map(|descriptor| std::fs::read_to_string(descriptor.path()).ok())
            .any(|info| info.lines().any(|line| is_lock_of(line, inode, range)))
    })?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(") ")?;
    let command = head.split_once('(')?.1.to_owned();
    Some(Holder { pid, command, is_stopped: tail.starts_with(['T', 't']) })
}

/// Whether a line of `/proc/{pid}/fdinfo/{descriptor}` tells of a lock of such bytes of that file:
/// `lock:\t1: OFDLCK  ADVISORY  WRITE -1 fe:00:1234 0 EOF`.
fn is_lock_of(line: &str, inode: u64, range: &Range<u64>) -> bool {
    let Some(rest) = line.strip_prefix("lock:") else { return false };
    let words: Vec<_> = rest.split_ascii_whitespace().collect();
    let [.., file, first, last] = words[..] else { return false };
    let is_file = file.rsplit(':').next().and_then(|number| number.parse().ok()) == Some(inode);
    let first = first.parse().unwrap_or(u64::MAX);
    let last = last.parse().unwrap_or(u64::MAX);
    is_file && words.contains(&"OFDLCK") && first < range.end && last >= range.start
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::byte_lock::ByteLock;

    #[test]
    fn the_holder_of_a_lock_is_found() {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        let (path, bytes) = (file.path(), 1 << 61..(1 << 61) + 2);
        assert!(holder(path, &bytes).is_none());
        let _lock = ByteLock::take(path, bytes.clone()).expect("nobody holds it");
        let found = holder(path, &bytes).expect("this process holds it");
        assert_eq!((found.pid, found.is_stopped), (std::process::id(), false));
        assert!(holder(path, &(0..1 << 61)).is_none(), "of other bytes");
    }

    #[test]
    fn lines_of_the_kernel_are_understood() {
        let line = "lock:\t1: OFDLCK  ADVISORY  WRITE -1 fe:00:1234 5 9";
        assert!(is_lock_of(line, 1234, &(9..10)));
        assert!(
            !is_lock_of(line, 1234, &(10..11)) && !is_lock_of(line, 1234, &(0..5)) && !is_lock_of(line, 234, &(9..10))
        );
        assert!(is_lock_of("lock:\t2: OFDLCK ADVISORY READ -1 00:2f:7 0 EOF", 7, &(1 << 60..1 << 61)));
        assert!(!is_lock_of("lock:\t1: POSIX  ADVISORY  WRITE 12 fe:00:1234 5 9", 1234, &(9..10)));
        assert!(!is_lock_of("pos:\t0", 0, &(0..1)) && !is_lock_of("lock:", 0, &(0..1)));
    }
}
