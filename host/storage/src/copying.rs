//! Copies an instance into another store: the same records, and what a replica begins with beside them.
//!
//! **Architecture Invariant:** the registration is put last, once the copy was read back and is the same; so what was cut short can't be
//! run, and is removed when it is tried again. Of the store that it comes from nothing is changed, but that the reign of a primary which
//! seems to be gone is over.

use std::{collections::BTreeSet, io};

use ambrosia_core::{InstanceName, Lsn, Record, ReplicaIndex};
use sha2::{Digest, Sha256};

use crate::{
    BlobError, BlobHash, CheckpointError, CheckpointInfo, Head, HeldRegistrations, InstanceEntry, InstanceError,
    Instances, IoError, LogError, Placing, PutError, Store, instances, tokens,
};

/// How far a copy is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Records are written: up to that one, of so many.
    Written(Lsn, Lsn),
    /// Records are read back.
    ReadBack(Lsn, Lsn),
    /// The checkpoint at that record is written.
    Checkpoint(Lsn),
}

/// A copy that is whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopiedInstance {
    /// The first record of its log.
    pub first: Lsn,
    /// The last one.
    pub last: Lsn,
    /// Its checkpoints, in order.
    pub checkpoints: Vec<Lsn>,
    /// It was there already, as it is now.
    pub was_there: bool,
}

/// An instance can't be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// It can't be read where it is, or runs there.
    #[error("in the store that it comes from: {0}")]
    From(InstanceError),
    /// It can't be written.
    #[error("in the store that it goes to: {0}")]
    To(InstanceError),
    /// Somebody has the name.
    #[error(
        "in the store that it goes to, there is an instance {name} which is not this one as it is: deregister it there, or leave it out with \
         --instance"
    )]
    Taken {
        /// The name.
        name: InstanceName,
    },
    /// It has another name there.
    #[error("in the store that it goes to, this instance is registered already, as {other}: deregister it there")]
    HasOtherName {
        /// Its name there.
        other: InstanceName,
    },
    /// Somebody has appended to the log.
    #[error("in the store that it comes from, {name} went on to record {} meanwhile, from {}: end its replicas, and copy it again", now.durable, was.durable)]
    WentOn {
        /// The instance.
        name: InstanceName,
        /// The end of its log when the copy began.
        was: Head,
        /// By now.
        now: Head,
    },
    /// What was read back is not what was written.
    #[error("what was read back of {name} is not what was written: {reason}; it was not registered there")]
    Differs {
        /// The instance.
        name: InstanceName,
        /// What differs.
        reason: String,
    },
    /// It is registered there, and lacks a module, or may.
    #[error(
        "instance {name} is copied and registered in the store that it goes to, so do not run it where it was; but that its modules are there is not \
         certain ({error}): copy it once more, which puts what is missing"
    )]
    Registered {
        /// The instance.
        name: InstanceName,
        /// What went wrong behind its registration.
        error: Box<CopyError>,
    },
    /// A token of that name is another one.
    #[error(
        "in the store that it goes to, {0} is another one: revoke one of the two with `ambrosia-host token revoke`"
    )]
    OtherToken(String),
    /// Somebody has had enough.
    #[error(
        "stopped: {0} is not registered in the store that it goes to; what was written of it is removed when it is copied again"
    )]
    Stopped(InstanceName),
}

/// What reading and what writing has come to; two kinds of one error, by where it was.
fn from(error: impl Into<InstanceError>) -> CopyError {
    CopyError::From(error.into())
}

fn to(error: impl Into<InstanceError>) -> CopyError {
    CopyError::To(error.into())
}

impl From<CheckpointError> for InstanceError {
    fn from(error: CheckpointError) -> InstanceError {
        InstanceError::Io(match error {
            CheckpointError::Io(error) => error,
            error => {
                let text = error.to_string();
                crate::IoError {
                    action: "copy a checkpoint of",
                    place: "the instance".to_owned(),
                    source: io::Error::other(text),
                }
            }
        })
    }
}

/// Copies an instance that does not run. `goes_on` is told how far it is, and says whether it is to go on.
///
/// # Errors
/// Any [`CopyError`]. Then it is not registered there, unless it was before or the error says so.
pub fn copy_instance(
    source: &dyn Store,
    target: &dyn Store,
    name: &InstanceName,
    goes_on: &mut dyn FnMut(Progress) -> bool,
) -> Result<CopiedInstance, CopyError> {
    let mut held = Held {
        name: name.clone(),
        there: target.hold_registrations().map_err(to)?,
        here: source.hold_registrations().map_err(from)?,
    };
    // The second may have been waited for.
    held.renew()?;
    let entry = source.instance(name).map_err(from)?;
    let replicas: BTreeSet<_> = entry.replicas.iter().copied().map(ReplicaIndex).collect();
    // Whoever is the first to open a log has to see that nobody runs, so that comes before.
    drop(source.log(entry.log()).map_err(from)?);
    // What was lost was seen outside: an operator is to know that before anything goes on without it, wherever.
    source.check_kept(entry.log()).map_err(from)?;
    let _still =
        source.hold_still(entry.log(), &replicas).map_err(|error| from(InstanceError::not_closed(name, error)))?;
    // What a replica, or an operator, had to note of it stands there by now.
    let entry = source.instance(name).map_err(from)?;
    let mut copy = Copy { source, target, entry: &entry, held: &mut held, goes_on };
    if registered_there(target, &entry)? {
        target.check_kept(entry.log()).map_err(to)?;
        return copy.compare();
    }
    instances::remove_orphans(target).map_err(to)?;
    copy.remove_leftover()?;
    let copied = copy.copy()?;
    copy.held.renew()?;
    // Whoever deregistered it there before may have been cut off once its log was gone: hosts would never serve it.
    target.end_retirement(entry.uuid).map_err(to)?;
    instances::put_new_entry(target, &entry).map_err(to)?;
    // Whoever removed another instance that has them, and held registrations before or for too long, has not seen this one.
    let again = copy.copy_modules();
    again.map_err(|error| CopyError::Registered { name: name.clone(), error: Box::new(error) })?;
    Ok(copied)
}

/// Copies tokens, whose secrets only their holders have.
///
/// # Errors
/// If one of the same name is another one there.
pub fn copy_tokens(source: &dyn Store, target: &dyn Store) -> Result<usize, CopyError> {
    let mut copied = 0;
    for token in source.registry().list(tokens::KEY_PREFIX).map_err(from)? {
        let there = target.registry().get(&token.key).map_err(to)?;
        match there {
            Some((_, value)) if value == token.value => {}
            Some(_) => return Err(CopyError::OtherToken(token.key)),
            None => match target.registry().put_if(&token.key, None, &token.value) {
                Ok(_) => copied += 1,
                Err(PutError::Conflict { key, .. }) => return Err(CopyError::OtherToken(key)),
                Err(PutError::Registry(error)) => return Err(to(error)),
            },
        }
    }
    Ok(copied)
}

/// Whether that very instance is registered there.
fn registered_there(target: &dyn Store, entry: &InstanceEntry) -> Result<bool, CopyError> {
    let mut is_there = false;
    for found in target.survey().map_err(to)? {
        // One that can't be read may be any.
        let other = found.entry.map_err(to)?;
        match (other.uuid == entry.uuid, other.name == entry.name) {
            (true, true) => is_there = true,
            (true, false) => return Err(CopyError::HasOtherName { other: other.name }),
            (false, true) => return Err(CopyError::Taken { name: other.name }),
            (false, false) => {}
        }
    }
    Ok(is_there)
}

/// The registrations of both stores.
struct Held {
    name: InstanceName,
    there: Box<dyn HeldRegistrations>,
    here: Box<dyn HeldRegistrations>,
}

impl Held {
    fn renew(&mut self) -> Result<(), CopyError> {
        let is_held = |renewed: Result<bool, IoError>| match renewed? {
            true => Ok(()),
            false => Err(InstanceError::Overtaken { name: self.name.clone() }),
        };
        is_held(self.there.renew()).map_err(to)?;
        is_held(self.here.renew()).map_err(from)
    }
}

/// One instance on its way.
struct Copy<'a> {
    source: &'a dyn Store,
    target: &'a dyn Store,
    entry: &'a InstanceEntry,
    held: &'a mut Held,
    goes_on: &'a mut dyn FnMut(Progress) -> bool,
}

/// What two logs have to have in common.
#[derive(PartialEq, Eq)]
struct Sum {
    first: Lsn,
    last: Lsn,
    link: u64,
    digest: [u8; 32],
}

impl Copy<'_> {
    /// Tells how far it is. A copy may take longer than registrations are held by themselves.
    fn step(&mut self, progress: Progress) -> Result<(), CopyError> {
        self.held.renew()?;
        if (self.goes_on)(progress) { Ok(()) } else { Err(CopyError::Stopped(self.entry.name.clone())) }
    }

    /// Removes what an earlier try has left: a log that no registration names.
    fn remove_leftover(&self) -> Result<(), CopyError> {
        let (name, closed) = (&self.entry.name, self.target.close_log(self.entry.log(), &BTreeSet::new()));
        let closed = closed.map_err(|error| to(InstanceError::not_closed(name, error)))?;
        let Some(closed) = closed else { return Ok(()) };
        // Whoever held registrations before, and was taken for gone, may have gone on until now.
        if registered_there(self.target, self.entry)? {
            return Err(to(InstanceError::Overtaken { name: name.clone() }));
        }
        closed.remove().map_err(to)
    }

    fn copy(&mut self) -> Result<CopiedInstance, CopyError> {
        let id = self.entry.log();
        let log = self.source.log(id).map_err(from)?;
        let (head, first) = (log.head().map_err(from)?, log.first().map_err(from)?);
        self.copy_modules()?;
        let sum = self.copy_log(first, head)?;
        self.check_whole(&sum, head)?;
        let checkpoints = self.copy_checkpoints(first)?;
        let again = self.sum_of_target(sum.first, sum.last)?;
        self.check_same(&sum, &again)?;
        self.source.check_kept(id).map_err(from)?;
        let now = log.head().map_err(from)?;
        if now != head {
            return Err(CopyError::WentOn { name: self.entry.name.clone(), was: head, now });
        }
        Ok(CopiedInstance { first: sum.first, last: sum.last, checkpoints, was_there: false })
    }

    /// That the one there is this one, as it is here.
    fn compare(&mut self) -> Result<CopiedInstance, CopyError> {
        let id = self.entry.log();
        let (here, there) = (self.source.log(id).map_err(from)?, self.target.log(id).map_err(to)?);
        let (first, head) = (here.first().map_err(from)?, here.head().map_err(from)?);
        let taken = || CopyError::Taken { name: self.entry.name.clone() };
        if there.first().map_err(to)? != first {
            return Err(taken());
        }
        // Neither end is what is known to be durable: behind that there may be more, which a replica would go on with.
        let mut sum = Summing::default();
        for found in self.source.scan(id, first).map_err(from)? {
            let record = found.map_err(from)?.record;
            self.step(Progress::ReadBack(record.lsn(), head.durable))?;
            sum.add(&record);
        }
        let sum = sum.done();
        self.check_whole(&sum, head)?;
        if sum != self.sum_of_target(first, sum.last)? {
            return Err(taken());
        }
        self.copy_modules()?;
        let checkpoints = self.target.checkpoints(id).map_err(to)?.list().map_err(to)?;
        let checkpoints = checkpoints.into_iter().map(|info| info.lsn).collect();
        Ok(CopiedInstance { first, last: sum.last, checkpoints, was_there: true })
    }

    /// Where a log seems to end, that alone does not tell whether it went on: something durable may be damaged there.
    fn check_whole(&self, sum: &Sum, head: Head) -> Result<(), CopyError> {
        if sum.last >= head.durable {
            return Ok(());
        }
        let reason = format!("it can't be read, although record {} was published as durable", head.durable);
        Err(from(LogError::Corrupt { place: self.source.place_of(self.entry.log()), lsn: sum.last.next(), reason }))
    }

    fn copy_modules(&self) -> Result<(), CopyError> {
        let InstanceEntry { module, upgrades, .. } = self.entry;
        let modules: BTreeSet<_> = upgrades.modules.iter().chain([module, &upgrades.current]).copied().collect();
        for module in modules {
            let hash = BlobHash(module);
            let contents = match self.source.blobs().get(hash) {
                // A store that was exported has those alone that its part of the log needs.
                Err(BlobError::Missing { .. }) if module != upgrades.current => continue,
                contents => contents.map_err(from)?,
            };
            self.target.blobs().put(&contents).map_err(to)?;
            if let Some(methods) = self.source.blobs().methods(hash).map_err(from)? {
                self.target.blobs().put_methods(hash, &methods).map_err(to)?;
            }
        }
        Ok(())
    }

    fn copy_log(&mut self, first: Lsn, head: Head) -> Result<Sum, CopyError> {
        let (id, target, last) = (self.entry.log(), self.target, head.durable);
        let (mut sum, mut fault) = (Summing::default(), None);
        let scan = self.source.scan(id, first).map_err(from)?;
        let mut records = scan.map_while(|found| {
            if fault.is_some() {
                return None;
            }
            let stepped = found.map_err(from).and_then(|found| {
                self.step(Progress::Written(found.record.lsn(), last))?;
                sum.add(&found.record);
                Ok(found.record)
            });
            Some(stepped.map_err(|error| {
                let told = LogError::Lost { reason: error.to_string() };
                fault = Some(error);
                told
            }))
        });
        let written = target.adopt_log(id, head.epoch, &mut records);
        drop(records);
        match (fault, written) {
            (Some(fault), _) => Err(fault),
            (None, Err(error)) => Err(to(error)),
            (None, Ok(())) => Ok(sum.done()),
        }
    }

    /// The newest one, where a replica begins, and the oldest, so that one can still travel to each record that is there.
    fn copy_checkpoints(&mut self, first: Lsn) -> Result<Vec<Lsn>, CopyError> {
        let id = self.entry.log();
        let here = self.source.checkpoints(id).map_err(from)?;
        let there = self.target.checkpoints(id).map_err(to)?;
        let all: Vec<CheckpointInfo> = here.list().map_err(from)?;
        let usable = || all.iter().filter(|info| info.lsn.next() >= first).map(|info| info.lsn);
        let wanted: BTreeSet<Lsn> = usable().min().into_iter().chain(usable().max()).collect();
        for lsn in &wanted {
            self.step(Progress::Checkpoint(*lsn))?;
            let unreadable = |source| from(crate::IoError { action: "read", place: self.source.place_of(id), source });
            let whole = here.load(*lsn).map_err(from)?.into_whole().map_err(unreadable)?;
            there.write(&whole, ReplicaIndex(0)).map_err(to)?.publish().map_err(to)?;
        }
        Ok(wanted.into_iter().collect())
    }

    /// What is durable there.
    fn sum_of_target(&mut self, first: Lsn, last: Lsn) -> Result<Sum, CopyError> {
        let mut sum = Summing::default();
        for found in self.target.scan(self.entry.log(), first).map_err(to)? {
            let record = found.map_err(to)?.record;
            self.step(Progress::ReadBack(record.lsn(), last))?;
            sum.add(&record);
        }
        Ok(sum.done())
    }

    fn check_same(&self, written: &Sum, again: &Sum) -> Result<(), CopyError> {
        let reason = match (written, again) {
            _ if written == again => return Ok(()),
            _ if written.last != again.last => {
                format!("its last record is {} in the place of {}", again.last, written.last)
            }
            _ if written.first != again.first => {
                format!("it begins at {} in the place of {}", again.first, written.first)
            }
            _ if written.link != again.link => format!("the link of record {} is another one", written.last),
            _ => "its digest is another one".to_owned(),
        };
        Err(CopyError::Differs { name: self.entry.name.clone(), reason })
    }
}

#[derive(Default)]
struct Summing {
    first: Option<Lsn>,
    last: Lsn,
    link: u64,
    digest: Sha256,
}

impl Summing {
    fn add(&mut self, record: &Record) {
        self.first.get_or_insert(record.lsn());
        (self.last, self.link) = (record.lsn(), record.header().link());
        self.digest.update(record.stored());
    }

    fn done(self) -> Sum {
        Sum {
            first: self.first.unwrap_or_default(),
            last: self.last,
            link: self.link,
            digest: self.digest.finalize().into(),
        }
    }
}
