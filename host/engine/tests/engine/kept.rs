//! What storage would keep of captures, and the images that it would make of it.

use std::{io::Write, sync::LazyLock};

use ambrosia_core::{Capture, MemoryCapture, PAGE_BYTES, page_hash};
use ambrosia_engine::{Engine, Image, MappedFile, MemoryImage, Tracking};

/// An engine for each way to find changes that works on this machine.
pub(crate) static ENGINES: LazyLock<Vec<Engine>> = LazyLock::new(|| {
    let engines = [Tracking::WriteProtect, Tracking::Shadow].map(Engine::with_tracking);
    let engines: Vec<Engine> = engines.into_iter().flatten().collect();
    assert!(engines.iter().any(|engine| engine.tracking() == Tracking::Shadow));
    engines
});

/// A guest as it was when it was captured last.
#[derive(Clone, Default)]
pub(crate) struct Kept {
    pub(crate) registers: Vec<u8>,
    pub(crate) memories: Vec<Vec<u8>>,
}

impl Kept {
    /// Of a capture of all.
    pub(crate) fn all(capture: &Capture) -> Kept {
        let mut kept = Kept { memories: vec![Vec::new(); capture.memories.len()], ..Kept::default() };
        kept.change(capture);
        kept
    }

    /// Takes a capture of changes.
    pub(crate) fn change(&mut self, capture: &Capture) {
        self.registers.clone_from(&capture.registers);
        assert_eq!(self.memories.len(), capture.memories.len());
        for (memory, capture) in self.memories.iter_mut().zip(&capture.memories) {
            memory.resize(capture.bytes as usize, 0);
            for (page, hash, contents) in capture.iter() {
                assert_eq!(hash, page_hash(contents));
                memory[page as usize * PAGE_BYTES..][..PAGE_BYTES].copy_from_slice(contents);
            }
        }
    }

    pub(crate) fn hashes(&self) -> Vec<Vec<u64>> {
        self.memories.iter().map(|memory| memory.chunks(PAGE_BYTES).map(page_hash).collect()).collect()
    }

    /// With all pages as they are.
    pub(crate) fn image(&self) -> Image {
        self.image_over(&Kept { registers: Vec::new(), memories: vec![Vec::new(); self.memories.len()] })
    }

    /// With `older` in a file, and what has changed since over it.
    pub(crate) fn image_over(&self, older: &Kept) -> Image {
        let memories = self.memories.iter().zip(&older.memories).zip(self.hashes());
        let memories = memories.map(|((memory, older), hashes)| MemoryImage {
            bytes: memory.len() as u64,
            mapped: (!older.is_empty()).then(|| file(older)),
            pages: difference(older, memory),
            hashes,
        });
        Image { registers: self.registers.clone(), memories: memories.collect() }
    }
}

fn file(contents: &[u8]) -> MappedFile {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&[0xee; PAGE_BYTES]).expect("writable");
    file.write_all(contents).expect("writable");
    MappedFile { file, offset: PAGE_BYTES as u64, bytes: contents.len() as u64 }
}

fn difference(older: &[u8], memory: &[u8]) -> MemoryCapture {
    let mut pages = MemoryCapture { bytes: memory.len() as u64, ..MemoryCapture::default() };
    let zeros = [0; PAGE_BYTES];
    for (page, contents) in (0..).zip(memory.chunks(PAGE_BYTES)) {
        let older = older.chunks(PAGE_BYTES).nth(page as usize).unwrap_or(&zeros);
        if older != contents {
            pages.push(page, page_hash(contents), contents);
        }
    }
    pages
}
