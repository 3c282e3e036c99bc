//! A counter whose code stays as it is.

#[derive(Default)]
struct Settled {
    total: u64,
}

#[ambrosia::immortal(no_upgrade)]
impl Settled {
    fn add(&mut self, n: u64) -> u64 {
        self.total += n;
        self.total
    }
}
