//! Numbered messages, counted and checked.

/// The number of the message and the number of the job, little-endian. No message is smaller.
const HEAD_BYTES: usize = 16;
/// The bytes after the head repeat with this period, which no page or frame has.
const PERIOD: usize = 251;

/// Messages of one job, in order.
#[ambrosia::state]
pub(crate) struct Tally {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// Messages that did not follow the one before, or were changed on the way.
    pub(crate) violations: u64,
}

impl Tally {
    pub(crate) fn count(&mut self, message: &[u8]) {
        let right = number_at(message, 0) == self.messages && is_whole(message);
        self.violations += u64::from(!right);
        self.messages += 1;
        self.bytes += message.len() as u64;
    }
}

/// The message with that number of that job.
pub(crate) fn message(number: u64, job: u64, bytes: u64) -> Vec<u8> {
    let mut message = Vec::with_capacity(bytes as usize);
    message.extend(number.to_le_bytes());
    message.extend(job.to_le_bytes());
    let period = period();
    while message.len() < bytes as usize {
        let left = bytes as usize - message.len();
        message.extend_from_slice(&period[..left.min(PERIOD)]);
    }
    message
}

/// Which job a message is of.
pub(crate) fn job_of(message: &[u8]) -> u64 {
    number_at(message, size_of::<u64>())
}

fn number_at(message: &[u8], at: usize) -> u64 {
    message.get(at..).and_then(|rest| rest.first_chunk()).map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes))
}

fn is_whole(message: &[u8]) -> bool {
    let period = period();
    message.get(HEAD_BYTES..).is_some_and(|rest| rest.chunks(PERIOD).all(|chunk| *chunk == period[..chunk.len()]))
}

fn period() -> [u8; PERIOD] {
    std::array::from_fn(|at| at as u8)
}
