//! All that could differ between replicas, and must not.

use std::{
    collections::HashMap,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

#[ambrosia::state]
struct Deterministic {
    drawn: u64,
}

#[ambrosia::immortal]
impl Deterministic {
    /// A random number, the time in nanoseconds, and the order of a hash map's keys.
    fn draw(&mut self) -> (u64, u64, String) {
        self.drawn += 1;
        let map: HashMap<u32, ()> = (0..16).map(|key| (key, ())).collect();
        let order: Vec<_> = map.keys().map(u32::to_string).collect();
        (ambrosia::random(), ambrosia::now().as_nanos(), order.join(" "))
    }

    /// The time as the standard library has it, in nanoseconds, and how far its monotonic clock moves meanwhile.
    #[expect(clippy::disallowed_methods, reason = "a guest may read the clock: the host answers from the record")]
    #[ambrosia(update)]
    fn clocks(&self) -> (u64, u64) {
        let start = Instant::now();
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        (since_1970, start.elapsed().as_nanos() as u64)
    }

    #[ambrosia(update)]
    fn drawn(&self) -> u64 {
        self.drawn
    }
}
