//! What a delivery costs: nanoseconds a message, for batches of several sizes.
//!
//! `cargo run --release -p ambrosia-engine --example deliver_bench [component.wasm]`
//!
//! Without an argument the component is an echo in a few lines of wasm, so what is seen is the border of the guest:
//! the call, the copy of the runs into its memory and of the effects out of it. With one, only loading it is timed.

#[path = "../tests/engine/guests.rs"]
mod guests;

use std::time::{Duration, Instant};

use ambrosia_core::{
    Delivered, Genesis, Guest, InstanceName, InstanceUuid, Limits, Message, MessageKind, PeerIndex, Peers, Random, Seq,
    Timestamp, World, begin_run, finish_run, limits, push_message,
};
use ambrosia_engine::{Engine, Module, WasmGuest};

fn main() {
    let engine = Engine::new().expect("this machine runs guests");
    match std::env::args().nth(1) {
        Some(path) => time_loading(&engine, &std::fs::read(path).expect("the file can be read")),
        None => {
            let echo = guests::Wat::deliver(guests::ECHO).bytes();
            time_loading(&engine, &echo);
            time_deliveries(&engine.load(&echo).expect("the echo is an immortal"));
            time_queries(&engine.load(&echo).expect("the echo is an immortal"));
        }
    }
}

fn time_loading(engine: &Engine, component: &[u8]) {
    let cache = tempfile::tempdir().expect("a directory for the cache");
    let load = || engine.load_cached(component, cache.path()).unwrap_or_else(|error| panic!("{error}"));
    let (compiled, module) = time(load);
    let (cached, _) = time(load);
    let (first, _) = time(|| module.instantiate(&genesis()));
    let (second, _) = time(|| module.instantiate(&genesis()));
    let (methods, _) = time(|| module.methods());
    println!("{} KiB: compile {compiled:.1?}, load from the cache {cached:.1?}", component.len() / 1024);
    println!("instantiate {first:.1?}, again {second:.1?}, list the methods {methods:.1?}\n");
}

fn time_deliveries(module: &Module) {
    println!("{:>9} {:>9} {:>12} {:>12}", "arguments", "batch", "ns a call", "ns a message");
    for (arguments, batches) in [(64, &[1, 8, 64, 512][..]), (1024, &[1, 64]), (1 << 20, &[1])] {
        for &batch in batches {
            let mut guest = module.instantiate(&genesis()).expect("the echo starts");
            let nanoseconds = time_delivery(&mut guest, &runs(batch, arguments));
            println!("{arguments:>9} {batch:>9} {nanoseconds:>12.0} {:>12.1}", nanoseconds / batch as f64);
        }
    }
}

/// What a query costs beside a delivery: alone, and when there was a delivery before each.
fn time_queries(module: &Module) {
    const CALLS: u32 = 20_000;
    let (runs, world) = (runs(1, 64), world());
    let mut guest = module.instantiate(&genesis()).expect("the echo starts");
    let mut delivered = Delivered::default();
    let mut query = |guest: &mut WasmGuest| {
        delivered.clear();
        guest.query(&runs, &world, &mut delivered).expect("an echo");
    };
    let (first, ()) = time(|| query(&mut guest));
    let (alone, ()) = time(|| (0..CALLS).for_each(|_| query(&mut guest)));
    let mut effects = Delivered::default();
    let mut its_world = world.clone();
    let (mixed, ()) = time(|| {
        (0..CALLS).for_each(|_| {
            effects.clear();
            guest.deliver(&runs, &mut its_world, &mut effects).expect("an echo");
            query(&mut guest);
        });
    });
    println!(
        "\nfirst query {first:.1?}, each after that {:.2?}, with a delivery before it {:.2?}",
        alone / CALLS,
        mixed / CALLS
    );
}

/// The best of many rounds: whatever else the machine does only adds.
fn time_delivery(guest: &mut WasmGuest, runs: &[u8]) -> f64 {
    const ROUNDS: u32 = 50;
    const ROUND_BYTES: usize = 8 << 20;
    let calls = (ROUND_BYTES / (runs.len() + 1000)).max(4);
    let mut world = world();
    let mut delivered = Delivered::default();
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let (elapsed, ()) = time(|| {
            for _ in 0..calls {
                delivered.clear();
                guest.deliver(runs, &mut world, &mut delivered).expect("an echo");
            }
        });
        best = best.min(elapsed.as_nanos() as f64 / calls as f64);
    }
    assert_eq!(delivered.effects, runs);
    best
}

fn runs(batch: usize, arguments: usize) -> Vec<u8> {
    let mut runs = Vec::new();
    let arguments = vec![7; arguments];
    let start = begin_run(&mut runs, PeerIndex(1), Seq(1));
    for _ in 0..batch {
        let message = Message {
            kind: MessageKind::Fork,
            method: Default::default(),
            call_id: Default::default(),
            arguments: &arguments,
        };
        push_message(&mut runs, message);
    }
    finish_run(&mut runs, start, batch as u32);
    runs
}

fn genesis() -> Genesis {
    let limits = Limits { fuel: limits::FUEL_DEFAULT, memory_bytes: limits::MEMORY_BYTES_DEFAULT };
    Genesis { uuid: InstanceUuid([7; 16]), module: [0; 32], seed: 1, limits, name: name() }
}

fn world() -> World {
    World {
        name: name(),
        time: Timestamp(1),
        peers: Peers::default(),
        random: Random::new(1),
        configuration: Default::default(),
    }
}

fn name() -> InstanceName {
    InstanceName::new("bench").expect("letters only")
}

fn time<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}
