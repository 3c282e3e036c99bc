//! A running total, an echo, and a list of what was noted.

#[ambrosia::state]
struct Counter {
    total: u64,
    seen: Vec<u64>,
}

#[ambrosia::immortal]
impl Counter {
    fn add(&mut self, n: u64) -> u64 {
        self.total += n;
        self.total
    }

    #[ambrosia(update)]
    fn total(&self) -> u64 {
        self.total
    }

    #[ambrosia(update)]
    fn echo(&self, value: String) -> String {
        value
    }

    /// Appends to the list.
    fn see(&mut self, n: u64) {
        self.seen.push(n);
    }

    #[ambrosia(update)]
    fn seen(&self) -> Vec<u64> {
        self.seen.clone()
    }
}
