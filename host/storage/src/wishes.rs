//! Wishes for another module, or for messages to be skipped, made and taken back by operators.
//!
//! **Architecture Invariant:** a wish that stands implies its module in the blobs: both are written while the registrations
//! are held, so that no deregistration removes the one under the other.

use ambrosia_core::{InstanceName, Lsn, Timestamp};

use crate::{
    BlobHash, Cancelled, InstanceEntry, InstanceError, MODULES_MAX, RecordedOutcome, StandingWish, Store, Wanted,
    WantedSkip,
    instances::{found, put_entry},
};

/// What [`crate::Instances::wish`] did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wished {
    /// The wish stands from now on.
    New(StandingWish),
    /// The very same wish stood before.
    Same(StandingWish),
}

impl Wished {
    /// The wish that stands.
    pub fn wish(&self) -> &StandingWish {
        match self {
            Wished::New(wish) | Wished::Same(wish) => wish,
        }
    }
}

/// A wish can't be made.
#[derive(Debug, thiserror::Error)]
pub enum WishError {
    /// The instance has finished.
    #[error("instance {name} has finished with exit code {code}, so nothing of it can be changed any more")]
    Finished {
        /// The instance.
        name: InstanceName,
        /// The code.
        code: i32,
    },
    /// The instance has not halted.
    #[error("instance {0} has not halted, so no message of it can be skipped; `ambrosia-host status` shows how it is")]
    NotHalted(InstanceName),
    /// The instance has halted at another record.
    #[error(
        "instance {name} stands at lsn {lsn}, not at lsn {asked}: messages can be skipped only of the record that it stands at"
    )]
    StandsElsewhere {
        /// The instance.
        name: InstanceName,
        /// The record that it can't handle.
        lsn: Lsn,
        /// The record whose messages were to be skipped.
        asked: Lsn,
    },
    /// Somebody else's wish stands.
    #[error(
        "another {verb} of instance {name} is under way, {} (attempt {}): wait for it, or take it back with \
         `ambrosia-host {verb} --instance {name} --cancel`",
        .standing.what(), .standing.attempt, verb = .standing.verb()
    )]
    AnotherStands {
        /// The instance.
        name: InstanceName,
        /// The wish.
        standing: Box<StandingWish>,
    },
    /// The instance was given too many modules.
    #[error("instance {0} has been given {MODULES_MAX} modules, the limit for its life")]
    TooManyModules(InstanceName),
    /// The registration can't be read or changed, or the module not be kept.
    #[error(transparent)]
    Instance(#[from] InstanceError),
}

pub(crate) fn wish<S: Store + ?Sized>(
    store: &S,
    name: &InstanceName,
    from: BlobHash,
    module: &[u8],
    wanted: &Wanted,
    now: Timestamp,
) -> Result<Wished, WishError> {
    let _held = store.hold_registrations().map_err(InstanceError::from)?;
    let to = BlobHash::of(module);
    loop {
        let (revision, mut entry) = found(store, name)?;
        check_life(&entry)?;
        if let Some(standing) = &entry.upgrades.wanted {
            return if (standing.from, standing.to, &standing.wanted, &standing.skip) == (from.0, to.0, wanted, &None) {
                Ok(Wished::Same(standing.clone()))
            } else {
                Err(WishError::AnotherStands { name: name.clone(), standing: Box::new(standing.clone()) })
            };
        }
        if !entry.upgrades.modules.contains(&to.0) && entry.upgrades.modules.len() >= MODULES_MAX {
            return Err(WishError::TooManyModules(name.clone()));
        }
        store.blobs().put(module).map_err(InstanceError::from)?;
        let wish = entry.upgrades.want([from.0, to.0], wanted.clone(), now);
        if put_entry(store, Some(revision), &entry)?.is_some() {
            return Ok(Wished::New(wish));
        }
    }
}

/// An instance that has finished never goes on.
fn check_life(entry: &InstanceEntry) -> Result<(), WishError> {
    match &entry.outcome {
        None | Some(RecordedOutcome::Halted { .. }) => Ok(()),
        Some(RecordedOutcome::Finished { code, .. }) => {
            Err(WishError::Finished { name: entry.name.clone(), code: *code })
        }
    }
}

/// Whether the instance stands at that record.
fn check_stands_at(entry: &InstanceEntry, asked: Lsn) -> Result<(), WishError> {
    check_life(entry)?;
    let name = entry.name.clone();
    match &entry.outcome {
        Some(RecordedOutcome::Halted { lsn, .. }) if *lsn == asked => Ok(()),
        Some(RecordedOutcome::Halted { lsn, .. }) => Err(WishError::StandsElsewhere { name, lsn: *lsn, asked }),
        _ => Err(WishError::NotHalted(name)),
    }
}

pub(crate) fn skip<S: Store + ?Sized>(
    store: &S,
    name: &InstanceName,
    skip: &WantedSkip,
    now: Timestamp,
) -> Result<Wished, WishError> {
    assert!(skip.is_sound(), "messages are named once and in order");
    let _held = store.hold_registrations().map_err(InstanceError::from)?;
    loop {
        let (revision, mut entry) = found(store, name)?;
        check_stands_at(&entry, skip.lsn)?;
        if let Some(standing) = &entry.upgrades.wanted {
            return if standing.skip.as_ref() == Some(skip) {
                Ok(Wished::Same(standing.clone()))
            } else {
                Err(WishError::AnotherStands { name: name.clone(), standing: Box::new(standing.clone()) })
            };
        }
        let wish = entry.upgrades.want_skip(skip.clone(), now);
        if put_entry(store, Some(revision), &entry)?.is_some() {
            return Ok(Wished::New(wish));
        }
    }
}

pub(crate) fn cancel<S: Store + ?Sized>(store: &S, name: &InstanceName) -> Result<Cancelled, InstanceError> {
    let _held = store.hold_registrations()?;
    loop {
        let (revision, mut entry) = found(store, name)?;
        let cancelled = entry.upgrades.cancel();
        if cancelled == Cancelled::NoWish || put_entry(store, Some(revision), &entry)?.is_some() {
            return Ok(cancelled);
        }
    }
}
