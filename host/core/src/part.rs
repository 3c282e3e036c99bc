//! The parts of a replicated state: each is written into checkpoints, read back, digested and checked by itself.
//!
//! A new part is a field of [`State`] that implements [`Part`]. Whoever writes, reads, digests or checks a state takes it
//! apart without `..`, and so does each part with its own fields: one that was forgotten does not compile, where it would
//! have let replicas diverge unseen.
//!
//! **Architecture Invariant:** a part knows of the others what is in [`Beside`] and nothing else.

use bytes::Bytes;

use crate::{
    Genesis, Peers,
    bytes_reader::BytesReader,
    digest::Digested,
    shared_state::SharedState,
    state::{Position, State},
};

/// What the parts of a state may look at beside themselves.
#[derive(Clone, Copy)]
pub(crate) struct Beside<'a> {
    pub(crate) genesis: &'a Genesis,
    pub(crate) position: &'a Position,
    /// The names of the peers: the guest has them, so they are not among the streams.
    pub(crate) peers: &'a Peers,
}

/// A relation that does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Broken(pub(crate) &'static str);

/// Ends a check with [`Broken`] unless the condition holds. A state made here must pass, else it panics; one that was read
/// must, else it is refused: so both are held to one list of relations.
macro_rules! holds {
    ($condition:expr, $relation:literal) => {
        if !$condition {
            return Err($crate::part::Broken($relation));
        }
    };
}
pub(crate) use holds;

/// A part of the replicated state.
pub(crate) trait Part: Sized {
    /// Appends the part to the bytes of a checkpoint, in the one way in which it can be written.
    fn encode(&self, beside: Beside<'_>, out: &mut SharedState);

    /// Reads back what [`Part::encode`] wrote. `None` if the bytes can't be that; they are never believed.
    fn decode(reader: &mut StateReader<'_>) -> Option<Self>;

    /// Adds all by which two replicas could differ.
    fn digest(&self, beside: Beside<'_>, digested: &mut Digested);

    /// Whether all relations hold that must hold between two records, as one list. It runs after every step in debug
    /// builds, and once for a state that was read.
    fn validate(&self, beside: Beside<'_>) -> Result<(), Broken>;
}

impl State {
    /// What the parts may look at.
    pub(crate) fn beside(&self) -> Beside<'_> {
        Beside { genesis: &self.genesis, position: &self.position, peers: &self.world.peers }
    }
}

/// The bytes of a state while they are being read. Every method says `None` if they can't be what it reads.
pub(crate) struct StateReader<'a> {
    pub(crate) rest: BytesReader<'a>,
    /// All bytes, so that messages and results are slices of them.
    pub(crate) whole: &'a Bytes,
    pub(crate) genesis: &'a Genesis,
    pub(crate) position: Position,
    /// Whether it was written by a version that knows of the world outside: requests to it, promises, events, times of the
    /// calendar, what an operator has set, and what each request of a client asked for.
    pub(crate) has_door: bool,
    /// The names read so far: they stand among the streams.
    pub(crate) peers: Peers,
}

impl StateReader<'_> {
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.rest.u8()
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.rest.u32()
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.rest.u64()
    }

    pub(crate) fn boolean(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// A part that states of before have none of.
    pub(crate) fn of_door<P: Part + Default>(&mut self) -> Option<P> {
        if self.has_door { P::decode(self) } else { Some(P::default()) }
    }

    /// The next `count` bytes, as a slice of the whole.
    pub(crate) fn bytes(&mut self, count: usize) -> Option<Bytes> {
        let bytes = self.whole.slice_ref(self.rest.take(count)?);
        debug_assert_eq!(bytes.len(), count, "as many bytes are read as were asked for");
        Some(bytes)
    }
}

/// `None` if `next` does not come after the one before it.
pub(crate) fn rises<T: Copy + Ord>(before: &mut Option<T>, next: T) -> Option<()> {
    (before.replace(next) < Some(next)).then_some(())
}

#[cfg(test)]
pub(crate) mod tests;
