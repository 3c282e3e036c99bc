//! What a guest is between two deliveries, as bytes: all of it, or what has changed since the last time.
//!
//! **Architecture Invariant:** plain data; how a guest is captured and put back is known to its engine alone.

use std::ops::Range;

/// Bytes of a page, the unit in which memory is captured and compared.
pub const PAGE_BYTES: usize = 4096;

/// The state of a guest beside the replicated state.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Capture {
    /// What is not memory; only the engine that captured it knows what it means.
    pub registers: Vec<u8>,
    /// The memories, always in the same order.
    pub memories: Vec<MemoryCapture>,
}

/// Pages of one memory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemoryCapture {
    /// Bytes that the memory has, a multiple of [`PAGE_BYTES`].
    pub bytes: u64,
    /// Numbers of the pages held: ascending ranges that neither touch nor overlap. What is left out is zeros if all of
    /// the memory was captured, and as before if only changes were; what the memory has grown by is zeros before.
    pub pages: Vec<Range<u32>>,
    /// [`page_hash`] of each page held.
    pub hashes: Vec<u64>,
    /// Contents of the pages held, one behind the other.
    pub contents: Vec<u8>,
}

impl MemoryCapture {
    /// Adds the page with that number, which is higher than all before it.
    pub fn push(&mut self, page: u32, hash: u64, contents: &[u8]) {
        assert_eq!(contents.len(), PAGE_BYTES, "a page is captured as a whole");
        debug_assert_eq!(hash, page_hash(contents), "the hash of page {page} is that of its contents");
        match self.pages.last_mut() {
            Some(last) if last.end == page => last.end += 1,
            last => {
                assert!(last.is_none_or(|last| last.end < page), "pages come in order");
                self.pages.push(page..page + 1);
            }
        }
        self.hashes.push(hash);
        self.contents.extend_from_slice(contents);
        debug_assert_eq!(self.contents.len(), self.hashes.len() * PAGE_BYTES, "each page held has its hash");
    }

    /// Those of the pages held that lie in `pages`, each with its number, hash and contents.
    pub fn within(&self, pages: &Range<u32>) -> impl Iterator<Item = (u32, u64, &[u8])> {
        assert!(pages.start <= pages.end, "a range of pages goes forward");
        let mut held = 0;
        let parts = self.pages.iter().map(move |range| {
            let first = held;
            held += range.len();
            (first, range.clone())
        });
        let (begin, end) = (pages.start, pages.end);
        let parts =
            parts.skip_while(move |(_, range)| range.end <= begin).take_while(move |(_, range)| range.start < end);
        parts.flat_map(move |(first, range)| {
            (range.start.max(begin)..range.end.min(end)).map(move |page| {
                let at = first + (page - range.start) as usize;
                (page, self.hashes[at], &self.contents[at * PAGE_BYTES..(at + 1) * PAGE_BYTES])
            })
        })
    }

    /// The pages held, each with its number, hash and contents.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64, &[u8])> {
        assert_eq!(self.contents.len(), self.hashes.len() * PAGE_BYTES, "each page held has its hash");
        let contents = self.contents.chunks_exact(PAGE_BYTES);
        let pages = self.pages.iter().cloned().flatten();
        pages.zip(&self.hashes).zip(contents).map(|((page, hash), contents)| (page, *hash, contents))
    }
}

/// Hash of the contents of a page: XXH3 with 64 bits, but 0 for a page of zeros, so that a memory may be left out of
/// where it is empty. It finds damage and differences between replicas, not malice.
pub fn page_hash(contents: &[u8]) -> u64 {
    if is_zero(contents) { 0 } else { xxhash_rust::xxh3::xxh3_64(contents).max(1) }
}

/// Whether all bytes are zero.
pub fn is_zero(contents: &[u8]) -> bool {
    // A whole cache line at once, which the compiler turns into vector instructions.
    let (lines, rest) = contents.as_chunks::<64>();
    lines.iter().all(|line| line.iter().fold(0, |all, byte| all | byte) == 0) && rest.iter().all(|byte| *byte == 0)
}

/// Digest of a whole memory, from the hashes of all its pages: it can be kept up to date page by page.
///
/// Pages of zeros add nothing, so a sum over those that are not gives the same.
pub fn page_digest(page: u32, hash: u64) -> u64 {
    if hash == 0 {
        return 0;
    }
    // The finaliser of SplitMix64 ties the hash to its place, so that two pages that were swapped make a difference.
    let mut z = hash ^ u64::from(page).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_follow_each_other_are_one_range() {
        let mut capture = MemoryCapture { bytes: 8 * PAGE_BYTES as u64, ..MemoryCapture::default() };
        for page in [1, 2, 5] {
            let contents = [page as u8; PAGE_BYTES];
            capture.push(page, page_hash(&contents), &contents);
        }
        assert_eq!(capture.pages, [1..3, 5..6]);
        let pages: Vec<_> = capture.iter().map(|(page, hash, contents)| (page, hash, contents[0])).collect();
        let hash = |byte| page_hash(&[byte; PAGE_BYTES]);
        assert_eq!(pages, [(1, hash(1), 1), (2, hash(2), 2), (5, hash(5), 5)]);
        let within = |pages| capture.within(&pages).map(|(page, _, contents)| (page, contents[0])).collect::<Vec<_>>();
        assert_eq!(within(0..8), [(1, 1), (2, 2), (5, 5)]);
        assert_eq!(within(2..5), [(2, 2)]);
        assert_eq!(within(3..5), []);
    }

    #[test]
    fn only_zeros_hash_to_zero() {
        let mut contents = [0; PAGE_BYTES];
        assert_eq!(page_hash(&contents), 0);
        for at in [0, 63, 64, PAGE_BYTES - 1] {
            contents[at] = 1;
            assert_ne!(page_hash(&contents), 0);
            contents[at] = 0;
        }
    }

    #[test]
    fn the_digest_tells_places_apart() {
        assert_ne!(page_digest(1, 7), page_digest(2, 7));
        assert_ne!(
            page_digest(1, 7).wrapping_add(page_digest(2, 8)),
            page_digest(1, 8).wrapping_add(page_digest(2, 7))
        );
        assert_eq!(page_digest(3, 0), 0);
    }

    /// The hash is written into logs and checkpoints, so it must never change.
    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(page_hash(&[1; PAGE_BYTES]), xxhash_rust::xxh3::xxh3_64(&[1; PAGE_BYTES]));
        assert_eq!(page_hash(b"abc"), 0x78af_5f94_892f_3950);
    }
}
