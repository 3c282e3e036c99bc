//! Memory that the processes of a machine share. After a loss of power any part of it may be what it was long ago.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use ambrosia_storage::Page;

use crate::dice::Dice;

/// Words that the machine writes back at once.
const BLOCK_WORDS: usize = 512;

#[derive(Clone, Debug)]
pub(crate) struct SimPage {
    words: Arc<[AtomicU64]>,
    futexes: Arc<[AtomicU32]>,
}

impl Page for SimPage {
    fn word(&self, offset: usize) -> &AtomicU64 {
        &self.words[offset / 8]
    }

    fn futex(&self, offset: usize) -> &AtomicU32 {
        &self.futexes[offset / 4]
    }
}

#[derive(Debug, Default)]
pub(crate) struct Pages {
    mapped: BTreeMap<PathBuf, SimPage>,
}

impl Pages {
    pub(crate) fn map(&mut self, path: &Path, bytes: usize) -> SimPage {
        let new = || SimPage {
            words: (0..bytes / 8).map(|_| AtomicU64::new(0)).collect(),
            futexes: (0..bytes / 4).map(|_| AtomicU32::new(0)).collect(),
        };
        self.mapped.entry(path.to_path_buf()).or_insert_with(new).clone()
    }

    /// The page of that name, if somebody has made it as large.
    pub(crate) fn map_if_there(&self, path: &Path, bytes: usize) -> Option<SimPage> {
        self.mapped.get(path).filter(|page| page.words.len() * 8 >= bytes).cloned()
    }

    /// Each block is either as it was or empty, or the whole file is gone.
    pub(crate) fn lose_power(&mut self, dice: &mut Dice) {
        for page in self.mapped.values_mut() {
            let gone = dice.percent(20);
            let mut words = Vec::with_capacity(page.words.len());
            for block in page.words.chunks(BLOCK_WORDS) {
                let kept = !gone && dice.percent(50);
                words.extend(
                    block.iter().map(|word| AtomicU64::new(if kept { word.load(Ordering::SeqCst) } else { 0 })),
                );
            }
            page.words = words.into();
        }
    }

    pub(crate) fn remove_directory(&mut self, directory: &Path) {
        self.mapped.retain(|path, _| path.parent() != Some(directory));
    }
}
