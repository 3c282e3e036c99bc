//! What the model can learn and do besides its messages.

use ambrosia_core::{CallId, InstanceName, PeerIndex, PromiseToken, Timestamp, World, promise_token};

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

    /// By which the world outside may fulfil that promise.
    fn token_of(&self, promise: CallId) -> PromiseToken;

    /// The value of that name that the operator has set, empty if there is none.
    fn configured(&self, name: &str) -> Vec<u8>;
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

    fn token_of(&self, promise: CallId) -> PromiseToken {
        let key =
            self.configuration.promise_key.expect("whoever makes promises has a key before anything is delivered");
        promise_token(&key, promise)
    }

    fn configured(&self, name: &str) -> Vec<u8> {
        self.configuration.values.get(name).map_or_else(Vec::new, |value| value.to_vec())
    }
}
