use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The table, beside a map that does the same.
#[derive(Default)]
struct Both {
    index: HashIndex<u32>,
    map: BTreeMap<u32, u64>,
}

impl Both {
    fn insert(&mut self, hash: u64, held: u32) {
        let is_new = !self.map.contains_key(&held);
        // The same number has the same hash always.
        let hash = *self.map.entry(held).or_insert(hash);
        assert_eq!(self.index.insert(hash, held, |other| other == held), is_new);
    }

    fn replace(&mut self, old: u32, new: u32) {
        if let (Some(hash), false) = (self.map.get(&old).copied(), self.map.contains_key(&new)) {
            self.map.remove(&old);
            self.map.insert(new, hash);
            self.index.replace(hash, new, |other| other == old);
        }
    }

    fn remove(&mut self, held: u32) {
        if let Some(hash) = self.map.remove(&held) {
            self.index.remove(hash, |other| other == held);
        }
    }

    fn check(&self, numbers: u32, hashes: u64) {
        assert_eq!(self.index.len(), self.map.len());
        for held in 0..numbers {
            let hash = self.map.get(&held);
            let found = |hash| self.index.find(hash, |other| other == held);
            (0..hashes).for_each(|other| assert_eq!(found(other), (hash == Some(&other)).then_some(held)));
        }
    }
}

const NUMBERS: u32 = 40;
const HASHES: u64 = 6;

proptest! {
    #[test]
    fn it_holds_what_a_map_would(steps in prop::collection::vec((0..4, 0..NUMBERS, 0..NUMBERS, 0..HASHES), 1..300)) {
        let mut both = Both::default();
        for (step, held, other, hash) in steps {
            match step {
                0 | 1 => both.insert(hash, held),
                2 => both.replace(held, other),
                _ => both.remove(held),
            }
            both.check(NUMBERS, HASHES);
        }
    }
}

#[test]
fn it_grows_and_keeps_half_of_its_slots_empty() {
    let mut index = HashIndex::default();
    for held in 0..10_000_u32 {
        assert!(index.insert(u64::from(held) << 40, held, |other| other == held));
        assert!(index.slots.len() >= 2 * index.len() && index.slots.len() <= SLOTS_MIN.max(8 * index.len()));
    }
    assert!((0..10_000).all(|held| index.find(u64::from(held) << 40, |other| other == held) == Some(held)));
    assert_eq!(index.find(77, |_| true), None);
    (0..10_000).for_each(|held| index.remove(u64::from(held) << 40, |other| other == held));
    assert_eq!(index.len(), 0);
    assert!(index.slots.iter().all(|slot| slot.held.is_none()));
}
