//! The host's own messages, on stderr: they tell what happens, and must not change it.
//!
//! A thread writes them, so that nobody who says something waits for a terminal, a pipe or a disk. What can't be
//! written is dropped and counted, and the count is told once stderr works again.
//!
//! **Architecture Invariant:** whatever happens to stderr, who says something neither waits, nor fails, nor panics.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ambrosia_core::PrintStream;

use crate::output::{Output, Stream};

/// Messages that may wait to be written. More are dropped.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// At the end of the process, messages have this long to be written.
const FLUSH_PATIENCE: Duration = Duration::from_millis(500);

/// One wait for a stderr that takes nothing just now.
const WAIT: Duration = Duration::from_secs(3600);

/// Takes messages for stderr. Each write is one message, whole lines; it always succeeds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Diagnostics;

impl Write for Diagnostics {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        MESSAGES.push(message);
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Diagnostics {
    /// Says one line, as `eprintln!` would, without its panic.
    pub fn say(line: impl std::fmt::Display) {
        MESSAGES.push(format!("{line}\n").as_bytes());
    }

    /// Says a line, with its end, and waits until there is room for it: for who may wait, and is not to lose any.
    pub(crate) fn say_all_of(line: &[u8]) {
        MESSAGES.wait_for_room(line.len());
        MESSAGES.push(line);
    }

    /// Waits until all is written, but not for long. To be called before the process ends.
    pub fn flush_at_end() {
        MESSAGES.flush(FLUSH_PATIENCE);
    }

    /// Has panics told here too, so that a panicking thread does not wait for stderr.
    pub fn take_panics() {
        std::panic::set_hook(Box::new(|panic| {
            let thread = std::thread::current();
            let backtrace = std::backtrace::Backtrace::capture();
            let name = thread.name().unwrap_or("without a name");
            Diagnostics::say(format_args!("thread {name} {panic}"));
            if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
                Diagnostics::say(backtrace);
            }
        }));
    }
}

static MESSAGES: Messages = Messages::new();

/// Messages on their way.
struct Messages {
    state: Mutex<DiagnosticsState>,
    changed: Condvar,
}

struct DiagnosticsState {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Not written since something was written last.
    dropped: u64,
    /// A message was taken from the queue and is not written yet.
    is_writing: bool,
    writer: Writer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// Nothing was said yet.
    NotStarted,
    /// A thread writes.
    Thread,
    /// The machine has no thread for it: who says something writes it, if that does not mean to wait.
    Nobody,
}

impl Messages {
    const fn new() -> Self {
        let state = DiagnosticsState {
            waiting: VecDeque::new(),
            bytes: 0,
            dropped: 0,
            is_writing: false,
            writer: Writer::NotStarted,
        };
        Messages { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, DiagnosticsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&'static self, message: &[u8]) {
        let mut state = self.lock();
        if state.writer == Writer::NotStarted {
            let write = || self.write_all(&mut Stream(PrintStream::Stderr));
            let started = std::thread::Builder::new().name("messages".to_owned()).spawn(write);
            state.writer = if started.is_ok() { Writer::Thread } else { Writer::Nobody };
        }
        match state.writer {
            Writer::Nobody => {
                let mut stderr = Stream(PrintStream::Stderr);
                if !stderr.wait_until_writable(Duration::ZERO) || stderr.write(message).is_err() {
                    state.dropped += 1;
                }
            }
            _ => state.push(message),
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until a thread has written so much that there is room for so many bytes, or nobody writes.
    fn wait_for_room(&self, bytes: usize) {
        let is_full = |state: &mut DiagnosticsState| {
            state.writer == Writer::Thread && state.bytes > 0 && state.bytes + bytes > WAITING_BYTES_MAX
        };
        drop(self.changed.wait_while(self.lock(), is_full));
    }

    /// Writes what comes, for ever.
    fn write_all(&self, output: &mut dyn Output) {
        loop {
            let (message, dropped) = self.next();
            let mut written = true;
            if dropped > 0 {
                let told = format!("ambrosia-host: {dropped} messages are missing here: stderr could not be written\n");
                written = write_whole(output, told.as_bytes()).is_ok();
            }
            written = written && write_whole(output, &message).is_ok();
            let mut state = self.lock();
            state.is_writing = false;
            state.dropped = if written { state.dropped - dropped } else { state.dropped + 1 };
            drop(state);
            self.changed.notify_all();
        }
    }

    /// The next message, and how many were dropped before it.
    fn next(&self) -> (Vec<u8>, u64) {
        let mut state = self.lock();
        loop {
            if let Some(message) = state.waiting.pop_front() {
                state.bytes -= message.len();
                state.is_writing = true;
                return (message, state.dropped);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn flush(&self, patience: Duration) {
        let busy = |state: &mut DiagnosticsState| state.is_writing || !state.waiting.is_empty();
        drop(self.changed.wait_timeout_while(self.lock(), patience, busy));
    }
}

impl DiagnosticsState {
    fn push(&mut self, message: &[u8]) {
        if self.bytes + message.len() > WAITING_BYTES_MAX {
            self.dropped += 1;
            return;
        }
        self.bytes += message.len();
        self.waiting.push_back(message.to_vec());
    }
}

/// Writes all of `bytes`, and waits where the stream asks for it.
fn write_whole(output: &mut dyn Output, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                output.wait_until_writable(WAIT);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Answers each write as it is told.
    struct Told {
        answers: Receiver<io::Result<()>>,
        written: Sender<String>,
    }

    impl Output for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.answers.recv() {
                Ok(Ok(())) => {
                    self.written.send(String::from_utf8_lossy(bytes).into_owned()).expect("the test listens");
                    Ok(bytes.len())
                }
                Ok(Err(error)) => Err(error),
                // The test is over.
                Err(_) => loop {
                    std::thread::park();
                },
            }
        }

        fn wait_until_writable(&mut self, _: Duration) -> bool {
            true
        }
    }

    fn messages() -> (&'static Messages, Sender<io::Result<()>>, Receiver<String>) {
        let messages: &'static Messages = Box::leak(Box::new(Messages::new()));
        messages.lock().writer = Writer::Thread;
        let ((tell, answers), (written, writes)) = (channel(), channel());
        std::thread::spawn(move || messages.write_all(&mut Told { answers, written }));
        (messages, tell, writes)
    }

    #[test]
    fn what_stderr_refuses_is_dropped_and_counted_when_it_works_again() {
        let (messages, tell, writes) = messages();
        for answer in [io::ErrorKind::BrokenPipe, io::ErrorKind::StorageFull] {
            tell.send(Err(answer.into())).expect("the writer listens");
            messages.push(b"lost\n");
            messages.flush(Duration::from_secs(60));
        }
        for wait in [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted] {
            tell.send(Err(wait.into())).expect("the writer listens");
        }
        (0..3).for_each(|_| tell.send(Ok(())).expect("the writer listens"));
        messages.push(b"one\n");
        messages.push(b"two\n");
        let told = writes.iter().take(3).collect::<Vec<_>>();
        assert_eq!(told[0], "ambrosia-host: 2 messages are missing here: stderr could not be written\n");
        assert_eq!(told[1..], ["one\n", "two\n"]);
    }

    #[test]
    fn nobody_waits_for_a_stderr_that_takes_nothing() {
        let (messages, _tell, _writes) = messages();
        let message = [b'x'; 1000];
        (0..2000).for_each(|_| messages.push(&message));
        let state = messages.lock();
        assert!(state.bytes <= WAITING_BYTES_MAX);
        let kept = state.waiting.len() as u64 + u64::from(state.is_writing);
        assert_eq!(kept + state.dropped, 2000);
        assert!(state.dropped > 900);
    }
}
