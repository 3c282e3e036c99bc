//! A set of pages of one memory.
//!
//! **Architecture Invariant:** a page is in it until it is taken out; growing forgets none.

use std::ops::Range;

const BITS: u32 = u64::BITS;

/// One bit a page.
#[derive(Clone, Default)]
pub(crate) struct PageSet {
    words: Vec<u64>,
}

impl PageSet {
    pub(crate) fn insert(&mut self, page: u32) {
        let word = (page / BITS) as usize;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (page % BITS);
    }

    pub(crate) fn insert_all(&mut self, pages: Range<u32>) {
        pages.for_each(|page| self.insert(page));
    }

    pub(crate) fn remove(&mut self, page: u32) {
        if let Some(word) = self.words.get_mut((page / BITS) as usize) {
            *word &= !(1 << (page % BITS));
        }
    }

    pub(crate) fn clear(&mut self) {
        self.words.clear();
    }

    /// The pages in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.within(0..u32::MAX)
    }

    /// Those of `pages` that are in it, in order.
    pub(crate) fn within(&self, pages: Range<u32>) -> impl Iterator<Item = u32> {
        let first = (pages.start / BITS) as usize;
        let end = self.words.len().min(pages.end.div_ceil(BITS) as usize);
        let words = self.words.get(first..end).unwrap_or_default().iter().zip(first as u32..);
        let set = words.filter(|(word, _)| **word != 0).flat_map(|(word, index)| {
            (0..BITS).filter(move |bit| word & 1 << bit != 0).map(move |bit| index * BITS + bit)
        });
        set.filter(move |page| pages.contains(page))
    }
}

#[cfg(test)]
mod tests {
    use super::PageSet;

    #[test]
    fn pages_come_back_in_order_until_they_are_removed() {
        let mut set = PageSet::default();
        for page in [700, 0, 64, 63] {
            set.insert(page);
        }
        set.insert_all(126..130);
        set.remove(64);
        set.remove(9999);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 126, 127, 128, 129, 700]);
        assert_eq!(set.within(63..129).collect::<Vec<_>>(), [63, 126, 127, 128]);
        assert_eq!(set.within(800..900).next(), None);
        set.clear();
        assert_eq!(set.iter().next(), None);
    }
}
