//! What can be wrong with a log on an engine.
//!
//! **Architecture Invariant:** each of these was found in a session in which a barrier has returned since, so it is not the
//! view of a node that has lost its office.

use ambrosia_core::{Epoch, Lsn};
use ambrosia_storage::LogId;

/// A log on an engine can't be read or written on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LogFault {
    /// There is no such log.
    #[error("the log is gone: the store has no log {log}; restore it from a copy, or deregister the instance")]
    Gone {
        /// The log.
        log: LogId,
    },
    /// The records asked for were trimmed.
    #[error("log {log} has no record {asked}: it goes from {first} to {last}")]
    Missing {
        /// The log.
        log: LogId,
        /// The record asked for.
        asked: Lsn,
        /// First record of the log.
        first: Lsn,
        /// Last record of the log.
        last: Lsn,
    },
    /// The store has lost what was durable in it: an older state of it was restored, or it was never as durable as it said.
    #[error(
        "the store has gone back: record {had} of log {log} was durable with epoch {epoch}, and the log ends with record {last} of epoch \
         {last_epoch} now; nothing was written to it; bring back the newer state of the store, or give up what it lacks, \
         though that was seen outside: `ambrosia-host accept-rollback`"
    )]
    WentBack {
        /// The log.
        log: LogId,
        /// A record that was durable.
        had: Lsn,
        /// The newest epoch known then.
        epoch: Epoch,
        /// The last record now.
        last: Lsn,
        /// The newest epoch now.
        last_epoch: Epoch,
    },
    /// The store has other records than it had.
    #[error(
        "the store was rewritten: log {log} has another record {lsn} than it had when that was durable; nothing was written to it; \
         bring back the state of the store that has it, or go on with the other: `ambrosia-host accept-rollback`"
    )]
    Rewritten {
        /// The log.
        log: LogId,
        /// The first record that differs, as far as is known.
        lsn: Lsn,
    },
    /// What stands there is no record.
    #[error(
        "the log is damaged: log {log}, record {lsn}: {reason}; nothing was changed; restore the store from a copy"
    )]
    Corrupt {
        /// The log.
        log: LogId,
        /// The record expected there.
        lsn: Lsn,
        /// What is wrong with it.
        reason: String,
    },
    /// The engine takes no record of that size.
    #[error("record {lsn} of log {log} has {bytes} bytes, and the engine takes {max} at most; let it take larger ones")]
    TooLarge {
        /// The log.
        log: LogId,
        /// The record.
        lsn: Lsn,
        /// Its size.
        bytes: usize,
        /// What the engine takes.
        max: usize,
    },
    /// The engine can't be reached now. Tried again, it may work.
    #[error("the store can't be reached: {0}")]
    Unavailable(String),
}

impl LogFault {
    /// Whether the store does not have what was durable in it.
    pub fn is_rollback(&self) -> bool {
        matches!(self, LogFault::WentBack { .. } | LogFault::Rewritten { .. })
    }
}
