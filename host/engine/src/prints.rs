//! What a guest prints in one delivery.
//!
//! **Architecture Invariant:** printing never waits and never fails, but for one limit; where the text goes is
//! decided by the core.

use ambrosia_core::{Print, PrintStream, limits};

use crate::refusal::Refusal;

/// Gathers prints in order. Neighbours of one stream become one.
#[derive(Default)]
pub(crate) struct Prints {
    gathered: Vec<Print>,
    bytes: usize,
}

impl Prints {
    /// Starts a delivery, gathering into `prints`.
    pub(crate) fn begin(&mut self, prints: &mut Vec<Print>) {
        std::mem::swap(&mut self.gathered, prints);
        self.bytes = 0;
    }

    /// Ends a delivery and hands back what [`Self::begin`] took.
    pub(crate) fn end(&mut self, prints: &mut Vec<Print>) {
        std::mem::swap(&mut self.gathered, prints);
    }

    /// Appends what the guest printed.
    pub(crate) fn push(&mut self, stream: PrintStream, bytes: Vec<u8>) -> Result<(), Refusal> {
        if bytes.len() > limits::PRINTS_BYTES_MAX - self.bytes {
            return Err(Refusal::PrintLimit);
        }
        self.bytes += bytes.len();
        match self.gathered.last_mut() {
            _ if bytes.is_empty() => {}
            Some(last) if last.stream == stream => last.bytes.extend_from_slice(&bytes),
            _ => self.gathered.push(Print { stream, bytes }),
        }
        Ok(())
    }
}

/// All that went to standard error.
pub(crate) fn stderr(prints: &[Print]) -> String {
    let mut bytes = Vec::new();
    for print in prints.iter().filter(|print| print.stream == PrintStream::Stderr) {
        bytes.extend_from_slice(&print.bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(stream: PrintStream, text: &str) -> Print {
        Print { stream, bytes: text.into() }
    }

    #[test]
    fn neighbours_of_one_stream_become_one() {
        let mut prints = Prints::default();
        for (stream, text) in [
            (PrintStream::Stdout, "a"),
            (PrintStream::Stdout, "b"),
            (PrintStream::Stderr, "c"),
            (PrintStream::Stdout, "d"),
        ] {
            prints.push(stream, text.into()).expect("few bytes");
        }
        let mut gathered = Vec::new();
        prints.end(&mut gathered);
        let expected =
            [print(PrintStream::Stdout, "ab"), print(PrintStream::Stderr, "c"), print(PrintStream::Stdout, "d")];
        assert_eq!(gathered, expected);
        assert_eq!(stderr(&gathered), "c");
    }

    #[test]
    fn the_limit_counts_both_streams_and_starts_anew_with_each_delivery() {
        let mut prints = Prints::default();
        let half = vec![b'x'; limits::PRINTS_BYTES_MAX / 2];
        assert_eq!(prints.push(PrintStream::Stdout, half.clone()), Ok(()));
        assert_eq!(prints.push(PrintStream::Stderr, half.clone()), Ok(()));
        assert_eq!(prints.push(PrintStream::Stdout, vec![b'x']), Err(Refusal::PrintLimit));
        prints.begin(&mut Vec::new());
        assert_eq!(prints.push(PrintStream::Stdout, half), Ok(()));
    }
}
