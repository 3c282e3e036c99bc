//! Queries: those that answer, and those that do what a query may not.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
};

use ambrosia::Peer;

/// What a query writes here nobody ever sees.
static ASKED: AtomicU64 = AtomicU64::new(0);

#[ambrosia::state]
struct Asked {
    total: u64,
    kept: Vec<u8>,
    asked: Cell<u64>,
}

#[ambrosia::interface]
trait Other {
    fn hear(n: u64);
}

#[ambrosia::immortal]
impl Asked {
    fn add(&mut self, n: u64) -> u64 {
        self.total += n;
        self.total
    }

    fn keep(&mut self, bytes: usize) {
        self.kept = vec![1; bytes];
    }

    fn meet(&mut self, name: String) {
        Peer::attach(&name);
    }

    #[ambrosia(query)]
    fn total(&self) -> u64 {
        self.total
    }

    /// How often it was asked, as far as it knows: once.
    #[ambrosia(query)]
    fn asked(&self) -> (u64, u64) {
        self.asked.set(self.asked.get() + 1);
        (self.asked.get(), ASKED.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// What it has kept, twice, in memory of its own.
    #[ambrosia(query)]
    fn doubled(&self) -> u64 {
        let both = [&self.kept[..], &self.kept[..]].concat();
        println!("nobody sees this");
        both.iter().map(|byte| u64::from(*byte)).sum()
    }

    #[ambrosia(query)]
    fn fails(&self) -> u64 {
        panic!("it can't")
    }

    #[ambrosia(query)]
    fn never_ends(&self) -> u64 {
        let mut n = self.total;
        loop {
            n = std::hint::black_box(n.wrapping_mul(3));
        }
    }

    #[ambrosia(query)]
    fn draws(&self) -> u64 {
        ambrosia::random()
    }

    #[ambrosia(query)]
    fn sends(&self, name: String) -> u64 {
        Other::attach(&name).fork().hear(self.total);
        self.total
    }
}
