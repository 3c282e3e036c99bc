//! Writes what the guest printed to the streams of the process, in a thread of its own: a slow terminal must not
//! hold up the log.

use std::{
    io::Write,
    sync::mpsc::{SyncSender, sync_channel},
    thread::JoinHandle,
};

use ambrosia_core::PrintStream;
use bytes::Bytes;

/// Prints that may wait before the printing replica waits too.
const PRINTS_WAITING_MAX: usize = 4096;

/// Dropped, it writes what is left.
pub(crate) struct Printer {
    prints: Option<SyncSender<(PrintStream, Bytes)>>,
    thread: Option<JoinHandle<()>>,
}

impl Printer {
    pub(crate) fn new() -> std::io::Result<Self> {
        let (prints, waiting) = sync_channel::<(PrintStream, Bytes)>(PRINTS_WAITING_MAX);
        let thread = std::thread::Builder::new().name("printer".to_owned()).spawn(move || {
            while let Ok((stream, bytes)) = waiting.recv() {
                if let Err(error) = write(stream, &bytes) {
                    // The reader of our output is gone. The instance lives on: others may depend on it.
                    tracing::warn!(%error, "the guest's output can't be written any more");
                    return;
                }
            }
        })?;
        Ok(Printer { prints: Some(prints), thread: Some(thread) })
    }

    pub(crate) fn print(&self, stream: PrintStream, bytes: Bytes) {
        let prints = self.prints.as_ref().expect("taken when it is dropped only");
        // It fails only after the warning above.
        let _reader_is_gone = prints.send((stream, bytes));
    }
}

fn write(stream: PrintStream, bytes: &[u8]) -> std::io::Result<()> {
    match stream {
        PrintStream::Stdout => {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(bytes)?;
            stdout.flush()
        }
        PrintStream::Stderr => std::io::stderr().lock().write_all(bytes),
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        drop(self.prints.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the printing thread failed");
        }
    }
}
