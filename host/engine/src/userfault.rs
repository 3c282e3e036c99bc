//! Asks the kernel which pages were written, by `userfaultfd(2)` and `PAGEMAP_SCAN` (Linux 6.7 and later).
//!
//! Pages are write-protected. The first write to one is let through by the kernel itself, which takes the protection
//! away (`UFFD_FEATURE_WP_ASYNC`): no handler runs and nobody waits. A scan lists the pages without protection, and
//! protects them again in the same step, so that no write falls between.
//!
//! **Architecture Invariant:** a page that was written is listed, or there is an error; nothing is ever left out.
#![allow(unsafe_code, reason = "system calls that no crate wraps")]

use std::{
    fs::File,
    io,
    ops::Range,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::OnceLock,
};

use ambrosia_core::PAGE_BYTES;
use wasmtime::Store;

use crate::mapping::Mapping;

/// `UFFD_USER_MODE_ONLY`: allowed without privileges. Writes of the kernel are let through, and seen, all the same.
const USER_MODE_ONLY: libc::c_int = 1;
const API: u64 = 0xaa;
/// `UFFD_FEATURE_WP_UNPOPULATED`: protects pages that nobody has touched yet.
const PROTECTS_UNPOPULATED: u64 = 1 << 13;
/// `UFFD_FEATURE_WP_ASYNC`.
const RESOLVES_ALONE: u64 = 1 << 15;
/// `UFFDIO_REGISTER_MODE_WP`.
const REGISTER_WRITES: u64 = 1 << 1;
/// `UFFDIO_WRITEPROTECT_MODE_WP`.
const PROTECT: u64 = 1;
/// `PM_SCAN_WP_MATCHING` and `PM_SCAN_CHECK_WPASYNC`: protect what is listed; fail if not all of it is watched.
const PROTECT_LISTED: u64 = 1 | 2;
/// `PAGE_IS_WRITTEN`.
const WRITTEN: u64 = 1 << 1;
/// `PAGE_IS_FILE`, `PAGE_IS_PRESENT` and `PAGE_IS_SWAPPED`.
const OF_FILE: u64 = 1 << 2;
const PRESENT: u64 = 1 << 3;
const SWAPPED: u64 = 1 << 4;

const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;
const UFFDIO_WRITEPROTECT: libc::c_ulong = 0xc018_aa06;
const PAGEMAP_SCAN: libc::c_ulong = 0xc060_6610;

/// Ranges that one scan lists at most; there are as many scans as it takes.
const REGIONS_MAX: usize = 1024;

/// The same of what a query has written, which is little: the kernel makes room for as many before it looks, each time.
const PRIVATE_REGIONS: usize = 16;

/// `struct uffdio_api`.
#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_register`, and without its last field `struct uffdio_writeprotect`.
#[repr(C)]
struct Registration {
    start: u64,
    bytes: u64,
    mode: u64,
    ioctls: u64,
}

/// `struct page_region`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// `struct pm_scan_arg`.
#[repr(C)]
#[derive(Default)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    regions: u64,
    regions_max: u64,
    pages_max: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

const _: () = assert!(size_of::<Scan>() == 96);
const _: () = assert!(size_of::<Registration>() == 32);

/// The kernel's help. One is enough for a process.
pub(crate) struct Userfault {
    userfault: OwnedFd,
    pagemap: File,
    /// Whether it finds what is written to memory that is shared, once that was tried out.
    shared: OnceLock<bool>,
}

impl Userfault {
    /// Opens it, and sees that it finds a page that is written and no other.
    pub(crate) fn open() -> Result<Userfault, io::Error> {
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | USER_MODE_ONLY;
        // SAFETY: takes flags and returns a new descriptor, or -1.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let userfault = unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) };
        let mut api = Api { api: API, features: PROTECTS_UNPOPULATED | RESOLVES_ALONE, ioctls: 0 };
        // SAFETY: the argument is what this request reads and writes.
        check(unsafe { libc::ioctl(userfault.as_raw_fd(), UFFDIO_API, &mut api) })?;
        let opened = Userfault { userfault, pagemap: File::open("/proc/self/pagemap")?, shared: OnceLock::new() };
        opened.try_out(|_| Ok(()))?;
        Ok(opened)
    }

    /// Watches a range of mappings, from an address on: what is written from now on will be listed.
    pub(crate) fn watch(&self, start: usize, bytes: usize) -> Result<(), io::Error> {
        let mut registration =
            Registration { start: start as u64, bytes: bytes as u64, mode: REGISTER_WRITES, ioctls: 0 };
        // SAFETY: the argument is what this request reads and writes. It changes no contents.
        check(unsafe { libc::ioctl(self.userfault.as_raw_fd(), UFFDIO_REGISTER, &mut registration) })
    }

    /// Protects pages that are watched: what is written from now on will be listed.
    pub(crate) fn protect(&self, start: usize, bytes: usize) -> Result<(), io::Error> {
        let mut protection = Registration { start: start as u64, bytes: bytes as u64, mode: PROTECT, ioctls: 0 };
        // SAFETY: this request reads the first three fields. It changes no contents.
        check(unsafe { libc::ioctl(self.userfault.as_raw_fd(), UFFDIO_WRITEPROTECT, &mut protection) })
    }

    /// Lists the ranges of addresses written since they were last protected, and protects them.
    pub(crate) fn written(&self, start: usize, bytes: usize, list: impl FnMut(Range<usize>)) -> Result<(), io::Error> {
        let wanted = Scan { flags: PROTECT_LISTED, category_mask: WRITTEN, return_mask: WRITTEN, ..Scan::default() };
        scan(&self.pagemap, start, bytes, &wanted, &mut [Region::default(); REGIONS_MAX], list)
    }

    /// Sees, the first time, that it finds what is written to memory that others map, too.
    pub(crate) fn knows_shared(&self) -> Result<(), io::Error> {
        let share = |probe: &Mapping| probe.share(&mut Store::new(&wasmtime::Engine::default(), ()));
        let knows = *self.shared.get_or_init(|| self.try_out(share).is_ok());
        let error = || io::Error::other("the kernel does not list the pages of shared memory that were written");
        if knows { Ok(()) } else { Err(error()) }
    }

    fn try_out(&self, prepare: impl FnOnce(&Mapping) -> Result<(), io::Error>) -> Result<(), io::Error> {
        const PAGES: usize = 4;
        let probe = Mapping::reserve(PAGES * PAGE_BYTES, 0)?;
        probe.grow(PAGES * PAGE_BYTES)?;
        prepare(&probe)?;
        let (start, bytes) = probe.reservation();
        self.watch(start, bytes)?;
        self.protect(start, bytes)?;
        // SAFETY: the page is in the mapping above, of which nobody else knows.
        unsafe { std::ptr::with_exposed_provenance_mut::<u8>(start + PAGE_BYTES).write_volatile(1) };
        let mut found = Vec::new();
        self.written(start, bytes, |range| found.push(range))?;
        self.written(start, bytes, |range| found.push(range))?;
        let written = start + PAGE_BYTES..start + 2 * PAGE_BYTES;
        if found == std::slice::from_ref(&written) {
            Ok(())
        } else {
            Err(io::Error::other("the kernel does not list the page that was written"))
        }
    }
}

/// Lists the ranges of addresses, in a private mapping of a file, that have contents of their own: they were written to.
pub(crate) fn private_pages(
    pagemap: &File,
    start: usize,
    bytes: usize,
    list: impl FnMut(Range<usize>),
) -> Result<(), io::Error> {
    let wanted = Scan {
        category_inverted: OF_FILE,
        category_mask: OF_FILE,
        category_anyof_mask: PRESENT | SWAPPED,
        return_mask: PRESENT | SWAPPED,
        ..Scan::default()
    };
    scan(pagemap, start, bytes, &wanted, &mut [Region::default(); PRIVATE_REGIONS], list)
}

/// Lists the ranges of addresses that are as `wanted`.
fn scan(
    pagemap: &File,
    start: usize,
    bytes: usize,
    wanted: &Scan,
    regions: &mut [Region],
    mut list: impl FnMut(Range<usize>),
) -> Result<(), io::Error> {
    let end = (start + bytes) as u64;
    let mut next = start as u64;
    while next < end {
        let mut scan = Scan {
            size: size_of::<Scan>() as u64,
            start: next,
            end,
            regions: regions.as_mut_ptr().addr() as u64,
            regions_max: regions.len() as u64,
            ..*wanted
        };
        // SAFETY: the argument is what this request reads and writes, and points to that many regions.
        let found = unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN, &mut scan) };
        check(found)?;
        for region in &regions[..found as usize] {
            list(region.start as usize..region.end as usize);
        }
        if scan.walk_end <= next {
            return Err(io::Error::other("the kernel does not get on with its scan"));
        }
        next = scan.walk_end;
    }
    Ok(())
}

fn check(result: libc::c_int) -> Result<(), io::Error> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
