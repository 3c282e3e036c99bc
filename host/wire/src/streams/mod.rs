//! Streams within one connection, as each of its two ends keeps count of them: which there are, what may come on them, what is
//! to be written next.
//!
//! **Architecture Invariant:** nothing here does I/O or waits. A stream that is slow, stuck, refused or closed changes nothing
//! for the others.

mod outgoing;
mod table;
mod window;

pub(crate) use outgoing::{Command, Outgoing};
pub(crate) use table::{Arrived, Side, Table};
pub(crate) use window::Share;

use ambrosia_core::limits::INBOX_BYTES_MAX;

use crate::frame::{FrameKind, StreamNumber};

/// Streams that one connection carries at most, those among them that one side has closed and the other not yet.
pub const STREAMS_MAX: usize = 16 << 10;

/// What may be on its way on a stream at first, in bytes …
pub(crate) const WINDOW_BYTES_MIN: u64 = 64 << 10;

/// … and at most, once it was seen to use what it has.
pub(crate) const WINDOW_BYTES_MAX: u64 = INBOX_BYTES_MAX as u64;

/// By so much in all the windows of one connection exceed the least ones.
pub(crate) const WINDOWS_BYTES_MAX: u64 = 256 << 20;

/// What a frame of messages counts beside their bytes, so that very many small frames count too.
pub(crate) const FRAME_BYTES: u64 = 256;

const _: () = assert!(WINDOW_BYTES_MIN < WINDOW_BYTES_MAX && WINDOW_BYTES_MAX <= WINDOWS_BYTES_MAX);
const _: () = assert!(FRAME_BYTES < WINDOW_BYTES_MIN);

/// What a frame with so many bytes of messages takes of the credit of its stream.
pub(crate) fn cost(messages: usize) -> u64 {
    messages as u64 + FRAME_BYTES
}

/// The other side breaks a rule of streams. The connection ends, for nothing that it says can be believed any more.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StreamError {
    /// It was never opened.
    #[error("a frame of stream {0}, which was never opened")]
    Unknown(StreamNumber),
    /// The side that sends has closed it.
    #[error("a frame of stream {0}, which was closed")]
    Closed(StreamNumber),
    /// There was a hello of that number before.
    #[error("a second hello of stream {0}: each stream has a number of its own")]
    Reused(StreamNumber),
    /// Numbers are counted.
    #[error("a hello of stream {found} where stream {next} comes next")]
    Skipped {
        /// Its number.
        found: StreamNumber,
        /// The number that it should have.
        next: StreamNumber,
    },
    /// There are as many as there may be.
    #[error("a hello beyond the {0} streams that one connection carries")]
    TooMany(usize),
    /// More messages came than were asked for.
    #[error("messages on stream {stream} without credit: {received} bytes came, and {granted} were granted")]
    Overrun {
        /// The stream.
        stream: StreamNumber,
        /// What came before the frame.
        received: u64,
        /// What might come.
        granted: u64,
    },
    /// Credit can't be taken back.
    #[error("credit of stream {stream} that falls from {before} to {until}")]
    CreditFalls {
        /// The stream.
        stream: StreamNumber,
        /// As granted now.
        until: u64,
        /// As granted before.
        before: u64,
    },
    /// It is a frame, and has no meaning in this direction, or not now.
    #[error("a frame of kind {kind:?} that does not belong on stream {stream}")]
    Unexpected {
        /// The stream.
        stream: StreamNumber,
        /// The kind of the frame.
        kind: FrameKind,
    },
}

#[cfg(test)]
mod tests;
