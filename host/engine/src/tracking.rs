//! How it is found out which pages a guest has written.
//!
//! **Architecture Invariant:** no page that was written is ever missed: where the kernel fails, every page counts as
//! written.

use std::{io, ops::Range, sync::Arc};

use ambrosia_core::{PAGE_BYTES, is_zero};

use crate::{mapping::Mapping, page_set::PageSet, userfault::Userfault};

/// The two ways.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tracking {
    /// The kernel protects pages and knows which were written: the price is paid by page written.
    WriteProtect,
    /// Memory is compared with a copy of it: the price is paid by page there is, in time and in memory.
    Shadow,
}

/// One of the ways, chosen once for an engine.
#[derive(Clone)]
pub(crate) enum Tracker {
    WriteProtect(Arc<Userfault>),
    Shadow,
}

impl Tracker {
    /// The better one that works on this machine.
    pub(crate) fn best() -> Tracker {
        match Tracker::of(Tracking::WriteProtect) {
            Ok(tracker) => {
                tracing::debug!("the kernel tells which pages of a guest were written");
                tracker
            }
            Err(error) => {
                tracing::debug!(
                    %error,
                    "the kernel can't tell which pages of a guest were written (that takes Linux 6.7 and leave to call \
                     userfaultfd): each capture compares all of its memory with a copy"
                );
                Tracker::Shadow
            }
        }
    }

    pub(crate) fn of(tracking: Tracking) -> Result<Tracker, io::Error> {
        match tracking {
            Tracking::WriteProtect => Ok(Tracker::WriteProtect(Arc::new(Userfault::open()?))),
            Tracking::Shadow => Ok(Tracker::Shadow),
        }
    }

    pub(crate) fn tracking(&self) -> Tracking {
        match self {
            Tracker::WriteProtect(_) => Tracking::WriteProtect,
            Tracker::Shadow => Tracking::Shadow,
        }
    }

    /// As [`Self::watch`], of a memory that was moved ([`Mapping::share`]).
    pub(crate) fn watch_moved(&self, mapping: &Mapping) -> Watch {
        match self {
            Tracker::WriteProtect(userfault) => match userfault.knows_shared() {
                Ok(()) => self.watch(mapping),
                Err(error) => Watch::lost(&error),
            },
            Tracker::Shadow => self.watch(mapping),
        }
    }

    /// Begins to watch a memory: what is written from now on will be found.
    pub(crate) fn watch(&self, mapping: &Mapping) -> Watch {
        match self {
            Tracker::Shadow => Watch::Shadow(vec![Seen::Never; mapping.bytes() / PAGE_BYTES]),
            Tracker::WriteProtect(userfault) => match protect(userfault, mapping) {
                Ok(()) => Watch::WriteProtect(userfault.clone()),
                Err(error) => Watch::lost(&error),
            },
        }
    }
}

/// Watches the whole reservation, so that growth needs nothing, and protects what the guest has. What it grows by is
/// not protected, and so counts as written.
fn protect(userfault: &Userfault, mapping: &Mapping) -> Result<(), io::Error> {
    let (start, capacity) = mapping.reservation();
    // The kernel takes no empty range, and there are memories without a page.
    if capacity > 0 {
        userfault.watch(start, capacity)?;
    }
    if mapping.bytes() > 0 { userfault.protect(start, mapping.bytes()) } else { Ok(()) }
}

/// What is known of one page in a shadow.
#[derive(Clone)]
pub(crate) enum Seen {
    Never,
    Zeros,
    Copy(Box<[u8]>),
}

impl Seen {
    fn of(contents: &[u8]) -> Seen {
        if is_zero(contents) { Seen::Zeros } else { Seen::Copy(contents.into()) }
    }

    fn is(&self, contents: &[u8]) -> bool {
        match self {
            Seen::Never => false,
            Seen::Zeros => is_zero(contents),
            Seen::Copy(copy) => **copy == *contents,
        }
    }
}

/// Finds the pages of one memory that were written.
pub(crate) enum Watch {
    WriteProtect(Arc<Userfault>),
    Shadow(Vec<Seen>),
    /// Nothing can be found out any more.
    Lost,
}

impl Watch {
    /// Adds to `found` those of `pages` that were written since they were last asked for. `contents` is all of the
    /// memory.
    pub(crate) fn find(&mut self, mapping: &Mapping, contents: &[u8], pages: Range<u32>, found: &mut PageSet) {
        match self {
            Watch::Lost => found.insert_all(pages),
            Watch::Shadow(shadow) => compare(shadow, contents, pages, found),
            Watch::WriteProtect(userfault) => {
                if let Err(error) = scan(userfault, mapping, pages.clone(), found) {
                    *self = Watch::lost(&error);
                    found.insert_all(pages);
                }
            }
        }
    }

    /// Takes what is in memory now as known, after a restore.
    pub(crate) fn know(&mut self, contents: &[u8]) {
        if let Watch::Shadow(shadow) = self {
            *shadow = contents.chunks_exact(PAGE_BYTES).map(Seen::of).collect();
        }
    }

    fn lost(error: &io::Error) -> Watch {
        tracing::error!(
            %error,
            "the kernel no longer tells which pages of a guest were written: from now on each capture takes all of them"
        );
        Watch::Lost
    }
}

fn scan(userfault: &Userfault, mapping: &Mapping, pages: Range<u32>, found: &mut PageSet) -> Result<(), io::Error> {
    let (base, _) = mapping.reservation();
    let page_of = |address: usize| ((address - base) / PAGE_BYTES) as u32;
    let start = base + pages.start as usize * PAGE_BYTES;
    userfault.written(start, pages.len() * PAGE_BYTES, |range| {
        found.insert_all(page_of(range.start)..page_of(range.end));
    })
}

fn compare(shadow: &mut Vec<Seen>, contents: &[u8], pages: Range<u32>, found: &mut PageSet) {
    let has = contents.len() / PAGE_BYTES;
    if shadow.len() < has {
        // What a memory grows by is zeros before.
        shadow.resize(has, Seen::Zeros);
    }
    for page in pages {
        let contents = &contents[page as usize * PAGE_BYTES..][..PAGE_BYTES];
        if !shadow[page as usize].is(contents) {
            shadow[page as usize] = Seen::of(contents);
            found.insert(page);
        }
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::Store;

    use super::*;

    const PAGES: u32 = 8;

    fn memory() -> (Mapping, Store<()>) {
        let mapping = Mapping::reserve(2 * PAGES as usize * PAGE_BYTES, PAGE_BYTES).expect("some address space");
        mapping.grow(PAGES as usize * PAGE_BYTES).expect("some memory");
        (mapping, Store::new(&wasmtime::Engine::default(), ()))
    }

    fn found(watch: &mut Watch, mapping: &Mapping, store: &Store<()>) -> Vec<u32> {
        let mut found = PageSet::default();
        let contents = mapping.contents(store);
        watch.find(mapping, contents, 0..(contents.len() / PAGE_BYTES) as u32, &mut found);
        found.iter().collect()
    }

    fn write(mapping: &Mapping, store: &mut Store<()>, page: usize) {
        mapping.contents_mut(store)[page * PAGE_BYTES + 9] += 1;
    }

    #[test]
    fn both_ways_find_what_was_written_and_what_has_grown() {
        for tracker in [Tracker::best(), Tracker::Shadow] {
            let (mapping, mut store) = memory();
            write(&mapping, &mut store, 1);
            let mut watch = tracker.watch(&mapping);
            found(&mut watch, &mapping, &store);
            assert!(found(&mut watch, &mapping, &store).is_empty());
            write(&mapping, &mut store, 1);
            write(&mapping, &mut store, 5);
            mapping.grow(2 * PAGES as usize * PAGE_BYTES).expect("some memory");
            write(&mapping, &mut store, 12);
            let all = found(&mut watch, &mapping, &store);
            assert!([1, 5, 12].iter().all(|page| all.contains(page)), "{all:?}");
            assert!(all.iter().all(|page| [1, 5].contains(page) || *page >= PAGES), "{all:?}");
            assert!(found(&mut watch, &mapping, &store).is_empty());
            write(&mapping, &mut store, 15);
            assert_eq!(found(&mut watch, &mapping, &store), [15]);
        }
    }

    #[test]
    fn a_memory_without_a_page_is_watched_and_what_it_grows_by_is_found() {
        for tracker in [Tracker::best(), Tracker::Shadow] {
            let mapping = Mapping::reserve(PAGES as usize * PAGE_BYTES, PAGE_BYTES).expect("some address space");
            let mut store = Store::new(&wasmtime::Engine::default(), ());
            let mut watch = tracker.watch(&mapping);
            assert!(!matches!(watch, Watch::Lost));
            assert!(found(&mut watch, &mapping, &store).is_empty());
            mapping.grow(PAGES as usize * PAGE_BYTES).expect("some memory");
            write(&mapping, &mut store, 3);
            assert!(found(&mut watch, &mapping, &store).contains(&3));
            assert!(found(&mut watch, &mapping, &store).is_empty());
        }
    }

    /// The kernel is asked about memory that nobody has told it to watch.
    #[test]
    fn where_the_kernel_fails_every_page_counts_as_written_from_then_on() {
        let Tracker::WriteProtect(userfault) = Tracker::best() else { return };
        let (mapping, store) = memory();
        let mut watch = Watch::WriteProtect(userfault);
        let all: Vec<u32> = (0..PAGES).collect();
        assert_eq!(found(&mut watch, &mapping, &store), all);
        assert!(matches!(watch, Watch::Lost));
        assert_eq!(found(&mut watch, &mapping, &store), all);
    }

    #[test]
    fn what_is_known_after_a_restore_is_not_found() {
        for tracker in [Tracker::best(), Tracker::Shadow] {
            let (mapping, mut store) = memory();
            write(&mapping, &mut store, 3);
            let mut watch = tracker.watch(&mapping);
            watch.know(mapping.contents(&store));
            assert!(found(&mut watch, &mapping, &store).is_empty());
            write(&mapping, &mut store, 4);
            assert_eq!(found(&mut watch, &mapping, &store), [4]);
        }
    }
}
