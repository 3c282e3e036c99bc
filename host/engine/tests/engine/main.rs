//! The engine from outside: components in the text format go in, and what they do is compared.

mod caching;
mod capturing;
mod delivering;
mod denied;
mod determinism;
mod faults;
mod guests;
mod handing_over;
mod handles;
mod kept;
mod loading;
mod nested;
mod printing;
mod querying;
mod restoring;
mod routing;
mod saving;
mod verdicts;
mod worlds;

use std::sync::LazyLock;

use ambrosia_core::{
    Delivered, Fault, Genesis, Guest, InstanceName, InstanceUuid, Limits, Peers, Random, Timestamp, World,
};
use ambrosia_engine::{Engine, Module, WasmGuest};
use guests::Wat;

static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new().expect("this machine runs guests"));

const LIMITS: Limits = Limits { fuel: 10_000_000, memory_bytes: 1 << 20 };

fn genesis(seed: u64) -> Genesis {
    let name = InstanceName::new("server").expect("letters only");
    Genesis { uuid: InstanceUuid([7; 16]), module: [0; 32], seed, limits: LIMITS, name }
}

fn world(seed: u64) -> World {
    let name = InstanceName::new("server").expect("letters only");
    let time = Timestamp(1_700_000_000_123_456_789);
    World { name, time, peers: Peers::default(), random: Random::new(seed), configuration: Default::default() }
}

fn module(wat: &Wat) -> Module {
    ENGINE.load(&wat.bytes()).expect("the component is an immortal")
}

/// A guest with its world and what it did last.
struct Run {
    guest: WasmGuest,
    world: World,
    delivered: Delivered,
}

impl Run {
    fn new(wat: &Wat) -> Run {
        Run::with(wat, &genesis(1))
    }

    fn with(wat: &Wat, genesis: &Genesis) -> Run {
        Run::of(module(wat).instantiate(genesis).expect("the component starts"))
    }

    fn of(guest: WasmGuest) -> Run {
        Run { guest, world: world(1), delivered: Delivered::default() }
    }

    fn deliver(&mut self, runs: &[u8]) -> Result<Vec<u8>, Fault> {
        self.delivered.clear();
        self.guest.deliver(runs, &mut self.world, &mut self.delivered)?;
        Ok(self.delivered.effects.clone())
    }

    /// What was printed, with `1:` or `2:` before each part.
    fn printed(&self) -> String {
        let part = |print: &ambrosia_core::Print| {
            let number = if print.stream == ambrosia_core::PrintStream::Stdout { 1 } else { 2 };
            format!("{number}:{}", String::from_utf8_lossy(&print.bytes))
        };
        self.delivered.prints.iter().map(part).collect::<Vec<_>>().join(" ")
    }
}

/// Delivers once to a component with that body and gives the fault that follows.
fn fault(body: &str) -> Fault {
    Run::new(&Wat::silent(body)).deliver(b"runs").expect_err("the body ends in a fault")
}
