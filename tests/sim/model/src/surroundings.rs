//! What the model can learn and do besides its messages.

use ambrosia_core::{InstanceName, PeerIndex, Timestamp, World};

/// The world as the model sees it: natively that of the core, in a component the functions of `wit/immortal.wit`.
pub trait Surroundings {
    /// Time of the record being delivered.
    fn time(&self) -> Timestamp;

    /// The next value of the generator seeded in genesis.
    fn random(&mut self) -> u64;

    /// The index of `name`, a new one if it has none yet.
    fn attach(&mut self, name: &InstanceName) -> PeerIndex;

    /// The name of the instance.
    fn name(&self) -> String;

    /// The name of a peer; `None` if there is none of that index.
    fn peer_name(&self, peer: PeerIndex) -> Option<InstanceName>;
}

impl Surroundings for World {
    fn time(&self) -> Timestamp {
        self.time
    }

    fn random(&mut self) -> u64 {
        self.random.next_u64()
    }

    fn attach(&mut self, name: &InstanceName) -> PeerIndex {
        self.peers.attach(name).expect("a simulation has few instances")
    }

    fn name(&self) -> String {
        self.name.to_string()
    }

    fn peer_name(&self, peer: PeerIndex) -> Option<InstanceName> {
        self.peers.name(peer).cloned()
    }
}
