//! A capture of a whole memory in the making, while its guest goes on.
//!
//! **Architecture Invariant:** what was outdated after it was copied is copied again at the end, so that all of the
//! capture is of one moment.

use ambrosia_core::{MemoryCapture, PAGE_BYTES};

use crate::page_set::PageSet;

/// The pages from the first one up to [`Ahead::next`], and which of them are outdated.
#[derive(Default)]
pub(crate) struct Ahead {
    copied: MemoryCapture,
    next: u32,
    outdated: PageSet,
}

impl Ahead {
    /// The page to copy next.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// Copies the next page.
    pub(crate) fn copy(&mut self, page: u32, hash: u64, contents: &[u8]) {
        assert_eq!(page, self.next);
        self.next += 1;
        if hash != 0 {
            self.copied.push(page, hash, contents);
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
                Some(place) => {
                    copied.hashes[place] = hashes[page as usize];
                    copied.contents[place * PAGE_BYTES..][..PAGE_BYTES].copy_from_slice(current);
                }
                None if hashes[page as usize] == 0 => {}
                None => new.push((page, hashes[page as usize], current)),
            }
        }
        insert(&mut copied, &new);
        copied
    }
}

/// Where in a capture a page is.
struct Places(Vec<(std::ops::Range<u32>, usize)>);

impl Places {
    fn of(capture: &MemoryCapture) -> Places {
        let mut before = 0;
        let place = |range: &std::ops::Range<u32>| {
            let place = before;
            before += range.len();
            (range.clone(), place)
        };
        Places(capture.pages.iter().map(place).collect())
    }

    fn find(&self, page: u32) -> Option<usize> {
        let after = self.0.partition_point(|(range, _)| range.end <= page);
        let (range, place) = self.0.get(after)?;
        range.contains(&page).then(|| place + (page - range.start) as usize)
    }
}

/// Puts pages between those that are there. What lies in front of the first of them is not moved.
fn insert(capture: &mut MemoryCapture, new: &[(u32, u64, &[u8])]) {
    let Some((first, ..)) = new.first() else { return };
    let tail = split_off(capture, *first);
    let mut new = new.iter().copied().peekable();
    for (page, hash, contents) in tail.iter() {
        while let Some((page, hash, contents)) = new.next_if(|(new, ..)| *new < page) {
            capture.push(page, hash, contents);
        }
        capture.push(page, hash, contents);
    }
    for (page, hash, contents) in new {
        capture.push(page, hash, contents);
    }
}

/// Takes off the pages from `first` on.
fn split_off(capture: &mut MemoryCapture, first: u32) -> MemoryCapture {
    let at = capture.pages.partition_point(|range| range.end <= first);
    let mut pages = capture.pages.split_off(at);
    if let Some(range) = pages.first_mut().filter(|range| range.start < first) {
        capture.pages.push(range.start..first);
        range.start = first;
    }
    let kept: usize = capture.pages.iter().map(ExactSizeIterator::len).sum();
    MemoryCapture {
        bytes: capture.bytes,
        pages,
        hashes: capture.hashes.split_off(kept),
        contents: capture.contents.split_off(kept * PAGE_BYTES),
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

    #[test]
    fn what_was_outdated_is_as_at_the_end() {
        let (before, hashes) = memory(&[1, 0, 2, 3, 0, 4, 0, 0]);
        let mut ahead = Ahead::default();
        for page in 0..8 {
            ahead.copy(page, hashes[page as usize], &before[page as usize * PAGE_BYTES..][..PAGE_BYTES]);
        }
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
