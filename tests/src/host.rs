//! One `ambrosia-host run` in a process of its own.

use std::{
    io::Write,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use crate::{Lines, PATIENCE, Signal, signal, signals::wait_until_stopped};

/// A running host. Dropped, it is killed.
pub struct Host {
    child: Child,
    stdin: Option<ChildStdin>,
    /// What the guest prints.
    pub stdout: Lines,
    /// What the host says.
    pub stderr: Lines,
}

impl Host {
    /// Starts `command` with its three streams piped; `echo` gets each line that the guest prints.
    pub fn start(command: Command, echo: impl Fn(&str) + Send + 'static) -> std::io::Result<Host> {
        Host::start_heard(command, echo, |_| {})
    }

    /// The same; `hear` gets each line that the host says.
    pub(crate) fn start_heard(
        mut command: Command,
        echo: impl Fn(&str) + Send + 'static,
        hear: impl Fn(&str) + Send + 'static,
    ) -> std::io::Result<Host> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let stdout = Lines::of(child.stdout.take().expect("piped above"), echo);
        let stderr = Lines::of(child.stderr.take().expect("piped above"), hear);
        Ok(Host { stdin: child.stdin.take(), child, stdout, stderr })
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Types a line.
    pub fn type_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open until it is closed");
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).expect("the host reads its stdin");
    }

    /// Types anything.
    pub fn type_bytes(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("stdin is open until it is closed");
        stdin.write_all(bytes).and_then(|()| stdin.flush()).expect("the host reads its stdin");
    }

    /// Ends stdin.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal. After [`Signal::Stop`] it stands still.
    pub fn signal(&self, what: Signal) {
        signal(self.pid(), what).expect("the process is ours and was not waited for");
        if what == Signal::Stop {
            wait_until_stopped(self.pid()).expect("the process is our child");
        }
    }

    /// How it ended, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the process is ours")
    }

    /// SIGKILL, and waits until it is gone and all that it had printed is read.
    pub fn kill(&mut self) {
        self.child.kill().expect("the process is ours");
        self.child.wait().expect("the process is ours");
        self.wait_for_end(PATIENCE);
    }

    /// The exit code, once it has ended by itself; -1 if a signal ended it.
    ///
    /// # Panics
    /// If that takes longer than [`PATIENCE`].
    pub fn exit_code(&mut self) -> i32 {
        self.wait().code().unwrap_or(-1)
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// If that takes longer than [`PATIENCE`].
    pub fn wait(&mut self) -> ExitStatus {
        // Its output ends when it does, which can be waited for.
        self.wait_for_end(PATIENCE);
        self.child.wait().expect("the process is ours")
    }

    fn wait_for_end(&self, patience: Duration) {
        let ended = self.stderr.wait_for_end(patience) && self.stdout.wait_for_end(patience);
        assert!(ended, "the host has not ended within {patience:?}; it said:\n{}", self.said());
    }

    /// Waits until it says that it is primary; returns when it did.
    ///
    /// # Panics
    /// If that takes longer than [`PATIENCE`].
    pub fn wait_until_primary(&self) -> Instant {
        self.wait_for_word("became primary")
    }

    /// Waits until it follows the log.
    ///
    /// # Panics
    /// If that takes longer than [`PATIENCE`].
    pub fn wait_until_caught_up(&self) -> Instant {
        self.wait_for_word("caught up with the log")
    }

    /// Waits for a line on its stderr that holds `word`; returns when it came.
    ///
    /// # Panics
    /// If that takes longer than [`PATIENCE`].
    pub fn wait_for_word(&self, word: &str) -> Instant {
        match self.stderr.wait_for(0, PATIENCE, |line| line.contains(word)) {
            Some((_, at)) => at,
            None => panic!("the host has not said {word:?}; it said:\n{}", self.said()),
        }
    }

    /// Waits for a line on its stdout that holds `word`.
    ///
    /// # Panics
    /// If that takes longer than [`PATIENCE`].
    pub fn wait_for_print(&self, word: &str) -> Instant {
        match self.stdout.wait_for(0, PATIENCE, |line| line.contains(word)) {
            Some((_, at)) => at,
            None => panic!("the guest has not printed {word:?}; it printed:\n{}", self.stdout.all().join("\n")),
        }
    }

    /// What the guest printed so far.
    pub fn printed(&self) -> Vec<String> {
        self.stdout.all()
    }

    /// Waits until the guest has printed `count` lines; returns all that it printed.
    ///
    /// # Panics
    /// If that takes longer than [`PATIENCE`].
    pub fn wait_for_lines(&self, count: usize) -> Vec<String> {
        let enough = count == 0 || self.stdout.wait_for(count - 1, PATIENCE, |_| true).is_some();
        assert!(enough, "the guest has not printed {count} lines but {:#?}", self.printed());
        self.printed()
    }

    /// All that it said on stderr.
    pub fn said(&self) -> String {
        self.stderr.all().join("\n")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing more to be done about it then.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
