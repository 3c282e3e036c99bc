//! A capture of a whole memory in the making, while its guest goes on.
//!
//! **Architecture Invariant:** what was outdated after it was copied is copied again at the end, so that all of the
//! capture is of one moment.

use std::ops::Range;

use ambrosia_core::{MemoryCapture, PAGE_BYTES};

use crate::page_set::PageSet;

/// Pages of zeros that may be copied all the same, at first, and one more for so many others. A page that is zeros when it
/// is copied, and then is not, would have to be put between others, all of which would have to move while the guest
/// stands still. Stacks are such pages, and they mostly come first.
const ZEROS_MIN: u32 = 256;
const PAGES_PER_ZEROS: u32 = 8;

/// The pages from the first one up to [`Ahead::next`], and which of them are outdated.
#[derive(Default)]
pub(crate) struct Ahead {
    copied: MemoryCapture,
    next: u32,
    outdated: PageSet,
    /// Pages of zeros that were copied; `None` if none is.
    zeros: Option<u32>,
}

impl Ahead {
    /// One that goes on for a while, so that pages will change meanwhile.
    pub(crate) fn for_a_while() -> Ahead {
        Ahead { zeros: Some(0), ..Ahead::default() }
    }

    /// The page to copy next.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// Copies the next page.
    pub(crate) fn copy(&mut self, page: u32, hash: u64, contents: &[u8]) {
        assert_eq!(page, self.next);
        self.next += 1;
        if hash != 0 || self.takes_zeros() {
            self.copied.push(page, hash, contents);
        }
    }

    fn takes_zeros(&mut self) -> bool {
        let copied = self.copied.hashes.len() as u32;
        match &mut self.zeros {
            Some(zeros) if *zeros < ZEROS_MIN + copied / PAGES_PER_ZEROS => {
                *zeros += 1;
                true
            }
            _ => false,
        }
    }

    /// A page has changed. Of no matter if it is not copied yet.
    pub(crate) fn outdate(&mut self, page: u32) {
        if page < self.next {
            self.outdated.insert(page);
        }
    }

    /// The capture, after all was copied, brought up to date from all of the memory and its hashes.
    pub(crate) fn finish(self, contents: &[u8], hashes: &[u64]) -> MemoryCapture {
        assert_eq!(self.next as usize, hashes.len());
        let Ahead { mut copied, outdated, .. } = self;
        copied.bytes = contents.len() as u64;
        let mut new = Vec::new();
        let places = Places::of(&copied);
        for page in outdated.iter() {
            let current = &contents[page as usize * PAGE_BYTES..][..PAGE_BYTES];
            match places.find(page) {
                Ok(place) => {
                    copied.hashes[place] = hashes[page as usize];
                    copied.contents[place * PAGE_BYTES..][..PAGE_BYTES].copy_from_slice(current);
                }
                Err(_) if hashes[page as usize] == 0 => {}
                Err(_) => new.push((page, hashes[page as usize], current)),
            }
        }
        insert(&mut copied, &places, &new);
        copied
    }
}

/// Where in a capture a page is: each range, with the number of pages in front of it.
struct Places(Vec<(Range<u32>, usize)>);

impl Places {
    fn of(capture: &MemoryCapture) -> Places {
        let mut before = 0;
        let place = |range: &Range<u32>| {
            let place = before;
            before += range.len();
            (range.clone(), place)
        };
        Places(capture.pages.iter().map(place).collect())
    }

    /// The place of a page that is held, or else the one before which it would go.
    fn find(&self, page: u32) -> Result<usize, usize> {
        let at = self.0.partition_point(|(range, _)| range.end <= page);
        match self.0.get(at) {
            Some((range, place)) if range.contains(&page) => Ok(place + (page - range.start) as usize),
            Some((_, place)) => Err(*place),
            None => Err(self.0.last().map_or(0, |(range, place)| place + range.len())),
        }
    }
}

/// Puts pages between those that are there. Each that is there moves once, and what lies in front of the first new one
/// not at all.
fn insert(capture: &mut MemoryCapture, places: &Places, new: &[(u32, u64, &[u8])]) {
    let mut end = capture.hashes.len();
    capture.hashes.resize(end + new.len(), 0);
    capture.contents.resize((end + new.len()) * PAGE_BYTES, 0);
    for (further, (page, hash, contents)) in new.iter().enumerate().rev() {
        let (Ok(place) | Err(place)) = places.find(*page);
        capture.hashes.copy_within(place..end, place + further + 1);
        capture.contents.copy_within(place * PAGE_BYTES..end * PAGE_BYTES, (place + further + 1) * PAGE_BYTES);
        capture.hashes[place + further] = *hash;
        capture.contents[(place + further) * PAGE_BYTES..][..PAGE_BYTES].copy_from_slice(contents);
        end = place;
    }
    let mut pages: Vec<Range<u32>> = std::mem::take(&mut capture.pages);
    pages.extend(new.iter().map(|(page, ..)| *page..page + 1));
    pages.sort_unstable_by_key(|range| range.start);
    for range in pages {
        match capture.pages.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => capture.pages.push(range),
        }
    }
}

#[cfg(test)]
mod tests {
    use ambrosia_core::page_hash;

    use super::*;

    /// A memory whose pages are filled with those bytes, and its hashes.
    fn memory(bytes: &[u8]) -> (Vec<u8>, Vec<u64>) {
        let contents: Vec<u8> = bytes.iter().flat_map(|byte| [*byte; PAGE_BYTES]).collect();
        let hashes = contents.chunks(PAGE_BYTES).map(page_hash).collect();
        (contents, hashes)
    }

    fn copied(mut ahead: Ahead, contents: &[u8], hashes: &[u64]) -> Ahead {
        for ((page, hash), contents) in (0..).zip(hashes).zip(contents.chunks(PAGE_BYTES)) {
            ahead.copy(page, *hash, contents);
        }
        ahead
    }

    #[test]
    fn zeros_are_copied_if_they_may_change_but_not_all_of_them() {
        let (contents, hashes) = memory(&[0; 1000]);
        assert_eq!(copied(Ahead::default(), &contents, &hashes).copied.pages, []);
        let some = copied(Ahead::for_a_while(), &contents, &hashes).copied.hashes.len() as u32;
        assert!((ZEROS_MIN..ZEROS_MIN * 5 / 4).contains(&some), "{some}");
    }

    #[test]
    fn what_was_outdated_is_as_at_the_end() {
        let (before, hashes) = memory(&[1, 0, 2, 3, 0, 4, 0, 0]);
        let mut ahead = copied(Ahead::default(), &before, &hashes);
        let (after, hashes) = memory(&[1, 5, 2, 6, 7, 0, 0, 8]);
        for page in [1, 3, 4, 5, 7] {
            ahead.outdate(page);
        }
        let capture = ahead.finish(&after, &hashes);
        assert_eq!(capture.pages, [0..6, 7..8]);
        let held: Vec<_> = capture.iter().map(|(page, hash, contents)| (page, hash, contents[9])).collect();
        let hash = |byte| page_hash(&[byte; PAGE_BYTES]);
        let expected =
            [(0, 1), (1, 5), (2, 2), (3, 6), (4, 7), (5, 0), (7, 8)].map(|(page, byte)| (page, hash(byte), byte));
        assert_eq!(held, expected);
        assert_eq!(capture.bytes, 8 * PAGE_BYTES as u64);
    }
}
