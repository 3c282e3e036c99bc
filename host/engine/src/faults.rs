//! Whether a thread has had to ask the kernel for a page.
//!
//! **Architecture Invariant:** between two looks that are equal, the thread that has looked has written to no page that was not
//! its own to write to before.

#![allow(unsafe_code, reason = "a system call that no crate wraps")]

use std::{
    sync::OnceLock,
    thread::{self, ThreadId},
};

use ambrosia_core::PAGE_BYTES;
use wasmtime::{Engine, Store};

use crate::mapping::Mapping;

/// The page faults that a thread has had so far. Those of two threads are never equal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Faults {
    thread: ThreadId,
    /// Those for which nothing was read, and those for which something was.
    minor: libc::c_long,
    major: libc::c_long,
}

impl Faults {
    /// Those of this thread; `None` if the kernel does not tell.
    pub(crate) fn so_far() -> Option<Faults> {
        static ARE_COUNTED: OnceLock<bool> = OnceLock::new();
        if *ARE_COUNTED.get_or_init(are_counted) { ask() } else { None }
    }
}

/// Whether the first write to a page is among them: not every system that calls itself Linux counts.
fn are_counted() -> bool {
    let Ok(page) = Mapping::reserve(PAGE_BYTES, 0) else { return false };
    let mut store = Store::new(&Engine::default(), ());
    if page.grow(PAGE_BYTES).is_err() {
        return false;
    }
    let contents = page.contents_mut(&mut store);
    let before = ask();
    contents[0] = 1;
    std::hint::black_box(contents);
    let after = ask();
    before.is_some() && before != after
}

fn ask() -> Option<Faults> {
    // SAFETY: a structure of numbers, for which all bits zero are numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the argument is what this call writes.
    let told = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) } == 0;
    let thread = thread::current().id();
    told.then_some(Faults { thread, minor: usage.ru_minflt, major: usage.ru_majflt })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_write_to_a_page_is_a_fault_and_no_other_is() {
        let mapping = Mapping::reserve(2 * PAGE_BYTES, 0).expect("there is room");
        mapping.grow(2 * PAGE_BYTES).expect("it was reserved");
        let mut store = Store::new(&Engine::default(), ());
        let contents = mapping.contents_mut(&mut store);
        contents[0] = 1;
        let before = Faults::so_far().expect("the kernel tells");
        // The test itself may have a fault, but not each time.
        let has_none = (2..=200).any(|value| {
            let before = Faults::so_far();
            contents[1] = value;
            before == Faults::so_far()
        });
        assert!(has_none, "the page is its own");
        contents[PAGE_BYTES] = 1;
        assert_ne!(Some(before), Faults::so_far());
        let others = thread::spawn(Faults::so_far).join().expect("it counts").expect("the kernel tells");
        let same_numbers = Faults { thread: before.thread, ..others };
        assert_ne!(others, same_numbers, "another thread has others, however many they are");
    }
}
