//! How much address space this process may have, and thrift where that is little.
//!
//! **Architecture Invariant:** nothing that a guest could notice depends on this.
#![allow(unsafe_code, reason = "the kernel is asked for a limit, and the allocator for thrift")]

use std::io;

/// Who may have more than that has plenty.
pub(crate) const PLENTY_BYTES: u64 = 64 << 30;

/// Bytes of addresses that this process may have (`ulimit -v`).
pub(crate) fn limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes into the one place that it is given.
    if unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

/// Saves address space if this process may have little of it. Call it before there are threads.
///
/// The allocator of glibc sets 64 MiB of addresses aside for each of many threads, so that they need not wait for each
/// other. That is a GiB for a replica, which then is not there for its guest.
pub fn spare_address_space() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if limit().is_ok_and(|bytes| bytes <= PLENTY_BYTES) {
        // SAFETY: it changes a number of the allocator. If it can't, addresses are spent as ever.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}
