//! Hosts in memory, all of them in this process.
//!
//! **Architecture Invariant:** a host is alive as long as its presence lives.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ambrosia_core::HostAddress;

use crate::{HostInfo, HostName, HostPresence, HostUuid, Hosts, IoError, JoinError, ProcessPlace};

/// The hosts of a store in memory. A clone is the same.
#[derive(Clone, Default)]
pub(crate) struct MemoryHosts(Arc<Mutex<BTreeMap<HostName, MemoryHost>>>);

struct MemoryHost {
    uuid: HostUuid,
    address: HostAddress,
    /// When it has ended, if it has.
    ended: Option<Instant>,
}

impl MemoryHosts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<HostName, MemoryHost>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hosts for MemoryHosts {
    fn join(&self, name: &HostName, address: &HostAddress) -> Result<Box<dyn HostPresence>, JoinError> {
        let mut hosts = self.lock();
        if hosts.get(name).is_some_and(|host| host.ended.is_none()) {
            let (pid, place) = (std::process::id(), ProcessPlace::here().clone());
            return Err(JoinError::Taken { name: name.clone(), pid, place });
        }
        let uuid = HostUuid(uuid::Uuid::new_v4().into_bytes());
        hosts.insert(name.clone(), MemoryHost { uuid, address: address.clone(), ended: None });
        drop(hosts);
        Ok(Box::new(MemoryHostPresence { hosts: self.clone(), name: name.clone(), uuid }))
    }

    fn hosts(&self) -> Result<Vec<HostInfo>, IoError> {
        let info = |(name, host): (&HostName, &MemoryHost)| HostInfo {
            name: name.clone(),
            uuid: host.uuid,
            address: host.address.clone(),
            pid: std::process::id(),
            place: ProcessPlace::here().clone(),
            is_alive: host.ended.is_none(),
            silence: host.ended.map_or(Duration::ZERO, |ended| ended.elapsed()),
        };
        Ok(self.lock().iter().map(info).collect())
    }

    fn forget(&self, host: &HostInfo) -> Result<(), IoError> {
        self.lock().retain(|name, known| *name != host.name || known.uuid != host.uuid || known.ended.is_none());
        Ok(())
    }
}

struct MemoryHostPresence {
    hosts: MemoryHosts,
    name: HostName,
    uuid: HostUuid,
}

impl HostPresence for MemoryHostPresence {
    fn beat(&self) {}

    fn uuid(&self) -> HostUuid {
        self.uuid
    }
}

impl Drop for MemoryHostPresence {
    fn drop(&mut self) {
        if let Some(host) = self.hosts.lock().get_mut(&self.name).filter(|host| host.uuid == self.uuid) {
            host.ended = Some(Instant::now());
        }
    }
}
