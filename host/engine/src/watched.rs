//! One memory of a guest that is captured or compared: the hashes of its pages, and which pages have changed.
//!
//! Three questions are answered from one scan for written pages, each by a set of its own: whose hash is out of date,
//! what has changed since the last capture, and what has changed since it was copied ahead.
//!
//! **Architecture Invariant:** a page leaves one of these sets only when what it stands for was done with contents that
//! are not older than the scan that found it.

use std::{ops::Range, sync::Arc};

use ambrosia_core::{MemoryCapture, PAGE_BYTES, page_digest, page_hash};
use wasmtime::Store;

use crate::{
    ahead::Ahead,
    mapping::Mapping,
    page_set::PageSet,
    tracking::{Tracker, Watch},
};

/// See the head of the file.
pub(crate) struct WatchedMemory {
    mapping: Arc<Mapping>,
    watch: Watch,
    /// Of every page, except of those in `stale`.
    hashes: Vec<u64>,
    /// Sum of [`page_digest`] over `hashes`.
    digest: u64,
    stale: PageSet,
    changed: PageSet,
    ahead: Option<Ahead>,
}

impl WatchedMemory {
    /// Watches a memory from now on. Nothing is read yet.
    pub(crate) fn new<T>(mapping: Arc<Mapping>, tracker: &Tracker, store: &Store<T>) -> WatchedMemory {
        let watch = tracker.watch(&mapping);
        let pages = page_count(mapping.contents(store));
        let mut stale = PageSet::default();
        stale.insert_all(0..pages);
        let hashes = vec![0; pages as usize];
        WatchedMemory { mapping, watch, hashes, digest: 0, stale, changed: PageSet::default(), ahead: None }
    }

    /// Watches a memory that was restored, and whose pages have those hashes.
    pub(crate) fn restored<T>(
        mapping: Arc<Mapping>,
        tracker: &Tracker,
        hashes: Vec<u64>,
        store: &Store<T>,
    ) -> WatchedMemory {
        let mut memory = WatchedMemory::new(mapping, tracker, store);
        assert_eq!(memory.hashes.len(), hashes.len());
        memory.watch.know(memory.mapping.contents(store));
        memory.digest = (0..).zip(&hashes).fold(0, |sum: u64, (page, hash)| sum.wrapping_add(page_digest(page, *hash)));
        memory.hashes = hashes;
        memory.stale.clear();
        memory
    }

    /// Moves the memory to where views of it can be had ([`Mapping::share`]), and goes on to watch it there. What was written
    /// before is found first, while the guest stands still, so that nothing is missed and nothing counts as written that was not.
    pub(crate) fn share<T>(&mut self, tracker: &Tracker, store: &mut Store<T>) -> Result<(), std::io::Error> {
        if self.mapping.file().is_some() {
            return Ok(());
        }
        self.refresh_all(store);
        self.mapping.share(store)?;
        if let Watch::WriteProtect(_) = self.watch {
            self.watch = tracker.watch_moved(&self.mapping);
        }
        Ok(())
    }

    /// Bytes that the guest has, and the digest of them.
    pub(crate) fn digest<T>(&mut self, store: &Store<T>) -> (u64, u64) {
        self.refresh_all(store);
        (self.mapping.bytes() as u64, self.digest)
    }

    /// Hashes of all pages.
    pub(crate) fn hashes<T>(&mut self, store: &Store<T>) -> Vec<u64> {
        self.refresh_all(store);
        self.hashes.clone()
    }

    /// What has changed since the last capture, or since the restore.
    pub(crate) fn capture_changes<T>(&mut self, store: &Store<T>) -> MemoryCapture {
        self.refresh_all(store);
        let contents = self.mapping.contents(store);
        let mut capture = MemoryCapture { bytes: contents.len() as u64, ..MemoryCapture::default() };
        let count = self.changed.iter().count();
        capture.contents.reserve_exact(count * PAGE_BYTES);
        for page in self.changed.iter() {
            capture.push(page, self.hashes[page as usize], page_of(contents, page));
        }
        self.changed.clear();
        capture
    }

    /// Copies the next `bytes`, at most, for [`Self::capture_all`]. Returns how many; fewer if all is copied.
    pub(crate) fn copy_ahead<T>(&mut self, bytes: usize, store: &Store<T>) -> usize {
        self.ahead.get_or_insert_with(Ahead::for_a_while);
        self.copy(bytes, store)
    }

    fn copy<T>(&mut self, bytes: usize, store: &Store<T>) -> usize {
        self.grow_to_fit();
        let mapping = self.mapping.clone();
        let contents = mapping.contents(store);
        let first = self.ahead.get_or_insert_default().next();
        let count = (bytes.div_ceil(PAGE_BYTES)).min((page_count(contents) - first) as usize) as u32;
        let pages = first..first + count;
        // What is written after this scan is found by the next one, so a page copied now need not be copied again.
        self.refresh(contents, pages.clone());
        let ahead = self.ahead.as_mut().expect("it was put there above");
        for page in pages {
            ahead.copy(page, self.hashes[page as usize], page_of(contents, page));
        }
        count as usize * PAGE_BYTES
    }

    /// If [`Self::copy_ahead`] has nothing left to do.
    pub(crate) fn is_copied(&self) -> bool {
        self.ahead.as_ref().is_some_and(|ahead| ahead.next() as usize * PAGE_BYTES == self.mapping.bytes())
    }

    /// All pages that are not zeros.
    pub(crate) fn capture_all<T>(&mut self, store: &Store<T>) -> MemoryCapture {
        self.grow_to_fit();
        let mapping = self.mapping.clone();
        let contents = mapping.contents(store);
        let copied = self.ahead.get_or_insert_default().next();
        self.refresh(contents, 0..copied);
        self.copy(contents.len(), store);
        self.changed.clear();
        let ahead = self.ahead.take().expect("it was put there above");
        ahead.finish(contents, &self.hashes)
    }

    fn refresh_all<T>(&mut self, store: &Store<T>) {
        self.grow_to_fit();
        let mapping = self.mapping.clone();
        let contents = mapping.contents(store);
        self.refresh(contents, 0..page_count(contents));
    }

    /// Pages that the guest has grown by are zeros until a scan finds them.
    fn grow_to_fit(&mut self) {
        self.hashes.resize(self.mapping.bytes() / PAGE_BYTES, 0);
    }

    /// Finds those of `pages` that were written, and brings their hashes up to date.
    fn refresh(&mut self, contents: &[u8], pages: Range<u32>) {
        self.watch.find(&self.mapping, contents, pages.clone(), &mut self.stale);
        let stale: Vec<u32> = self.stale.within(pages).collect();
        for page in stale {
            self.rehash(page, page_of(contents, page));
            self.stale.remove(page);
        }
    }

    fn rehash(&mut self, page: u32, contents: &[u8]) {
        let after = page_hash(contents);
        let before = std::mem::replace(&mut self.hashes[page as usize], after);
        // Only zeros have this hash, so nothing has changed: most pages that a guest grows by.
        if before == 0 && after == 0 {
            return;
        }
        self.digest = self.digest.wrapping_sub(page_digest(page, before)).wrapping_add(page_digest(page, after));
        self.changed.insert(page);
        if let Some(ahead) = &mut self.ahead {
            ahead.outdate(page);
        }
    }
}

fn page_count(contents: &[u8]) -> u32 {
    (contents.len() / PAGE_BYTES) as u32
}

fn page_of(contents: &[u8], page: u32) -> &[u8] {
    &contents[page as usize * PAGE_BYTES..][..PAGE_BYTES]
}
