//! Registered instances: their entries, logs and modules as one thing.
//!
//! To register is: the module into the blobs, the log with its genesis record beside the other logs, and last the
//! entry in the registry. What a crash leaves in between is not reachable, and removed the next time.
//!
//! **Architecture Invariant:** an entry in the registry implies a module and a log with its genesis record.

use std::{ops::Range, sync::Arc};

use ambrosia_core::{Genesis, InstanceName, InstanceUuid, Limits, Lsn, ReplicaIndex, Timestamp};

use super::{
    byte_lock::held_byte,
    control::REPLICAS_MAX,
    file_log::FileLog,
    file_store::FileStore,
    genesis_log::{create_log, remove_orphans},
    instance_entry::{EntryError, InstanceEntry, Outcome},
    lock_wait::lock_in_time,
    machine::{Lock, ThisMachine},
    roster::Roster,
    scan::LogScan,
};
use crate::{
    BlobError, BlobHash, BlobStore, IoError, LogError, PutError, Registry, RegistryError, Revision, io_error::IoContext,
};

const KEY_PREFIX: &str = "instances/";

/// Byte of the registry's lock file that is held while the instances change.
pub(crate) const INSTANCES_BYTE: Range<u64> = 1..2;

/// An entry of the registry, or why it can't be read.
#[derive(Debug)]
pub struct Found {
    /// The name of the instance.
    pub name: InstanceName,
    /// What is registered.
    pub entry: Result<InstanceEntry, InstanceError>,
}

/// What [`FileStore::register`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registered {
    /// The instance is new.
    New,
    /// It was registered with this module before; nothing was changed.
    Same,
}

/// Something can't be done with an instance.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// There is no such instance.
    #[error("there is no instance {name}: register it first")]
    Unknown {
        /// The name asked for.
        name: InstanceName,
    },
    /// The name is taken.
    #[error(
        "instance {name} is registered with another module ({registered}, not {given}): upgrade it to change its \
         module, or deregister it to begin anew"
    )]
    OtherModule {
        /// The name.
        name: InstanceName,
        /// The module that it has.
        registered: BlobHash,
        /// The module given.
        given: BlobHash,
    },
    /// Replicas of it run.
    #[error("{what} of instance {name} is running: end it first")]
    Running {
        /// The name.
        name: InstanceName,
        /// Which one.
        what: String,
    },
    /// The number of the replica is too high.
    #[error("replica number {replica} is out of range: use 0 to {max}", max = REPLICAS_MAX - 1)]
    NumberTooHigh {
        /// The number.
        replica: ReplicaIndex,
    },
    /// Its entry can't be understood.
    #[error(
        "the registration of instance {name} can't be read: {source}; restore it from a copy, or deregister the instance"
    )]
    Entry {
        /// The name.
        name: String,
        /// What is wrong with the entry.
        source: EntryError,
    },
    /// The registry can't be used.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The module can't be had.
    #[error(transparent)]
    Module(#[from] BlobError),
    /// The log can't be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl FileStore {
    /// Registers an instance whose first module is `module`. It has replica 0 from the start.
    pub fn register(
        &self,
        name: &InstanceName,
        module: &[u8],
        seed: u64,
        uuid: InstanceUuid,
        limits: Limits,
        now: Timestamp,
    ) -> Result<Registered, InstanceError> {
        let _lock = self.lock_instances()?;
        let hash = BlobHash::of(module);
        if let Some((_, entry)) = self.find(name)? {
            let registered = BlobHash(entry.module);
            return if registered == hash {
                self.put(module)?;
                Ok(Registered::Same)
            } else {
                Err(InstanceError::OtherModule { name: name.clone(), registered, given: hash })
            };
        }
        remove_orphans(&self.logs_path(), &self.survey()?)?;
        self.put(module)?;
        let genesis = Genesis { uuid, module: hash.0, seed, limits, name: name.clone() };
        create_log(&self.logs_path(), &self.log_directory(uuid), &genesis.record(now))?;
        let replicas = [0].into();
        let entry =
            InstanceEntry { name: name.clone(), uuid, module: hash.0, replicas, registered: now, outcome: None };
        match self.put_entry(None, &entry)? {
            Some(_) => Ok(Registered::New),
            None => unreachable!("the lock of the instances is held"),
        }
    }

    /// Adds a replica, unless it is there.
    pub fn add_replica(&self, name: &InstanceName, replica: ReplicaIndex) -> Result<(), InstanceError> {
        if replica.0 >= REPLICAS_MAX {
            return Err(InstanceError::NumberTooHigh { replica });
        }
        self.change(name, |entry| {
            entry.replicas.insert(replica.0);
        })
    }

    /// Notes how the instance ended.
    pub fn set_outcome(&self, name: &InstanceName, outcome: Outcome) -> Result<(), InstanceError> {
        self.change(name, |entry| entry.outcome = Some(outcome.clone()))
    }

    /// Notes that the instance goes on.
    pub fn clear_outcome(&self, name: &InstanceName) -> Result<(), InstanceError> {
        self.change(name, |entry| entry.outcome = None)
    }

    /// The instance of that name.
    pub fn instance(&self, name: &InstanceName) -> Result<InstanceEntry, InstanceError> {
        Ok(self.found(name)?.1)
    }

    /// All instances, by name.
    pub fn instances(&self) -> Result<Vec<InstanceEntry>, InstanceError> {
        let entries = Registry::list(self, KEY_PREFIX)?;
        entries.iter().map(|entry| decode(&entry.key[KEY_PREFIX.len()..], &entry.value)).collect()
    }

    /// All instances, by name, also those whose entries can't be read.
    pub fn survey(&self) -> Result<Vec<Found>, InstanceError> {
        let mut found = Vec::new();
        for key in self.registry().keys(KEY_PREFIX)? {
            let Ok(name) = InstanceName::new(&key[KEY_PREFIX.len()..]) else { continue };
            match self.find(&name) {
                Ok(Some((_, entry))) => found.push(Found { name, entry: Ok(entry) }),
                Ok(None) => {} // deregistered meanwhile
                Err(error) => found.push(Found { name, entry: Err(error) }),
            }
        }
        Ok(found)
    }

    /// Whether a process registers or deregisters an instance just now.
    pub fn is_changing(&self) -> Result<bool, InstanceError> {
        let path = self.registry().lock_path();
        match held_byte(path, INSTANCES_BYTE) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            held => Ok(held.context("examine the locks of", path)?.is_some()),
        }
    }

    /// The log of an instance. Each call gives a handle of its own: one for each replica.
    pub fn log(&self, name: &InstanceName) -> Result<Arc<FileLog>, InstanceError> {
        let entry = self.instance(name)?;
        let directory = self.log_directory(entry.uuid);
        directory.check_there()?;
        Ok(Arc::new(FileLog::open(directory, self.log_options())?))
    }

    /// All records of the log of an instance from `from` on, for tools.
    pub fn scan_log(&self, name: &InstanceName, from: Lsn) -> Result<LogScan, InstanceError> {
        let entry = self.instance(name)?;
        Ok(LogScan::open(self.log_directory(entry.uuid), from)?)
    }

    /// Which replicas of an instance run.
    pub fn roster(&self, name: &InstanceName) -> Result<Roster, InstanceError> {
        let log = self.log(name)?;
        Ok(Roster::new(&log))
    }

    /// Changes of the registrations, one after the other.
    pub(crate) fn lock_instances(&self) -> Result<Lock, IoError> {
        lock_in_time(
            &ThisMachine,
            self.registry().lock_path(),
            INSTANCES_BYTE,
            "take the lock of registrations (byte 1) of",
        )
    }

    fn find(&self, name: &InstanceName) -> Result<Option<(Revision, InstanceEntry)>, InstanceError> {
        let Some((revision, value)) = Registry::get(self, &key(name))? else { return Ok(None) };
        Ok(Some((revision, decode(name.as_str(), &value)?)))
    }

    fn found(&self, name: &InstanceName) -> Result<(Revision, InstanceEntry), InstanceError> {
        self.find(name)?.ok_or_else(|| InstanceError::Unknown { name: name.clone() })
    }

    fn change(&self, name: &InstanceName, change: impl Fn(&mut InstanceEntry)) -> Result<(), InstanceError> {
        loop {
            let (revision, mut entry) = self.found(name)?;
            change(&mut entry);
            if self.put_entry(Some(revision), &entry)?.is_some() {
                return Ok(());
            }
        }
    }

    /// `None` if the entry was changed since.
    fn put_entry(&self, expected: Option<Revision>, entry: &InstanceEntry) -> Result<Option<Revision>, InstanceError> {
        match self.put_if(&key(&entry.name), expected, &entry.encode()) {
            Ok(revision) => Ok(Some(revision)),
            Err(PutError::Conflict { .. }) => Ok(None),
            Err(PutError::Registry(error)) => Err(error.into()),
        }
    }
}

pub(crate) fn key(name: &InstanceName) -> String {
    format!("{KEY_PREFIX}{name}")
}

fn decode(name: &str, value: &[u8]) -> Result<InstanceEntry, InstanceError> {
    InstanceEntry::decode(value).map_err(|source| InstanceError::Entry { name: name.to_owned(), source })
}
