//! A store as whoever uses one sees it: the registry of instances, and of each log its records, checkpoints and members.
//!
//! **Architecture Invariant:** nothing here knows how anything is kept. What an operator has to look for is named as text,
//! and what is handed out is behind a trait; so registration, recovery and tools are the same on every store.

use std::{collections::BTreeSet, fmt, path::Path, sync::Arc};

use ambrosia_core::{Epoch, InstanceUuid, Lsn, Record, ReplicaIndex};

use crate::{BlobStore, Checkpoints, Hosts, IoError, LogError, LogStore, Members, Registry, Relayed, Rollback};

/// Names a log: it begins when an instance is registered, and one that is registered anew gets another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LogId(pub InstanceUuid);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where instances, their logs and their modules are kept. Instances by name are in [`crate::Instances`].
pub trait Store: Send + Sync {
    /// Small named values.
    fn registry(&self) -> &dyn Registry;

    /// Modules.
    fn blobs(&self) -> &dyn BlobStore;

    /// The same store for whoever only looks. Logs and checkpoints that are had from it write nothing at all: not even what
    /// everybody shares is filled, when nobody has used a log since the machine started. Nothing can be written by it.
    fn looking(&self) -> Arc<dyn Store>;

    /// A log. Each call gives a handle of its own: one for each replica.
    fn log(&self, id: LogId) -> Result<Arc<dyn LogStore>, LogError>;

    /// The checkpoints of a log.
    fn checkpoints(&self, id: LogId) -> Result<Arc<dyn Checkpoints>, LogError>;

    /// The replicas of a log.
    fn members(&self, id: LogId) -> Result<Arc<dyn Members>, LogError>;

    /// The hosts that take places by themselves.
    fn hosts(&self) -> &dyn Hosts;

    /// All records of a log from `from` on, durable or not, without taking part in it: for tools. Damage is the last item,
    /// as an error. A log that is being written meanwhile seems to end somewhere near its end.
    fn scan(&self, id: LogId, from: Lsn) -> Result<LogScan, LogError>;

    /// All logs, also those that no instance has, but not what [`Store::remove_orphans`] removes in any case.
    fn logs(&self) -> Result<Vec<LogId>, IoError>;

    /// Where a log is, for people.
    fn place_of(&self, id: LogId) -> String;

    /// Keeps others from registering and deregistering until it is dropped.
    fn hold_registrations(&self) -> Result<Box<dyn HeldRegistrations>, IoError>;

    /// Whether somebody registers or deregisters an instance just now.
    fn is_changing(&self) -> Result<bool, IoError>;

    /// Makes a log that begins with `genesis`. It is there as a whole, or not at all.
    fn create_log(&self, id: LogId, genesis: &Record) -> Result<(), IoError>;

    /// Makes a log that has these records of another store's log, one behind the other, whichever the first of them is, and which nobody
    /// has written since that epoch. There is no log of that name. It is of no use to anybody before all of them are there.
    ///
    /// # Errors
    /// If a record can't be had, or the log not be written. Then part of it may be there.
    fn adopt_log(
        &self,
        id: LogId,
        epoch: Epoch,
        records: &mut dyn Iterator<Item = Result<Record, LogError>>,
    ) -> Result<(), LogError>;

    /// Keeps replicas of a log from beginning to run, until what is returned is dropped, as far as the store can; registrations are
    /// held meanwhile. These are known. Whatever is appended from now on is of a reign that begins later: a primary that could not be told
    /// from one that has ended goes on with none.
    ///
    /// # Errors
    /// If one of them runs.
    fn hold_still(&self, id: LogId, replicas: &BTreeSet<ReplicaIndex>) -> Result<Held, CloseError>;

    /// Removes what was left of logs when a registration or a deregistration was cut short. `known` are the logs that
    /// instances have; if these are not all of them, only what is left over for certain is removed.
    fn remove_orphans(&self, known: &BTreeSet<LogId>, is_all_known: bool) -> Result<(), IoError>;

    /// Closes a log for good: no replica runs, and none begins to until the answer is dropped. From now on the log may be
    /// removed once no instance has it. `None` if there is no such log.
    fn close_log(&self, id: LogId, replicas: &BTreeSet<ReplicaIndex>)
    -> Result<Option<Box<dyn ClosedLog>>, CloseError>;

    /// Whether it sees at once that the process of a replica has ended. Where it does not, a primary whose process has ended is
    /// vacant once it was silent for [`crate::HEARTBEAT_SILENCE`], unless something else shows it.
    fn sees_processes(&self) -> bool {
        true
    }

    /// Sees whether a log has what was durable in it, as far as whoever has told knows, or this machine, which tells then.
    ///
    /// # Errors
    /// [`LogError::Lost`] if it has not; and if that can't be found out.
    fn check_kept(&self, _: LogId) -> Result<(), LogError> {
        Ok(())
    }

    /// Logs of which hosts have found that the store lost what was durable in them. No replica of them runs until that is accepted.
    fn rollbacks(&self) -> Result<Vec<Rollback>, IoError> {
        Ok(Vec::new())
    }

    /// Has a log go on with what the store has of it, if that was found; what was given up.
    ///
    /// # Errors
    /// If the log is gone, or the store can't be used. Then nothing is given up.
    fn accept_rollback(&self, _: LogId) -> Result<Option<Rollback>, LogError> {
        Ok(None)
    }

    /// Whether what many want of it at once is asked for together, elsewhere: whoever waits for it takes nothing from others.
    fn asks_together(&self) -> bool {
        false
    }

    /// What whoever begins to run on it should know, such as that one machine holds all that is kept.
    fn caution(&self) -> Option<String> {
        None
    }

    /// What a host passes on of it to those that reach the host alone; `None` if they could not use it.
    fn relayed(&self) -> Option<Arc<dyn Relayed>> {
        None
    }

    /// A directory of this machine for what can be made again at any time, such as compiled modules. It is no part of what
    /// the store keeps; `None` if it has none.
    fn cache(&self) -> Option<&Path>;
}

/// Held until dropped.
pub type Held = Box<dyn Send + Sync>;

/// Registrations that are held until it is dropped.
pub trait HeldRegistrations: Send + Sync {
    /// Goes on holding them. Whoever does something that takes long says so again and again, since a store of several machines takes him
    /// for gone otherwise. False if it did, and others may have registered or deregistered since.
    fn renew(&mut self) -> Result<bool, IoError> {
        Ok(true)
    }
}

/// A lock that goes with its process, and with nothing else.
impl HeldRegistrations for Held {}

/// A log that nobody uses any more, and nobody may.
pub trait ClosedLog: Send {
    /// That it is closed still: a process that stood still may have been taken for gone.
    ///
    /// # Errors
    /// If it is not, or that can't be seen.
    fn check(&self) -> Result<(), IoError> {
        Ok(())
    }

    /// Removes it with its checkpoints.
    fn remove(self: Box<Self>) -> Result<(), IoError>;
}

/// A log can't be closed.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// Somebody uses it.
    #[error("{what} is running: end it first")]
    Running {
        /// What runs: a replica, or a primary.
        what: String,
    },
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
}

/// The records that [`Store::scan`] finds.
pub type LogScan = Box<dyn Iterator<Item = Result<PlacedRecord, LogError>> + Send>;

/// A record and where it stands.
#[derive(Clone, Debug)]
pub struct PlacedRecord {
    /// The record.
    pub record: Record,
    /// Where it is, for people.
    pub place: String,
}
