//! Wishes for another module, made and taken back by operators.
//!
//! **Architecture Invariant:** a wish that stands implies its module in the blobs: both are written while the registrations
//! are held, so that no deregistration removes the one under the other.

use ambrosia_core::{InstanceName, Lsn, Timestamp};

use crate::{
    BlobHash, Cancelled, InstanceEntry, InstanceError, MODULES_MAX, RecordedOutcome, StandingWish, Store, Wanted,
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
    #[error("instance {name} has finished with exit code {code}, so it runs no module any more")]
    Finished {
        /// The instance.
        name: InstanceName,
        /// The code.
        code: i32,
    },
    /// The instance has halted.
    #[error(
        "instance {name} has halted at lsn {lsn}: {reason}. An instance that has halted can't be upgraded yet; its log is \
         intact"
    )]
    Halted {
        /// The instance.
        name: InstanceName,
        /// The record that it can't handle.
        lsn: Lsn,
        /// Why.
        reason: String,
    },
    /// Somebody else's wish stands.
    #[error(
        "another upgrade of instance {name} is under way, to module {} (attempt {}): wait for it, or take it back with \
         `ambrosia-host upgrade --instance {name} --cancel`",
        BlobHash(.standing.to), .standing.attempt
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
        check(&entry)?;
        if let Some(standing) = &entry.upgrades.wanted {
            return if (standing.from, standing.to, &standing.wanted) == (from.0, to.0, wanted) {
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

/// Whether the instance can run another module.
fn check(entry: &InstanceEntry) -> Result<(), WishError> {
    let name = entry.name.clone();
    match &entry.outcome {
        None => Ok(()),
        Some(RecordedOutcome::Finished { code, .. }) => Err(WishError::Finished { name, code: *code }),
        Some(RecordedOutcome::Halted { lsn, reason, .. }) => {
            Err(WishError::Halted { name, lsn: *lsn, reason: reason.clone() })
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
