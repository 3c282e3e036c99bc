//! Temporary.
#[path = "../tests/engine/guests.rs"]
mod guests;
use ambrosia_core::*;
use ambrosia_engine::Engine;
use std::time::Instant;
fn main() {
    let engine = Engine::new().unwrap();
    println!("hash {:02x?}", &engine.hash()[..4]);
    let name = || InstanceName::new("bench").unwrap();
    let limits = Limits { fuel: u64::MAX / 4, memory_bytes: limits::MEMORY_BYTES_DEFAULT };
    let genesis = Genesis { uuid: InstanceUuid([7; 16]), module: [0; 32], seed: 1, limits, name: name() };
    for _ in 0..2 {
    for (what, call) in [
        ("empty loop", ""),
        ("by hand: host now", "(drop (call $now))"),
        ("bindings: monotonic now", "(drop (call $monotonic-now))"),
        ("bindings: wall now", "(call $wall-now (i32.const 32))"),
        ("bindings: print 5 bytes", "(call $print (local.get $h) (i32.const 16) (i32.const 5))"),
    ] {
        let body = format!("(local $n i32) (local $h i32) (local.set $h (call $stdout)) (local.set $n (i32.const 10000)) (loop $again {call} (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
         (call $answer (i32.const 0) (i32.const 0))");
        let mut guest = engine.load(&guests::Wat::deliver(&body).bytes()).unwrap().instantiate(&genesis).unwrap();
        let mut world = World { name: name(), time: Timestamp(1), peers: Peers::default(), random: Random::new(1) };
        let mut delivered = Delivered::default();
        let mut best = f64::MAX;
        for _ in 0..200 {
            delivered.clear();
            let start = Instant::now();
            guest.deliver(b"", &mut world, &mut delivered).unwrap();
            best = best.min(start.elapsed().as_nanos() as f64 / 10000.0);
        }
        println!("{what:30} {best:.1} ns a call");
    }
    }
}
