//! A registry with a file for each key.
//!
//! ```text
//! file: {key, with ':' for '/'}   0 magic "AMBREG"   6 format version, u16   8 revision, u64   16 CRC-32C of revision
//!       and value, u32   20 reserved, zeros, u32   24 value
//! lock: locked while a key changes      changes: shared page: 0 futex, count of changes   64 newest revision
//! ```
//!
//! **Architecture Invariant:** a key changes only under the lock, and by the replacement of its whole file; so whoever
//! reads takes no lock.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use super::{
    durable_file::{
        TEMPORARY_SUFFIX, create_directory_durably, file_names, read_if_there, remove_durably, write_durably,
    },
    lock_wait::lock_in_time,
    machine::{Lock, ThisMachine},
    ownership::create_or_open_file,
    shared_page::{SharedPage, futex_wake_all},
    watcher::{Watched, Watcher},
};
use crate::{
    Callback, IoError, PutError, Registry, RegistryEntry, RegistryError, Revision, Subscription, check_key,
    io_error::IoContext,
};

const MAGIC: [u8; 8] = *b"AMBREG\x01\0";
/// Written as zeros, and refused if they are not: a later version means something by them.
const RESERVED_AT: usize = 20;
const VALUE_AT: usize = 24;
const LOCK_FILE: &str = ".lock";
const CHANGES_FILE: &str = ".changes";
const PAGE_BYTES: usize = 4096;
const CHANGES_FUTEX_AT: usize = 0;
const REVISION_AT: usize = 64;

/// A registry in a directory.
pub(crate) struct FileRegistry {
    directory: PathBuf,
    lock_path: PathBuf,
    /// `None` if it is not there, and this process may not make it.
    page: Option<Arc<SharedPage>>,
    watcher: Watcher,
}

/// The count of changes.
struct Changes(Arc<SharedPage>);

impl Watched for Changes {
    fn word(&self) -> &AtomicU32 {
        self.0.futex(CHANGES_FUTEX_AT)
    }
}

impl FileRegistry {
    /// Opens the registry in a directory, which is made if it is not there and this process may.
    pub(crate) fn open(directory: PathBuf, watcher: Watcher) -> Result<FileRegistry, IoError> {
        let lock_path = directory.join(LOCK_FILE);
        let page_path = directory.join(CHANGES_FILE);
        let mut page = SharedPage::open(&page_path, PAGE_BYTES).context("map", &page_path)?;
        if page.is_none() {
            page = match make_page(&directory, &lock_path, &page_path) {
                Ok(page) => Some(page),
                Err(error) if error.is_refusal_to_write() => None,
                Err(error) => return Err(error),
            };
        }
        Ok(FileRegistry { directory, lock_path, page: page.map(Arc::new), watcher })
    }

    /// The lock file. Byte 0 is locked while a key changes; the others are free to use.
    pub(crate) fn lock_path(&self) -> &Path {
        &self.lock_path
    }

    fn path_of(&self, key: &str) -> Result<PathBuf, RegistryError> {
        check_key(key)?;
        Ok(self.directory.join(key.replace('/', ":")))
    }

    fn lock(&self) -> Result<Lock, IoError> {
        lock_changes(&self.lock_path)
    }

    /// The page to store to.
    fn page(&self) -> Result<&SharedPage, IoError> {
        self.page.as_deref().filter(|page| page.is_writable()).ok_or_else(|| {
            let refused = io::Error::new(io::ErrorKind::PermissionDenied, "this process may only read it");
            IoError::at(&self.directory.join(CHANGES_FILE), "write", refused)
        })
    }

    fn names_of_keys(&self, prefix: &str) -> Result<Vec<String>, IoError> {
        let names = file_names(&ThisMachine, &self.directory)?;
        let keys = names.iter().filter(|name| !name.ends_with(TEMPORARY_SUFFIX)).map(|name| name.replace(':', "/"));
        let mut keys: Vec<_> = keys.filter(|key| key.starts_with(prefix) && check_key(key).is_ok()).collect();
        keys.sort_unstable();
        Ok(keys)
    }

    /// Checks that `key` stands at `expected`, under the lock.
    fn check_expected(&self, key: &str, expected: Option<Revision>) -> Result<(), PutError> {
        let current = self.get(key)?.map(|(revision, _)| revision);
        if current == expected { Ok(()) } else { Err(PutError::Conflict { key: key.to_owned(), current }) }
    }

    /// A revision above all that ever were, as far as any process alive can know.
    fn next_revision(&self) -> Result<Revision, RegistryError> {
        let mut newest = 0;
        for key in self.names_of_keys("")? {
            match self.get(&key) {
                Ok(found) => newest = newest.max(found.map_or(0, |(revision, _)| revision.0)),
                // Nobody can expect a revision that can't be read, and it is not in the way of other keys.
                Err(RegistryError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let word = self.page()?.word(REVISION_AT);
        let next = newest.max(word.load(Ordering::SeqCst)) + 1;
        word.store(next, Ordering::SeqCst);
        Ok(Revision(next))
    }

    fn announce_change(&self) -> Result<(), IoError> {
        let word = self.page()?.futex(CHANGES_FUTEX_AT);
        word.fetch_add(1, Ordering::SeqCst);
        futex_wake_all(word);
        Ok(())
    }
}

fn lock_changes(lock_path: &Path) -> Result<Lock, IoError> {
    lock_in_time(&ThisMachine, lock_path, 0..1, "take the lock of changes of the registry (byte 0) of")
}

/// Makes what a registry has beside its entries.
fn make_page(directory: &Path, lock_path: &Path, page_path: &Path) -> Result<SharedPage, IoError> {
    create_directory_durably(directory)?;
    create_or_open_file(lock_path).context("open", lock_path)?;
    let _lock = lock_changes(lock_path)?;
    SharedPage::create_or_open(page_path, PAGE_BYTES).context("map", page_path)
}

impl Registry for FileRegistry {
    fn get(&self, key: &str) -> Result<Option<(Revision, Vec<u8>)>, RegistryError> {
        let path = self.path_of(key)?;
        read_if_there(&path)?.map(|contents| decode(&path, &contents)).transpose()
    }

    fn put_if(&self, key: &str, expected: Option<Revision>, value: &[u8]) -> Result<Revision, PutError> {
        let path = self.path_of(key)?;
        let _lock = self.lock()?;
        self.check_expected(key, expected)?;
        let revision = self.next_revision()?;
        write_durably(&path, &encode(revision, value))?;
        self.announce_change()?;
        Ok(revision)
    }

    fn delete_if(&self, key: &str, expected: Revision) -> Result<(), PutError> {
        let path = self.path_of(key)?;
        let _lock = self.lock()?;
        self.page()?;
        self.check_expected(key, Some(expected))?;
        remove_durably(&ThisMachine, &path)?;
        self.announce_change()?;
        Ok(())
    }

    fn list(&self, prefix: &str) -> Result<Vec<RegistryEntry>, RegistryError> {
        let mut entries = Vec::new();
        for key in self.names_of_keys(prefix)? {
            // It may have been deleted since the directory was read.
            if let Some((revision, value)) = self.get(&key)? {
                entries.push(RegistryEntry { key, revision, value });
            }
        }
        Ok(entries)
    }

    fn keys(&self, prefix: &str) -> Result<Vec<String>, RegistryError> {
        Ok(self.names_of_keys(prefix)?)
    }

    fn unchecked_value(&self, key: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        let contents = read_if_there(&self.path_of(key)?)?;
        Ok(contents.and_then(|contents| contents.get(VALUE_AT..).map(<[u8]>::to_vec)))
    }

    fn remove_damaged(&self, key: &str) -> Result<(), RegistryError> {
        let path = self.path_of(key)?;
        let _lock = self.lock()?;
        remove_durably(&ThisMachine, &path)?;
        Ok(self.announce_change()?)
    }

    fn changes(&self) -> Option<u64> {
        self.page.as_ref().map(|page| page.futex(CHANGES_FUTEX_AT).load(Ordering::SeqCst).into())
    }

    fn subscribe(&self, call: Callback) -> io::Result<Option<Subscription>> {
        let changes = self.page.as_ref().map(|page| Changes(Arc::clone(page)));
        changes.map(|changes| self.watcher.subscribe(Box::new(changes), call)).transpose()
    }
}

fn encode(revision: Revision, value: &[u8]) -> Vec<u8> {
    let mut contents = Vec::with_capacity(VALUE_AT + value.len());
    contents.extend_from_slice(&MAGIC);
    contents.extend_from_slice(&revision.0.to_le_bytes());
    contents.extend_from_slice(&checksum(revision, value).to_le_bytes());
    contents.extend_from_slice(&[0; VALUE_AT - RESERVED_AT]);
    contents.extend_from_slice(value);
    contents
}

fn decode(path: &Path, contents: &[u8]) -> Result<(Revision, Vec<u8>), RegistryError> {
    let damaged =
        |reason: &str| RegistryError::Damaged { place: path.display().to_string(), reason: reason.to_owned() };
    if contents.len() < VALUE_AT || contents[..6] != MAGIC[..6] {
        return Err(damaged("it is no registry entry"));
    }
    if contents[6..8] != MAGIC[6..8] {
        return Err(damaged("another version of ambrosia-host wrote it; use that one"));
    }
    if contents[RESERVED_AT..VALUE_AT] != [0; VALUE_AT - RESERVED_AT] {
        return Err(damaged("a reserved byte is not zero: a later version of ambrosia-host wrote it; use that one"));
    }
    let revision = Revision(u64::from_le_bytes(*contents[8..].first_chunk().expect("the length was checked")));
    let stored = u32::from_le_bytes(*contents[16..].first_chunk().expect("the length was checked"));
    let value = &contents[VALUE_AT..];
    if checksum(revision, value) != stored {
        return Err(damaged("its checksum does not match"));
    }
    Ok((revision, value.to_vec()))
}

fn checksum(revision: Revision, value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&revision.0.to_le_bytes()), value)
}
