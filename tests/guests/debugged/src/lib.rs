//! A sum and its largest part, for debuggers: built without optimisation, and with all debug information.

#[ambrosia::state]
struct Tally {
    total: u64,
    largest: u64,
}

#[ambrosia::immortal]
impl Tally {
    fn add(&mut self, n: u64) -> u64 {
        self.largest = self.largest.max(n);
        self.total += n;
        self.total
    }
}
