//! Checks that numbered messages come in order, none missing and none twice. Does nothing else, to be fast.

#[ambrosia::state]
struct Receiver {
    expected: u64,
    received: u64,
    violations: u64,
    bytes: u64,
}

#[ambrosia::immortal]
impl Receiver {
    #[ambrosia(raw)]
    fn receive(&mut self, bytes: &[u8]) {
        let number = bytes.first_chunk().map_or(u64::MAX, |number| u64::from_le_bytes(*number));
        self.violations += u64::from(number != self.expected);
        self.expected = number.wrapping_add(1);
        self.received += 1;
        self.bytes += bytes.len() as u64;
    }

    /// Messages received, and how many of them did not follow the one before.
    #[ambrosia(update)]
    fn report(&self) -> (u64, u64) {
        (self.received, self.violations)
    }

    /// Bytes received.
    #[ambrosia(update)]
    fn bytes(&self) -> u64 {
        self.bytes
    }
}
