//! What a guest is put back from: the memories of a checkpoint, or of its beginning, and what has changed since.
//!
//! **Architecture Invariant:** pages are shared between all that hold them, and what they take is counted as long as anybody
//! does.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ambrosia_core::{Capture, MemoryCapture, PAGE_BYTES};
use ambrosia_engine::{Image, MappedFile, MemoryImage};
use ambrosia_storage::{LoadedMemory, MappedMemory};

/// Bytes that are held, by all that hold any.
#[derive(Clone, Default)]
pub(super) struct Ledger(Arc<AtomicU64>);

impl Ledger {
    /// Counts so many until what is returned is dropped.
    pub(super) fn hold(&self, bytes: usize) -> Holding {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
        Holding { ledger: self.0.clone(), bytes: bytes as u64 }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Bytes that count as long as it lives.
pub(super) struct Holding {
    ledger: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.ledger.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The memories of a guest as they were once.
pub(super) struct Base {
    memories: Vec<BaseMemory>,
    _held: Holding,
}

struct BaseMemory {
    bytes: u64,
    /// Of each page.
    hashes: Vec<u64>,
    mapped: Option<(File, u64, u64)>,
    /// What lies over that, or over zeros.
    pages: MemoryCapture,
}

impl Base {
    /// Those of a checkpoint.
    pub(super) fn of_checkpoint(memories: Vec<LoadedMemory>, ledger: &Ledger) -> Base {
        Base::new(memories.into_iter().map(loaded).collect(), ledger)
    }

    /// Those of a capture that holds everything.
    pub(super) fn of_capture(memories: Vec<MemoryCapture>, ledger: &Ledger) -> Base {
        let captured = |pages: MemoryCapture| {
            let mut hashes = vec![0; (pages.bytes / PAGE_BYTES as u64) as usize];
            for (page, hash, _) in pages.iter() {
                hashes[page as usize] = hash;
            }
            BaseMemory { bytes: pages.bytes, hashes, mapped: None, pages }
        };
        Base::new(memories.into_iter().map(captured).collect(), ledger)
    }

    fn new(memories: Vec<BaseMemory>, ledger: &Ledger) -> Base {
        let held = memories.iter().map(|memory| memory.pages.contents.len() + 16 * memory.hashes.len()).sum();
        Base { memories, _held: ledger.hold(held) }
    }
}

fn loaded(memory: LoadedMemory) -> BaseMemory {
    let LoadedMemory { bytes, hashes, mapped, pages } = memory;
    let mapped = mapped.map(|MappedMemory { source, offset, bytes }| (OwnedFd::from(source).into(), offset, bytes));
    BaseMemory { bytes, hashes, mapped, pages }
}

/// A page that has changed since the base.
struct Page {
    hash: u64,
    contents: Box<[u8]>,
    _held: Holding,
}

/// A base, and what has changed since. A clone shares all pages.
#[derive(Clone)]
pub(super) struct Layers {
    base: Arc<Base>,
    changes: Vec<Changes>,
}

#[derive(Clone, Default)]
struct Changes {
    bytes: u64,
    pages: BTreeMap<u32, Arc<Page>>,
}

impl Layers {
    pub(super) fn new(base: Base) -> Layers {
        let changes = |memory: &BaseMemory| Changes { bytes: memory.bytes, pages: BTreeMap::new() };
        Layers { changes: base.memories.iter().map(changes).collect(), base: Arc::new(base) }
    }

    /// Lays a capture of changes over it.
    pub(super) fn lay(&mut self, capture: &Capture, ledger: &Ledger) {
        assert_eq!(capture.memories.len(), self.changes.len(), "a guest keeps its memories");
        for (changes, captured) in self.changes.iter_mut().zip(&capture.memories) {
            assert!(captured.bytes >= changes.bytes, "a memory never shrinks");
            changes.bytes = captured.bytes;
            for (page, hash, contents) in captured.iter() {
                let page_held = ledger.hold(PAGE_BYTES);
                changes.pages.insert(page, Arc::new(Page { hash, contents: contents.into(), _held: page_held }));
            }
        }
    }

    /// Bytes that a clone of it takes, beside the pages.
    pub(super) fn own_bytes(&self) -> usize {
        // A node of the tree holds a number and a pointer, and is half empty at worst.
        self.changes.iter().map(|changes| 32 * changes.pages.len()).sum()
    }

    /// The guest as it was, with those registers.
    pub(super) fn image(&self, registers: Vec<u8>) -> io::Result<Image> {
        let memories = self.base.memories.iter().zip(&self.changes).map(|(base, changes)| merged(base, changes));
        Ok(Image { registers, memories: memories.collect::<io::Result<_>>()? })
    }
}

fn merged(base: &BaseMemory, changes: &Changes) -> io::Result<MemoryImage> {
    let mut hashes = base.hashes.clone();
    hashes.resize((changes.bytes / PAGE_BYTES as u64) as usize, 0);
    let mut pages = MemoryCapture { bytes: changes.bytes, ..MemoryCapture::default() };
    pages.contents.reserve(base.pages.contents.len() + changes.pages.len() * PAGE_BYTES);
    let mut beneath = base.pages.iter().peekable();
    for (number, page) in &changes.pages {
        while let Some((before, hash, contents)) = beneath.next_if(|(before, ..)| before < number) {
            pages.push(before, hash, contents);
        }
        let _covered = beneath.next_if(|(covered, ..)| covered == number);
        hashes[*number as usize] = page.hash;
        pages.push(*number, page.hash, &page.contents);
    }
    beneath.for_each(|(page, hash, contents)| pages.push(page, hash, contents));
    let mapped = base.mapped.as_ref().map(|(file, offset, bytes)| {
        Ok::<_, io::Error>(MappedFile { file: file.try_clone()?, offset: *offset, bytes: *bytes })
    });
    Ok(MemoryImage { bytes: changes.bytes, hashes, mapped: mapped.transpose()?, pages })
}

#[cfg(test)]
mod tests {
    use ambrosia_core::page_hash;

    use super::*;

    fn capture(bytes: u64, pages: &[(u32, u8)]) -> MemoryCapture {
        let mut capture = MemoryCapture { bytes: bytes * PAGE_BYTES as u64, ..MemoryCapture::default() };
        for (page, byte) in pages {
            let contents = [*byte; PAGE_BYTES];
            capture.push(*page, page_hash(&contents), &contents);
        }
        capture
    }

    #[test]
    fn changes_lie_over_the_base_and_are_counted_until_nobody_has_them() {
        let ledger = Ledger::default();
        let mut layers = Layers::new(Base::of_capture(vec![capture(4, &[(0, 1), (1, 2), (3, 4)])], &ledger));
        let beginning = ledger.bytes();
        let changes = |memory| Capture { registers: Vec::new(), memories: vec![memory] };
        layers.lay(&changes(capture(4, &[(1, 7)])), &ledger);
        let earlier = layers.clone();
        layers.lay(&changes(capture(8, &[(1, 0), (6, 9)])), &ledger);
        assert_eq!(ledger.bytes(), beginning + 3 * PAGE_BYTES as u64);
        let pages = |layers: &Layers| {
            let image = layers.image(Vec::new()).expect("nothing is mapped");
            let memory = &image.memories[0];
            for (page, hash, _) in memory.pages.iter() {
                assert_eq!(memory.hashes[page as usize], hash);
            }
            let pages: Vec<_> = memory.pages.iter().map(|(page, _, contents)| (page, contents[0])).collect();
            (memory.bytes / PAGE_BYTES as u64, memory.hashes.len(), pages)
        };
        assert_eq!(pages(&earlier), (4, 4, vec![(0, 1), (1, 7), (3, 4)]));
        assert_eq!(pages(&layers), (8, 8, vec![(0, 1), (1, 0), (3, 4), (6, 9)]));
        drop(earlier);
        assert_eq!(ledger.bytes(), beginning + 2 * PAGE_BYTES as u64, "what it alone had is free");
        drop(layers);
        assert_eq!(ledger.bytes(), 0);
    }
}
