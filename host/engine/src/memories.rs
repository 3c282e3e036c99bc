//! Makes the linear memories of guests, and tells who instantiates one which they are.
//!
//! **Architecture Invariant:** nothing is kept here when an instantiation is over; an engine makes memories for all
//! its guests, and knows none of them.
#![allow(unsafe_code, reason = "wasmtime asks for a promise that memories are what it takes them for")]

use std::{cell::RefCell, sync::Arc};

use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

use crate::mapping::{Linear, Mapping};

thread_local! {
    /// The memories made on this thread since [`gather`] began.
    static MADE: RefCell<Vec<Arc<Mapping>>> = const { RefCell::new(Vec::new()) };
}

/// Instantiates a component by `instantiate`. Its memories come in the order in which they are made, which depends on
/// the component alone.
pub(crate) fn gather<T>(instantiate: impl FnOnce() -> T) -> (T, Vec<Arc<Mapping>>) {
    MADE.take();
    let instance = instantiate();
    (instance, MADE.take())
}

/// How the text begins that says that this process is short of address space, which is no fault of the guest.
pub(crate) const NO_SPACE: &str = "this process can't reserve ";

fn no_space(bytes: usize, error: &std::io::Error) -> String {
    format!(
        "{NO_SPACE}{} MiB of address space for a memory of the guest ({error}). Little of it will be used, but its bounds are \
         checked by it: raise the limit of address space (`ulimit -v`, RLIMIT_AS, LimitAS of a service)",
        bytes >> 20
    )
}

/// Makes memories for wasmtime.
pub(crate) struct Memories;

// SAFETY: a memory has the address space reserved and the guard behind it that wasmtime asks for, and begins as zeros.
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
        let mapping = Mapping::reserve(capacity, guard).map_err(|error| no_space(guard + capacity + guard, &error))?;
        mapping.grow(minimum).map_err(|error| format!("can't map memory: {error}"))?;
        let mapping = Arc::new(mapping);
        MADE.with_borrow_mut(|made| made.push(mapping.clone()));
        Ok(Box::new(Linear(mapping)))
    }
}
