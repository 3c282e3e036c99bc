//! `status`: the hosts that take places by themselves, and which places nobody has taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use ambrosia_core::{HostAddress, InstanceUuid};
use ambrosia_storage::{HostInfo, HostName, HostUuid, Member, Placing, Role, Store, ranked};
use serde::Serialize;

use crate::style::{Style, Tone};

/// The hosts of a store, as they were just now.
pub(crate) struct Hosts {
    all: Vec<HostInfo>,
    draining: BTreeSet<HostUuid>,
    retiring: BTreeSet<InstanceUuid>,
    /// What they have of the instances that were looked at: primaries and standbys.
    counts: Mutex<BTreeMap<HostUuid, (usize, usize)>>,
}

/// A host, as it is shown.
#[derive(Serialize)]
pub(crate) struct ShownHost {
    name: String,
    uuid: String,
    address: String,
    /// "alive" or "silent".
    state: &'static str,
    /// Whether it is to hand over all that it has.
    draining: bool,
    /// How long it has not been heard of, at least; null if it is alive.
    silent_ms: Option<u64>,
    pid: u32,
    /// Name of the machine, or container, on which it runs; null if it is not known.
    machine: Option<String>,
    primaries: usize,
    standbys: usize,
}

/// Places of an instance that nobody has.
#[derive(Serialize)]
pub(crate) struct Unclaimed {
    replicas: Vec<u16>,
    reason: String,
}

impl Hosts {
    pub(crate) fn of(store: &dyn Store) -> anyhow::Result<Hosts> {
        Ok(Hosts {
            all: store.hosts().hosts()?,
            draining: store.draining()?,
            retiring: store.retiring()?,
            counts: Mutex::default(),
        })
    }

    /// The name of the host that a replica runs on, if it takes places by itself. It is counted there.
    pub(crate) fn count(&self, member: &Member) -> Option<String> {
        let host = self.all.iter().find(|host| host.has(member)).filter(|_| member.role != Role::Down)?;
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let (primaries, standbys) = counts.entry(host.uuid).or_default();
        *(if member.role == Role::Primary { primaries } else { standbys }) += 1;
        Some(host.name.to_string())
    }

    /// Which of the replicas of an instance nobody runs, and why; `None` if all run, or no host is to take them.
    pub(crate) fn unclaimed(&self, instance: InstanceUuid, members: &[Member], hosts: &[String]) -> Option<Unclaimed> {
        let replicas: Vec<u16> =
            members.iter().filter(|member| member.role == Role::Down).map(|member| member.replica.0).collect();
        let takes_part = |host: &&HostInfo| host.is_alive && !self.draining.contains(&host.uuid);
        let taking: Vec<&HostName> = self.all.iter().filter(takes_part).map(|host| &host.name).collect();
        if replicas.is_empty() || self.all.is_empty() {
            return None;
        }
        let (count, run) = (members.len(), members.len() - replicas.len());
        let run = format!("{run} of {count} replicas");
        let reason = if self.retiring.contains(&instance) {
            format!("{run}: hosts are to end them, since somebody deregisters the instance, or has begun to")
        } else if taking.len() < count {
            let plural = if taking.len() == 1 { "host is alive and takes" } else { "hosts are alive and take" };
            format!("{run}: only {} {plural} places", taking.len())
        } else {
            let meant = ranked(instance, taking).into_iter().take(count).map(HostName::as_str);
            let missing: Vec<_> = meant.filter(|host| !hosts.iter().any(|has| has == host)).collect();
            format!("{run}: {} is to take a place, and says why if it can't", missing.join(", "))
        };
        Some(Unclaimed { replicas, reason })
    }

    /// Where those are that are alive.
    pub(crate) fn alive(&self) -> Vec<HostAddress> {
        self.all.iter().filter(|host| host.is_alive).map(|host| host.address.clone()).collect()
    }

    pub(crate) fn shown(self) -> Vec<ShownHost> {
        let Hosts { all, draining, retiring: _, counts } = self;
        let counts = counts.into_inner().unwrap_or_else(PoisonError::into_inner);
        let shown = |host: HostInfo| {
            let (primaries, standbys) = counts.get(&host.uuid).copied().unwrap_or_default();
            ShownHost {
                name: host.name.to_string(),
                uuid: host.uuid.to_string(),
                address: host.address.to_string(),
                state: if host.is_alive { "alive" } else { "silent" },
                draining: draining.contains(&host.uuid),
                silent_ms: (!host.is_alive).then_some(host.silence.as_millis() as u64),
                pid: host.pid,
                machine: Some(host.place.host).filter(|machine| !machine.is_empty()),
                primaries,
                standbys,
            }
        };
        all.into_iter().map(shown).collect()
    }
}

impl ShownHost {
    /// A store in a database tells no more than that there was no sign of life while it was looked.
    fn silence_in_words(&self) -> String {
        match self.silent_ms.unwrap_or_default() / 1000 {
            0 => "silent".to_owned(),
            seconds => format!("silent for {seconds} s"),
        }
    }

    pub(crate) fn as_text(&self, style: Style) -> String {
        let ShownHost { name, address, primaries, standbys, .. } = self;
        let (tone, state) = match (self.state, self.draining) {
            ("alive", false) => (Tone::Print, "alive".to_owned()),
            ("alive", true) => (Tone::Aside, "alive, draining".to_owned()),
            _ => (Tone::Fault, self.silence_in_words()),
        };
        let mut text = format!("host {}: {}", style.paint(Tone::Place, name), style.paint(tone, state));
        if name != address {
            text += &format!(", at {address}");
        }
        if self.state == "alive" || primaries + standbys > 0 {
            text += &format!(", primaries {primaries}, standbys {standbys}");
        }
        text + "\n"
    }
}

impl Unclaimed {
    pub(crate) fn as_text(&self) -> String {
        format!("  {}\n", self.reason)
    }
}
