//! Removes an instance, also one whose registration, log or control page can't be read any more.
//!
//! The log is marked as gone, the entry deleted, the log removed, and then the modules that no other instance has, with what
//! was compiled of them, in this order. What a crash leaves in between is not
//! reachable, and removed the next time.
//!
//! **Architecture Invariant:** nothing of another instance is removed: what can't be told to be the instance's own stays,
//! and is named.

use std::{collections::BTreeSet, fs, io, path::Path};

use ambrosia_core::{Genesis, InstanceName, InstanceUuid, Lsn, ReplicaIndex};

use crate::{
    BlobHash, EntryError, Found, HeldRegistrations, InstanceEntry, InstanceError, Instances, IoError, LogId, PutError,
    RegistryError, Store, instances::key, io_error::IoContext,
};

/// What [`Instances::deregister`] did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deregistered {
    /// The life that was removed with its log; `None` if nothing tells any more which log was the instance's.
    pub uuid: Option<InstanceUuid>,
    /// If so: where logs are that may be it.
    pub left: Vec<String>,
}

/// What of an instance is to be removed.
struct Remains {
    name: InstanceName,
    uuid: Option<InstanceUuid>,
    replicas: BTreeSet<u16>,
    modules: Vec<[u8; 32]>,
    left: Vec<String>,
}

pub(crate) fn deregister<S: Store + ?Sized>(store: &S, name: &InstanceName) -> Result<Deregistered, InstanceError> {
    let mut held = store.hold_registrations()?;
    let others: Vec<_> = store.survey()?.into_iter().filter(|found| found.name != *name).collect();
    let remains = match store.instance(name) {
        Ok(entry) => remains_of_entry(entry),
        Err(InstanceError::Registry(RegistryError::Damaged { .. }))
        | Err(InstanceError::Entry { source: EntryError::Shape, .. }) => remains_of(store, name, &others)?,
        Err(error) => return Err(error),
    };
    remove(store, &remains, &others, &mut *held)?;
    Ok(Deregistered { uuid: remains.uuid, left: remains.left })
}

fn remove<S: Store + ?Sized>(
    store: &S,
    remains: &Remains,
    others: &[Found],
    held: &mut dyn HeldRegistrations,
) -> Result<(), InstanceError> {
    let replicas = remains.replicas.iter().copied().map(ReplicaIndex).collect();
    let close = |uuid| store.close_log(LogId(uuid), &replicas);
    let closed = remains.uuid.map(close).transpose();
    let closed = closed.map_err(|error| InstanceError::not_closed(&remains.name, error))?.flatten();
    closed.iter().try_for_each(|closed| closed.check())?;
    // To see whether anybody runs it takes a while.
    if !held.renew()? {
        return Err(InstanceError::Overtaken { name: remains.name.clone() });
    }
    delete_entry(store, &remains.name)?;
    if let Some(closed) = closed {
        closed.remove()?;
    }
    for module in &remains.modules {
        // An instance whose entry can't be read may have it too.
        let has_it =
            |found: &Found| found.entry.as_ref().ok().is_none_or(|entry| entry.upgrades.modules.contains(module));
        if !others.iter().any(has_it) {
            store.blobs().delete(BlobHash(*module))?;
            if let Some(cache) = store.cache() {
                remove_compiled(cache, BlobHash(*module))?;
            }
        }
    }
    Ok(())
}

/// Removes what was compiled of a module, by whichever engine: the names of such files begin with that of the module.
///
/// # Errors
/// If the cache can't be read, or a file not be removed.
pub fn remove_compiled(cache: &Path, module: BlobHash) -> Result<(), IoError> {
    let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let prefix = format!("{module}-");
    let listed = match fs::read_dir(cache) {
        Err(error) if is_gone(&error) => return Ok(()),
        listed => listed.context("list", cache)?,
    };
    for entry in listed {
        let entry = entry.context("list", cache)?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)) {
            match fs::remove_file(entry.path()) {
                Err(error) if !is_gone(&error) => return Err(error).context("remove", &entry.path()),
                _ => {}
            }
        }
    }
    Ok(())
}

fn delete_entry<S: Store + ?Sized>(store: &S, name: &InstanceName) -> Result<(), InstanceError> {
    let deleted = match store.registry().get(&key(name)) {
        Ok(Some((revision, _))) => store.registry().delete_if(&key(name), revision),
        Ok(None) => return Ok(()),
        Err(RegistryError::Damaged { .. }) => return Ok(store.registry().remove_damaged(&key(name))?),
        Err(error) => return Err(error.into()),
    };
    match deleted {
        Ok(()) => Ok(()),
        // Only what a replica writes down changes while the registrations are held.
        Err(PutError::Conflict { .. }) => {
            Err(InstanceError::Running { name: name.clone(), what: "a replica".to_owned() })
        }
        Err(PutError::Registry(error)) => Err(error.into()),
    }
}

fn remains_of_entry(entry: InstanceEntry) -> Remains {
    let InstanceEntry { name, uuid, replicas, upgrades, .. } = entry;
    Remains { name, uuid: Some(uuid), replicas, modules: upgrades.modules, left: Vec::new() }
}

/// What the damaged entry and the logs still tell.
fn remains_of<S: Store + ?Sized>(store: &S, name: &InstanceName, others: &[Found]) -> Result<Remains, InstanceError> {
    let orphans = orphans(store, others)?;
    let told = store.registry().unchecked_value(&key(name))?;
    let told = told.and_then(|value| InstanceEntry::decode(&value).ok()).filter(|entry| entry.name == *name);
    if let Some(entry) = told
        && orphans.contains(&entry.log())
    {
        return Ok(remains_of_entry(entry));
    }
    let genesis: Vec<_> = orphans.into_iter().map(|log| (genesis_of(store, log), log)).collect();
    let own = genesis.iter().filter_map(|(genesis, _)| genesis.as_ref()).filter(|genesis| genesis.name == *name);
    let own: Vec<&Genesis> = own.collect();
    if let [genesis] = own[..] {
        let (uuid, modules) = (Some(genesis.uuid), vec![genesis.module]);
        return Ok(Remains { name: name.clone(), uuid, replicas: BTreeSet::new(), modules, left: Vec::new() });
    }
    // A log that was trimmed does not tell its name any more.
    let may_be_own = |genesis: &Option<Genesis>| genesis.as_ref().is_none_or(|genesis| genesis.name == *name);
    let left = genesis.into_iter().filter(|(genesis, _)| may_be_own(genesis)).map(|(_, log)| store.place_of(log));
    let left = left.collect();
    Ok(Remains { name: name.clone(), uuid: None, replicas: BTreeSet::new(), modules: Vec::new(), left })
}

/// The logs that no other instance has.
fn orphans<S: Store + ?Sized>(store: &S, others: &[Found]) -> Result<Vec<LogId>, InstanceError> {
    let taken: BTreeSet<_> = others.iter().filter_map(|found| Some(found.entry.as_ref().ok()?.log())).collect();
    Ok(store.logs()?.into_iter().filter(|log| !taken.contains(log)).collect())
}

/// The first record of a log, unless it was trimmed or can't be read.
fn genesis_of<S: Store + ?Sized>(store: &S, log: LogId) -> Option<Genesis> {
    let first = store.scan(log, Lsn(1)).ok()?.next()?.ok()?;
    Genesis::decode(first.record.body()).ok()
}
