//! A host whose streams a test has chosen itself.

use std::{
    process::{Command, ExitStatus},
    sync::mpsc::{Receiver, channel},
};

use ambrosia_tests::{PATIENCE, Signal, signal};

/// A running host that nobody listens to. Dropped, it is killed.
pub(crate) struct BareHost {
    pid: u32,
    ended: Receiver<ExitStatus>,
}

impl BareHost {
    /// Starts `command` as it is.
    pub(crate) fn start(mut command: Command) -> BareHost {
        let mut child = command.spawn().expect("the program can be started");
        let (tell, ended) = channel();
        let pid = child.id();
        std::thread::spawn(move || {
            let status = child.wait().expect("the process is ours");
            // It fails only when the test is over.
            let _over = tell.send(status);
        });
        BareHost { pid, ended }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, what: Signal) {
        signal(self.pid, what).expect("the process is ours and was not waited for");
    }

    /// The exit code, once it has ended; -1 if a signal ended it.
    ///
    /// # Panics
    /// If that takes longer than [`PATIENCE`].
    pub(crate) fn exit_code(self) -> i32 {
        let status = self.ended.recv_timeout(PATIENCE).expect("the host ends");
        status.code().unwrap_or(-1)
    }
}

impl Drop for BareHost {
    fn drop(&mut self) {
        if matches!(self.ended.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty)) {
            // It may have ended just now; there is nothing more to be done about it then.
            let _gone = signal(self.pid, Signal::Kill);
            let _gone = self.ended.recv_timeout(PATIENCE);
        }
    }
}
