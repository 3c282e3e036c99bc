//! What a query has written to a view of a memory, and how that is undone.
//!
//! A page that is written to becomes a copy of its own. Few of them come back into step with the memory by being copied again
//! before the next query, which takes no fault of the kernel; many, or if the kernel does not tell them, are thrown away all at once.
//! A page becomes a copy by a fault of the thread that writes to it: behind a query in which that had none the same pages are
//! copies as before, and the kernel is not asked which ([`crate::faults`]).
//!
//! **Architecture Invariant:** a page of the view is either the one of the memory itself, or is listed here.

use std::fs::File;

use ambrosia_core::PAGE_BYTES;
use wasmtime::Store;

use crate::{mapping::Mapping, userfault};

/// So many pages are copied before each query, at most.
const PAGES_MAX: usize = 128;

/// After so many looks all is thrown away once: what a query has merely read makes each look for what was written longer.
const LOOKS_MAX: u32 = 256;

/// Those of one memory.
#[derive(Default)]
pub(crate) struct PrivatePages {
    pages: Vec<usize>,
    looks: u32,
}

impl PrivatePages {
    /// The view was mapped anew.
    pub(crate) fn clear(&mut self) {
        self.pages.clear();
    }

    /// Has the view, of which the store is that of the twin, be what the memory is.
    pub(crate) fn refresh<T>(&self, of: (&Mapping, &Store<T>), view: (&Mapping, &mut Store<T>)) {
        if self.pages.is_empty() {
            return;
        }
        let (contents, copies) = (of.0.contents(of.1), view.0.contents_mut(view.1));
        for page in &self.pages {
            let at = page * PAGE_BYTES..(page + 1) * PAGE_BYTES;
            copies[at.clone()].copy_from_slice(&contents[at]);
        }
    }

    /// A query has run: finds what it has written to, or throws that away. `pagemap` tells, if there is one that can.
    pub(crate) fn find<T>(
        &mut self,
        pagemap: &mut Option<File>,
        view: &Mapping,
        store: &mut Store<T>,
    ) -> Result<(), std::io::Error> {
        self.pages.clear();
        self.looks += 1;
        let (base, _) = view.reservation();
        let (pages, bytes) = (&mut self.pages, view.bytes());
        let list = |range: std::ops::Range<usize>| {
            let room = PAGES_MAX + 1 - pages.len();
            pages.extend(((range.start - base) / PAGE_BYTES..(range.end - base) / PAGE_BYTES).take(room));
        };
        let is_told = self.looks < LOOKS_MAX
            && pagemap.as_ref().is_some_and(|pagemap| match userfault::private_pages(pagemap, base, bytes, list) {
                Ok(()) => true,
                Err(error) => {
                    tracing::debug!(%error, "the kernel does not tell what a query has written");
                    false
                }
            });
        if !is_told && self.looks < LOOKS_MAX {
            *pagemap = None;
        }
        if is_told && self.pages.len() <= PAGES_MAX {
            return Ok(());
        }
        (self.pages, self.looks) = (Vec::new(), 0);
        view.forget_writes(store)
    }
}
