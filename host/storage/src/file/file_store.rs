//! A store in one directory.
//!
//! ```text
//! FORMAT       "ambrosia-store 1"          logs/{instance uuid}/   log_directory.rs
//! registry/    file_registry.rs            blobs/{sha-256}         file_blobs.rs
//! hosts/{name} file_hosts.rs
//! ```
//!
//! **Architecture Invariant:** it holds no state of its own: two stores opened over one directory are the same.

use std::{
    collections::BTreeSet,
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use ambrosia_core::{Epoch, InstanceName, InstanceUuid, Lsn, Record, ReplicaIndex};

use super::{
    byte_lock::held_byte,
    closed_log,
    durable_file::{
        TEMPORARY_SUFFIX, create_directory_durably, create_root_durably, file_names, read_if_there, write_durably,
    },
    file_blobs::FileBlobs,
    file_hosts::FileHosts,
    file_log::{FileLog, Watchers},
    file_members::FileMembers,
    file_registry::FileRegistry,
    genesis_log,
    lock_wait::lock_in_time,
    log_directory::LogDirectory,
    machine::ThisMachine,
    options::FileLogOptions,
    scan::FileScan,
    system::{file_system_magic, network_file_system},
};
use crate::{
    BlobStore, Checkpoints, CloseError, ClosedLog, Held, HeldRegistrations, Hosts, InstanceError, Instances, IoError,
    LogError, LogId, LogScan, LogStore, Members, PlacedRecord, RecordBefore, Registry, Store, io_error::IoContext,
};

const FORMAT_FILE: &str = "FORMAT";
const FORMAT: &str = "ambrosia-store 1\n";
const FORMAT_PREFIX: &str = "ambrosia-store ";

/// What a store has beside its format, once something was registered.
///
/// The last one holds what the engine has compiled: made here, it has the right owner.
const DIRECTORIES: [&str; 4] = ["logs", "registry", "blobs", COMPILED];

const COMPILED: &str = "compiled";

/// Byte of the registry's lock file that is held while the instances change.
const INSTANCES_BYTE: Range<u64> = 1..2;

/// Logs, registrations and modules in one directory. A clone is the same store.
#[derive(Clone)]
pub struct FileStore {
    root: PathBuf,
    registry: Arc<FileRegistry>,
    blobs: Arc<FileBlobs>,
    hosts: Arc<FileHosts>,
    options: FileLogOptions,
    watchers: Watchers,
    compiled: PathBuf,
    /// For whoever only looks.
    looks: bool,
}

/// The directory of a store. A path is one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirectoryPlace {
    /// The directory.
    pub directory: PathBuf,
    /// Use it also if it lies on a file system that other machines may see.
    pub allow_network_file_system: bool,
}

impl From<PathBuf> for DirectoryPlace {
    fn from(directory: PathBuf) -> DirectoryPlace {
        DirectoryPlace { directory, allow_network_file_system: false }
    }
}

impl From<&PathBuf> for DirectoryPlace {
    fn from(directory: &PathBuf) -> DirectoryPlace {
        directory.clone().into()
    }
}

impl From<&Path> for DirectoryPlace {
    fn from(directory: &Path) -> DirectoryPlace {
        directory.to_path_buf().into()
    }
}

impl From<&DirectoryPlace> for DirectoryPlace {
    fn from(place: &DirectoryPlace) -> DirectoryPlace {
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
    /// A new directory was asked for.
    #[error("{} is there already: name a new directory", .0.display())]
    Exists(PathBuf),
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
    /// The engine can't be used.
    #[error("{0}")]
    Engine(String),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl FileStore {
    /// Opens the store in a directory, made if there is none.
    pub fn create_or_open(place: impl Into<DirectoryPlace>) -> Result<FileStore, OpenError> {
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

    /// Makes a store in a directory that is not there, or is empty.
    ///
    /// # Errors
    /// [`OpenError::Exists`] if something is there, and what can keep a store from being made.
    pub fn create_new(place: impl Into<DirectoryPlace>) -> Result<FileStore, OpenError> {
        let place = place.into();
        let is_taken = fs::read_dir(&place.directory).is_ok_and(|mut entries| entries.next().is_some());
        if is_taken || place.directory.is_file() {
            return Err(OpenError::Exists(place.directory));
        }
        FileStore::create_or_open(place)
    }

    /// Opens the store in a directory. It takes no lock and changes nothing, so that it does for who may only read.
    pub fn open(place: impl Into<DirectoryPlace>) -> Result<FileStore, OpenError> {
        let place = place.into();
        let root = &*place.directory;
        if !has_format(root)? {
            return Err(OpenError::NoStore(root.to_path_buf()));
        }
        place.check_file_system()?;
        // Absolute, so that the store stays the same when the process changes its directory.
        let root = fs::canonicalize(root).context("find", root)?;
        let watchers = Watchers::default();
        Ok(FileStore {
            registry: Arc::new(FileRegistry::open(root.join("registry"), watchers.words.clone())?),
            blobs: Arc::new(FileBlobs::open(root.join("blobs"))),
            hosts: Arc::new(FileHosts::new(root.join("hosts"))),
            options: FileLogOptions::default(),
            watchers,
            compiled: root.join(COMPILED),
            looks: false,
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

    /// The log of the instance of that name: for tools and tests that have to do with its files.
    pub fn file_log(&self, name: &InstanceName) -> Result<Arc<FileLog>, InstanceError> {
        Ok(Arc::new(self.open_log(self.log_of(name)?)?))
    }

    /// All records of the log of that instance from `from` on, with the places in the files at which they stand.
    pub fn scan_log(&self, name: &InstanceName, from: Lsn) -> Result<FileScan, InstanceError> {
        Ok(FileScan::open(self.log_directory(self.log_of(name)?.0), from)?)
    }

    fn open_log(&self, id: LogId) -> Result<FileLog, LogError> {
        let directory = self.log_directory(id.0);
        directory.check_there()?;
        let open = if self.looks { FileLog::look } else { FileLog::open };
        open(directory, self.options, self.watchers.clone())
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

impl DirectoryPlace {
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

impl Store for FileStore {
    fn registry(&self) -> &dyn Registry {
        &*self.registry
    }

    fn blobs(&self) -> &dyn BlobStore {
        &*self.blobs
    }

    fn looking(&self) -> Arc<dyn Store> {
        Arc::new(FileStore { looks: true, ..self.clone() })
    }

    fn log(&self, id: LogId) -> Result<Arc<dyn LogStore>, LogError> {
        Ok(Arc::new(self.open_log(id)?))
    }

    fn checkpoints(&self, id: LogId) -> Result<Arc<dyn Checkpoints>, LogError> {
        Ok(Arc::new(self.open_log(id)?.checkpoints()))
    }

    fn members(&self, id: LogId) -> Result<Arc<dyn Members>, LogError> {
        Ok(Arc::new(FileMembers::new(&self.open_log(id)?)))
    }

    fn hosts(&self) -> &dyn Hosts {
        &*self.hosts
    }

    fn scan(&self, id: LogId, from: Lsn) -> Result<LogScan, LogError> {
        let scan = FileScan::open(self.log_directory(id.0), from)?;
        Ok(Box::new(scan.map(|found| found.map(PlacedRecord::from))))
    }

    fn logs(&self) -> Result<Vec<LogId>, IoError> {
        let names = file_names(&ThisMachine, &self.logs_path())?;
        let uuids = names.iter().filter_map(|name| uuid::Uuid::parse_str(name).ok());
        Ok(uuids.map(|uuid| LogId(InstanceUuid(uuid.into_bytes()))).collect())
    }

    fn place_of(&self, id: LogId) -> String {
        self.log_directory(id.0).path.display().to_string()
    }

    fn hold_registrations(&self) -> Result<Box<dyn HeldRegistrations>, IoError> {
        let action = "take the lock of registrations (byte 1) of";
        Ok(Box::new(lock_in_time(&ThisMachine, self.registry.lock_path(), INSTANCES_BYTE, action)?))
    }

    fn is_changing(&self) -> Result<bool, IoError> {
        let path = self.registry.lock_path();
        match held_byte(path, INSTANCES_BYTE) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            held => Ok(held.context("examine the locks of", path)?.is_some()),
        }
    }

    fn create_log(&self, id: LogId, genesis: &Record) -> Result<(), IoError> {
        genesis_log::create_log(&self.logs_path(), &self.log_directory(id.0), genesis)
    }

    fn adopt_log(
        &self,
        id: LogId,
        _: Epoch,
        records: &mut dyn Iterator<Item = Result<Record, LogError>>,
    ) -> Result<(), LogError> {
        let mut records = records.peekable();
        let before =
            records.peek().and_then(|first| first.as_ref().ok()).map(Record::header).map(|first| RecordBefore {
                lsn: Lsn(first.lsn.0 - 1),
                link: first.previous,
                // What they were nobody tells any more; not more than those of the first.
                epoch: first.epoch,
                time: first.time,
            });
        self.copy_log(id, before.filter(|before| before.lsn > Lsn(0)), records)
    }

    fn hold_still(&self, id: LogId, replicas: &BTreeSet<ReplicaIndex>) -> Result<Held, CloseError> {
        Ok(Box::new(closed_log::lock_replicas(&self.log_directory(id.0), replicas)?))
    }

    fn remove_orphans(&self, known: &BTreeSet<LogId>, is_all_known: bool) -> Result<(), IoError> {
        genesis_log::remove_orphans(&self.logs_path(), known, is_all_known)
    }

    fn close_log(
        &self,
        id: LogId,
        replicas: &BTreeSet<ReplicaIndex>,
    ) -> Result<Option<Box<dyn ClosedLog>>, CloseError> {
        closed_log::close(self.log_directory(id.0), replicas)
    }

    fn cache(&self) -> Option<&Path> {
        Some(&self.compiled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_of_several_machines_is_refused_unless_somebody_knows_better() {
        let mut place = DirectoryPlace::from(Path::new("/there"));
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
