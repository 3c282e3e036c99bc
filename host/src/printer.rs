//! Writes what guests printed to the streams of the process, in a thread of its own.
//!
//! A stream that takes nothing just now is waited for; what it refuses for good is dropped and counted. What waits is
//! bounded: while it is too much, the primary delivers nothing, and when nothing has moved for [`STUCK`] it steps down
//! or drops prints, so that a terminal that was stopped never stops the instance.
//!
//! **Architecture Invariant:** nobody who prints waits here, but a replay whose prints an operator wants to see.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ambrosia_core::{PrintStream, member::Flow};
use bytes::Bytes;

use crate::{
    embedded::{Print, Printed},
    output::{Output, Stream},
};

/// With so many prints, or bytes of them, waiting the primary makes no further ones. It goes on at the half of it.
const PRINTS_WAITING_MAX: usize = 4096;
const BYTES_WAITING_MAX: usize = 16 << 20;

/// An output that has taken nothing for this long is stuck.
pub(crate) const STUCK: Duration = Duration::from_secs(2);

/// Pause before a disk that was full is tried again.
const FULL_DISK_PAUSE: Duration = Duration::from_millis(500);

/// One wait for a stream that takes nothing just now; at its end it is looked whether anybody still wants it.
const WAIT: Duration = Duration::from_millis(100);

/// At the end of the process an output has this long to take something, or all of it.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// The same, when the operator has asked for the end.
const END_PATIENCE_ASKED: Duration = Duration::from_millis(700);
const END_PATIENCE_ASKED_IN_ALL: Duration = Duration::from_secs(5);

/// Where prints wait for their stream.
pub(crate) struct Printer(Arc<Queue>);

/// Both streams, as the printing thread writes to them.
struct Streams {
    stdout: Box<dyn Output>,
    stderr: Box<dyn Output>,
}

struct Queue {
    state: Mutex<PrinterState>,
    changed: Condvar,
    /// Called when there is room again.
    on_room: Box<dyn Fn() + Send + Sync>,
}

struct PrinterState {
    waiting: VecDeque<(PrintStream, Bytes)>,
    /// Of what waits, and of what is being written.
    bytes: usize,
    /// A print was taken from the queue and is not written yet.
    is_writing: bool,
    is_full: bool,
    /// When the output last took something, or had nothing to take.
    moved: Instant,
    /// How often there was room again. What a member does since there is none holds until that changes.
    rooms: u64,
    /// The operator has asked the process to end.
    is_asked_to_end: bool,
    /// Nothing is written any more.
    is_closed: bool,
    /// Dropped, and not told yet.
    lost: u64,
    /// Why, if that was told.
    told: Option<io::ErrorKind>,
}

impl Printer {
    /// Writes to the streams of this process; calls `on_room` when there is room again after there was none.
    pub(crate) fn new(on_room: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        let (stdout, stderr) = (Stream(PrintStream::Stdout), Stream(PrintStream::Stderr));
        Printer::to(Streams { stdout: Box::new(stdout), stderr: Box::new(stderr) }, on_room)
    }

    /// Gives everything to `print`.
    pub(crate) fn embedded(print: &Print, on_room: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        let output = |stream| Box::new(Printed { stream, print: Arc::clone(print) });
        let (stdout, stderr) = (output(PrintStream::Stdout), output(PrintStream::Stderr));
        Printer::to(Streams { stdout, stderr }, on_room)
    }

    fn to(mut streams: Streams, on_room: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        let state = PrinterState {
            waiting: VecDeque::new(),
            bytes: 0,
            is_writing: false,
            is_full: false,
            moved: Instant::now(),
            rooms: 0,
            is_asked_to_end: false,
            is_closed: false,
            lost: 0,
            told: None,
        };
        let queue = Arc::new(Queue { state: Mutex::new(state), changed: Condvar::new(), on_room: Box::new(on_room) });
        let there = Arc::clone(&queue);
        let write = move || there.write_all(&mut streams);
        // Not joined: it may hang in the system for as long as nobody reads.
        std::thread::Builder::new().name("printer".to_owned()).spawn(write)?;
        Ok(Printer(queue))
    }

    /// The operator wants the process to end: [`Printer::close`] waits less, and a replay no more.
    pub(crate) fn ask_to_end(&self) {
        self.0.lock().is_asked_to_end = true;
        self.0.changed.notify_all();
    }

    /// Waits until all is written, as long as something moves. The rest is given up.
    pub(crate) fn close(&self) {
        let began = Instant::now();
        let mut state = self.0.lock();
        while state.is_busy() {
            let patience = if state.is_asked_to_end { END_PATIENCE_ASKED } else { END_PATIENCE };
            let mut rest = patience.saturating_sub(state.moved.max(began).elapsed());
            if state.is_asked_to_end {
                rest = rest.min(END_PATIENCE_ASKED_IN_ALL.saturating_sub(began.elapsed()));
            }
            if rest.is_zero() {
                break;
            }
            state = self.0.wait(state, rest);
        }
        state.is_closed = true;
        let given_up = state.waiting.len() as u64 + u64::from(state.is_writing);
        if given_up > 0 {
            tracing::warn!(prints = given_up, "the output is not read, so what the guest printed last is not shown");
        }
        state.tell_lost();
        drop(state);
        self.0.changed.notify_all();
    }
}

/// The printer, as one member has it: what it does while there is no room is its own affair, and so is what it loses.
pub(crate) struct Outlet {
    printer: Arc<Printer>,
    want: Mutex<Want>,
}

/// What a member does about an output without room, each until there is room again.
#[derive(Default)]
struct Want {
    /// Since then it drops its prints.
    drops: Option<u64>,
    /// Since then it has stepped down.
    has_yielded: Option<u64>,
}

impl Outlet {
    pub(crate) fn new(printer: Arc<Printer>) -> Outlet {
        Outlet { printer, want: Mutex::default() }
    }

    fn want(&self) -> MutexGuard<'_, Want> {
        self.want.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a print, even if there is no room: what a record that was executed has printed is there already.
    pub(crate) fn print(&self, stream: PrintStream, bytes: Bytes) {
        let want = self.want();
        self.push(&want, self.queue().lock(), stream, bytes);
    }

    /// The same for a replay, which waits while there is no room.
    pub(crate) fn print_replayed(&self, stream: PrintStream, bytes: Bytes) {
        let mut want = self.want();
        let mut state = self.queue().lock();
        while let Flow::Full(rest) = want.flow(&state)
            && !state.is_asked_to_end
        {
            state = self.queue().wait(state, rest);
        }
        if want.flow(&state) != Flow::Room {
            want.drop_what_has_no_room(&state);
        }
        self.push(&want, state, stream, bytes);
    }

    fn push(&self, want: &Want, mut state: MutexGuard<'_, PrinterState>, stream: PrintStream, bytes: Bytes) {
        if want.is_dropping(&state) {
            state.lost += 1;
            return;
        }
        state.push(stream, bytes);
        drop(state);
        self.queue().changed.notify_all();
    }

    fn queue(&self) -> &Queue {
        &self.printer.0
    }

    /// Whether prints get out. There is always room for a member that drops them.
    pub(crate) fn flow(&self) -> Flow {
        self.want().flow(&self.queue().lock())
    }

    /// Whether the output is stuck, also if prints are dropped meanwhile.
    pub(crate) fn is_stuck(&self) -> bool {
        let state = self.queue().lock();
        state.is_full && state.moved.elapsed() >= STUCK
    }

    /// Drops the prints of this member until there is room.
    pub(crate) fn drop_what_has_no_room(&self) {
        self.want().drop_what_has_no_room(&self.queue().lock());
    }

    /// Whether this member is to step down for the sake of its output: once, until that moves again.
    pub(crate) fn may_yield(&self) -> bool {
        let want = self.want();
        let full_since = self.queue().lock().full_since();
        full_since.is_none() || want.has_yielded != full_since
    }

    /// This member steps down for the sake of its output.
    pub(crate) fn yields(&self) {
        // There may be room again by now.
        self.want().has_yielded = self.queue().lock().full_since();
    }
}

impl Want {
    fn is_dropping(&self, state: &PrinterState) -> bool {
        self.drops.is_some() && self.drops == state.full_since()
    }

    fn flow(&self, state: &PrinterState) -> Flow {
        if self.is_dropping(state) { Flow::Room } else { state.flow() }
    }

    fn drop_what_has_no_room(&mut self, state: &PrinterState) {
        // There may be room again by now.
        if state.is_full && !self.is_dropping(state) {
            self.drops = state.full_since();
            tracing::warn!(
                prints = state.waiting.len(),
                "the output takes nothing, and no other replica can go on: prints are dropped until it does"
            );
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, PrinterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, PrinterState>, limit: Duration) -> MutexGuard<'a, PrinterState> {
        self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Writes what comes until the printer is closed.
    fn write_all(&self, streams: &mut Streams) {
        while let Some((stream, bytes)) = self.next() {
            let output = match stream {
                PrintStream::Stdout => &mut *streams.stdout,
                PrintStream::Stderr => &mut *streams.stderr,
            };
            let written = self.write(output, &bytes);
            let mut state = self.lock();
            if state.is_closed {
                return; // it was counted as given up
            }
            let room = state.on_done(bytes.len(), written);
            drop(state);
            self.changed.notify_all();
            if room {
                (self.on_room)();
            }
        }
    }

    fn next(&self) -> Option<(PrintStream, Bytes)> {
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return None;
            }
            if let Some(next) = state.waiting.pop_front() {
                assert!(!state.is_writing, "one print is written at a time");
                state.is_writing = true;
                return Some(next);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes one print, for as long as that takes. An error says that it will not be written.
    fn write(&self, output: &mut dyn Output, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let error = match output.write(bytes) {
                Ok(written) => {
                    bytes = &bytes[written..];
                    self.lock().moved = Instant::now();
                    self.changed.notify_all();
                    continue;
                }
                Err(error) => error,
            };
            match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => {
                    output.wait_until_writable(WAIT);
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => self.wait_for_disk(&error),
                _ => return Err(error),
            }
            if self.lock().is_closed {
                return Err(error);
            }
        }
        Ok(())
    }

    fn wait_for_disk(&self, error: &io::Error) {
        let mut state = self.lock();
        state.tell(error, "the disk takes no more of what the guest prints, trying again until it does");
        let deadline = Instant::now() + FULL_DISK_PAUSE;
        while !state.is_closed {
            let rest = deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return;
            }
            state = self.wait(state, rest);
        }
    }
}

impl PrinterState {
    fn push(&mut self, stream: PrintStream, bytes: Bytes) {
        if self.is_closed {
            self.lost += 1;
            return;
        }
        if !self.is_busy() {
            self.moved = Instant::now();
        }
        self.bytes += bytes.len();
        self.waiting.push_back((stream, bytes));
        assert!(self.is_busy(), "what was pushed waits");
        self.is_full |= self.waiting.len() >= PRINTS_WAITING_MAX || self.bytes >= BYTES_WAITING_MAX;
    }

    fn is_busy(&self) -> bool {
        self.is_writing || !self.waiting.is_empty()
    }

    fn flow(&self) -> Flow {
        if !self.is_full {
            return Flow::Room;
        }
        match STUCK.checked_sub(self.moved.elapsed()) {
            Some(rest) if !rest.is_zero() => Flow::Full(rest),
            _ => Flow::Stuck,
        }
    }

    /// Since when there is no room, as a number; `None` if there is.
    fn full_since(&self) -> Option<u64> {
        self.is_full.then_some(self.rooms)
    }

    /// A print was written, or is lost. True if there is room now and was none before.
    fn on_done(&mut self, bytes: usize, written: io::Result<()>) -> bool {
        assert!(self.is_writing, "what is done was begun");
        assert!(self.bytes >= bytes, "the bytes that wait are a sum");
        self.is_writing = false;
        self.bytes -= bytes;
        self.moved = Instant::now();
        match written {
            Ok(()) if !self.is_full => {
                self.told = None;
                self.tell_lost();
            }
            Ok(()) => self.told = None,
            Err(error) => {
                self.lost += 1;
                // The reader of our output is gone. The instance lives on: others may depend on it.
                self.tell(&error, "what the guest prints can't be written any more, and is dropped");
            }
        }
        assert!(self.is_busy() || self.bytes == 0, "where nothing waits, no bytes do");
        let room = self.waiting.len() <= PRINTS_WAITING_MAX / 2 && self.bytes <= BYTES_WAITING_MAX / 2;
        let again = self.is_full && room;
        assert!(!room || self.waiting.len() < PRINTS_WAITING_MAX, "room is less than what is full");
        if again {
            self.is_full = false;
            self.rooms += 1;
        }
        again
    }

    /// Says once what is wrong, until something is written or something else is wrong.
    fn tell(&mut self, error: &io::Error, what: &str) {
        if self.told != Some(error.kind()) {
            self.told = Some(error.kind());
            tracing::warn!(%error, "{what}");
        }
    }

    fn tell_lost(&mut self) {
        if self.lost > 0 {
            tracing::warn!(prints = self.lost, "so many prints of the guest were lost");
            self.lost = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Answers each write as it is told, and takes one byte less than it is given if there are many.
    struct Told {
        answers: Receiver<io::Result<()>>,
        written: Sender<u8>,
        waits: Sender<()>,
    }

    impl Output for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.answers.recv().map_err(|_| io::ErrorKind::BrokenPipe)??;
            let taken = bytes.len().div_ceil(2);
            bytes[..taken].iter().for_each(|byte| self.written.send(*byte).expect("the test listens"));
            Ok(taken)
        }

        fn wait_until_writable(&mut self, _: Duration) -> bool {
            self.waits.send(()).is_ok()
        }
    }

    struct Bench {
        printer: Outlet,
        answers: Sender<io::Result<()>>,
        written: Receiver<u8>,
        waits: Receiver<()>,
        room: Receiver<()>,
    }

    fn bench() -> Bench {
        let ((answers, told), (taken, written), (wait, waits)) = (channel(), channel(), channel());
        let (tell, room) = channel();
        let stdout = Box::new(Told { answers: told, written: taken, waits: wait });
        let streams = Streams { stdout, stderr: Box::new(Stream(PrintStream::Stderr)) };
        let printer =
            Printer::to(streams, move || tell.send(()).expect("the test listens")).expect("a thread can be started");
        Bench { printer: Outlet::new(Arc::new(printer)), answers, written, waits, room }
    }

    impl Bench {
        fn answer(&self, answer: Result<(), io::ErrorKind>) {
            self.answers.send(answer.map_err(io::Error::from)).expect("the printer listens");
        }

        fn print(&self, text: &'static str) {
            self.printer.print(PrintStream::Stdout, Bytes::from_static(text.as_bytes()));
        }

        fn written(&self, count: usize) -> String {
            let next = || char::from(self.written.recv_timeout(PATIENCE).expect("it is written"));
            (0..count).map(|_| next()).collect()
        }

        fn wait_until(&self, holds: impl Fn(&PrinterState) -> bool) {
            let state = self.printer.queue().lock();
            let waited = self.printer.queue().changed.wait_timeout_while(state, PATIENCE, |state| !holds(state));
            assert!(!waited.unwrap_or_else(PoisonError::into_inner).1.timed_out());
        }

        fn fill(&self) {
            (0..=PRINTS_WAITING_MAX).for_each(|_| self.print("x"));
        }

        /// Nothing has moved for so long.
        fn stand_still(&self, time: Duration) {
            self.printer.queue().lock().moved -= time;
        }
    }

    #[test]
    fn a_stream_that_takes_nothing_just_now_is_waited_for_and_nothing_is_lost() {
        let bench = bench();
        bench.print("one");
        bench.print("two");
        bench.print("six");
        for answer in [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted, io::ErrorKind::StorageFull] {
            bench.answer(Err(answer));
            (0..2).for_each(|_| bench.answer(Ok(())));
        }
        assert_eq!(bench.written(9), "onetwosix");
        assert!(bench.waits.try_recv().is_ok(), "a write that would block waits until it would not");
        assert_eq!(bench.printer.queue().lock().lost, 0);
    }

    #[test]
    fn what_is_refused_is_lost_and_counted_and_what_follows_is_tried() {
        let bench = bench();
        ["a", "b"].iter().for_each(|text| bench.print(text));
        (0..2).for_each(|_| bench.answer(Err(io::ErrorKind::BrokenPipe)));
        bench.wait_until(|state| state.lost == 2);
        bench.print("c");
        bench.answer(Ok(()));
        assert_eq!(bench.written(1), "c");
        bench.wait_until(|state| state.lost == 0); // told
    }

    #[test]
    fn an_output_that_takes_nothing_is_full_then_stuck_and_has_room_again_at_the_half() {
        let bench = bench();
        assert_eq!(bench.printer.flow(), Flow::Room);
        bench.fill();
        assert!(matches!(bench.printer.flow(), Flow::Full(_)));
        bench.stand_still(STUCK);
        assert_eq!((bench.printer.flow(), bench.printer.is_stuck()), (Flow::Stuck, true));
        bench.printer.yields();
        assert!(!bench.printer.may_yield());
        (0..PRINTS_WAITING_MAX / 2).for_each(|_| bench.answer(Ok(())));
        assert!(bench.room.try_recv().is_err(), "there is no room before the half is written");
        bench.answer(Ok(()));
        bench.room.recv_timeout(PATIENCE).expect("there is room");
        assert_eq!((bench.printer.flow(), bench.printer.is_stuck()), (Flow::Room, false));
        assert!(bench.printer.may_yield());
    }

    #[test]
    fn each_member_steps_down_or_drops_its_prints_for_an_output_that_all_have() {
        let bench = bench();
        let other = Outlet::new(Arc::clone(&bench.printer.printer));
        bench.fill();
        bench.stand_still(STUCK);
        bench.printer.yields();
        assert!(!bench.printer.may_yield() && other.may_yield(), "one has stepped down, the other one may");
        bench.printer.drop_what_has_no_room();
        assert_eq!(
            (bench.printer.flow(), other.flow()),
            (Flow::Room, Flow::Stuck),
            "one drops, the other one does not"
        );
        bench.print("lost");
        assert_eq!(bench.printer.queue().lock().lost, 1);
        other.print(PrintStream::Stdout, Bytes::from_static(b"y"));
        (0..=PRINTS_WAITING_MAX + 1).for_each(|_| bench.answer(Ok(())));
        bench.room.recv_timeout(PATIENCE).expect("there is room");
        assert!(bench.written(PRINTS_WAITING_MAX + 2).ends_with('y'), "what the other one printed is not lost");
        assert!(bench.printer.may_yield(), "it may step down again when there is no room again");
    }

    #[test]
    fn prints_are_dropped_only_while_there_is_no_room() {
        let bench = bench();
        bench.fill();
        bench.stand_still(STUCK);
        bench.printer.drop_what_has_no_room();
        assert_eq!(bench.printer.flow(), Flow::Room, "the instance goes on");
        (0..10).for_each(|_| bench.print("lost"));
        assert_eq!(bench.printer.queue().lock().lost, 10);
        (0..=PRINTS_WAITING_MAX).for_each(|_| bench.answer(Ok(())));
        bench.room.recv_timeout(PATIENCE).expect("there is room");
        bench.print("y");
        bench.answer(Ok(()));
        let all = bench.written(PRINTS_WAITING_MAX + 2);
        assert_eq!((all.trim_end_matches('y').len(), all.ends_with('y')), (PRINTS_WAITING_MAX + 1, true));
    }

    #[test]
    fn the_end_waits_for_what_moves_and_gives_up_the_rest() {
        let bench = bench();
        ["a", "b", "c"].iter().for_each(|text| bench.print(text));
        bench.answer(Ok(()));
        bench.printer.printer.ask_to_end();
        bench.printer.printer.close();
        assert_eq!(bench.written(1), "a");
        bench.print("d");
        let state = bench.printer.queue().lock();
        assert_eq!((state.waiting.len(), state.lost), (1, 1), "c waits, d is not even queued");
    }
}
