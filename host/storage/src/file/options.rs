//! Sizes and times of a log on files.
//!
//! **Architecture Invariant:** none of them changes what is on the disk for good: logs written with other values are
//! read alike.

use std::time::Duration;

use super::segment::SEGMENT_HEADER_BYTES;
use crate::HEARTBEAT_SILENCE;

/// How a log on files is written and watched. The defaults are right but for tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileLogOptions {
    /// Bytes of the first segment of a reign: few, since most logs of many are idle.
    pub segment_bytes_first: u64,
    /// Bytes of the second one at least: who fills the first writes more.
    pub segment_bytes_second: u64,
    /// Each further segment is that many times as large as the one before …
    pub segment_growth: u64,
    /// … up to this many bytes. A record that is larger gets a segment of its size.
    pub segment_bytes_max: u64,
    /// The log is idle after this time without a record, and says on the disk what is durable.
    pub idle_after: Duration,
    /// The primary counts as gone when silent for this long.
    pub silence: Duration,
    /// A candidate that has locked the next reign is left this time to begin it, before another one passes it by.
    pub patience: Duration,
}

impl Default for FileLogOptions {
    fn default() -> Self {
        FileLogOptions {
            segment_bytes_first: 64 << 10,
            segment_bytes_second: 4 << 20,
            segment_growth: 4,
            segment_bytes_max: 64 << 20,
            idle_after: Duration::from_millis(20),
            silence: HEARTBEAT_SILENCE,
            patience: HEARTBEAT_SILENCE,
        }
    }
}

impl FileLogOptions {
    /// Bytes of the segment after one of `bytes`.
    pub(crate) fn segment_bytes_after(&self, bytes: u64) -> u64 {
        let grown = (bytes * self.segment_growth).max(self.segment_bytes_second);
        grown.clamp(2 * SEGMENT_HEADER_BYTES as u64, self.segment_bytes_max.max(bytes))
    }

    /// Bytes of a segment that takes the place of the one after one of `bytes`, if that is not ready.
    pub(crate) fn segment_bytes_instead(&self, bytes: u64) -> u64 {
        bytes.max(self.segment_bytes_second)
    }
}
