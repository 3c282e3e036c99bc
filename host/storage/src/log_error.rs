//! What can go wrong with a log, by what one can do about it.
//!
//! **Architecture Invariant:** damage is never mapped to "end of the log".

use ambrosia_core::{Epoch, Lsn};

use crate::IoError;

/// Reading a log failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system refused. Tried again, it may work.
    #[error(transparent)]
    Io(#[from] IoError),
    /// Something that was durable can't be read back. Nothing was changed.
    #[error(
        "the log is damaged: {place}, record {lsn}: {reason}; nothing was cut off; restore the file from \
         a copy, or copy the directory away before you repair it"
    )]
    Corrupt {
        /// Where the damaged part begins.
        place: String,
        /// The record expected there.
        lsn: Lsn,
        /// What is wrong with it.
        reason: String,
    },
    /// Written by another version of this program.
    #[error("{place}: {reason}; use the version of ambrosia-host that wrote it")]
    OtherVersion {
        /// Where it is.
        place: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// The log does not have the record that was asked for.
    #[error("the log in {place} has no record {asked}: it goes from {first} {}", up_to(*last))]
    Missing {
        /// Where the log is.
        place: String,
        /// The record asked for.
        asked: Lsn,
        /// First record of the log.
        first: Lsn,
        /// Last record of the log; the highest number there is if that is not known.
        last: Lsn,
    },
    /// The log is not there.
    #[error("the log is gone: there is no {place}; restore it from a copy, or deregister the instance")]
    Gone {
        /// Where it should be.
        place: String,
    },
    /// The shared page that this process has opened is not the one of the log any more.
    #[error(
        "the store was replaced or removed under this replica: {place} is not the file that it opened; start it again to \
         go on with what lies there now"
    )]
    Replaced {
        /// What was replaced.
        place: String,
    },
    /// The store does not have what was durable in it: an older state of it was restored, or it was written over.
    #[error("{reason}")]
    Lost {
        /// What was there, what is, and what to do.
        reason: String,
    },
    /// The shared page of the log was removed while replicas run.
    #[error("{place} was replaced while replicas of the instance run: end all their processes, then start them again")]
    ControlLost {
        /// What was replaced.
        place: String,
    },
}

fn up_to(last: Lsn) -> String {
    if last == Lsn(u64::MAX) { "on".to_owned() } else { format!("to {last}") }
}

/// Becoming the writer of a log failed.
#[derive(Debug, thiserror::Error)]
pub enum AcquireError {
    /// Another candidate takes over: wait for its reign to end.
    #[error("another replica is becoming primary with epoch {epoch}")]
    Contended {
        /// The epoch that it will have, or has.
        epoch: Epoch,
    },
    /// The log can't be read or written.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl From<IoError> for AcquireError {
    fn from(error: IoError) -> Self {
        AcquireError::Log(error.into())
    }
}

/// A record was not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendError {
    /// Another replica is primary: drop the state, build it anew from the log, be a standby.
    #[error("another replica became primary with epoch {by}")]
    Fenced {
        /// The epoch of its reign, or a later one.
        by: Epoch,
    },
    /// The log failed before: drop the state, build it anew from the log.
    #[error("the log failed: {0}")]
    Failed(String),
    /// The caller's fault: the record does not follow the one before it. The writer stands as it was.
    #[error("record {found} of epoch {epoch} does not follow the log, which goes on with record {expected}: {reason}")]
    Misplaced {
        /// Lsn of the record.
        found: Lsn,
        /// Epoch of the record.
        epoch: Epoch,
        /// Lsn that was next.
        expected: Lsn,
        /// What does not fit.
        reason: &'static str,
    },
}
