//! Makes the linear memories of guests, and tells who instantiates one which they are.
//!
//! **Architecture Invariant:** nothing is kept here when an instantiation is over; an engine makes memories for all
//! its guests, and knows none of them.
#![allow(unsafe_code, reason = "wasmtime asks for a promise that memories are what it takes them for")]

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

use crate::{
    accessor::WASM_PAGE_BYTES,
    mapping::{Linear, Mapping},
};

/// Pages of wasm that 32 bits address.
const PAGES_MAX: u64 = 1 << 16;

thread_local! {
    /// The memories made on this thread since [`gather`] began.
    static MADE: RefCell<Vec<Arc<Mapping>>> = const { RefCell::new(Vec::new()) };
    /// What each of them may ever have, in bytes.
    static ROOM: Cell<u64> = const { Cell::new(0) };
}

/// Instantiates a component by `instantiate`, which may have `memory_bytes` in all. Its memories come in the order in which
/// they are made, which depends on the component alone.
pub(crate) fn gather<T>(memory_bytes: u64, instantiate: impl FnOnce() -> T) -> (T, Vec<Arc<Mapping>>) {
    MADE.take();
    ROOM.set(memory_bytes);
    let instance = instantiate();
    (instance, MADE.take())
}

/// How the text begins that says that this process is short of address space, which is no fault of the guest.
pub(crate) const NO_SPACE: &str = "this process can't reserve ";

/// Reserves all that 32 bits address, or if that can't be had, what the guest may ever have.
fn reserve(capacity: usize, guard: usize, minimum: usize) -> Result<Mapping, String> {
    Mapping::reserve(capacity, guard).or_else(|error| {
        let room = room(ROOM.get()).clamp(minimum, capacity);
        Mapping::reserve_alone(capacity, guard, room).map_err(|_| no_space(guard + capacity + guard, room, &error))
    })
}

/// What a memory can have within a limit: whole pages of wasm.
fn room(limit: u64) -> usize {
    let pages = limit.div_ceil(WASM_PAGE_BYTES).min(PAGES_MAX);
    usize::try_from(pages * WASM_PAGE_BYTES).expect("4 GiB are no more than addresses")
}

fn no_space(whole: usize, room: usize, error: &std::io::Error) -> String {
    format!(
        "{NO_SPACE}{} MiB of address space for a memory of the guest, nor the {} MiB that the guest may have ({error}): \
         raise the limit of address space (`ulimit -v`, RLIMIT_AS, LimitAS of a service), or register the instance with \
         less memory (`--memory-mib`)",
        whole >> 20,
        room >> 20
    )
}

/// Makes memories for wasmtime.
pub(crate) struct Memories;

// SAFETY: a memory has the address space and the guard behind it that wasmtime asks for, in which nothing else is mapped,
// and begins as zeros.
unsafe impl MemoryCreator for Memories {
    fn new_memory(
        &self,
        _: MemoryType,
        minimum: usize,
        _: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let capacity = reserved.unwrap_or(minimum).max(minimum);
        let mapping = reserve(capacity, guard, minimum)?;
        mapping.grow(minimum).map_err(|error| format!("can't map memory: {error}"))?;
        let mapping = Arc::new(mapping);
        MADE.with_borrow_mut(|made| made.push(mapping.clone()));
        Ok(Box::new(Linear(mapping)))
    }
}
