//! The address space of one linear memory.
//!
//! ```text
//! guard │ bytes that the guest has │ up to all that 32 bits address │ guard
//!       │ read and write           │ nothing can be accessed        │
//! ```
//!
//! Where the process may not have so much address space, only what the guest may ever have is mapped, and the rest is a place
//! that nobody else gets (`lonely.rs`). The code of guests is the same for both, and so is all that a guest can see.
//!
//! **Architecture Invariant:** what the guest can write is looked at only through a reference to its store. The guest
//! runs by a mutable reference to that, so nobody looks while it runs.
#![allow(unsafe_code, reason = "memory of a guest is mapped from the kernel, and read past the compiler")]

use std::{
    fs::File,
    io,
    ops::Range,
    os::fd::{AsRawFd, FromRawFd},
    os::unix::fs::FileExt,
    ptr::{self, NonNull},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use ambrosia_core::{PAGE_BYTES, is_zero};
use wasmtime::{LinearMemory, Store};

use crate::lonely::{self, Lonely};

/// One reservation. The store's memory and who captures it share it.
pub(crate) struct Mapping {
    base: NonNull<u8>,
    /// Mapped in front of the base, and never accessible.
    guard: usize,
    /// Mapped from the base on.
    mapped: usize,
    /// From the base on, what the guest can be given: all of it is mapped.
    room: usize,
    /// From the base on, what the guest's code takes for its own: it belongs to nobody else.
    capacity: usize,
    /// Changed only by the guest's growth, so never while somebody has a reference to the store.
    bytes: AtomicUsize,
    /// What all of it is mapped from, once views of it are wanted.
    shared: OnceLock<File>,
}

// SAFETY: the pointer is to memory that belongs to this value alone, and whoever reads or writes it has a reference to
// the one store that runs code on it.
unsafe impl Send for Mapping {}
// SAFETY: as above; the length is atomic.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Reserves address space, of which nothing can be accessed yet. `capacity` and `guard` are multiples of a page.
    pub(crate) fn reserve(capacity: usize, guard: usize) -> Result<Mapping, io::Error> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe { libc::mmap(ptr::null_mut(), guard + capacity + guard, libc::PROT_NONE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the mapping is longer than the guard in front.
        let base = unsafe { start.cast::<u8>().add(guard) };
        let base = NonNull::new(base).expect("the kernel maps nothing at address 0");
        Ok(Mapping {
            base,
            guard,
            mapped: capacity + guard,
            room: capacity,
            capacity,
            bytes: AtomicUsize::new(0),
            shared: OnceLock::new(),
        })
    }

    /// As [`Self::reserve`], of which no more than `room` bytes count as address space of the process. There is no guard in
    /// front, where nothing is for as far as behind.
    pub(crate) fn reserve_alone(capacity: usize, guard: usize, room: usize) -> Result<Mapping, io::Error> {
        let room = room.min(capacity);
        let mapped = room.max(PAGE_BYTES);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
        for Lonely(place) in lonely::places(capacity + guard)? {
            // SAFETY: it fails where there is a mapping already, so that none is replaced.
            let start =
                unsafe { libc::mmap(ptr::without_provenance_mut(place), mapped, libc::PROT_NONE, flags, -1, 0) };
            if start == libc::MAP_FAILED {
                match io::Error::last_os_error() {
                    error if error.raw_os_error() == Some(libc::EEXIST) => continue, // another memory of ours
                    error => return Err(error),
                }
            }
            let base = NonNull::new(start.cast()).expect("the kernel maps nothing at address 0");
            let mapping =
                Mapping { base, guard: 0, mapped, room, capacity, bytes: AtomicUsize::new(0), shared: OnceLock::new() };
            if start.addr() == place {
                return Ok(mapping);
            }
            // A kernel before 4.17 takes the place for a hint; what it has given is given back.
        }
        Err(io::ErrorKind::OutOfMemory.into())
    }

    /// Makes the first `bytes` accessible; what comes anew is zeros.
    pub(crate) fn grow(&self, bytes: usize) -> Result<(), io::Error> {
        let before = self.bytes();
        assert!(bytes.is_multiple_of(PAGE_BYTES));
        assert!(before <= bytes);
        if bytes > self.room {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        // SAFETY: the range lies in what is mapped, and nothing in it could be accessed before.
        let changed = unsafe {
            let start = self.base.as_ptr().add(before).cast();
            libc::mprotect(start, bytes - before, libc::PROT_READ | libc::PROT_WRITE)
        };
        if changed != 0 {
            return Err(io::Error::last_os_error());
        }
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes that the guest has.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the memory can't get as large as that limit of the guest allows, but for the addresses that are reserved.
    pub(crate) fn is_short_of(&self, limit: u64) -> bool {
        self.room < self.capacity && (self.room as u64) < limit
    }

    /// Address and length of all that the memory can ever be.
    pub(crate) fn reservation(&self) -> (usize, usize) {
        (self.base.as_ptr().addr(), self.room)
    }

    /// What is in the memory of the guest in `_store`, which stands still.
    pub(crate) fn contents<'a, T>(&'a self, _store: &'a Store<T>) -> &'a [u8] {
        // SAFETY: these bytes can be read, nobody shrinks a memory, and the guest, which writes them, runs only by a
        // mutable reference to the store.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.bytes()) }
    }

    /// As [`Self::contents`], to be written.
    pub(crate) fn contents_mut<'a, T>(&'a self, _store: &'a mut Store<T>) -> &'a mut [u8] {
        // SAFETY: as above, and the reference to the store is the only one.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.bytes()) }
    }

    /// Makes all of the memory zeros.
    pub(crate) fn clear<T>(&self, _store: &mut Store<T>) -> Result<(), io::Error> {
        let flags = libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        self.replace(self.bytes(), flags, -1, 0)
    }

    /// Puts `bytes` of `file` from `offset` on at the beginning of the memory, read when they are first used. Both are
    /// multiples of a page, and the file is at least as long and never changed.
    pub(crate) fn map<T>(
        &self,
        _store: &mut Store<T>,
        file: &File,
        offset: u64,
        bytes: usize,
    ) -> Result<(), io::Error> {
        let offset = i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.replace(bytes, libc::MAP_NORESERVE, file.as_raw_fd(), offset)
    }

    /// Has the kernel find pages for what is about to be written, all at once, and not each when it is first written.
    pub(crate) fn populate<T>(&self, _store: &mut Store<T>, bytes: Range<usize>) {
        assert!(bytes.start <= bytes.end);
        assert!(bytes.end <= self.bytes());
        // SAFETY: the range is memory that the guest has, of which no contents change. If it fails nothing is lost.
        unsafe {
            let start = self.base.as_ptr().add(bytes.start).cast();
            libc::madvise(start, bytes.len(), libc::MADV_POPULATE_WRITE);
        }
    }

    /// Moves all of it, as it is, into memory of the kernel that others can map too ([`Self::file`]): from then on views of it
    /// cost next to nothing. The guest notices nothing; but what the kernel was told of these addresses, such as which of them
    /// are watched, is forgotten.
    ///
    /// # Errors
    /// If the kernel has no memory, or this process may not have so large a file. Nothing has changed for the guest then.
    pub(crate) fn share<T>(&self, store: &mut Store<T>) -> Result<(), io::Error> {
        if self.shared.get().is_some() {
            return Ok(());
        }
        let file = kernel_memory(self.room)?;
        let contents = self.contents(store);
        copy_into(&file, contents)?;
        let bytes = contents.len();
        // What it may grow by comes first: if anything fails, what the guest has is untouched.
        let flags = libc::MAP_SHARED | libc::MAP_NORESERVE | libc::MAP_FIXED;
        let parts = [(bytes..self.room, libc::PROT_NONE), (0..bytes, libc::PROT_READ | libc::PROT_WRITE)];
        for (part, access) in parts.into_iter().filter(|(part, _)| !part.is_empty()) {
            let offset = i64::try_from(part.start).map_err(|_| io::ErrorKind::InvalidInput)?;
            // SAFETY: the range is part of what was reserved, the file has the same contents there, and who calls has a
            // mutable reference to the store, so that nobody has one to what is replaced.
            let mapped = unsafe {
                let start = self.base.as_ptr().add(part.start).cast();
                libc::mmap(start, part.len(), access, flags, file.as_raw_fd(), offset)
            };
            if mapped == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
        }
        self.shared.set(file).expect("it was not shared above, and the store is borrowed");
        Ok(())
    }

    /// What it was moved into by [`Self::share`]: another memory that maps it ([`Self::map`]) has the same contents, sees what
    /// the guest of this one writes until it has written to the same page itself, and changes nothing here.
    pub(crate) fn file(&self) -> Option<&File> {
        self.shared.get()
    }

    /// For a memory that was mapped: it has the contents of the file again, whatever was written since.
    pub(crate) fn forget_writes<T>(&self, _store: &mut Store<T>) -> Result<(), io::Error> {
        assert!(self.shared.get().is_none(), "what is shared is not forgotten");
        if self.bytes() == 0 {
            return Ok(());
        }
        // SAFETY: the range is memory that the guest has, and who calls has a mutable reference to its store, so that nobody
        // else has one to what changes.
        let done = unsafe { libc::madvise(self.base.as_ptr().cast(), self.bytes(), libc::MADV_DONTNEED) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn replace(&self, bytes: usize, flags: libc::c_int, fd: libc::c_int, offset: i64) -> Result<(), io::Error> {
        assert!(bytes <= self.bytes());
        assert!(self.shared.get().is_none(), "what others have views of stays where it is");
        if bytes == 0 {
            return Ok(());
        }
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = flags | libc::MAP_PRIVATE | libc::MAP_FIXED;
        // SAFETY: the range is memory that the guest has, and who calls has a mutable reference to its store, so that
        // nobody else has one to what is replaced.
        let mapped = unsafe { libc::mmap(self.base.as_ptr().cast(), bytes, access, flags, fd, offset) };
        if mapped == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// A file of that length which is nowhere but in memory, all zeros.
fn kernel_memory(bytes: usize) -> Result<File, io::Error> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the argument is what this call writes.
    if unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if (bytes as u64) > limit.rlim_cur {
        // A longer file would end the process by a signal.
        let text = format!(
            "this process may have no file of {} MiB, as which the memory of a guest is kept that is asked queries: raise the \
             limit (`ulimit -f`, RLIMIT_FSIZE, LimitFSIZE of a service)",
            bytes >> 20
        );
        return Err(io::Error::other(text));
    }
    // SAFETY: takes a text and flags and returns a new descriptor, or -1.
    let fd = unsafe { libc::memfd_create(c"ambrosia-guest".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(bytes as u64)?;
    Ok(file)
}

/// Writes contents to the beginning of a file of zeros.
fn copy_into(file: &File, contents: &[u8]) -> Result<(), io::Error> {
    const RUN_BYTES_MAX: usize = 4 << 20;
    let mut run = 0..0;
    for (number, page) in contents.chunks(PAGE_BYTES).enumerate() {
        let at = number * PAGE_BYTES;
        if is_zero(page) || run.len() >= RUN_BYTES_MAX {
            file.write_all_at(&contents[run.clone()], run.start as u64)?;
            run = at..at;
        }
        run = if is_zero(page) { at + page.len()..at + page.len() } else { run.start..at + page.len() };
    }
    file.write_all_at(&contents[run.clone()], run.start as u64)
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the whole reservation was mapped by `reserve`, and the last one who knew of it is gone.
        unsafe {
            let start = self.base.as_ptr().sub(self.guard);
            libc::munmap(start.cast(), self.guard + self.mapped);
        }
    }
}

/// What wasmtime holds of a memory.
pub(crate) struct Linear(pub(crate) std::sync::Arc<Mapping>);

// SAFETY: the memory never moves, is accessible as far as `byte_size` says, is inaccessible in the rest of the
// capacity and in the guard behind it, where nothing else is mapped, and new bytes are zeros.
unsafe impl LinearMemory for Linear {
    fn byte_size(&self) -> usize {
        self.0.bytes()
    }

    fn byte_capacity(&self) -> usize {
        self.0.capacity
    }

    fn grow_to(&mut self, bytes: usize) -> Result<(), wasmtime::Error> {
        Ok(self.0.grow(bytes)?)
    }

    fn as_ptr(&self) -> *mut u8 {
        self.0.base.as_ptr()
    }
}
