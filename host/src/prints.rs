//! What the guest of one member prints, on its way to the printer of the process.
//!
//! **Architecture Invariant:** of a process with one member, every byte that the guest prints comes out as it was printed.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
};

use ambrosia_core::{InstanceName, PrintStream};
use bytes::{Bytes, BytesMut};

use crate::printer::{Outlet, Printer};

/// A line that is longer is broken.
const LINE_BYTES_MAX: usize = 64 << 10;

/// The printer, as one member prints to it.
pub(crate) struct Prints {
    outlet: Outlet,
    /// `None` if nobody else prints.
    lines: Option<Lines>,
}

/// Begins each line with the name of its instance. A line goes out when it is whole, so that lines of different instances do
/// not mix.
struct Lines {
    name: InstanceName,
    /// Of each stream, what has no end of line yet.
    begun: Mutex<[BytesMut; 2]>,
}

impl Prints {
    /// Prints as they come.
    pub(crate) fn alone(printer: Arc<Printer>) -> Prints {
        Prints { outlet: Outlet::new(printer), lines: None }
    }

    /// Lines with the name of their instance in front.
    pub(crate) fn of(name: InstanceName, printer: Arc<Printer>) -> Prints {
        let lines = Some(Lines { name, begun: Mutex::default() });
        Prints { outlet: Outlet::new(printer), lines }
    }

    /// Queues a print, even if there is no room.
    pub(crate) fn print(&self, stream: PrintStream, bytes: Bytes) {
        match self.whole_lines(stream, &bytes) {
            None => self.outlet.print(stream, bytes),
            Some(lines) if lines.is_empty() => {}
            Some(lines) => self.outlet.print(stream, lines),
        }
    }

    /// The same for a replay, which waits while there is no room.
    pub(crate) fn print_replayed(&self, stream: PrintStream, bytes: Bytes) {
        match self.whole_lines(stream, &bytes) {
            None => self.outlet.print_replayed(stream, bytes),
            Some(lines) if lines.is_empty() => {}
            Some(lines) => self.outlet.print_replayed(stream, lines),
        }
    }

    /// Lets go what was printed last without an end of line.
    pub(crate) fn end(&self) {
        for stream in [PrintStream::Stdout, PrintStream::Stderr] {
            let has_begun = self.lines.as_ref().is_some_and(|lines| lines.has_begun(stream));
            if has_begun {
                self.print(stream, Bytes::from_static(b"\n"));
            }
        }
    }

    fn whole_lines(&self, stream: PrintStream, bytes: &[u8]) -> Option<Bytes> {
        self.lines.as_ref().map(|lines| lines.take(stream, bytes))
    }
}

impl Deref for Prints {
    type Target = Outlet;

    fn deref(&self) -> &Outlet {
        &self.outlet
    }
}

impl Lines {
    /// All lines that are whole with these bytes, each with the name in front.
    fn take(&self, stream: PrintStream, bytes: &[u8]) -> Bytes {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = &mut begun[place(stream)];
        let mut whole = BytesMut::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            begun.extend_from_slice(part);
            let is_whole = part.ends_with(b"\n");
            if is_whole || begun.len() >= LINE_BYTES_MAX {
                whole.extend_from_slice(self.name.as_str().as_bytes());
                whole.extend_from_slice(b": ");
                whole.extend_from_slice(&begun.split());
                if !is_whole {
                    whole.extend_from_slice(b"\n");
                }
            }
        }
        assert!(begun.len() < LINE_BYTES_MAX, "what waits for its end of line is bounded");
        assert!(whole.is_empty() || whole.ends_with(b"\n"), "only whole lines go out");
        whole.freeze()
    }

    fn has_begun(&self, stream: PrintStream) -> bool {
        !self.begun.lock().unwrap_or_else(PoisonError::into_inner)[place(stream)].is_empty()
    }
}

fn place(stream: PrintStream) -> usize {
    match stream {
        PrintStream::Stdout => 0,
        PrintStream::Stderr => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Lines {
        Lines { name: InstanceName::new("a").expect("a plain name"), begun: Mutex::default() }
    }

    #[test]
    fn each_line_has_the_name_in_front_and_goes_out_as_a_whole() {
        let lines = lines();
        let take = |stream, text: &str| String::from_utf8(lines.take(stream, text.as_bytes()).to_vec()).expect("text");
        assert_eq!(take(PrintStream::Stdout, "one\ntw"), "a: one\n");
        assert_eq!(take(PrintStream::Stderr, "err\n"), "a: err\n", "another stream has lines of its own");
        assert_eq!(take(PrintStream::Stdout, "o"), "");
        assert!(lines.has_begun(PrintStream::Stdout) && !lines.has_begun(PrintStream::Stderr));
        assert_eq!(take(PrintStream::Stdout, "\n\n"), "a: two\na: \n");
    }

    #[test]
    fn a_line_without_an_end_is_broken() {
        let lines = lines();
        let taken = lines.take(PrintStream::Stdout, &vec![b'x'; LINE_BYTES_MAX]);
        assert_eq!(taken.len(), LINE_BYTES_MAX + "a: \n".len());
        assert!(!lines.has_begun(PrintStream::Stdout));
    }
}
