//! The hosts of a store on an engine: a key for each, and their beats.
//!
//! ```text
//! host/{name}   which process is that host, and where it answers
//! ```
//!
//! **Architecture Invariant:** a host is alive as long as its process beats and has not said that it ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use ambrosia_core::HostAddress;
use ambrosia_storage::{HostInfo, HostName, HostPresence, HostUuid, Hosts, IoError, JoinError, Revision, Subscription};
use serde::{Deserialize, Serialize};

use super::{Inner, desk::Desk, members::Place, observer::Life, stored};
use crate::{
    engine::HostId,
    keys::{KeyEntry, Put, Space},
    limits::ANSWER_TIME,
    shell::host::lock,
};

const PREFIX: &str = "host/";

fn key(name: &HostName) -> String {
    format!("{PREFIX}{name}")
}

/// What is kept of a host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct StoredHost {
    place: Place,
    address: String,
    /// It has ended in order.
    has_ended: bool,
}

impl StoredHost {
    /// Whether its process may be alive, as far as can be seen without looking at beats.
    fn may_live(&self) -> bool {
        !self.has_ended && !self.place.has_ended()
    }
}

/// Where hosts answer for all of their replicas, by what they have said as they joined. Others, that run one replica, have not.
#[derive(Default)]
pub(super) struct Addresses(Mutex<BTreeMap<HostId, Option<(HostAddress, u32)>>>);

impl Addresses {
    /// Where that host answers, and its process. A host has one address all its life, so no more is asked of it than once.
    pub(super) fn of(&self, desk: &Desk, host: HostId) -> Result<Option<(HostAddress, u32)>, IoError> {
        if let Some(known) = lock(&self.0).get(&host) {
            return Ok(known.clone());
        }
        let entries = desk.list(Space::Store, PREFIX, true)?;
        let mut known = lock(&self.0);
        for (_, StoredHost { place, address, .. }) in entries.iter().filter_map(decode) {
            known.insert(place.host(), address.parse().ok().map(|address| (address, place.pid())));
        }
        Ok(known.entry(host).or_default().clone())
    }
}

pub(super) struct EngineHosts(pub(super) Arc<Inner>);

fn decode(entry: &KeyEntry) -> Option<(HostName, StoredHost)> {
    let name = HostName::new(entry.key.strip_prefix(PREFIX)?).ok()?;
    Some((name, stored::decode::<StoredHost>(&entry.value)?))
}

impl Hosts for EngineHosts {
    fn join(&self, name: &HostName, address: &HostAddress) -> Result<Box<dyn HostPresence>, JoinError> {
        let inner = &self.0;
        let (desk, me) = (&inner.desk, inner.desk.me);
        let alive = inner.host.stay_alive();
        let host = StoredHost { place: Place::here(me), address: address.to_string(), has_ended: false };
        let value = stored::encode(&host);
        loop {
            let stands = desk.get(Space::Store, &key(name))?;
            if let Some((_, other)) = stands.as_ref().and_then(decode)
                && other.may_live()
                && inner.observer.is_alive(desk, other.place.host())?
            {
                let (pid, place) = (other.place.pid(), other.place.process());
                return Err(JoinError::Taken { name: name.clone(), pid, place });
            }
            let expected = stands.map(|entry| entry.revision);
            if let Ok(revision) = desk.put(Space::Store, &key(name), expected, value.clone(), None)? {
                let inner = Arc::clone(inner);
                return Ok(Box::new(EngineHostPresence { inner, name: name.clone(), host, revision, _alive: alive }));
            }
        }
    }

    fn hosts(&self) -> Result<Vec<HostInfo>, IoError> {
        let inner = &self.0;
        let entries = inner.desk.list(Space::Store, PREFIX, true)?;
        let hosts: Vec<_> = entries.iter().filter_map(decode).collect();
        let may_live: BTreeSet<_> =
            hosts.iter().filter(|(_, host)| host.may_live()).map(|(_, host)| host.place.host()).collect();
        let lives = inner.observer.lives(&inner.desk, may_live)?;
        let info = |(name, host): (HostName, StoredHost)| {
            let gone = Life { is_alive: false, silence: Duration::ZERO };
            let life = lives.get(&host.place.host()).copied().filter(|_| host.may_live()).unwrap_or(gone);
            Some(HostInfo {
                name,
                uuid: HostUuid(host.place.host().0),
                address: host.address.parse().ok()?,
                pid: host.place.pid(),
                place: host.place.process(),
                is_alive: life.is_alive,
                silence: life.silence,
            })
        };
        Ok(hosts.into_iter().filter_map(info).collect())
    }

    fn forget(&self, host: &HostInfo) -> Result<(), IoError> {
        let inner = &self.0;
        let desk = &inner.desk;
        let Some(entry) = desk.get(Space::Store, &key(&host.name))? else { return Ok(()) };
        if let Some((_, stands)) = decode(&entry) {
            let is_it = stands.place.host().0 == host.uuid.0;
            if !is_it || (stands.may_live() && inner.observer.is_alive(desk, stands.place.host())?) {
                return Ok(());
            }
        }
        // If it was changed meanwhile another life has begun.
        let _changed = desk.delete(Space::Store, &entry.key, entry.revision)?;
        Ok(())
    }
}

struct EngineHostPresence {
    inner: Arc<Inner>,
    name: HostName,
    host: StoredHost,
    revision: Revision,
    /// By which others see that it runs.
    _alive: Subscription,
}

impl HostPresence for EngineHostPresence {
    // That the host is alive its committer says.
    fn beat(&self) {}

    fn uuid(&self) -> HostUuid {
        HostUuid(self.host.place.host().0)
    }
}

impl Drop for EngineHostPresence {
    fn drop(&mut self) {
        let ended = stored::encode(&StoredHost { has_ended: true, ..self.host.clone() });
        let (key, expected, claim) = (key(&self.name), Some(self.revision), self.inner.desk.new_claim());
        let put = Put { space: Space::Store, key, expected, value: ended.into(), claim, beside: None };
        // If that can't be done, others see that this host is silent.
        let _left = self.inner.desk.put_within(put, ANSWER_TIME);
    }
}
