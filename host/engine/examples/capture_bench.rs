//! What it costs to capture, compare and restore a guest of 256 MiB, for each way to find changes.
//!
//! `cargo run --release -p ambrosia-engine --example capture_bench`
//!
//! The guest is a few lines of wasm: it fills its memory, writes to as many pages as it is told, or echoes. Each number is
//! the best of some rounds, for whatever else the machine does only adds; of slices it is the longest of the best round.

#[path = "../tests/engine/guests.rs"]
mod guests;
#[path = "../tests/engine/kept.rs"]
mod kept;

use std::time::{Duration, Instant};

use ambrosia_core::{
    Delivered, Genesis, Guest, InstanceName, InstanceUuid, Limits, PAGE_BYTES, Peers, Random, Timestamp, World, limits,
};
use ambrosia_engine::{Module, WasmGuest};
use kept::{ENGINES, Kept};

const MEMORY_BYTES: usize = 256 << 20;
const DIRTY_PAGES: u32 = 1000;
const SLICE_BYTES: usize = 4 << 20;
const ROUNDS: usize = 7;
const DIGESTS: u32 = 50;

/// Eight bytes are a command, what to do and how often; any other runs are echoed.
const WORK: &str = "
    (if (i32.ne (local.get $length) (i32.const 8)) (then (return (call $answer (local.get $at) (local.get $length)))))
    (if (i32.eqz (i32.load (local.get $at))) (then
      (drop (memory.grow (i32.const 4094)))
      (memory.fill (i32.const 65536) (i32.const 7) (i32.const 268304384))))
    (local.set $length (i32.load (i32.add (local.get $at) (i32.const 4))))
    (global.set $value (i64.add (global.get $value) (i64.const 1)))
    (block $done (loop $again
      (br_if $done (i32.ge_u (local.get $i) (local.get $length)))
      ;; 61 pages apart, and so in different places in all of the memory.
      (i64.store offset=131072 (i32.rem_u (i32.mul (local.get $i) (i32.const 249856)) (i32.const 0xff00000))
        (global.get $value))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $again)))
    (call $answer (i32.const 0) (i32.const 0))";

const FILL: u32 = 0;
const WRITE: u32 = 1;

fn main() {
    let wat = guests::Wat::deliver(WORK).more("(global $value (mut i64) (i64.const 0))");
    for engine in &*ENGINES {
        println!("{:?}, {} MiB", engine.tracking(), MEMORY_BYTES >> 20);
        let module = engine.load(&wat.bytes()).expect("an immortal");
        time_captures(&module);
        time_restores(&module);
        time_deliveries(&module);
    }
}

fn time_captures(module: &Module) {
    let mut guest = filled(module);
    show("capture_all of a guest that was never captured", best(1, || (), |()| guest.capture_all().map(drop)));
    show("capture_all", best(ROUNDS, || (), |()| guest.capture_all().map(drop)));
    let longest = (0..ROUNDS).map(|_| longest_slice(&mut guest)).min();
    show("capture_all after copy_ahead of 4 MiB at a time: longest", longest.expect("some rounds"));
    let mut fresh = filled(module);
    show("the same of a guest that was never captured: longest", longest_slice(&mut fresh));
    for pages in [0, DIRTY_PAGES] {
        let pause = || {
            work(&mut guest, WRITE, pages);
            time(|| guest.capture_changes().expect("there was one of all")).0
        };
        show(&format!("capture_changes with {pages} pages written"), repeat(ROUNDS, pause));
    }
    for pages in [0, DIRTY_PAGES] {
        let pause = || {
            work(&mut guest, WRITE, pages);
            time(|| guest.digest()).0
        };
        show(&format!("digest after {pages} pages written"), repeat(ROUNDS, pause));
    }
}

/// The longest time that the guest stands still, while 1000 pages are written between every two slices.
fn longest_slice(guest: &mut WasmGuest) -> Duration {
    let mut longest = Duration::ZERO;
    loop {
        let (elapsed, done) = time(|| guest.copy_ahead(SLICE_BYTES).expect("it is alive"));
        longest = longest.max(elapsed);
        work(guest, WRITE, DIRTY_PAGES);
        if done {
            break;
        }
    }
    longest.max(time(|| guest.capture_all().expect("it can be captured")).0)
}

fn time_restores(module: &Module) {
    let mut guest = filled(module);
    let kept = Kept::all(&guest.capture_all().expect("it can be captured"));
    let restore = |image| {
        let mut guest = module.restore(&genesis(), image).expect("the image is whole");
        work(&mut guest, WRITE, 10);
        guest
    };
    let mapped = || kept.image_over(&kept);
    let digest = time(|| restore(mapped()).digest()).1;
    work(&mut guest, WRITE, 10);
    assert_eq!(guest.digest(), digest);
    show("restore by mapping, and the first delivery", best(ROUNDS, mapped, restore));
    show("restore by copying, and the first delivery", best(ROUNDS, || kept.image(), restore));
}

/// Best time of `work` alone.
fn best<T, R>(rounds: usize, mut prepare: impl FnMut() -> T, mut work: impl FnMut(T) -> R) -> Duration {
    repeat(rounds, || {
        let prepared = prepare();
        time(|| work(prepared)).0
    })
}

fn repeat(rounds: usize, round: impl FnMut() -> Duration) -> Duration {
    std::iter::repeat_with(round).take(rounds).min().expect("at least one round")
}

fn time_deliveries(module: &Module) {
    let (mut plain, mut tracked) = (filled(module), filled(module));
    tracked.capture_all().expect("it can be captured");
    // Turn by turn, so that whatever else the machine does meets both.
    let mut ratios: Vec<(f64, f64)> = Vec::new();
    for _ in 0..30 {
        let without = time_turn(&mut plain);
        let with = time_turn(&mut tracked);
        tracked.capture_changes().expect("there was one of all");
        ratios.push((with / without, without));
    }
    ratios.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
    let (ratio, nanoseconds) = ratios[ratios.len() / 2];
    println!("{:>60} {nanoseconds:>10.0} ns", "a delivery without tracking");
    println!("{:>60} {:>10.1} %", "cost of tracking, captures themselves left out", 100.0 * (ratio - 1.0));
    let digested = repeat(ROUNDS, || {
        time(|| {
            for _ in 0..DIGESTS {
                deliver(&mut tracked);
                tracked.digest();
            }
        })
        .0
    });
    println!(
        "{:>60} {:>10.0} ns\n",
        "a delivery with a digest after each",
        digested.as_nanos() as f64 / f64::from(DIGESTS)
    );
}

/// Nanoseconds of a delivery in the 100 ms after a capture, in which 1000 pages are written.
fn time_turn(guest: &mut WasmGuest) -> f64 {
    let start = Instant::now();
    let mut count = 0;
    work(guest, WRITE, DIRTY_PAGES);
    while start.elapsed() < Duration::from_millis(100) {
        for _ in 0..100 {
            deliver(guest);
        }
        count += 100;
    }
    start.elapsed().as_nanos() as f64 / f64::from(count)
}

/// As many bytes as a batch of 64 small messages.
fn deliver(guest: &mut WasmGuest) {
    let mut delivered = Delivered::default();
    guest.deliver(&[7; 6000], &mut world(), &mut delivered).expect("an echo");
}

fn show(what: &str, elapsed: Duration) {
    println!("{what:>60} {:>10.2} ms", elapsed.as_secs_f64() * 1e3);
}

fn filled(module: &Module) -> WasmGuest {
    let mut guest = module.instantiate(&genesis()).expect("it starts");
    work(&mut guest, FILL, 0);
    assert_eq!(guest.memory_bytes() as usize, MEMORY_BYTES - (1 << 16));
    assert!(MEMORY_BYTES.is_multiple_of(PAGE_BYTES));
    guest
}

fn work(guest: &mut WasmGuest, what: u32, count: u32) {
    let runs = [what.to_le_bytes(), count.to_le_bytes()].concat();
    guest.deliver(&runs, &mut world(), &mut Delivered::default()).expect("within memory");
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
