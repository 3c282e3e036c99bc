//! A store in one directory.
//!
//! ```text
//! FORMAT       "ambrosia-store 1"          logs/{instance uuid}/   log_directory.rs
//! registry/    file_registry.rs            blobs/{sha-256}         file_blobs.rs
//! ```
//!
//! **Architecture Invariant:** it holds no state of its own: two stores opened over one directory are the same.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use ambrosia_core::InstanceUuid;

use super::{
    durable_file::{
        TEMPORARY_SUFFIX, create_directory_durably, create_root_durably, file_names, read_if_there, write_durably,
    },
    file_blobs::FileBlobs,
    file_registry::FileRegistry,
    log_directory::LogDirectory,
    machine::ThisMachine,
    options::FileLogOptions,
    system::{file_system_magic, network_file_system},
};
use crate::{
    BlobError, BlobHash, BlobStore, IoError, PutError, Registry, RegistryEntry, RegistryError, Revision,
    io_error::IoContext,
};

const FORMAT_FILE: &str = "FORMAT";
const FORMAT: &str = "ambrosia-store 1\n";
const FORMAT_PREFIX: &str = "ambrosia-store ";

/// What a store has beside its format, once something was registered.
///
/// The last one holds what the engine has compiled: made here, it has the right owner.
const DIRECTORIES: [&str; 4] = ["logs", "registry", "blobs", COMPILED];

const COMPILED: &str = "compiled";

/// Logs, registrations and modules in one directory. A clone is the same store.
#[derive(Clone)]
pub struct FileStore {
    root: PathBuf,
    registry: Arc<FileRegistry>,
    blobs: Arc<FileBlobs>,
    options: FileLogOptions,
}

/// Where a store lies. A path is one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StorePlace {
    /// The directory.
    pub directory: PathBuf,
    /// Use it also if it lies on a file system that other machines may see.
    pub allow_network_file_system: bool,
}

impl From<PathBuf> for StorePlace {
    fn from(directory: PathBuf) -> StorePlace {
        StorePlace { directory, allow_network_file_system: false }
    }
}

impl From<&PathBuf> for StorePlace {
    fn from(directory: &PathBuf) -> StorePlace {
        directory.clone().into()
    }
}

impl From<&Path> for StorePlace {
    fn from(directory: &Path) -> StorePlace {
        directory.to_path_buf().into()
    }
}

impl From<&StorePlace> for StorePlace {
    fn from(place: &StorePlace) -> StorePlace {
        place.clone()
    }
}

/// A directory can't be used as a store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no store: something must be registered first.
    #[error("there is no ambrosia store in {}: register an instance first, or name another directory", .0.display())]
    NoStore(PathBuf),
    /// The directory is used for something else.
    #[error("{} is neither empty nor an ambrosia store: name another directory", .0.display())]
    NotEmpty(PathBuf),
    /// Another version made it.
    #[error("{} says {found:?}, this program needs {:?}: use the version that made the store", path.display(), FORMAT.trim_end())]
    OtherVersion {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// Two machines would not see the same fence.
    #[error(
        "{} lies on a network file system ({file_system}), which can't fence a primary: name a directory on a local \
         disk. If you know that all processes that use it see one page cache, pass --allow-network-file-system",
        path.display()
    )]
    NetworkFileSystem {
        /// The directory.
        path: PathBuf,
        /// What it is.
        file_system: &'static str,
    },
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl FileStore {
    /// Opens the store in a directory, made if there is none.
    pub fn create_or_open(place: impl Into<StorePlace>) -> Result<FileStore, OpenError> {
        let place = place.into();
        let root = &*place.directory;
        place.check_file_system()?;
        create_root_durably(root)?;
        if !has_format(root)? {
            refuse_foreign(root)?;
            write_durably(&root.join(FORMAT_FILE), FORMAT.as_bytes())?;
        }
        for directory in DIRECTORIES {
            create_directory_durably(&root.join(directory))?;
        }
        FileStore::open(place)
    }

    /// Opens the store in a directory. It takes no lock and changes nothing, so that it does for who may only read.
    pub fn open(place: impl Into<StorePlace>) -> Result<FileStore, OpenError> {
        let place = place.into();
        let root = &*place.directory;
        if !has_format(root)? {
            return Err(OpenError::NoStore(root.to_path_buf()));
        }
        place.check_file_system()?;
        // Absolute, so that the store stays the same when the process changes its directory.
        let root = fs::canonicalize(root).context("find", root)?;
        Ok(FileStore {
            registry: Arc::new(FileRegistry::open(root.join("registry"))?),
            blobs: Arc::new(FileBlobs::open(root.join("blobs"))),
            options: FileLogOptions::default(),
            root,
        })
    }

    /// The same store, whose logs are written with other sizes and times.
    pub fn with_log_options(self, options: FileLogOptions) -> FileStore {
        FileStore { options, ..self }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What was written down of the methods of a module, if that was: for tools, which then need not run the module to
    /// know them. The contents are the caller's; they are not checked here.
    pub fn methods(&self, module: BlobHash) -> Result<Option<Vec<u8>>, IoError> {
        self.blobs.methods(module)
    }

    /// Writes down the methods of a module. They go when the module does.
    pub fn put_methods(&self, module: BlobHash, contents: &[u8]) -> Result<(), IoError> {
        self.blobs.put_methods(module, contents)
    }

    /// How often the registry has changed, for [`super::AnyChange::of_registry`]. `None` if this process may not know: the
    /// store can only be looked at.
    pub fn registry_changes(&self) -> Option<u32> {
        self.registry.changes().map(|count| count.load(Ordering::SeqCst))
    }

    /// The directory of compiled modules, a cache that may be deleted at any time.
    pub fn compiled_path(&self) -> PathBuf {
        self.root.join(COMPILED)
    }

    pub(crate) fn log_options(&self) -> FileLogOptions {
        self.options
    }

    pub(crate) fn registry(&self) -> &FileRegistry {
        &self.registry
    }

    pub(crate) fn logs_path(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(crate) fn log_directory(&self, uuid: InstanceUuid) -> LogDirectory {
        LogDirectory { path: self.logs_path().join(uuid.to_string()), uuid, machine: Arc::new(ThisMachine) }
    }
}

/// Whether there is a store of this version.
fn has_format(root: &Path) -> Result<bool, OpenError> {
    let path = root.join(FORMAT_FILE);
    let Some(contents) = read_if_there(&path)? else { return Ok(false) };
    let found = String::from_utf8_lossy(&contents).into_owned();
    if found == FORMAT {
        return Ok(true);
    }
    if found.starts_with(FORMAT_PREFIX) {
        return Err(OpenError::OtherVersion { path, found: found.trim_end().to_owned() });
    }
    Err(OpenError::NotEmpty(root.to_path_buf()))
}

fn refuse_foreign(root: &Path) -> Result<(), OpenError> {
    let ours = |name: &String| name.ends_with(TEMPORARY_SUFFIX) || name == "lost+found" || name == FORMAT_FILE;
    if file_names(&ThisMachine, root)?.iter().all(ours) { Ok(()) } else { Err(OpenError::NotEmpty(root.to_path_buf())) }
}

impl StorePlace {
    /// Looks at the directory, or at the one that it would be made in.
    fn check_file_system(&self) -> Result<(), OpenError> {
        let there = self.directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
        let magic = file_system_magic(there).context("examine the file system of", there)?;
        self.check_magic(magic)
    }

    fn check_magic(&self, magic: i64) -> Result<(), OpenError> {
        match network_file_system(magic).filter(|_| !self.allow_network_file_system) {
            Some(file_system) => Err(OpenError::NetworkFileSystem { path: self.directory.clone(), file_system }),
            None => Ok(()),
        }
    }
}

impl Registry for FileStore {
    fn get(&self, key: &str) -> Result<Option<(Revision, Vec<u8>)>, RegistryError> {
        self.registry.get(key)
    }

    fn put_if(&self, key: &str, expected: Option<Revision>, value: &[u8]) -> Result<Revision, PutError> {
        self.registry.put_if(key, expected, value)
    }

    fn delete_if(&self, key: &str, expected: Revision) -> Result<(), PutError> {
        self.registry.delete_if(key, expected)
    }

    fn list(&self, prefix: &str) -> Result<Vec<RegistryEntry>, RegistryError> {
        self.registry.list(prefix)
    }

    fn wait_for_change(&self, seen: u64, timeout: Duration) -> Result<u64, RegistryError> {
        self.registry.wait_for_change(seen, timeout)
    }
}

impl BlobStore for FileStore {
    fn put(&self, contents: &[u8]) -> Result<BlobHash, BlobError> {
        self.blobs.put(contents)
    }

    fn get(&self, hash: BlobHash) -> Result<Vec<u8>, BlobError> {
        self.blobs.get(hash)
    }

    fn delete(&self, hash: BlobHash) -> Result<(), BlobError> {
        self.blobs.delete(hash)
    }

    fn list(&self) -> Result<Vec<BlobHash>, BlobError> {
        self.blobs.list()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_of_several_machines_is_refused_unless_somebody_knows_better() {
        let mut place = StorePlace::from(Path::new("/there"));
        let (fuse, ext4) = (0x6573_5546, 0xef53);
        assert!(place.check_magic(ext4).is_ok());
        let refused = place.check_magic(fuse).expect_err("it may be on another machine").to_string();
        for word in ["/there", "FUSE", "virtiofs", "--allow-network-file-system"] {
            assert!(refused.contains(word), "{refused}");
        }
        place.allow_network_file_system = true;
        assert!(place.check_magic(fuse).is_ok());
    }
}
