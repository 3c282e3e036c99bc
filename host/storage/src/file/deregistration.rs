//! Removes an instance, also one whose registration, log or control page can't be read any more.
//!
//! The log is marked as gone, the entry deleted, the log removed, in this order. What a crash leaves in between is not
//! reachable, and removed the next time.
//!
//! **Architecture Invariant:** nothing of another instance is removed: what can't be told to be the instance's own stays,
//! and is named.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use ambrosia_core::{Genesis, InstanceName, InstanceUuid, Lsn, ReplicaIndex};

use super::{
    cursor::Cursor,
    durable_file::file_names,
    file_store::FileStore,
    genesis_log::{mark_deregistered, remove_log},
    instance_entry::{EntryError, InstanceEntry},
    instances::{Found, InstanceError, key},
    log_directory::{LogDirectory, REIGN_BYTES, REPLICA_BYTES, replica_byte},
    machine::{Lock, Machine, ThisMachine},
};
use crate::{BlobHash, BlobStore, LogError, PutError, Registry, RegistryError, io_error::IoContext};

/// What [`FileStore::deregister`] did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deregistered {
    /// The life that was removed with its log; `None` if nothing tells any more which log was the instance's.
    pub uuid: Option<InstanceUuid>,
    /// If so: directories of logs that may be it.
    pub left: Vec<PathBuf>,
}

/// What of an instance is to be removed.
struct Remains {
    name: InstanceName,
    uuid: Option<InstanceUuid>,
    replicas: BTreeSet<u16>,
    module: Option<[u8; 32]>,
    left: Vec<PathBuf>,
}

impl FileStore {
    /// Removes an instance with its log, and its module unless another instance has it.
    ///
    /// # Errors
    /// If there is no such instance, if a replica of it runs, or if another version wrote its entry.
    pub fn deregister(&self, name: &InstanceName) -> Result<Deregistered, InstanceError> {
        let _lock = self.lock_instances()?;
        let others: Vec<_> = self.survey()?.into_iter().filter(|found| found.name != *name).collect();
        let remains = match self.instance(name) {
            Ok(InstanceEntry { uuid, replicas, module, .. }) => {
                Remains { name: name.clone(), uuid: Some(uuid), replicas, module: Some(module), left: Vec::new() }
            }
            Err(InstanceError::Registry(RegistryError::Damaged { .. }))
            | Err(InstanceError::Entry { source: EntryError::Shape, .. }) => self.remains_of(name, &others)?,
            Err(error) => return Err(error),
        };
        self.remove(&remains, &others)?;
        Ok(Deregistered { uuid: remains.uuid, left: remains.left })
    }

    fn remove(&self, remains: &Remains, others: &[Found]) -> Result<(), InstanceError> {
        let directory = remains.uuid.map(|uuid| self.log_directory(uuid));
        let directory = directory.filter(|directory| !matches!(directory.check_there(), Err(LogError::Gone { .. })));
        let _replicas = directory.as_ref().map(|directory| lock_replicas(directory, remains)).transpose()?;
        if let Some(directory) = &directory {
            mark_deregistered(directory)?;
        }
        self.delete_entry(&remains.name)?;
        if let Some(directory) = &directory {
            remove_log(directory)?;
        }
        if let Some(module) = remains.module {
            // An instance whose entry can't be read may have it too.
            let has_it = |found: &Found| found.entry.as_ref().ok().is_none_or(|entry| entry.module == module);
            if !others.iter().any(has_it) {
                BlobStore::delete(self, BlobHash(module))?;
            }
        }
        Ok(())
    }

    fn delete_entry(&self, name: &InstanceName) -> Result<(), InstanceError> {
        let deleted = match self.get_registered(name) {
            Ok(Some(revision)) => self.delete_if(&key(name), revision),
            Ok(None) => return Ok(()),
            Err(RegistryError::Damaged { .. }) => return Ok(self.registry().remove_damaged(&key(name))?),
            Err(error) => return Err(error.into()),
        };
        match deleted {
            Ok(()) => Ok(()),
            // Only the outcome changes without the lock of the instances, and only while a replica runs.
            Err(PutError::Conflict { .. }) => {
                Err(InstanceError::Running { name: name.clone(), what: "a replica".to_owned() })
            }
            Err(PutError::Registry(error)) => Err(error.into()),
        }
    }

    fn get_registered(&self, name: &InstanceName) -> Result<Option<crate::Revision>, RegistryError> {
        Ok(Registry::get(self, &key(name))?.map(|(revision, _)| revision))
    }

    /// What the damaged entry and the logs still tell.
    fn remains_of(&self, name: &InstanceName, others: &[Found]) -> Result<Remains, InstanceError> {
        let orphans = self.orphans(others)?;
        let told = self.registry().unchecked_value(&key(name))?;
        let told = told.and_then(|value| InstanceEntry::decode(&value).ok()).filter(|entry| entry.name == *name);
        if let Some(InstanceEntry { uuid, replicas, module, .. }) = told
            && orphans.iter().any(|directory| directory.uuid == uuid)
        {
            return Ok(Remains {
                name: name.clone(),
                uuid: Some(uuid),
                replicas,
                module: Some(module),
                left: Vec::new(),
            });
        }
        let genesis: Vec<_> = orphans.into_iter().map(|directory| (genesis_of(&directory), directory)).collect();
        let own = genesis.iter().filter_map(|(genesis, _)| genesis.as_ref()).filter(|genesis| genesis.name == *name);
        let own: Vec<&Genesis> = own.collect();
        if let [genesis] = own[..] {
            let (uuid, module) = (Some(genesis.uuid), Some(genesis.module));
            return Ok(Remains { name: name.clone(), uuid, replicas: BTreeSet::new(), module, left: Vec::new() });
        }
        // A log that was trimmed does not tell its name any more.
        let may_be_own = |genesis: &Option<Genesis>| genesis.as_ref().is_none_or(|genesis| genesis.name == *name);
        let left = genesis.into_iter().filter(|(genesis, _)| may_be_own(genesis)).map(|(_, log)| log.path).collect();
        Ok(Remains { name: name.clone(), uuid: None, replicas: BTreeSet::new(), module: None, left })
    }

    /// The logs that no other instance has.
    fn orphans(&self, others: &[Found]) -> Result<Vec<LogDirectory>, InstanceError> {
        let taken: BTreeSet<_> = others.iter().filter_map(|found| Some(found.entry.as_ref().ok()?.uuid)).collect();
        let names = file_names(&ThisMachine, &self.logs_path())?;
        let uuids = names.iter().filter_map(|name| uuid::Uuid::parse_str(name).ok());
        let uuids = uuids.map(|uuid| InstanceUuid(uuid.into_bytes())).filter(|uuid| !taken.contains(uuid));
        Ok(uuids.map(|uuid| self.log_directory(uuid)).collect())
    }
}

/// The first record of a log, unless it was trimmed or can't be read.
fn genesis_of(directory: &LogDirectory) -> Option<Genesis> {
    let mut cursor = Cursor::open(Arc::new(directory.clone()), Lsn(1), Lsn(1)).ok()?;
    let mut first = None;
    cursor.read(Lsn(1), usize::MAX, |_, record| first = Some(record)).ok()?;
    Genesis::decode(first?.body()).ok()
}

/// Keeps every replica from beginning to run.
fn lock_replicas(directory: &LogDirectory, remains: &Remains) -> Result<[Lock; 2], InstanceError> {
    let path = directory.lock_path();
    if let Ok(false) = path.try_exists() {
        // Whoever had the one that is gone is not seen; without a control page it ends by itself.
        directory.create_lock_file()?;
    }
    let take = |range, what: &str| {
        let lock = ThisMachine.try_lock(&path, range).context("lock", &path)?;
        lock.ok_or_else(|| InstanceError::Running { name: remains.name.clone(), what: what.to_owned() })
    };
    for replica in &remains.replicas {
        let what = format!("replica {replica}");
        drop(take(replica_byte(ReplicaIndex(*replica)), &what)?);
    }
    Ok([take(REPLICA_BYTES, "a replica")?, take(REIGN_BYTES, "a primary")?])
}
