//! The guest as the core sees it, and the world as the guest sees it.

use std::collections::BTreeMap;

use crate::{Configuration, HandoverError, InstanceName, PeerIndex, Timestamp, Upgrade, limits};

/// Application code: the real one runs in wasm, the simulator may use one written in Rust.
///
/// It must be deterministic: the same deliveries in the same world give the same effects, prints and state.
pub trait Guest {
    /// Handles the runs of one record (`wit/LAYOUT.md`) and appends what it brings about to `delivered`.
    ///
    /// After a fault the guest is poisoned and is not called again.
    fn deliver(&mut self, runs: &[u8], world: &mut World, delivered: &mut Delivered) -> Result<(), Fault>;

    /// Handles the runs of a query, which are not those of a record, on a view of what it remembers, and appends what that brings
    /// about to `delivered`. Afterwards the guest is what it was, whatever happened, and goes on.
    ///
    /// # Errors
    /// The fault is that of the query alone.
    fn query(&mut self, runs: &[u8], world: &World, delivered: &mut Delivered) -> Result<(), Fault> {
        let _ = (runs, world, delivered);
        Err(Fault::because("this guest answers no queries"))
    }

    /// Digest of all that the guest remembers: equal on every replica that has had the same deliveries, also on one
    /// that was restored from a checkpoint. 0 if that can't be told.
    fn digest(&mut self) -> u64 {
        0
    }

    /// Why it can't be captured, if it can't.
    fn cannot_capture(&self) -> Option<String> {
        None
    }

    /// Whether it may make promises: [`Configuration::promise_key`] is there before anything is delivered to it then.
    fn makes_promises(&self) -> bool {
        false
    }

    /// Hands all that the guest remembers to the module `upgrade.to`, between two deliveries, and goes on as that. What the
    /// new code brings about is appended to `delivered`, as for a delivery.
    ///
    /// It is deterministic as a delivery is. Changes of the guest's memory are counted anew behind it, also behind an error:
    /// no capture may rest on one from before.
    ///
    /// # Errors
    /// Why not. But for [`HandoverError::Lost`] the guest is what it was, and what it appended to `delivered` does not count.
    fn upgrade(
        &mut self,
        upgrade: &Upgrade,
        world: &mut World,
        delivered: &mut Delivered,
    ) -> Result<(), HandoverError> {
        let _ = (upgrade, world, delivered);
        Err(HandoverError::Refused(Fault::because("the guest knows of no other code than its own")))
    }

    /// After [`Guest::upgrade`]: what the new code brought about is at fault, so the guest becomes again what it was before.
    ///
    /// # Errors
    /// If it can't be put back: it is not to be called again.
    fn undo_upgrade(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    /// After [`Guest::upgrade`]: it stands, and what was kept for an undo can go.
    fn keep_upgrade(&mut self) {}
}

/// What is boxed is called as it is: no method is left to its default.
impl<G: Guest + ?Sized> Guest for Box<G> {
    fn deliver(&mut self, runs: &[u8], world: &mut World, delivered: &mut Delivered) -> Result<(), Fault> {
        (**self).deliver(runs, world, delivered)
    }

    fn query(&mut self, runs: &[u8], world: &World, delivered: &mut Delivered) -> Result<(), Fault> {
        (**self).query(runs, world, delivered)
    }

    fn digest(&mut self) -> u64 {
        (**self).digest()
    }

    fn cannot_capture(&self) -> Option<String> {
        (**self).cannot_capture()
    }

    fn makes_promises(&self) -> bool {
        (**self).makes_promises()
    }

    fn upgrade(
        &mut self,
        upgrade: &Upgrade,
        world: &mut World,
        delivered: &mut Delivered,
    ) -> Result<(), HandoverError> {
        (**self).upgrade(upgrade, world, delivered)
    }

    fn undo_upgrade(&mut self) -> Result<(), Fault> {
        (**self).undo_upgrade()
    }

    fn keep_upgrade(&mut self) {
        (**self).keep_upgrade();
    }
}

/// All that a guest can learn besides its messages. It is part of the replicated state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct World {
    /// The name under which the instance is registered.
    pub name: InstanceName,
    /// Time of the record being delivered.
    pub time: Timestamp,
    /// The peers that were attached or heard of so far.
    pub peers: Peers,
    /// The generator seeded in genesis.
    pub random: Random,
    /// What the operator has set.
    pub configuration: Configuration,
}

/// What a delivery brought about. Cleared by the caller, so that its memory is used again.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Delivered {
    /// Effects, as in `wit/LAYOUT.md`.
    pub effects: Vec<u8>,
    /// What the guest printed, in order.
    pub prints: Vec<Print>,
}

impl Delivered {
    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.effects.clear();
        self.prints.clear();
    }
}

/// Some bytes that a guest printed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Print {
    /// The stream that it was printed to.
    pub stream: PrintStream,
    /// The bytes as they were printed.
    pub bytes: Vec<u8>,
}

/// The two streams that a guest can print to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PrintStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A trap, or effects that can't be. It is deterministic: a restart meets it again.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Fault {
    /// What happened, for a person to read.
    pub reason: String,
    /// Where in the guest, if known.
    pub backtrace: String,
    /// What the guest printed on its standard error during the delivery; a panic says here which message it was.
    pub stderr: String,
}

impl Fault {
    /// One that the host found, and not the guest itself.
    pub fn because(reason: impl Into<String>) -> Fault {
        Fault { reason: reason.into(), backtrace: String::new(), stderr: String::new() }
    }
}

/// Names and numbers of the peers, in the order in which they came up.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Peers {
    names: Vec<InstanceName>,
    indices: BTreeMap<InstanceName, PeerIndex>,
}

impl Peers {
    /// The index of `name`, a new one if it has none yet. `None` when there are [`limits::PEERS_MAX`] already.
    pub fn attach(&mut self, name: &InstanceName) -> Option<PeerIndex> {
        if let Some(index) = self.indices.get(name) {
            return Some(*index);
        }
        if self.names.len() >= limits::PEERS_MAX as usize {
            return None;
        }
        self.names.push(name.clone());
        let index = PeerIndex(self.names.len() as u32);
        self.indices.insert(name.clone(), index);
        assert_eq!(self.names.len(), self.indices.len(), "each name has one index");
        debug_assert_eq!(self.name(index), Some(name), "the index is that of the name");
        Some(index)
    }

    /// The index of `name`, if it has one.
    pub fn index(&self, name: &InstanceName) -> Option<PeerIndex> {
        self.indices.get(name).copied()
    }

    /// The name of a peer; the outside world has none.
    pub fn name(&self, index: PeerIndex) -> Option<&InstanceName> {
        self.names.get((index.0 as usize).checked_sub(1)?)
    }

    /// How many there are; the highest index.
    pub fn count(&self) -> u32 {
        debug_assert!(self.names.len() <= limits::PEERS_MAX as usize, "there are no more peers than the limit");
        self.names.len() as u32
    }
}

/// A small seeded generator (SplitMix64, Steele et al. 2014). Not for secrets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator that gives the same values for the same seed.
    pub fn new(seed: u64) -> Self {
        Random { state: seed }
    }

    /// The generator that goes on where one with this [`Random::state`] stood.
    pub(crate) fn from_state(state: u64) -> Self {
        Random { state }
    }

    /// All that decides what comes next.
    pub(crate) fn state(&self) -> u64 {
        self.state
    }

    /// The next value.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests;
