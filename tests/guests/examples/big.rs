//! Large states and large messages.

#[ambrosia::interface]
trait Big {
    #[ambrosia(raw)]
    fn receive_blob(bytes: &[u8]);
}

#[ambrosia::state]
struct Keeper {
    blob: Vec<u8>,
    count: u64,
    total_bytes: u64,
    checksum: u64,
}

#[ambrosia::immortal]
impl Keeper {
    /// Makes the state that many bytes large, and returns how large it is.
    fn blob(&mut self, bytes: u64) -> u64 {
        self.blob = pattern(bytes as usize);
        self.blob.len() as u64
    }

    /// Answers with what it got.
    #[ambrosia(raw)]
    fn echo(&self, bytes: &[u8]) -> Vec<u8> {
        bytes.to_vec()
    }

    /// Forks a message of that many bytes to `receive_blob` of `target`.
    fn send_blob(&mut self, target: String, bytes: u64) {
        Big::attach(&target).fork().receive_blob(pattern(bytes as usize));
    }

    #[ambrosia(raw)]
    fn receive_blob(&mut self, bytes: &[u8]) {
        self.count += 1;
        self.total_bytes += bytes.len() as u64;
        self.checksum = checksum(self.checksum, bytes);
    }

    /// Blobs received, their bytes, and a checksum over all of them: [`expected`](Keeper::expected) says what it is.
    #[ambrosia(update)]
    fn report(&self) -> (u64, u64, u64) {
        (self.count, self.total_bytes, self.checksum)
    }

    /// The checksum after blobs of these sizes.
    #[ambrosia(update)]
    fn expected(&self, sizes: Vec<u64>) -> u64 {
        sizes.iter().fold(0, |sum, &bytes| checksum(sum, &pattern(bytes as usize)))
    }
}

/// Bytes that do not repeat where pages or frames do.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

fn checksum(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
