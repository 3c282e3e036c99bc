//! Counts what is allocated, so that a test can say how much memory its bytes justify.
//!
//! [`counting`] sums up what one thread asks for, whatever it gives back; [`peak_of`] and [`within`] look at what is in
//! use at a time in the whole process. A program counts from its start if this crate is linked into it.
//!
//! **Architecture Invariant:** it changes nothing of what is allocated, and nothing but tests and fuzz targets links it.

#![allow(unsafe_code, reason = "an allocator can't be written without it")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicIsize, Ordering::Relaxed},
    },
};

/// What `work` returns, and the bytes that it asked for on this thread.
pub fn counting<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = ASKED_FOR.get();
    let result = work();
    (result, ASKED_FOR.get() - before)
}

/// What `work` returns, and the most memory that was in use at a time meanwhile, beyond what was before.
///
/// One call at a time; threads that are not waiting for one are counted with it.
pub fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    // A target that panicked left nothing half-done here.
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let result = work();
    let peak = PEAK.load(Relaxed) - before;
    (result, usize::try_from(peak).unwrap_or(0))
}

/// As [`peak_of`], and a panic if that is more than `bytes_max`.
pub fn within<T>(bytes_max: usize, work: impl FnOnce() -> T) -> T {
    let (result, peak) = peak_of(work);
    assert!(peak <= bytes_max, "{peak} bytes were in use at a time, and {bytes_max} are justified");
    result
}

thread_local! {
    /// Bytes that this thread has asked for.
    static ASKED_FOR: Cell<usize> = const { Cell::new(0) };
}

/// Bytes in use in the whole process: what one thread allocates, another one may free.
static LIVE: AtomicIsize = AtomicIsize::new(0);
/// The most that [`LIVE`] was since [`peak_of`] began.
static PEAK: AtomicIsize = AtomicIsize::new(0);

fn count(bytes: usize) {
    // A thread that ends has no count any more, and nobody asks for it.
    let _ = ASKED_FOR.try_with(|asked_for| asked_for.set(asked_for.get().saturating_add(bytes)));
    let live = LIVE.fetch_add(bytes as isize, Relaxed) + bytes as isize;
    PEAK.fetch_max(live, Relaxed);
}

fn uncount(bytes: usize) {
    LIVE.fetch_sub(bytes as isize, Relaxed);
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps to the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps to the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may be there while the contents are copied.
        count(size);
        uncount(layout.size());
        // SAFETY: the caller keeps to the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        uncount(layout.size());
        // SAFETY: the caller keeps to the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_asks_for_is_counted() {
        assert_eq!(counting(|| drop(Vec::<u8>::with_capacity(1000))).1, 1000);
        assert_eq!(counting(|| drop(vec![0_u8; 1000])).1, 1000);
    }

    #[test]
    fn what_is_in_use_at_a_time_is_counted() {
        let (_, peak) = peak_of(|| {
            drop(vec![0_u8; 100_000]);
            drop(Vec::<u8>::with_capacity(300_000));
        });
        assert!((300_000..400_000).contains(&peak), "{peak}");
    }

    #[test]
    #[should_panic(expected = "are justified")]
    fn more_than_is_justified_is_a_panic() {
        within(100_000, || vec![0_u8; 200_000]);
    }
}
