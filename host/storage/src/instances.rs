//! Registered instances: their entries, logs and modules as one thing.
//!
//! To register is: the module into the blobs, the log with its genesis record beside the other logs, and last the
//! entry in the registry. What a crash leaves in between is not reachable, and removed the next time.
//!
//! **Architecture Invariant:** an entry in the registry implies a module and a log with its genesis record.

use std::{cell::Cell, collections::BTreeSet, sync::Arc};

use ambrosia_core::{Epoch, Genesis, InstanceName, InstanceUuid, Limits, Lsn, ReplicaIndex, Timestamp};

use crate::{
    BlobError, BlobHash, Cancelled, CloseError, Deregistered, EntryError, InstanceEntry, IoError, LogError, LogId,
    Members, PutError, REPLICAS_MAX, RecordedOutcome, RegistryError, Revision, Store, Upgrades, Wanted, WantedSkip,
    WishAnswer, WishError, Wished, wishes,
};

const KEY_PREFIX: &str = "instances/";

/// An entry of the registry, or why it can't be read.
#[derive(Debug)]
pub struct Found {
    /// The name of the instance.
    pub name: InstanceName,
    /// What is registered.
    pub entry: Result<InstanceEntry, InstanceError>,
}

/// What [`Instances::register`] did.
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
    /// While this process stood still, it was taken for dead, and another one went on.
    #[error(
        "another process registered or removed instances meanwhile: look whether {name} is registered, and try again"
    )]
    Overtaken {
        /// The name.
        name: InstanceName,
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

impl InstanceError {
    pub(crate) fn not_closed(name: &InstanceName, error: CloseError) -> InstanceError {
        match error {
            CloseError::Running { what } => InstanceError::Running { name: name.clone(), what },
            CloseError::Io(error) => error.into(),
        }
    }
}

/// The instances of a store, by name. Every store has them.
pub trait Instances: Store {
    /// Registers an instance whose first module is `module`. It has replica 0 from the start.
    fn register(
        &self,
        name: &InstanceName,
        module: &[u8],
        seed: u64,
        uuid: InstanceUuid,
        limits: Limits,
        now: Timestamp,
    ) -> Result<Registered, InstanceError> {
        let _held = self.hold_registrations()?;
        let hash = BlobHash::of(module);
        if let Some((_, entry)) = find(self, name)? {
            let registered = BlobHash(entry.upgrades.current);
            return if registered == hash {
                self.blobs().put(module)?;
                Ok(Registered::Same)
            } else {
                Err(InstanceError::OtherModule { name: name.clone(), registered, given: hash })
            };
        }
        remove_orphans(self)?;
        self.blobs().put(module)?;
        let genesis = Genesis { uuid, module: hash.0, seed, limits, name: name.clone() };
        let contents = module;
        let (name, module, replicas, registered) = (name.clone(), hash.0, [0].into(), now);
        let upgrades = Upgrades::none(module);
        let entry = InstanceEntry { name, uuid, module, replicas, registered, outcome: None, upgrades };
        self.create_log(entry.log(), &genesis.record(now))?;
        put_new_entry(self, &entry)?;
        // Whoever was frozen while it held the registrations may have removed it, as one that nobody needs.
        self.blobs().put(contents)?;
        Ok(Registered::New)
    }

    /// Has it stand in the registry that an instance which runs `from` is to run `module`. Whoever is its primary, now or
    /// later, carries that out. An instance that has halted gets the record that it stands at delivered anew.
    ///
    /// # Errors
    /// If the instance has finished, or another wish stands.
    fn wish(
        &self,
        name: &InstanceName,
        from: BlobHash,
        module: &[u8],
        wanted: &Wanted,
        now: Timestamp,
    ) -> Result<Wished, WishError> {
        wishes::wish(self, name, from, module, wanted, now)
    }

    /// Has it stand in the registry that an instance which has halted is to go on without some messages of the record that it
    /// stands at.
    ///
    /// # Errors
    /// If the instance does not stand there, or another wish stands.
    fn wish_skip(&self, name: &InstanceName, skip: &WantedSkip, now: Timestamp) -> Result<Wished, WishError> {
        wishes::skip(self, name, skip, now)
    }

    /// Takes the wish that stands back, or tells the primary that has claimed it.
    fn cancel_wish(&self, name: &InstanceName) -> Result<Cancelled, InstanceError> {
        wishes::cancel(self, name)
    }

    /// Notes that the primary of a reign sees to an attempt. False if it stands no more, or a later reign has claimed it.
    fn claim_wish(&self, name: &InstanceName, attempt: u64, epoch: Epoch) -> Result<bool, InstanceError> {
        let is_claimed = Cell::new(false);
        change_if(self, name, |entry| {
            let before = entry.upgrades.clone();
            is_claimed.set(entry.upgrades.claim(attempt, epoch));
            entry.upgrades != before
        })?;
        Ok(is_claimed.get())
    }

    /// Notes what came of an attempt that a reign has claimed. What belongs to another attempt, or was claimed by another
    /// reign, stays as it is. An attempt that was done ends it that the instance has halted: see
    /// [`Instances::set_outcome`].
    fn settle_wish(
        &self,
        name: &InstanceName,
        attempt: u64,
        epoch: Epoch,
        answer: &WishAnswer,
    ) -> Result<(), InstanceError> {
        change_if(self, name, |entry| entry.settle(attempt, epoch, answer))
    }

    /// Notes which module the log says that the instance runs, and the last attempt at an upgrade that it has.
    fn note_module(&self, name: &InstanceName, module: [u8; 32], attempt: u64) -> Result<(), InstanceError> {
        change_if(self, name, |entry| entry.upgrades.note_log(module, attempt))
    }

    /// The same, of a primary that has applied the log up to a record and goes on: that the instance has halted there or
    /// before is not true any more.
    fn note_reign(
        &self,
        name: &InstanceName,
        module: [u8; 32],
        attempt: u64,
        applied: Lsn,
    ) -> Result<(), InstanceError> {
        change_if(self, name, |entry| entry.note_reign(module, attempt, applied))
    }

    /// Registers an instance whose log and modules are there already.
    ///
    /// # Errors
    /// If the name is taken.
    fn adopt(&self, entry: &InstanceEntry) -> Result<(), InstanceError> {
        let _held = self.hold_registrations()?;
        if let Some((_, known)) = find(self, &entry.name)? {
            let (registered, given) = (BlobHash(known.module), BlobHash(entry.module));
            return Err(InstanceError::OtherModule { name: entry.name.clone(), registered, given });
        }
        put_new_entry(self, entry)
    }

    /// Removes an instance with its log, and its modules unless another instance has them.
    ///
    /// # Errors
    /// If there is no such instance, if a replica of it runs, or if another version wrote its entry.
    fn deregister(&self, name: &InstanceName) -> Result<Deregistered, InstanceError> {
        crate::deregistration::deregister(self, name)
    }

    /// Adds a replica, unless it is there.
    fn add_replica(&self, name: &InstanceName, replica: ReplicaIndex) -> Result<(), InstanceError> {
        if replica.0 >= REPLICAS_MAX {
            return Err(InstanceError::NumberTooHigh { replica });
        }
        change(self, name, |entry| {
            entry.replicas.insert(replica.0);
        })
    }

    /// Has an instance have the replicas 0 to `count` - 1, beside those that it has.
    fn add_replicas(&self, name: &InstanceName, count: u16) -> Result<(), InstanceError> {
        if count > REPLICAS_MAX {
            return Err(InstanceError::NumberTooHigh { replica: ReplicaIndex(count - 1) });
        }
        change_if(self, name, |entry| {
            let before = entry.replicas.len();
            entry.replicas.extend(0..count);
            entry.replicas.len() > before
        })
    }

    /// Notes how the instance ended. That it has halted at a record behind which it is known to have gone on is dropped:
    /// whoever says so is late.
    fn set_outcome(&self, name: &InstanceName, outcome: RecordedOutcome) -> Result<(), InstanceError> {
        change_if(self, name, |entry| entry.set_outcome(outcome.clone()))
    }

    /// Notes that the instance goes on.
    fn clear_outcome(&self, name: &InstanceName) -> Result<(), InstanceError> {
        change(self, name, |entry| entry.outcome = None)
    }

    /// The instance of that name.
    fn instance(&self, name: &InstanceName) -> Result<InstanceEntry, InstanceError> {
        Ok(found(self, name)?.1)
    }

    /// The log of the instance of that name.
    fn log_of(&self, name: &InstanceName) -> Result<LogId, InstanceError> {
        Ok(self.instance(name)?.log())
    }

    /// The replicas of the instance of that name.
    fn members_of(&self, name: &InstanceName) -> Result<Arc<dyn Members>, InstanceError> {
        Ok(self.members(self.log_of(name)?)?)
    }

    /// All instances, by name.
    fn instances(&self) -> Result<Vec<InstanceEntry>, InstanceError> {
        let entries = self.registry().list(KEY_PREFIX)?;
        entries.iter().map(|entry| decode(&entry.key[KEY_PREFIX.len()..], &entry.value)).collect()
    }

    /// All instances, by name, also those whose entries can't be read.
    fn survey(&self) -> Result<Vec<Found>, InstanceError> {
        let mut instances = Vec::new();
        // All at once, unless one of them can't be read: then which one it is.
        if let Ok(entries) = self.registry().list(KEY_PREFIX) {
            for entry in entries {
                let Ok(name) = InstanceName::new(&entry.key[KEY_PREFIX.len()..]) else { continue };
                let entry = decode(name.as_str(), &entry.value);
                instances.push(Found { name, entry });
            }
            return Ok(instances);
        }
        for key in self.registry().keys(KEY_PREFIX)? {
            let Ok(name) = InstanceName::new(&key[KEY_PREFIX.len()..]) else { continue };
            match find(self, &name) {
                Ok(Some((_, entry))) => instances.push(Found { name, entry: Ok(entry) }),
                Ok(None) => {} // deregistered meanwhile
                Err(error) => instances.push(Found { name, entry: Err(error) }),
            }
        }
        Ok(instances)
    }
}

impl<S: Store + ?Sized> Instances for S {}

fn find<S: Store + ?Sized>(store: &S, name: &InstanceName) -> Result<Option<(Revision, InstanceEntry)>, InstanceError> {
    let Some((revision, value)) = store.registry().get(&key(name))? else { return Ok(None) };
    Ok(Some((revision, decode(name.as_str(), &value)?)))
}

pub(crate) fn found<S: Store + ?Sized>(
    store: &S,
    name: &InstanceName,
) -> Result<(Revision, InstanceEntry), InstanceError> {
    find(store, name)?.ok_or_else(|| InstanceError::Unknown { name: name.clone() })
}

fn change<S: Store + ?Sized>(
    store: &S,
    name: &InstanceName,
    change: impl Fn(&mut InstanceEntry),
) -> Result<(), InstanceError> {
    change_if(store, name, |entry| {
        change(entry);
        true
    })
}

/// Changes the entry; nothing is written if `change` says that there is nothing to be changed.
fn change_if<S: Store + ?Sized>(
    store: &S,
    name: &InstanceName,
    change: impl Fn(&mut InstanceEntry) -> bool,
) -> Result<(), InstanceError> {
    loop {
        let (revision, mut entry) = found(store, name)?;
        if !change(&mut entry) || put_entry(store, Some(revision), &entry)?.is_some() {
            return Ok(());
        }
    }
}

/// `None` if the entry was changed since.
pub(crate) fn put_entry<S: Store + ?Sized>(
    store: &S,
    expected: Option<Revision>,
    entry: &InstanceEntry,
) -> Result<Option<Revision>, InstanceError> {
    match store.registry().put_if(&key(&entry.name), expected, &entry.encode()) {
        Ok(revision) => Ok(Some(revision)),
        Err(PutError::Conflict { .. }) => Ok(None),
        Err(PutError::Registry(error)) => Err(error.into()),
    }
}

/// The entry of an instance that is new, whose log is there.
pub(crate) fn put_new_entry<S: Store + ?Sized>(store: &S, entry: &InstanceEntry) -> Result<(), InstanceError> {
    match store.registry().put_new_beside(&key(&entry.name), &entry.encode(), entry.log()) {
        Ok(_) => Ok(()),
        Err(PutError::Conflict { .. }) => Err(InstanceError::Overtaken { name: entry.name.clone() }),
        Err(PutError::Registry(error)) => Err(error.into()),
    }
}

/// Removes what registrations that were cut short have left.
pub(crate) fn remove_orphans<S: Store + ?Sized>(store: &S) -> Result<(), InstanceError> {
    let instances = store.survey()?;
    let known: BTreeSet<LogId> = instances.iter().filter_map(|found| Some(found.entry.as_ref().ok()?.log())).collect();
    // The log of one whose entry can't be read may be any.
    let is_all_known = instances.iter().all(|found| found.entry.is_ok());
    Ok(store.remove_orphans(&known, is_all_known)?)
}

pub(crate) fn key(name: &InstanceName) -> String {
    format!("{KEY_PREFIX}{name}")
}

fn decode(name: &str, value: &[u8]) -> Result<InstanceEntry, InstanceError> {
    InstanceEntry::decode(value).map_err(|source| InstanceError::Entry { name: name.to_owned(), source })
}
