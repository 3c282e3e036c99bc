//! A build that takes the state of `one.rs`, and fails at it as that says.

mod fate;

use std::collections::BTreeMap;

use ambrosia::{
    __private::push_effect_bytes,
    serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error},
};
use fate::Fate;

#[ambrosia::state]
struct Ledger {
    totals: BTreeMap<String, u64>,
    handled: u64,
    fate: Struck,
}

/// Strikes when it is loaded.
#[derive(Default)]
struct Struck(Fate);

impl Serialize for Struck {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.0)
    }
}

impl<'de> Deserialize<'de> for Struck {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fate = Fate::deserialize(deserializer)?;
        fate.strike("load-");
        match fate.0.as_str() {
            "load-refuse" => Err(D::Error::custom("it was asked to load-refuse")),
            _ => Ok(Struck(fate)),
        }
    }
}

#[ambrosia::immortal]
impl Ledger {
    fn on_upgrade(&mut self) {
        println!("loaded by the faulty one");
        match self.fate.0.0.as_str() {
            "load-stranger" => push_effect_bytes(&fork_to_stranger()),
            "load-exit" => ambrosia::exit(3),
            _ => {}
        }
    }

    fn add(&mut self, name: String, n: u64) -> (u32, u64) {
        self.handled += 1;
        let total = self.totals.entry(name).or_default();
        *total += n;
        (3, *total)
    }

    /// Keeps nothing of it, and may fail at it.
    fn set_fate(&mut self, word: String) {
        Fate(word).strike("handle-");
    }

    #[ambrosia(update)]
    fn report(&self) -> (u32, u64, u64) {
        (3, self.handled, self.totals.values().sum())
    }
}

/// An effect for a peer that was never attached.
fn fork_to_stranger() -> [u8; 28] {
    let mut bytes = [0; 28];
    bytes[4..8].copy_from_slice(&1_000_000_u32.to_le_bytes());
    bytes[24] = 1;
    bytes
}
