//! The replicated state as the bytes of a checkpoint, of which the large parts are shared with the replica.

use std::fmt;

use bytes::Bytes;

/// Bytes from which it is cheaper to share a part than to copy it.
const SHARED_BYTES_MIN: usize = 1 << 10;

/// The bytes of a state in pieces: messages and results are the replica's own, which never change, and the rest was
/// written for it. So it is made quickly between two deliveries, and put together where there is time:
/// [`SharedState::to_vec`].
#[derive(Clone, Default)]
pub struct SharedState {
    /// What comes before `last`.
    pieces: Vec<Bytes>,
    /// What was written since the last shared piece.
    last: Vec<u8>,
}

impl SharedState {
    /// The whole in one piece, as [`crate::CheckpointState::decode`] reads it.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut whole = Vec::with_capacity(self.bytes());
        self.parts().for_each(|part| whole.extend_from_slice(part));
        assert_eq!(whole.len(), self.bytes(), "the whole is the sum of its pieces");
        whole
    }

    /// Bytes of the whole.
    pub fn bytes(&self) -> usize {
        self.parts().map(<[u8]>::len).sum()
    }

    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(|piece| &piece[..]).chain([&self.last[..]])
    }

    /// Writes `bytes` behind what is there.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.last.extend_from_slice(bytes);
    }

    pub(crate) fn put_u8(&mut self, number: u8) {
        self.put(&[number]);
    }

    pub(crate) fn put_u64(&mut self, number: u64) {
        self.put(&number.to_le_bytes());
    }

    /// A count, a length or an index, which all have limits below: as 4 bytes.
    pub(crate) fn put_count(&mut self, count: usize) {
        let count = u32::try_from(count).expect("every count and length has a limit that fits");
        self.put(&count.to_le_bytes());
    }

    /// Takes `bytes` behind what is there, without a copy if they are many.
    pub(crate) fn share(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_BYTES_MIN {
            return self.put(bytes);
        }
        if !self.last.is_empty() {
            self.pieces.push(std::mem::take(&mut self.last).into());
        }
        assert!(self.last.is_empty(), "what was written before a shared piece comes before it");
        self.pieces.push(bytes.clone());
    }
}

impl From<Vec<u8>> for SharedState {
    fn from(last: Vec<u8>) -> SharedState {
        SharedState { pieces: Vec::new(), last }
    }
}

impl From<SharedState> for Bytes {
    fn from(state: SharedState) -> Bytes {
        state.to_vec().into()
    }
}

/// Where the pieces end does not matter.
impl PartialEq for SharedState {
    fn eq(&self, other: &SharedState) -> bool {
        self.bytes() == other.bytes() && self.parts().flatten().eq(other.parts().flatten())
    }
}

impl Eq for SharedState {}

impl fmt::Debug for SharedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedState of {} bytes in {} pieces", self.bytes(), self.parts().count())
    }
}

#[cfg(test)]
mod tests;
