//! Makes a guest as it was when it was captured.
//!
//! The component is instantiated as at the beginning of its life, and then everything that can differ is replaced:
//! memories grow to their size and get their contents, handles are opened and dropped until the table is the same, and
//! globals are set.
//!
//! **Architecture Invariant:** nothing is believed of an image: what does not fit the component and the limits of the
//! instance is an error. Only contents are taken as they are, since who keeps them has checksums of its own.

use std::{fs::File, sync::Arc};

use ambrosia_core::{Genesis, Limits, MemoryCapture, PAGE_BYTES};

use crate::{
    accessor::WASM_PAGE_BYTES,
    capture::Capturer,
    error::RestoreError,
    fault,
    guest::WasmGuest,
    handles::Handles,
    layout::{Layout, Scalar},
    mapping::Mapping,
    module::Module,
    registers::Registers,
    watched::WatchedMemory,
};

/// Name of the export by which a component takes its state itself, and what it takes.
pub(crate) const LOAD: &str = "load";
type LoadParameters<'a> = (&'a [u8],);

/// All that a guest was.
#[derive(Debug)]
pub struct Image {
    /// As captured last.
    pub registers: Vec<u8>,
    /// In the order of the captures.
    pub memories: Vec<MemoryImage>,
}

/// One memory of a guest. What is neither mapped nor in `pages` is zeros.
#[derive(Debug)]
pub struct MemoryImage {
    /// Bytes that the memory has.
    pub bytes: u64,
    /// [`page_hash`](ambrosia_core::page_hash) of every page.
    pub hashes: Vec<u64>,
    /// What lies beneath.
    pub mapped: Option<MappedFile>,
    /// What lies over it.
    pub pages: MemoryCapture,
}

/// A part of a file that is the beginning of a memory. It is mapped privately and read when it is first used, so the
/// file must never change or be cut again.
#[derive(Debug)]
pub struct MappedFile {
    /// Open for reading.
    pub file: File,
    /// Where the part begins, a multiple of [`PAGE_BYTES`].
    pub offset: u64,
    /// How long it is, a multiple of [`PAGE_BYTES`].
    pub bytes: u64,
}

impl Module {
    /// Makes an instance as it was when `image` was captured. From here on it does the same as the one that was
    /// captured, and changes are counted.
    ///
    /// # Errors
    /// Any [`RestoreError`].
    pub fn restore(&self, genesis: &Genesis, image: Image) -> Result<WasmGuest, RestoreError> {
        match (Registers::decode(&image.registers).map_err(RestoreError::Registers)?, self.captures()) {
            (Registers::State { globals, handles }, Ok(())) => {
                check_globals(&globals, self.layout())?;
                check_memories(&image.memories, self.layout(), &genesis.limits)?;
                let guest = self.instantiate(genesis).map_err(RestoreError::Start)?;
                put_back(guest, self.layout(), &globals, &handles, image.memories)
            }
            (Registers::Saved(saved), Err(findings)) => {
                if !image.memories.is_empty() {
                    return Err(RestoreError::Registers("they come with memories"));
                }
                let mut guest = self.instantiate(genesis).map_err(RestoreError::Start)?;
                let load = guest.instance.get_typed_func::<LoadParameters<'_>, ()>(&mut guest.store, LOAD);
                let load = load.map_err(|_| RestoreError::Refused(findings.to_vec()))?;
                guest.store.set_fuel(guest.limits.fuel).expect("the configuration counts fuel");
                load.call(&mut guest.store, (&saved,)).map_err(|error| {
                    RestoreError::Load(fault::before_delivery(error, &mut guest.store, &genesis.limits))
                })?;
                guest.store.data_mut().prints.begin(&mut Vec::new());
                Ok(guest.with_all_fuel())
            }
            (Registers::State { .. }, Err(findings)) => Err(RestoreError::Refused(findings.to_vec())),
            (Registers::Saved(_), Ok(())) => {
                Err(RestoreError::Registers("they were saved by the component itself, which is not asked any more"))
            }
        }
    }
}

fn put_back(
    mut guest: WasmGuest,
    layout: &Layout,
    globals: &[(Scalar, u64)],
    handles: &Handles,
    images: Vec<MemoryImage>,
) -> Result<WasmGuest, RestoreError> {
    assert_eq!(guest.mappings.len(), layout.memories.len(), "all memories are reached");
    let accessors = Capturer::accessors(&mut guest, layout);
    let store = &mut guest.store;
    for ((mapping, image), number) in guest.mappings.iter().zip(&images).zip(0..) {
        let grown = image.bytes.checked_sub(mapping.bytes() as u64);
        let grown = grown.ok_or(RestoreError::Memory(number, "it is smaller than the component starts with"))?;
        if !accessors.grow(store, layout, number, grown)? || mapping.bytes() as u64 != image.bytes {
            return Err(RestoreError::Memory(number, "it is larger than the component allows"));
        }
    }
    if !accessors.restore_handles(store, layout, handles)? {
        return Err(RestoreError::Registers("they have handles that the component can't open"));
    }
    let bits: Vec<u64> = globals.iter().map(|(_, bits)| *bits).collect();
    accessors.set_globals(store, layout, &bits)?;
    let mut memories = Vec::new();
    for (mapping, image) in guest.mappings.clone().into_iter().zip(images) {
        fill(&mapping, &mut guest, &image)?;
        memories.push(WatchedMemory::restored(mapping, &guest.tracker, image.hashes, &guest.store));
    }
    guest.capturer = Some(Capturer { accessors, memories, based: true });
    Ok(guest.with_all_fuel())
}

/// Gives a memory its contents, whatever the instantiation has put there.
fn fill(mapping: &Arc<Mapping>, guest: &mut WasmGuest, image: &MemoryImage) -> Result<(), RestoreError> {
    mapping.clear(&mut guest.store)?;
    if let Some(MappedFile { file, offset, bytes }) = &image.mapped {
        mapping.map(&mut guest.store, file, *offset, *bytes as usize)?;
    }
    for range in &image.pages.pages {
        mapping.populate(&mut guest.store, range.start as usize * PAGE_BYTES..range.end as usize * PAGE_BYTES);
    }
    let contents = mapping.contents_mut(&mut guest.store);
    let mut from = image.pages.contents.as_slice();
    for range in &image.pages.pages {
        let (run, rest) = from.split_at(range.len() * PAGE_BYTES);
        contents[range.start as usize * PAGE_BYTES..][..run.len()].copy_from_slice(run);
        from = rest;
    }
    Ok(())
}

fn check_globals(globals: &[(Scalar, u64)], layout: &Layout) -> Result<(), RestoreError> {
    if globals.iter().map(|(scalar, _)| *scalar).eq(layout.globals()) {
        Ok(())
    } else {
        Err(RestoreError::Registers("they have other globals than the component"))
    }
}

fn check_memories(images: &[MemoryImage], layout: &Layout, limits: &Limits) -> Result<(), RestoreError> {
    if images.len() != layout.memories.len() {
        return Err(RestoreError::Registers("the component has another number of memories"));
    }
    let mut all: u64 = 0;
    for (image, number) in images.iter().zip(0..) {
        all = all.saturating_add(image.bytes);
        if all > limits.memory_bytes {
            return Err(RestoreError::Memory(number, "it is larger than the limit of the instance"));
        }
        check_memory(image).map_err(|why| RestoreError::Memory(number, why))?;
    }
    Ok(())
}

fn check_memory(image: &MemoryImage) -> Result<(), &'static str> {
    if !image.bytes.is_multiple_of(WASM_PAGE_BYTES) || image.bytes > 1 << 32 {
        return Err("no memory has that size");
    }
    if image.hashes.len() as u64 != image.bytes / PAGE_BYTES as u64 {
        return Err("there is not one hash a page");
    }
    let mapped = image.mapped.as_ref().map_or(Ok(0), |mapped| check_mapped(mapped, image.bytes))?;
    check_pages(&image.pages, image.bytes, &image.hashes)?;
    let mut held = image.pages.pages.iter().cloned().flatten().peekable();
    let beyond = (0..).zip(&image.hashes).skip((mapped / PAGE_BYTES as u64) as usize);
    for (page, hash) in beyond {
        while held.next_if(|held| *held < page).is_some() {}
        if held.peek() != Some(&page) && *hash != 0 {
            return Err("there is a hash of a page without contents");
        }
    }
    Ok(())
}

/// The bytes that are mapped.
fn check_mapped(mapped: &MappedFile, memory_bytes: u64) -> Result<u64, &'static str> {
    let MappedFile { file, offset, bytes } = mapped;
    if !offset.is_multiple_of(PAGE_BYTES as u64) || !bytes.is_multiple_of(PAGE_BYTES as u64) {
        return Err("what is mapped are not whole pages");
    }
    if *bytes > memory_bytes {
        return Err("more is mapped than it has");
    }
    let length = file.metadata().map_err(|_| "the file that is mapped can't be asked for its length")?.len();
    // Beyond the end of the file the first access would end the process.
    if offset.checked_add(*bytes).is_none_or(|end| end > length) {
        return Err("the file that is mapped is too short");
    }
    Ok(*bytes)
}

fn check_pages(pages: &MemoryCapture, memory_bytes: u64, hashes: &[u64]) -> Result<(), &'static str> {
    if pages.bytes != memory_bytes {
        return Err("its pages are of a memory of another size");
    }
    let mut end = 0;
    let mut count = 0;
    for range in &pages.pages {
        if range.start < end || range.is_empty() || range.end as usize > hashes.len() {
            return Err("its pages are out of order or out of bounds");
        }
        end = range.end;
        count += range.len();
    }
    if pages.hashes.len() != count || pages.contents.len() != count * PAGE_BYTES {
        return Err("its pages are not as many as it says");
    }
    let same =
        pages.pages.iter().cloned().flatten().zip(&pages.hashes).all(|(page, hash)| hashes[page as usize] == *hash);
    if same { Ok(()) } else { Err("its pages have other hashes than it says") }
}
