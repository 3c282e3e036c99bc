//! How the life of a member ends.

use crate::{Divergence, Fault, Lsn, RecordError};

/// How the life of a member ended. The log is intact in every case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The guest finished the instance, and all its last messages were taken or their time ran out.
    Finished {
        /// Exit code.
        code: i32,
        /// The record that brought it about.
        lsn: Lsn,
    },
    /// The operator stopped it.
    Stopped {
        /// Whether it was primary and has handed over.
        reigned: bool,
    },
    /// The guest failed; the instance stands still.
    Halted {
        /// How.
        fault: Fault,
        /// The record that it failed at.
        lsn: Lsn,
    },
    /// The primary has handed over to another module, and this replica can't.
    UpgradeFailed {
        /// Why.
        fault: Fault,
        /// The record of the upgrade.
        lsn: Lsn,
    },
    /// The replica is not what the log says.
    Diverged(Divergence),
    /// The log could not be written.
    LogFailed(String),
    /// The log was trimmed beyond what this replica has, and no checkpoint is known that goes on from there.
    Overtaken {
        /// The record that was to be read.
        asked: Lsn,
        /// The first that there is.
        first: Lsn,
    },
    /// The store was replaced or removed.
    StoreLost,
    /// The log holds nothing.
    NoGenesis,
    /// A record can't be used.
    BadRecord {
        /// Which.
        lsn: Lsn,
        /// Why.
        error: RecordError,
    },
    /// No checkpoint can be used, and the log does not go back to its beginning.
    NothingToBeginAt {
        /// First record of the log.
        first: Lsn,
        /// Why each checkpoint can't be used, a line each.
        reasons: String,
    },
}
