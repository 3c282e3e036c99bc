//! A disk whose syncs take long, as some processes see it.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};

use super::super::{namespace::bind_to_this_thread, tool::need_tool};
use crate::{PATIENCE, Signal, signals::signal};

/// What a sync takes.
const SYNC_TAKES: Duration = Duration::from_millis(300);

/// Between two looks at what nothing announces.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// A tracer that holds up each sync of some processes, and of all that they begin. Dropped, it lets go of them.
pub(crate) struct SlowDisk(Child);

impl SlowDisk {
    /// Why there can be none here, if so.
    pub(crate) fn impossible() -> Option<String> {
        need_tool("strace", "-V").err()
    }

    /// Returns when the syncs of all these processes take long.
    pub(crate) fn begin(processes: &[u32]) -> anyhow::Result<SlowDisk> {
        let inject = format!("inject=fdatasync,fsync:delay_enter={}", SYNC_TAKES.as_micros());
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync", "-e", &inject]);
        command.args(processes.iter().flat_map(|process| ["-p".to_owned(), process.to_string()]));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut tracer = SlowDisk(bind_to_this_thread(&mut command).spawn().context("run strace")?);
        let deadline = Instant::now() + PATIENCE;
        while processes.iter().any(|process| is_untraced(*process)) {
            let ended = tracer.0.try_wait()?;
            ensure!(ended.is_none(), "strace ended with {ended:?}");
            ensure!(Instant::now() < deadline, "strace never traced all of {processes:?}");
            std::thread::park_timeout(LOOK_INTERVAL);
        }
        Ok(tracer)
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        // Asked to end it lets go in order. It may have ended with those that it traced.
        if matches!(self.0.try_wait(), Ok(None)) {
            let _sent = signal(self.0.id(), Signal::Terminate);
        }
        let _ended = self.0.wait();
    }
}

/// Whether a process is there that nobody traces.
fn is_untraced(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|by| by.trim() == "0"))
}
