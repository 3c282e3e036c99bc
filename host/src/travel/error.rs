//! Why a journey can't go on.

use std::io;

use ambrosia_core::{Fault, Lsn, RecordError};
use ambrosia_storage::{InstanceError, IoError, LogError};

use crate::run::RunError;

/// Why a traveller can't get somewhere. It stays where it was, or where it got to.
#[derive(Debug, thiserror::Error)]
pub enum TravelError {
    /// The log does not go there.
    #[error("record {asked} is outside the log, which can be travelled from lsn {first} to {last}")]
    Outside {
        /// Where it was to go.
        asked: Lsn,
        /// The first place that can be reached.
        first: Lsn,
        /// The last record that is durable.
        last: Lsn,
    },
    /// Neither the log nor a checkpoint gives a beginning.
    #[error("there is nothing to begin at: the log begins at lsn {first}, and no checkpoint fits it{reasons}")]
    NothingToBeginAt {
        /// The first record of the log.
        first: Lsn,
        /// Why each checkpoint is of no use, a line each.
        reasons: String,
    },
    /// A record has another shape than its kind.
    #[error("record {lsn} of the log can't be read: {error}")]
    BadRecord {
        /// The record.
        lsn: Lsn,
        /// What is wrong with it.
        error: RecordError,
    },
    /// The log ends before the place that it says it has.
    #[error("the log ends before record {0}, which it said to have")]
    Ends(Lsn),
    /// The instance has ended, and a later record delivers something all the same.
    #[error("record {0} delivers something although the instance has ended before: the log is not that of this module")]
    AfterTheEnd(Lsn),
    /// The log says that the instance was handed over to another module, and here it can't be.
    #[error("the upgrade of record {lsn} fails here, though it did not when the record was written: {fault}")]
    Upgrade {
        /// The record.
        lsn: Lsn,
        /// Why.
        fault: Fault,
    },
    /// The module can't be had or run.
    #[error(transparent)]
    Module(#[from] RunError),
    /// The log can't be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// There is no such instance, or its registration can't be read.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The operating system gives no thread.
    #[error("a thread can't be started: {0}")]
    Thread(io::Error),
}
