//! Verbs that run in the background while the test does something else.

use std::{
    process::{Child, Stdio},
    time::Duration,
};

use ambrosia_tests::{Cluster, Lines, PATIENCE, Ran};

/// A verb that runs. Dropped, it is killed.
pub(crate) struct Pending {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

/// Starts a verb.
pub(crate) fn begin(cluster: &Cluster, arguments: &[&str]) -> Pending {
    let mut command = cluster.command(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program can be started");
    let stdout = Lines::of(child.stdout.take().expect("piped above"), |_| {});
    let stderr = Lines::of(child.stderr.take().expect("piped above"), |_| {});
    Pending { child, stdout, stderr }
}

impl Pending {
    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the process is ours").is_some()
    }

    /// Waits until it has said that.
    pub(crate) fn wait_until_said(&self, words: &str) {
        let said = self.stderr.wait_for(0, PATIENCE, |line| line.contains(words));
        assert!(said.is_some(), "it has not said {words:?}, but:\n{}", self.stderr.all().join("\n"));
    }

    /// Whether it ends within `time`.
    pub(crate) fn ends_within(&mut self, time: Duration) -> bool {
        self.stdout.wait_for_end(time) && self.stderr.wait_for_end(time)
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ran {
        assert!(self.ends_within(PATIENCE), "it has not ended; it said:\n{}", self.stderr.all().join("\n"));
        let code = self.child.wait().expect("the process is ours").code().unwrap_or(-1);
        Ran { code, stdout: self.stdout.all().join("\n"), stderr: self.stderr.all().join("\n") }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
