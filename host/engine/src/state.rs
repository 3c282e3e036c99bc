//! What the host functions of one guest can reach.
//!
//! **Architecture Invariant:** the world is here only while a delivery runs; between deliveries it belongs to the
//! core, and what stands here is a stand-in. What lives on from one delivery to the next is `handles`, `memory`, which
//! follows from the guest's memory, and `insecure_seed`, which follows from genesis.

use std::sync::Arc;

use ambrosia_core::{Delivered, Genesis, Peers, Random, Timestamp, World};

use wasmtime::component::Resource;

use crate::{
    handles::{HandleKind, Handles},
    memory::MemoryLimit,
    prints::Prints,
    refusal::Refusal,
    source::Source,
};

/// The seed of what runs before the first delivery is this far from that of the deliveries, so that a guest does
/// not meet the same values twice.
const START_SEED_SALT: u64 = 0x616d_6272_6f73_6961;

/// Data of one store.
pub(crate) struct GuestState {
    pub(crate) world: World,
    pub(crate) prints: Prints,
    pub(crate) memory: MemoryLimit,
    /// What the guest has of the host's.
    pub(crate) handles: Handles,
    /// What the guest's hash maps are seeded with.
    pub(crate) insecure_seed: (u64, u64),
    /// Where places in the source are looked up once something has failed.
    pub(crate) source: Arc<Source>,
    /// False while the component is initialised or described: then the world is a stand-in that nobody keeps.
    pub(crate) delivering: bool,
    /// It is asked a query: the world is a copy, of which nothing may change.
    pub(crate) querying: bool,
}

impl GuestState {
    /// The state in which the component is initialised, the same on every replica.
    pub(crate) fn new(genesis: &Genesis, source: Arc<Source>) -> Self {
        let mut random = Random::new(genesis.seed ^ START_SEED_SALT);
        let insecure_seed = (random.next_u64(), random.next_u64());
        GuestState {
            world: World {
                name: genesis.name.clone(),
                time: Timestamp(0),
                peers: Peers::default(),
                random,
                configuration: Default::default(),
            },
            prints: Prints::default(),
            memory: MemoryLimit::new(genesis.limits.memory_bytes),
            handles: Handles::default(),
            insecure_seed,
            source,
            delivering: false,
            querying: false,
        }
    }

    /// The generator of the world, to draw from.
    pub(crate) fn random(&mut self) -> Result<&mut Random, Refusal> {
        if self.querying { Err(Refusal::RandomInQuery) } else { Ok(&mut self.world.random) }
    }

    /// Takes a copy of the world and the list of prints for the time of a query.
    pub(crate) fn begin_query(&mut self, world: &World, delivered: &mut Delivered) {
        self.world.time = world.time;
        // Peers only come to be, so those of an earlier query are the first of them.
        if self.world.peers.count() != world.peers.count() {
            self.world.peers = world.peers.clone();
        }
        self.prints.begin(&mut delivered.prints);
        (self.delivering, self.querying) = (true, true);
    }

    /// Hands back the prints.
    pub(crate) fn end_query(&mut self, delivered: &mut Delivered) {
        self.prints.end(&mut delivered.prints);
        (self.delivering, self.querying) = (false, false);
    }

    /// A new handle for the guest.
    pub(crate) fn open<T: 'static>(&mut self, kind: HandleKind) -> Resource<T> {
        Resource::new_own(self.handles.open(kind))
    }

    /// Takes the world and the list of prints for the time of a delivery.
    pub(crate) fn begin_delivery(&mut self, world: &mut World, delivered: &mut Delivered) {
        std::mem::swap(&mut self.world, world);
        self.prints.begin(&mut delivered.prints);
        self.delivering = true;
    }

    /// Hands back what [`Self::begin_delivery`] took.
    pub(crate) fn end_delivery(&mut self, world: &mut World, delivered: &mut Delivered) {
        std::mem::swap(&mut self.world, world);
        self.prints.end(&mut delivered.prints);
        self.delivering = false;
    }
}
