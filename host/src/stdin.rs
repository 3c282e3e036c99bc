//! Lines of stdin as impulses, read while this replica is primary.
//!
//! **Architecture Invariant:** what was read and not logged is bounded by the permits, and no line ends the reading of
//! the next one.

use std::{sync::Arc, time::Duration};

use ambrosia_client::{ValueError, encode_line};
use ambrosia_core::{MethodId, limits::ARGUMENTS_BYTES_MAX};
use ambrosia_methods::UnknownMethod;
use ambrosia_wire::Permits;
use bytes::Bytes;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, BufReader},
    sync::Mutex,
    time::sleep,
};

use crate::{event::Event, mailbox::Mailbox, modules::CurrentMethods};

/// Pause before a stdin that has nothing just now, and does not wait, is asked again.
const NOTHING_YET_PAUSE: Duration = Duration::from_millis(20);

/// The stdin of the process. It outlives a reign, so that what was read and not passed on is there in the next one.
pub(crate) struct Stdin {
    /// Name of the method that takes the lines.
    method: String,
    methods: Arc<CurrentMethods>,
    state: Mutex<StdinState>,
}

struct StdinState {
    lines: Lines<Box<dyn AsyncBufRead + Send + Unpin>>,
    permits: Permits,
    /// A method with its arguments, which wait for permits.
    next: Option<(MethodId, Bytes)>,
}

impl Stdin {
    pub(crate) fn new(method: String, methods: Arc<CurrentMethods>) -> Self {
        Stdin::of(method, methods, Box::new(BufReader::new(tokio::io::stdin())))
    }

    fn of(method: String, methods: Arc<CurrentMethods>, source: Box<dyn AsyncBufRead + Send + Unpin>) -> Self {
        let lines = Lines::of(source);
        Stdin { method, methods, state: Mutex::new(StdinState { lines, permits: Permits::new(), next: None }) }
    }

    /// Passes on lines to the end of stdin, or of the reign. A line that was passed on and not logged when the process
    /// dies is lost, as if it had not been typed.
    pub(crate) async fn read(self: Arc<Self>, mailbox: Arc<Mailbox<Event>>) {
        let state = &mut *self.state.lock().await;
        loop {
            if let Some((_, arguments)) = &state.next {
                let permit = state.permits.acquire(arguments.len()).await;
                assert!(arguments.len() <= ARGUMENTS_BYTES_MAX, "a line that is too long was left out");
                let (method, arguments) = state.next.take().expect("it is there, just above");
                mailbox.push(Event::Line { method, arguments: permit.tie(arguments) });
            }
            match state.lines.next().await {
                Ok(Some(line)) => state.next = self.encode(line),
                Ok(None) => return,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => sleep(NOTHING_YET_PAUSE).await,
                Err(error) => return tracing::error!(%error, "stdin can't be read, so no more lines come from it"),
            }
        }
    }
}

impl Stdin {
    /// The method and the arguments of a line, or nothing if it has to be left out.
    fn encode(&self, line: Line) -> Option<(MethodId, Bytes)> {
        let Line { number, content } = line;
        let encoded = content.and_then(|text| {
            let methods = self.methods.get();
            let method = methods.find(&self.method)?;
            let arguments = encode_line(text, method.message_pack())?;
            match arguments.len() {
                ..=ARGUMENTS_BYTES_MAX => Ok((method.id, arguments.into())),
                bytes => Err(LeftOut::TooLong { bytes: bytes as u64 }),
            }
        });
        encoded.map_err(|reason| tracing::error!(line = number, "a line of stdin is left out: {reason}")).ok()
    }
}

/// A line and its number, from 1.
#[derive(Debug)]
struct Line {
    number: u64,
    content: Result<String, LeftOut>,
}

/// Why a line does not become an impulse.
#[derive(Debug, thiserror::Error)]
enum LeftOut {
    #[error("the line has {bytes} bytes; the limit is {ARGUMENTS_BYTES_MAX}")]
    TooLong { bytes: u64 },
    #[error("the line is not UTF-8 from byte {at} on")]
    NotText { at: usize },
    #[error(transparent)]
    NoMethod(#[from] UnknownMethod),
    #[error("the line can't be encoded: {0}")]
    Value(#[from] ValueError),
}

/// Takes a stream of bytes apart into lines, none of which it keeps beyond [`ARGUMENTS_BYTES_MAX`].
struct Lines<R> {
    source: R,
    gathered: Vec<u8>,
    /// Bytes of a line that is too long, none of which are kept.
    left_out: u64,
    number: u64,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    fn of(source: R) -> Self {
        Lines { source, gathered: Vec::new(), left_out: 0, number: 0 }
    }

    /// The next line without its end; what follows the last end is a line too. Dropped before it is done, it loses
    /// nothing.
    async fn next(&mut self) -> std::io::Result<Option<Line>> {
        loop {
            let there = self.source.fill_buf().await?;
            if there.is_empty() {
                let nothing = self.gathered.is_empty() && self.left_out == 0;
                return Ok((!nothing).then(|| self.finish()));
            }
            let end = there.iter().position(|byte| *byte == b'\n');
            let part = &there[..end.unwrap_or(there.len())];
            if self.left_out > 0 || self.gathered.len() + part.len() > ARGUMENTS_BYTES_MAX {
                self.left_out += (std::mem::take(&mut self.gathered).len() + part.len()) as u64;
            } else {
                self.gathered.extend_from_slice(part);
            }
            assert!(self.gathered.len() <= ARGUMENTS_BYTES_MAX, "no more is kept of a line");
            let used = part.len() + usize::from(end.is_some());
            self.source.consume(used);
            if end.is_some() {
                return Ok(Some(self.finish()));
            }
        }
    }

    fn finish(&mut self) -> Line {
        self.number += 1;
        let (mut bytes, left_out) = (std::mem::take(&mut self.gathered), std::mem::take(&mut self.left_out));
        assert!(left_out == 0 || bytes.is_empty(), "nothing is kept of a line that is too long");
        bytes.pop_if(|last| *last == b'\r');
        let content = match left_out {
            0 => {
                String::from_utf8(bytes).map_err(|error| LeftOut::NotText { at: error.utf8_error().valid_up_to() + 1 })
            }
            bytes => Err(LeftOut::TooLong { bytes }),
        };
        Line { number: self.number, content }
    }
}

#[cfg(test)]
mod tests {
    use ambrosia_core::limits::INBOX_BYTES_MAX;
    use ambrosia_methods::{Method, Methods};
    use tokio::io::AsyncReadExt;

    use std::collections::VecDeque;

    use super::*;

    #[test]
    fn a_line_is_what_was_typed() {
        let arguments = |message_pack| encode_line("0x41".to_owned(), message_pack).expect("text can be encoded");
        assert_eq!(arguments(false), b"0x41", "it may look like bytes, and is a line");
        assert_eq!(arguments(true), b"\x91\xa40x41");
    }

    /// Bytes of all lines that are in the mailbox.
    fn passed_on(mailbox: &Mailbox<Event>, lines: &mut VecDeque<Event>) -> usize {
        mailbox.take(lines);
        let bytes = |event: &Event| match event {
            Event::Line { arguments, .. } => arguments.len(),
            _ => panic!("stdin passes on lines only"),
        };
        lines.iter().map(bytes).sum()
    }

    #[test]
    fn no_more_is_read_than_there_are_permits_and_nothing_is_lost() {
        const LINE_BYTES: usize = 64 << 10;
        const LINES: usize = 4 * INBOX_BYTES_MAX / LINE_BYTES;
        let line = [&[b'x'; LINE_BYTES - 1][..], b"\n"].concat();
        let source = std::io::Cursor::new(line.repeat(LINES));
        let method = Method::without_types("take".to_owned(), Vec::new(), false);
        let methods = Arc::new(CurrentMethods::new(Methods::new(vec![method])));
        let stdin = Arc::new(Stdin::of("take".to_owned(), methods, Box::new(source)));
        let mailbox = Arc::new(Mailbox::new());
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (mut all, mut reigns) = (0, 0);
        while all < LINES {
            reigns += 1;
            // Memory is always ready, so what stops the reading is the permits alone.
            let reading = Arc::clone(&stdin).read(Arc::clone(&mailbox));
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = reading => {}
                    () = async { for _ in 0..10_000 { tokio::task::yield_now().await } } => {}
                }
            });
            let mut lines = VecDeque::new();
            let bytes = passed_on(&mailbox, &mut lines);
            assert!(bytes <= INBOX_BYTES_MAX, "{bytes} bytes wait to be logged");
            all += lines.len();
        }
        assert!(all == LINES && reigns >= 4, "{all} lines in {reigns} reigns");
    }

    /// All lines of `bytes`, which are read in pieces of `piece` bytes.
    fn lines(bytes: impl tokio::io::AsyncRead + Unpin, piece: usize) -> Vec<Result<String, String>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut lines = Lines::of(BufReader::with_capacity(piece, bytes));
        let mut all = Vec::new();
        while let Some(line) = runtime.block_on(lines.next()).expect("memory can be read") {
            all.push(line.content.map_err(|reason| reason.to_string()));
            assert_eq!(line.number, all.len() as u64);
        }
        all
    }

    #[test]
    fn lines_are_the_same_in_pieces_of_any_size() {
        let text = "one\n\ntwo ä\r\nthr\ree\nlast";
        for piece in 1..text.len() {
            let expected = ["one", "", "two ä", "thr\ree", "last"].map(|line| Ok(line.to_owned()));
            assert_eq!(lines(text.as_bytes(), piece), expected);
        }
        assert_eq!(lines(&b""[..], 4), []);
        assert_eq!(lines(&b"\n"[..], 4), [Ok(String::new())]);
    }

    #[test]
    fn a_line_that_is_no_text_is_left_out_alone() {
        let expected = [Ok("one".to_owned()), Err(LeftOut::NotText { at: 4 }.to_string()), Ok("three".to_owned())];
        assert_eq!(lines(&b"one\ncaf\xe9\nthree\n"[..], 3), expected);
    }

    #[test]
    fn a_line_that_is_too_long_is_counted_and_not_kept() {
        let long = |bytes: usize| tokio::io::repeat(b'x').take(bytes as u64);
        let source = long(ARGUMENTS_BYTES_MAX + 5).chain(&b"\nshort\n"[..]);
        let too_long = LeftOut::TooLong { bytes: ARGUMENTS_BYTES_MAX as u64 + 5 }.to_string();
        assert_eq!(lines(source, 1 << 20), [Err(too_long), Ok("short".to_owned())]);
        let longest = lines(long(ARGUMENTS_BYTES_MAX).chain(&b"\n"[..]), 1 << 20);
        assert_eq!(longest[0].as_ref().map(String::len), Ok(ARGUMENTS_BYTES_MAX));
    }
}
