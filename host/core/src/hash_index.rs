//! Where things are held, found by the hash of what they are called: a table with open addressing.
//!
//! It stands in for the maps of the standard library: an ordered one takes several times as long for 100 000 entries
//! that change all the time, and the other one has an order of its own in each process. This one has no order to be
//! seen at all.

/// Slots of a table that has any.
const SLOTS_MIN: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Slot<T> {
    hash: u64,
    held: Option<T>,
}

impl<T> Slot<T> {
    const EMPTY: Slot<T> = Slot { hash: 0, held: None };
}

/// A set of `T`, each with a hash that several may share.
#[derive(Clone, Debug)]
pub(crate) struct HashIndex<T> {
    /// As many as a power of 2, half of them empty at least; or none. From the slot of its hash on, nothing is empty
    /// up to where an entry is.
    slots: Vec<Slot<T>>,
    count: usize,
}

impl<T> Default for HashIndex<T> {
    fn default() -> Self {
        HashIndex { slots: Vec::new(), count: 0 }
    }
}

impl<T: Copy> HashIndex<T> {
    /// Empty, with room for `count`.
    pub(crate) fn with_room(count: usize) -> Self {
        let slots = (2 * count).next_power_of_two().max(SLOTS_MIN);
        assert!(slots.is_power_of_two() && slots >= 2 * count, "half of the slots stay empty, so that searches end");
        HashIndex { slots: vec![Slot::EMPTY; slots], count: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The slot at which a search for `hash` begins. High bits of the product depend on all bits of the hash.
    fn home(&self, hash: u64) -> usize {
        debug_assert!(self.slots.len() >= SLOTS_MIN, "there is a slot to begin at");
        let bits = self.slots.len().trailing_zeros();
        (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - bits)) as usize
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }

    /// The slot of the entry that `is` says yes to; otherwise the empty one behind all of that hash.
    fn search(&self, hash: u64, is: impl Fn(T) -> bool) -> usize {
        let mut at = self.home(hash);
        while let Slot { hash: other, held: Some(held) } = self.slots[at]
            && !(other == hash && is(held))
        {
            at = self.next(at);
        }
        at
    }

    /// The entry of that hash that `is` says yes to.
    pub(crate) fn find(&self, hash: u64, is: impl Fn(T) -> bool) -> Option<T> {
        if self.slots.is_empty() { None } else { self.slots[self.search(hash, is)].held }
    }

    /// Adds an entry, unless `is` says yes to one of that hash. True if it was added.
    pub(crate) fn insert(&mut self, hash: u64, held: T, is: impl Fn(T) -> bool) -> bool {
        if 2 * (self.count + 1) > self.slots.len() {
            self.grow();
        }
        let at = self.search(hash, is);
        if self.slots[at].held.is_some() {
            return false;
        }
        self.slots[at] = Slot { hash, held: Some(held) };
        self.count += 1;
        assert!(2 * self.count <= self.slots.len(), "half of the slots are empty, so that searches end");
        true
    }

    fn grow(&mut self) {
        let before = std::mem::replace(self, HashIndex::with_room(2 * (self.count + 1)));
        for Slot { hash, held } in before.slots {
            if let Some(held) = held {
                self.insert(hash, held, |_| false);
            }
        }
        assert_eq!(self.count, before.count, "growing loses nothing");
    }

    /// Puts `held` in place of the entry that `is` says yes to, which must be there.
    pub(crate) fn replace(&mut self, hash: u64, held: T, is: impl Fn(T) -> bool) {
        let at = self.search(hash, is);
        self.slots[at].held.replace(held).expect("what is replaced is there");
    }

    /// Removes the entry that `is` says yes to, which must be there.
    pub(crate) fn remove(&mut self, hash: u64, is: impl Fn(T) -> bool) {
        assert!(self.count > 0, "nothing is removed from what is empty");
        let mut hole = self.search(hash, is);
        self.slots[hole].held.take().expect("what is removed is there");
        self.count -= 1;
        // Whatever was put behind it for want of its own slot moves up, for a search ends at the first empty slot. An entry
        // may move if the hole lies between its home and where it is, counted around the end of the table.
        let mut at = self.next(hole);
        while self.slots[at].held.is_some() {
            let mask = self.slots.len() - 1;
            let from_home = at.wrapping_sub(self.home(self.slots[at].hash)) & mask;
            if from_home >= at.wrapping_sub(hole) & mask {
                self.slots.swap(hole, at);
                hole = at;
            }
            at = self.next(at);
        }
    }
}

#[cfg(test)]
mod tests;
