//! What a guest prints in one delivery.
//!
//! **Architecture Invariant:** printing never waits and never fails. What is beyond the limit of a delivery is cut, and said
//! to be so in the place of it, the same on every replica. Where the text goes is decided by the core.

use ambrosia_core::{Print, PrintStream, limits};

/// Gathers prints in order. Neighbours of one stream become one.
#[derive(Default)]
pub(crate) struct Prints {
    gathered: Vec<Print>,
    bytes: usize,
    /// Bytes beyond the limit.
    cut: u64,
}

impl Prints {
    /// Starts a delivery, gathering into `prints`.
    pub(crate) fn begin(&mut self, prints: &mut Vec<Print>) {
        std::mem::swap(&mut self.gathered, prints);
        self.bytes = 0;
        self.cut = 0;
    }

    /// Ends a delivery and hands back what [`Self::begin`] took.
    pub(crate) fn end(&mut self, prints: &mut Vec<Print>) {
        if self.cut > 0 {
            let text = format!(
                "\nambrosia: {} bytes more were printed in this delivery and are left out; {} are the limit\n",
                self.cut,
                limits::PRINTS_BYTES_MAX
            );
            self.append(PrintStream::Stderr, text.as_bytes());
            self.cut = 0;
        }
        std::mem::swap(&mut self.gathered, prints);
    }

    /// Appends what the guest printed, as far as there is room.
    pub(crate) fn push(&mut self, stream: PrintStream, bytes: &[u8]) {
        let fits = self.take_room(bytes.len() as u64);
        self.append(stream, &bytes[..fits]);
    }

    /// Appends zeros.
    pub(crate) fn push_zeroes(&mut self, stream: PrintStream, count: u64) {
        let fits = self.take_room(count);
        self.append(stream, &vec![0; fits]);
    }

    /// How many of that many bytes there is room for. The others count as cut.
    fn take_room(&mut self, bytes: u64) -> usize {
        let fits = bytes.min((limits::PRINTS_BYTES_MAX - self.bytes) as u64);
        self.bytes += fits as usize;
        self.cut = self.cut.saturating_add(bytes - fits);
        fits as usize
    }

    fn append(&mut self, stream: PrintStream, bytes: &[u8]) {
        match self.gathered.last_mut() {
            _ if bytes.is_empty() => {}
            Some(last) if last.stream == stream => last.bytes.extend_from_slice(bytes),
            _ => self.gathered.push(Print { stream, bytes: bytes.to_vec() }),
        }
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
            prints.push(stream, text.as_bytes());
        }
        let mut gathered = Vec::new();
        prints.end(&mut gathered);
        let expected =
            [print(PrintStream::Stdout, "ab"), print(PrintStream::Stderr, "c"), print(PrintStream::Stdout, "d")];
        assert_eq!(gathered, expected);
        assert_eq!(stderr(&gathered), "c");
    }

    #[test]
    fn what_is_beyond_the_limit_of_a_delivery_is_cut_and_counted() {
        let mut prints = Prints::default();
        let half = vec![b'x'; limits::PRINTS_BYTES_MAX / 2];
        prints.push(PrintStream::Stdout, &half);
        prints.push(PrintStream::Stderr, &half[1..]);
        prints.push(PrintStream::Stdout, b"yz");
        prints.push_zeroes(PrintStream::Stdout, u64::MAX - 7);
        let mut gathered = Vec::new();
        prints.end(&mut gathered);
        assert_eq!((&gathered[2], gathered.len()), (&print(PrintStream::Stdout, "y"), 4));
        let said = String::from_utf8(gathered[3].bytes.clone()).expect("a text");
        assert!(said.starts_with(&format!("\nambrosia: {} bytes more were printed", u64::MAX - 6)), "{said}");
        prints.begin(&mut Vec::new());
        prints.push(PrintStream::Stdout, &half);
        prints.end(&mut gathered);
        assert_eq!(
            gathered,
            [Print { stream: PrintStream::Stdout, bytes: half }],
            "the next delivery has all the room"
        );
    }
}
