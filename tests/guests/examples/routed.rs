//! Numbers with names, asked and changed at paths of its own.

use std::collections::BTreeMap;

#[ambrosia::state]
struct Routed {
    numbers: BTreeMap<String, u64>,
}

#[ambrosia::immortal]
impl Routed {
    /// What there is.
    #[ambrosia(query, get = "/", get = "/numbers")]
    fn names(&self) -> Vec<String> {
        self.numbers.keys().cloned().collect()
    }

    #[ambrosia(query, get = "/numbers/{name}")]
    fn number(&self, name: String, otherwise: Option<u64>) -> Option<u64> {
        self.numbers.get(&name).copied().or(otherwise)
    }

    #[ambrosia(query, get = "/numbers/total")]
    fn total(&self) -> u64 {
        self.numbers.values().sum()
    }

    #[ambrosia(query, get = "/numbers/{name}/times/{factor}")]
    fn times(&self, name: String, factor: u64) -> u64 {
        self.numbers.get(&name).copied().unwrap_or_default() * factor
    }

    /// Adds to one, and returns what that has come to.
    #[ambrosia(post = "/numbers/{name}")]
    fn add(&mut self, name: String, n: u64) -> u64 {
        let number = self.numbers.entry(name).or_default();
        *number += n;
        *number
    }

    #[ambrosia(put = "/numbers")]
    fn set(&mut self, name: String, n: u64) {
        self.numbers.insert(name, n);
    }

    #[ambrosia(delete = "/numbers/{name}")]
    fn remove(&mut self, name: String) -> bool {
        self.numbers.remove(&name).is_some()
    }

    /// Has no path.
    fn forget(&mut self) {
        self.numbers.clear();
    }
}
