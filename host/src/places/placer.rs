//! The thread that takes places: what it knows, and what it takes.
//!
//! **Architecture Invariant:** it begins and ends nothing by itself; its host does what it says.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use ambrosia_core::{HostAddress, InstanceName, InstanceUuid, Lsn, ReplicaIndex};
use ambrosia_storage::{
    EnterError, HostInfo, HostName, HostPresence, HostUuid, InstanceEntry, InstanceError, Instances, JoinError,
    Placing, RecordedOutcome, Sightings, Store, Subscription, ranked,
};

use super::{
    Deed, PlacingOptions, Surroundings,
    claims::{Claim, Try, claim_all},
    turns::{Looks, Turn},
};
use crate::{modules::Modules, run::RunError, running_code::running_code};

/// Hosts and instances are looked at that often.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// All instances are read no more often than that, however often something changes.
const READ_INTERVAL: Duration = Duration::from_millis(250);

/// Whoever may not be told of changes reads them that often.
const READ_UNTOLD_INTERVAL: Duration = Duration::from_secs(1);

/// So many instances without a replica here are tried in one turn, all at once, so that what else there is has its turn.
const TRIES_MAX: usize = 16;

/// While something is to end it is looked at that often.
const LEAVE_INTERVAL: Duration = Duration::from_millis(50);

/// All places that are taken are tried again that often.
const TAKEN_INTERVAL: Duration = Duration::from_secs(1);

/// What has failed is tried again after so long, then twice as long, and so on …
const FAILED_INTERVAL: Duration = Duration::from_secs(1);

/// … and no longer than that.
const FAILED_INTERVAL_MAX: Duration = Duration::from_secs(300);

/// Whether it was accepted that the store has lost something of an instance is looked at so often.
const LOST_INTERVAL: Duration = Duration::from_secs(10);

/// Whoever has not looked for so long may have been taken for dead, and his places by others.
const STOOD_STILL: Duration = Duration::from_millis(1500);

/// A host that is gone is forgotten after so long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// What the thread is told.
pub(super) enum Told {
    /// Something has changed in the registry.
    Changed,
    /// The replica of that instance has ended, and has no place any more; whether as it was to.
    Ended { name: InstanceName, is_well: bool },
    /// Nothing is to be taken any more.
    Over,
}

/// What operators want, as it was read last.
#[derive(Default)]
pub(super) struct Picture {
    pub(super) instances: BTreeMap<InstanceName, Instance>,
    pub(super) draining: BTreeSet<HostUuid>,
    pub(super) retiring: BTreeSet<InstanceUuid>,
}

/// An instance, and how much it is meant for this host.
pub(super) struct Instance {
    pub(super) entry: InstanceEntry,
    /// At which place of its hosts this one is; `None` if it takes no part.
    pub(super) rank: Option<usize>,
    /// The host that comes first.
    pub(super) first: Option<HostName>,
}

impl Instance {
    pub(super) fn is_meant_for_me(&self) -> bool {
        self.rank.is_some_and(|rank| rank < self.entry.replicas.len())
    }

    /// It has not come to its end, as far as the registry knows. One that stands is looked at when it is entered.
    fn may_run(&self) -> bool {
        !matches!(self.entry.outcome, Some(RecordedOutcome::Finished { .. }))
    }
}

/// A replica of this host.
pub(super) struct Held {
    pub(super) replica: ReplicaIndex,
    pub(super) uuid: InstanceUuid,
    pub(super) memory_bytes: u64,
    pub(super) since: Instant,
    pub(super) is_leaving: bool,
    pub(super) was_primary: bool,
    /// Since when it is not meant for this host.
    pub(super) unmeant: Option<Instant>,
    /// Since when it is primary, and the first host has a replica that could be.
    pub(super) not_first: Option<Instant>,
    /// How far the log was when it was looked at, and when that was: whoever has that has caught up.
    pub(super) mark: Option<(Lsn, Instant)>,
    /// Others may have taken its place.
    pub(super) is_to_be_checked: bool,
}

/// An instance that is not tried for a while.
struct Waiting {
    until: Instant,
    tries: u32,
    /// What it was when it failed: if that changes it is tried again at once.
    entry: Option<InstanceEntry>,
}

/// What the thread knows.
pub(super) struct Placer {
    pub(super) me: HostName,
    pub(super) presence: Arc<dyn HostPresence>,
    address: HostAddress,
    memory_allowed: Option<u64>,
    pub(super) move_after: Duration,
    sightings: Sightings,
    began: Instant,
    /// When hosts were looked at last, and when all instances were read.
    looked: Option<Instant>,
    read: Option<Instant>,
    /// `None` if this process may not know of changes.
    registry: Option<Subscription>,
    is_changed: bool,
    pub(super) store: Arc<dyn Store>,
    modules: Arc<Modules>,
    pub(super) act: Box<dyn Fn(Deed) + Send>,
    pub(super) hosts: Vec<HostInfo>,
    /// The hosts that take part.
    pub(super) taking: BTreeSet<HostName>,
    pub(super) picture: Picture,
    pub(super) held: BTreeMap<InstanceName, Held>,
    waiting: BTreeMap<InstanceName, Waiting>,
    /// What was said of an instance is not said again.
    said: BTreeSet<(InstanceName, String)>,
    tries: Turn,
    pub(super) looks: Looks,
    has_failed: bool,
    pub(super) is_draining: bool,
    /// How often a primary was ended so that the host takes over for which it is meant.
    pub(super) sent_home: BTreeMap<InstanceName, u32>,
}

impl Placer {
    /// What a thread begins with; `act` carries out what is to be done.
    pub(super) fn new(
        me: HostName,
        presence: Arc<dyn HostPresence>,
        registry: Option<Subscription>,
        surroundings: Surroundings,
        options: &PlacingOptions,
        act: Box<dyn Fn(Deed) + Send>,
    ) -> Placer {
        let Surroundings { store, modules, address, process_memory_bytes } = surroundings;
        Placer {
            me,
            presence,
            address,
            memory_allowed: process_memory_bytes,
            move_after: options.move_after,
            sightings: Sightings::new(options.grace),
            began: Instant::now(),
            looked: None,
            read: None,
            registry,
            is_changed: true,
            store,
            modules,
            act,
            hosts: Vec::new(),
            taking: BTreeSet::new(),
            picture: Picture::default(),
            held: BTreeMap::new(),
            waiting: BTreeMap::new(),
            said: BTreeSet::new(),
            tries: Turn::default(),
            looks: Looks::default(),
            has_failed: false,
            is_draining: false,
            sent_home: BTreeMap::new(),
        }
    }

    /// Goes on until it is told that it is over.
    pub(super) fn work(mut self, inbox: &Receiver<Told>) {
        let mut wait = Duration::ZERO;
        loop {
            let mut told = match inbox.recv_timeout(wait) {
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => None,
                Ok(told) => Some(told),
            };
            while let Some(one) = told {
                match one {
                    Told::Over => return,
                    Told::Changed => self.is_changed = true,
                    Told::Ended { name, is_well } => self.on_end(name, is_well),
                }
                told = inbox.try_recv().ok();
            }
            wait = match self.turn() {
                Ok(wait) => {
                    self.has_failed = false;
                    wait
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.has_failed, true) {
                        tracing::error!(%error, "the store can't be used, so no places are taken or given up; it is tried again");
                    }
                    LOOK_INTERVAL
                }
            };
        }
    }

    /// Looks once, and does what is to be done. Returns when to look again.
    fn turn(&mut self) -> Result<Duration, RunError> {
        let is_due = |since: Option<Instant>, interval| since.is_none_or(|since| since.elapsed() >= interval);
        if is_due(self.looked, LOOK_INTERVAL) {
            self.look_at_hosts()?;
        }
        let is_untold = self.registry.is_none() && is_due(self.read, READ_UNTOLD_INTERVAL);
        if (self.is_changed && is_due(self.read, READ_INTERVAL)) || is_untold {
            self.read()?;
        }
        self.see_who_takes_part();
        let has_more = self.claim();
        let is_leaving = self.leave();
        Ok(match (has_more, is_leaving) {
            (true, _) => Duration::ZERO,
            (false, true) => LEAVE_INTERVAL,
            (false, false) => LOOK_INTERVAL,
        })
    }

    fn look_at_hosts(&mut self) -> Result<(), RunError> {
        let hosts = self.store.hosts().hosts().map_err(InstanceError::from)?;
        if self.looked.is_some_and(|looked| looked.elapsed() > STOOD_STILL) {
            self.held.values_mut().for_each(|held| held.is_to_be_checked = true);
        }
        self.looked = Some(Instant::now());
        self.sightings.look(&hosts, self.began.elapsed());
        for gone in hosts.iter().filter(|host| self.sightings.silence(&host.name) >= FORGOTTEN_AFTER) {
            self.store.hosts().forget(gone).map_err(InstanceError::from)?;
        }
        self.hosts = hosts;
        if !self.hosts.iter().any(|host| host.name == self.me) {
            // Others have forgotten it.
            match self.store.hosts().join(&self.me, &self.address) {
                Ok(presence) => self.presence = presence.into(),
                Err(JoinError::Taken { .. }) => {} // it is seen next time
                Err(JoinError::Io(error)) => return Err(InstanceError::from(error).into()),
            }
        }
        Ok(())
    }

    /// Reads what is registered and wanted.
    fn read(&mut self) -> Result<(), RunError> {
        self.is_changed = false;
        self.read = Some(Instant::now());
        let read = || -> Result<Picture, RunError> {
            let entries = match self.store.instances() {
                Ok(entries) => entries,
                // One that can't be read is in nobody's way.
                Err(_) => self.store.survey()?.into_iter().filter_map(|found| found.entry.ok()).collect(),
            };
            let instance = |entry: InstanceEntry| (entry.name.clone(), Instance { entry, rank: None, first: None });
            Ok(Picture {
                instances: entries.into_iter().map(instance).collect(),
                draining: self.store.draining().map_err(InstanceError::from)?,
                retiring: self.store.retiring().map_err(InstanceError::from)?,
            })
        };
        match read() {
            Ok(picture) => self.picture = picture,
            Err(error) => {
                self.is_changed = true;
                return Err(error);
            }
        }
        self.taking.clear();
        Ok(())
    }

    /// Finds out which hosts take part, and if these are others, or something was registered, what is meant for this one.
    fn see_who_takes_part(&mut self) {
        let own = self.hosts.iter().find(|host| host.name == self.me);
        let is_replaced = own.is_some_and(|host| host.uuid != self.presence.uuid());
        if is_replaced {
            self.say_once(
                None,
                "another process is the host of this name by now, so this one hands over all that it has",
            );
        }
        let is_draining = is_replaced || self.picture.draining.contains(&self.presence.uuid());
        if is_draining != self.is_draining {
            self.is_draining = is_draining;
            match is_draining {
                true => tracing::info!("this host drains: it takes no places, and hands over those that it has"),
                false => tracing::info!("this host takes part again"),
            }
        }
        let takes_part = |host: &&HostInfo| {
            host.name != self.me && self.sightings.takes_part(&host.name) && !self.picture.draining.contains(&host.uuid)
        };
        let mut taking: BTreeSet<HostName> =
            self.hosts.iter().filter(takes_part).map(|host| host.name.clone()).collect();
        if !is_draining {
            taking.insert(self.me.clone());
        }
        // Without any there is nothing to be found out anew: nothing is meant for anybody.
        if taking == self.taking && !taking.is_empty() {
            return;
        }
        self.taking = taking;
        for Instance { entry, rank, first } in self.picture.instances.values_mut() {
            let order = ranked(entry.uuid, &self.taking);
            *rank = order.iter().position(|host| **host == self.me);
            *first = order.first().map(|host| (*host).clone());
        }
    }

    /// Says something that an operator has to know, once.
    fn say_once(&mut self, of: Option<&InstanceName>, what: &str) {
        let about = of.cloned().unwrap_or_else(|| InstanceName::new("host").expect("plain"));
        if self.said.insert((about, what.to_owned())) {
            match of {
                Some(instance) => tracing::warn!(%instance, "{what}"),
                None => tracing::error!("{what}"),
            }
        }
    }

    /// Takes places of instances that are meant for this host. Whether there may be more to take at once.
    fn claim(&mut self) -> bool {
        let now = Instant::now();
        let is_open = |(name, instance): &(&InstanceName, &Instance)| {
            let waits = self.waiting.get(*name).is_some_and(|waiting| {
                waiting.until > now && waiting.entry.as_ref().is_none_or(|before| *before == instance.entry)
            });
            instance.is_meant_for_me()
                && instance.may_run()
                && !waits
                && !self.held.contains_key(*name)
                && !self.picture.retiring.contains(&instance.entry.uuid)
        };
        let open: Vec<InstanceName> =
            self.picture.instances.iter().filter(is_open).map(|(name, _)| name.clone()).collect();
        let turn = self.tries.next(&open, TRIES_MAX);
        let has_more = turn.len() < open.len();
        // What each of them may take together with those before it is known only once these have their places.
        let at_once = if self.memory_allowed.is_some() { 1 } else { TRIES_MAX };
        for names in turn.chunks(at_once) {
            let mut claims = Vec::new();
            for name in names {
                let Some(claim) = self.claim_of(name) else { continue };
                match self.memory_of(&claim.entry) {
                    Ok(memory_bytes) => claims.push((claim, memory_bytes)),
                    Err(error) => self.on_tried(&claim.name, claim.entry, 0, Err(error)),
                }
            }
            let (claims, memory): (Vec<_>, Vec<_>) = claims.into_iter().unzip();
            let tried = claim_all(&*self.store, &self.modules, claims);
            for ((claim, tried), memory_bytes) in tried.into_iter().zip(memory) {
                self.on_tried(&claim.name, claim.entry, memory_bytes, tried);
            }
        }
        has_more
    }

    fn claim_of(&self, name: &InstanceName) -> Option<Claim> {
        let instance = self.picture.instances.get(name)?;
        let entry = instance.entry.clone();
        // Each begins with another number, so that they are not in each other's way.
        let numbers: Vec<_> = entry.replicas.iter().copied().map(ReplicaIndex).collect();
        let begin = instance.rank.unwrap_or(0).min(numbers.len() - 1);
        let numbers = numbers[begin..].iter().chain(&numbers[..begin]).copied().collect();
        Some(Claim { name: name.clone(), entry, numbers })
    }

    fn on_tried(&mut self, name: &InstanceName, entry: InstanceEntry, memory_bytes: u64, tried: Result<Try, RunError>) {
        match tried {
            Ok(Try::Entered { ready, replica }) => {
                tracing::info!(instance = %name, %replica, "took the place");
                self.said.retain(|(of, _)| of != name);
                let held = Held {
                    replica,
                    uuid: entry.uuid,
                    memory_bytes,
                    since: Instant::now(),
                    is_leaving: false,
                    was_primary: false,
                    unmeant: None,
                    not_first: None,
                    mark: None,
                    is_to_be_checked: false,
                };
                self.held.insert(name.clone(), held);
                (self.act)(Deed::Claimed(ready));
            }
            Ok(Try::Over) => self.wait_after_failure(name, Some(entry)),
            Ok(Try::AllRun) => {
                let tries = self.waiting.get(name).map_or(0, |waiting| waiting.tries);
                let until = Instant::now() + TAKEN_INTERVAL;
                self.waiting.insert(name.clone(), Waiting { until, tries, entry: Some(entry) });
            }
            Err(error) => {
                self.say_once(Some(name), &format!("a replica can't be run here, which is tried again: {error}"));
                if matches!(error, RunError::Enter(EnterError::Lost { .. })) {
                    // An operator ends that, after whatever time, and waits for us then.
                    let waiting = Waiting { until: Instant::now() + LOST_INTERVAL, tries: 0, entry: Some(entry) };
                    self.waiting.insert(name.clone(), waiting);
                } else {
                    self.wait_after_failure(name, Some(entry));
                }
            }
        }
    }

    fn wait_after_failure(&mut self, name: &InstanceName, entry: Option<InstanceEntry>) {
        let tries = self.waiting.get(name).map_or(0, |waiting| waiting.tries);
        let wait = FAILED_INTERVAL.saturating_mul(1 << tries.min(10)).min(FAILED_INTERVAL_MAX);
        let waiting = Waiting { until: Instant::now() + wait, tries: tries + 1, entry };
        self.waiting.insert(name.clone(), waiting);
    }

    /// Memory that a replica may take, if that is counted here.
    fn memory_of(&self, entry: &InstanceEntry) -> Result<u64, RunError> {
        let Some(allowed) = self.memory_allowed else { return Ok(0) };
        let own = running_code(&*self.store, entry)?.limits.memory_bytes;
        let needed = self.held.values().fold(own, |sum, held| sum.saturating_add(held.memory_bytes));
        if needed > allowed {
            return Err(RunError::ProcessMemory { replicas: self.held.len() + 1, needed, allowed });
        }
        Ok(own)
    }

    fn on_end(&mut self, name: InstanceName, is_well: bool) {
        let Some(held) = self.held.remove(&name) else { return };
        if is_well {
            return;
        }
        // One that has lived for so long has not failed again and again.
        if held.since.elapsed() > FAILED_INTERVAL_MAX {
            self.waiting.remove(&name);
        }
        let entry = self.picture.instances.get(&name).map(|instance| instance.entry.clone());
        self.wait_after_failure(&name, entry);
        self.is_changed = true;
    }
}
