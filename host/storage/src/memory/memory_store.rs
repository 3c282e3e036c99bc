//! A store in memory.
//!
//! **Architecture Invariant:** what one handle has done every clone sees at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use ambrosia_core::{Epoch, Lsn, Record, ReplicaIndex};

use super::{
    memory_checkpoints::MemoryCheckpoints, memory_hosts::MemoryHosts, memory_log::MemoryLog,
    memory_members::MemoryMembers, memory_registry::MemoryRegistry, shared::Shared,
};
use crate::{
    BlobHash, BlobStore, Checkpoints, CloseError, ClosedLog, Held, HeldRegistrations, Hosts, IoError, LogError, LogId,
    LogScan, LogStore, Members, PlacedRecord, Registry, Store, vacancy_watcher::VacancyWatcher,
};

/// A store in memory. A clone is the same store.
#[derive(Clone, Default)]
pub struct MemoryStore {
    registry: MemoryRegistry,
    logs: Arc<Mutex<BTreeMap<LogId, Arc<Shared>>>>,
    registrations: Arc<Registrations>,
    vacancies: VacancyWatcher,
    hosts: MemoryHosts,
    cache: Option<PathBuf>,
}

/// Whether somebody registers or deregisters just now.
#[derive(Default)]
struct Registrations {
    are_held: Mutex<bool>,
    released: Condvar,
}

struct Holding(Arc<Registrations>);

impl HeldRegistrations for Holding {}

impl Drop for Holding {
    fn drop(&mut self) {
        *self.0.are_held.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.released.notify_one();
    }
}

impl MemoryStore {
    /// The same store, which has a directory for what can be made again, such as compiled modules.
    pub fn with_cache(self, cache: PathBuf) -> MemoryStore {
        MemoryStore { cache: Some(cache), ..self }
    }

    /// Changes contents in place, as a bad disk does. Whether there were such contents.
    pub fn damage_blob(&self, hash: BlobHash) -> bool {
        self.registry.damage_blob(hash)
    }

    /// One of its logs, which can be held as a disk that hangs.
    ///
    /// # Errors
    /// If there is no such log.
    pub fn memory_log(&self, id: LogId) -> Result<MemoryLog, LogError> {
        Ok(MemoryLog::on(self.shared(id)?, self.vacancies.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LogId, Arc<Shared>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self, id: LogId) -> Result<Arc<Shared>, LogError> {
        self.lock().get(&id).cloned().ok_or_else(|| LogError::Gone { place: self.place_of(id) })
    }
}

impl Store for MemoryStore {
    fn registry(&self) -> &dyn Registry {
        &self.registry
    }

    fn blobs(&self) -> &dyn BlobStore {
        &self.registry
    }

    fn looking(&self) -> Arc<dyn Store> {
        Arc::new(self.clone())
    }

    fn log(&self, id: LogId) -> Result<Arc<dyn LogStore>, LogError> {
        Ok(Arc::new(MemoryLog::on(self.shared(id)?, self.vacancies.clone())))
    }

    fn checkpoints(&self, id: LogId) -> Result<Arc<dyn Checkpoints>, LogError> {
        Ok(Arc::new(MemoryCheckpoints(self.shared(id)?)))
    }

    fn members(&self, id: LogId) -> Result<Arc<dyn Members>, LogError> {
        Ok(Arc::new(MemoryMembers(self.shared(id)?)))
    }

    fn hosts(&self) -> &dyn Hosts {
        &self.hosts
    }

    fn scan(&self, id: LogId, from: Lsn) -> Result<LogScan, LogError> {
        let shared = self.shared(id)?;
        let state = shared.lock();
        state.check_has(from)?;
        let records: Vec<Record> = state.from(from).cloned().collect();
        let place = self.place_of(id);
        Ok(Box::new(records.into_iter().map(move |record| Ok(PlacedRecord { record, place: place.clone() }))))
    }

    fn logs(&self) -> Result<Vec<LogId>, IoError> {
        Ok(self.lock().keys().copied().collect())
    }

    fn place_of(&self, id: LogId) -> String {
        format!("log {id} in memory")
    }

    fn hold_registrations(&self) -> Result<Box<dyn HeldRegistrations>, IoError> {
        let held = self.registrations.are_held.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.registrations.released.wait_while(held, |held| *held);
        *waited.unwrap_or_else(PoisonError::into_inner) = true;
        Ok(Box::new(Holding(Arc::clone(&self.registrations))))
    }

    fn is_changing(&self) -> Result<bool, IoError> {
        Ok(*self.registrations.are_held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn create_log(&self, id: LogId, genesis: &Record) -> Result<(), IoError> {
        self.lock().insert(id, Arc::new(Shared::new(genesis.clone())));
        Ok(())
    }

    fn adopt_log(
        &self,
        id: LogId,
        epoch: Epoch,
        records: &mut dyn Iterator<Item = Result<Record, LogError>>,
    ) -> Result<(), LogError> {
        let records = records.collect::<Result<Vec<_>, _>>()?;
        if let Some(shared) = Shared::of(records, epoch) {
            self.lock().insert(id, Arc::new(shared));
        }
        Ok(())
    }

    fn hold_still(&self, id: LogId, replicas: &BTreeSet<ReplicaIndex>) -> Result<Held, CloseError> {
        match self.close(id, replicas)? {
            Some(closed) => Ok(Box::new(closed)),
            None => Err(CloseError::Io(IoError::gone(self.place_of(id)))),
        }
    }

    fn remove_orphans(&self, known: &BTreeSet<LogId>, is_all_known: bool) -> Result<(), IoError> {
        let is_left = |id: &LogId, shared: &Arc<Shared>| {
            let state = shared.lock();
            let is_unused = state.last() == Lsn(1) && state.slots.values().all(|slot| !slot.runs);
            !known.contains(id) && (is_all_known && is_unused)
        };
        self.lock().retain(|id, shared| !is_left(id, shared));
        Ok(())
    }

    fn close_log(
        &self,
        id: LogId,
        replicas: &BTreeSet<ReplicaIndex>,
    ) -> Result<Option<Box<dyn ClosedLog>>, CloseError> {
        let closed = self.close(id, replicas)?;
        Ok(closed.map(|closed| Box::new(closed) as Box<dyn ClosedLog>))
    }

    fn cache(&self) -> Option<&Path> {
        self.cache.as_deref()
    }
}

impl MemoryStore {
    fn close(&self, id: LogId, _: &BTreeSet<ReplicaIndex>) -> Result<Option<ClosedMemory>, CloseError> {
        let Some(shared) = self.lock().get(&id).cloned() else { return Ok(None) };
        let mut state = shared.lock();
        if let Some((replica, _)) = state.slots.iter().find(|(_, slot)| slot.runs) {
            return Err(CloseError::Running { what: format!("replica {replica}") });
        }
        if state.is_reigned {
            return Err(CloseError::Running { what: "a primary".to_owned() });
        }
        state.is_closed = true;
        drop(state);
        Ok(Some(ClosedMemory { store: self.clone(), id, shared }))
    }
}

struct ClosedMemory {
    store: MemoryStore,
    id: LogId,
    shared: Arc<Shared>,
}

impl ClosedLog for ClosedMemory {
    fn remove(self: Box<Self>) -> Result<(), IoError> {
        self.store.lock().remove(&self.id);
        Ok(())
    }
}

impl Drop for ClosedMemory {
    fn drop(&mut self) {
        self.shared.lock().is_closed = false;
    }
}
