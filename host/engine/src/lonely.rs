//! Places in the address space so far from everything else that nothing is ever mapped near them.
//!
//! A guest's code does not check the bounds of its memory: all that 32 bits address, and a guard, is set aside for it. A
//! process that may have only a few GiB of addresses (`ulimit -v`) can't map that, inaccessible as it is. But what is not
//! mapped can't be accessed either, as long as it stays so, and it does in the middle of the widest hole that there is:
//!
//! ```text
//! program, heap │ 20 TiB and more │ memories of guests │ 20 TiB and more │ libraries, stacks, what else is mapped
//! ```
//!
//! The kernel puts what is mapped without a wish into the first hole that it fits into, from the edge on. With at most
//! [`PLENTY_BYTES`] of addresses in all it would take thousands of gaps, each too small for what is mapped next, to come
//! [`FAR_BYTES`] away from the edge; and this program, its libraries and the allocator have no wishes.
//!
//! Other code for guests, with bounds that are checked, is no way: its functions have larger frames, so that a guest
//! would run out of stack at another depth than on other replicas.
//!
//! **Architecture Invariant:** nothing is mapped here for good.
#![allow(unsafe_code, reason = "the kernel is asked where it maps")]

use std::{io, ptr};

use ambrosia_core::PAGE_BYTES;

use crate::address_space::{PLENTY_BYTES, limit};

/// How far a place is from all other mappings, at least.
const FAR_BYTES: usize = 1 << 40;

/// How many memories can be placed at a time.
const PLACES: usize = 32;

/// In the program, which the kernel puts far from what it maps for it.
static IN_THE_PROGRAM: u8 = 0;

/// An address from which on nothing is mapped but by who has it from here.
pub(crate) struct Lonely(pub(crate) usize);

/// Places for memories of `bytes`, which can be taken all at the same time.
///
/// # Errors
/// If nothing says that it will stay lonely there: then this process must do without.
pub(crate) fn places(bytes: usize) -> io::Result<impl Iterator<Item = Lonely>> {
    if limit()? > PLENTY_BYTES {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let edges = ((&raw const IN_THE_PROGRAM).addr(), chosen_by_the_kernel()?);
    let distance = bytes.next_power_of_two() * 2;
    let first = middle(edges, distance).ok_or(io::ErrorKind::OutOfMemory)?;
    Ok((0..PLACES).map(move |number| Lonely(first + number * distance)))
}

/// The middle between two mappings, rounded to `distance`, if it and as many places as there may be are far from both.
fn middle((one, other): (usize, usize), distance: usize) -> Option<usize> {
    let (low, high) = (one.min(other), one.max(other));
    let middle = (low + (high - low) / 2) / distance * distance;
    let far = middle >= low.checked_add(FAR_BYTES)? && middle + PLACES * distance <= high.checked_sub(FAR_BYTES)?;
    far.then_some(middle)
}

/// Where the kernel maps what has no wish.
fn chosen_by_the_kernel() -> io::Result<usize> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
    let page = unsafe { libc::mmap(ptr::null_mut(), PAGE_BYTES, libc::PROT_NONE, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was mapped just now, and nobody knows of it.
    unsafe { libc::munmap(page, PAGE_BYTES) };
    Ok(page.addr())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISTANCE: usize = 16 << 30;
    const TIB: usize = 1 << 40;

    #[test]
    fn the_middle_is_far_from_both_edges_or_there_is_none() {
        // As on x86-64: the program below what is mapped, or above it (`ulimit -s unlimited`), or at the very bottom.
        for edges in [(85 * TIB, 127 * TIB), (85 * TIB, 42 * TIB), (4 << 20, 127 * TIB)] {
            let middle = middle(edges, DISTANCE).expect("there is room");
            assert_eq!(middle % DISTANCE, 0);
            for edge in [edges.0, edges.1] {
                assert!(middle.abs_diff(edge) > 20 * TIB, "{edges:?}: {middle:x}");
            }
        }
        assert_eq!(middle((TIB, 3 * TIB), DISTANCE), None, "the last of the places is too near");
        assert_eq!(middle((340 << 30, 500 << 30), DISTANCE), None, "39 bits of addresses are too few");
        assert_eq!(middle((85 * TIB, 85 * TIB + 4096), DISTANCE), None, "a program that is mapped like a library");
    }

    /// The limit is that of a whole process, so the test runs itself in one of its own.
    #[test]
    fn memories_are_placed_apart_and_the_rest_of_them_faults_only_within_a_limit() {
        const CHILD: &str = "AMBROSIA_TEST_LONELY_CHILD";
        if std::env::var_os(CHILD).is_some() {
            return within_a_limit();
        }
        assert!(places(1 << 32).is_err(), "who may have all addresses is told to map them");
        let test = "lonely::tests::memories_are_placed_apart_and_the_rest_of_them_faults_only_within_a_limit";
        let output = std::process::Command::new("sh")
            .args(["-c", "ulimit -v 2097152 && exec \"$@\"", "sh"])
            .arg(std::env::current_exe().expect("a test has a path"))
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, "1")
            .output()
            .expect("there is a shell");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn within_a_limit() {
        use crate::mapping::Mapping;
        const CAPACITY: usize = 4 << 30;
        const GUARD: usize = 32 << 20;
        const ROOM: usize = 1 << 20;
        assert!(Mapping::reserve(CAPACITY, GUARD).is_err(), "it does not fit into 2 GiB");
        let mut memories: Vec<Mapping> = Vec::new();
        for _ in 0..PLACES {
            let memory = Mapping::reserve_alone(CAPACITY, GUARD, ROOM).expect("a place is left");
            memory.grow(ROOM).expect("that much it may have");
            assert!(memory.grow(ROOM + PAGE_BYTES).is_err());
            let mine = memory.reservation().0;
            assert!(memories.iter().all(|other| other.reservation().0.abs_diff(mine) >= 2 * (CAPACITY + GUARD)));
            memories.push(memory);
        }
        assert!(Mapping::reserve_alone(CAPACITY, GUARD, ROOM).is_err(), "all places are taken");
        // The kernel's own choices stay at the edge, however large they are.
        let taken: Vec<Vec<u8>> = (0..8).map(|_| Vec::with_capacity(100 << 20)).collect();
        for memory in &memories {
            let mine = memory.reservation().0;
            assert!(taken.iter().all(|bytes| bytes.as_ptr().addr().abs_diff(mine) > FAR_BYTES));
        }
        memories.pop();
        Mapping::reserve_alone(CAPACITY, GUARD, ROOM).expect("a place was given back");
    }
}
