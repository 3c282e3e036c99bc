//! What a log on files asks of the machine that it runs on.
//!
//! **Architecture Invariant:** whatever lets the log of one process outlive another one goes through here: files,
//! locks, shared pages and threads. So a simulated machine sees, delays and breaks all of it.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicU32, AtomicU64},
    thread,
    time::Duration,
};

use super::{
    byte_lock::{ByteLock, held_byte},
    ownership::create_file,
    shared_page::SharedPage,
    system::{boot_id, free_bytes},
};

/// Held until dropped.
pub type Lock = Box<dyn Send + Sync>;

/// A machine, with its disk, its locks and the memory that its processes share.
pub trait Machine: fmt::Debug + Send + Sync {
    /// Makes a file for reading and writing, or empties the one that is there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn MachineFile>>;

    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn MachineFile>>;

    /// Opens a file for reading and writing.
    fn open_to_write(&self, path: &Path) -> io::Result<Box<dyn MachineFile>>;

    /// The names in a directory, in order.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Gives a file another name in the same directory.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Puts the names in a directory on the disk.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// Maps a whole file, made or extended with zeros to `bytes`. Two processes must not be at it at once.
    fn map(&self, path: &Path, bytes: usize) -> io::Result<Box<dyn Page>>;

    /// Maps `bytes` of a file, for reading only if this process may not write it. `None` if it is not there, or
    /// shorter.
    fn map_if_there(&self, path: &Path, bytes: usize) -> io::Result<Option<Box<dyn Page>>>;

    /// Takes the lock of a range of bytes if nobody holds any of them. It goes with its process, however that ends.
    fn try_lock(&self, path: &Path, range: Range<u64>) -> io::Result<Option<Lock>>;

    /// The same, waiting until nobody does.
    fn lock(&self, path: &Path, range: Range<u64>) -> io::Result<Lock>;

    /// The same, waiting no longer than `limit`; `None` if somebody holds one for so long.
    fn lock_within(&self, path: &Path, range: Range<u64>, limit: Duration) -> io::Result<Option<Lock>>;

    /// The first byte of the range that anybody, this process too, holds locked.
    fn held_byte(&self, path: &Path, range: Range<u64>) -> io::Result<Option<u64>>;

    /// Bytes that there still is room for where `path` lies.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Differs after each start of the machine. 0 if nobody knows.
    fn boot_id(&self) -> u64;

    /// 64 bits that nobody outside can foresee.
    fn random(&self) -> u64;

    /// Does `work` beside everything else.
    fn spawn(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<()>;
}

/// An open file of a [`Machine`].
pub trait MachineFile: fmt::Debug + Send + Sync {
    /// Reads what there is at `offset`, at most until `buffer` is full; returns how many bytes.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Extends the file with zeros that need not be on the disk, or cuts it.
    fn set_bytes(&self, bytes: u64) -> io::Result<()>;

    /// How long the file is.
    fn bytes(&self) -> io::Result<u64>;

    /// Another handle of the file, to map it; `None` if it is no file of the operating system.
    fn to_map(&self) -> Option<io::Result<File>> {
        None
    }

    /// Puts what was written on the disk. After an error nobody knows what is there.
    fn sync(&self) -> io::Result<()>;

    /// The same, with everything that the file system knows of the file.
    fn sync_all(&self) -> io::Result<()>;
}

/// Memory that all processes of a machine see, as atomic words.
pub trait Page: Send + Sync {
    /// The 64-bit word at byte `offset`.
    fn word(&self, offset: usize) -> &AtomicU64;

    /// The 32-bit word at byte `offset`, which a thread can wait for. No offset is used with both widths.
    fn futex(&self, offset: usize) -> &AtomicU32;

    /// Whether the words may be stored to, which others then see.
    fn is_writable(&self) -> bool {
        true
    }

    /// Whether the file at `path` is still the one that was mapped.
    fn is_at(&self, _path: &Path) -> io::Result<bool> {
        Ok(true)
    }
}

/// The machine that this process runs on.
#[derive(Debug)]
pub(crate) struct ThisMachine;

impl Machine for ThisMachine {
    fn create(&self, path: &Path) -> io::Result<Box<dyn MachineFile>> {
        Ok(Box::new(create_file(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn MachineFile>> {
        Ok(Box::new(File::open(path)?))
    }

    fn open_to_write(&self, path: &Path) -> io::Result<Box<dyn MachineFile>> {
        Ok(Box::new(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn map(&self, path: &Path, bytes: usize) -> io::Result<Box<dyn Page>> {
        Ok(Box::new(SharedPage::create_or_open(path, bytes)?))
    }

    fn map_if_there(&self, path: &Path, bytes: usize) -> io::Result<Option<Box<dyn Page>>> {
        Ok(SharedPage::open(path, bytes)?.map(|page| Box::new(page) as Box<dyn Page>))
    }

    fn try_lock(&self, path: &Path, range: Range<u64>) -> io::Result<Option<Lock>> {
        Ok(ByteLock::try_take(path, range)?.map(|lock| Box::new(lock) as Lock))
    }

    fn lock(&self, path: &Path, range: Range<u64>) -> io::Result<Lock> {
        Ok(Box::new(ByteLock::take(path, range)?))
    }

    fn lock_within(&self, path: &Path, range: Range<u64>, limit: Duration) -> io::Result<Option<Lock>> {
        Ok(ByteLock::take_within(path, range, limit)?.map(|lock| Box::new(lock) as Lock))
    }

    fn held_byte(&self, path: &Path, range: Range<u64>) -> io::Result<Option<u64>> {
        held_byte(path, range)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        free_bytes(path)
    }

    fn boot_id(&self) -> u64 {
        boot_id()
    }

    fn random(&self) -> u64 {
        // Six bits of a random uuid are always the same, at places that don't meet here.
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        high ^ low.rotate_left(32)
    }

    fn spawn(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
    }
}

impl MachineFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn to_map(&self) -> Option<io::Result<File>> {
        Some(self.try_clone())
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        File::sync_all(self)
    }
}

impl Page for SharedPage {
    fn word(&self, offset: usize) -> &AtomicU64 {
        self.word(offset)
    }

    fn futex(&self, offset: usize) -> &AtomicU32 {
        self.futex(offset)
    }

    fn is_writable(&self) -> bool {
        self.is_writable()
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        self.is_at(path)
    }
}
