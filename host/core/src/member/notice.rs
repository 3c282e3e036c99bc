//! What a member has to tell its operator.

use core::time::Duration;

use crate::{Blocked, Epoch, Fault, InstanceName, Lsn, Mend, ReplicaIndex, Upgrade};

/// What a member has to tell its operator. How it is said is the driver's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// A checkpoint was restored.
    Restored(Lsn),
    /// A checkpoint can't be used.
    Unusable {
        /// Which.
        lsn: Lsn,
        /// Why.
        reason: String,
    },
    /// The log was trimmed beyond what this replica has; it begins anew from a checkpoint.
    BeginsAnew(Lsn),
    /// All that is durable was applied.
    CaughtUp(Lsn),
    /// A reign is of another engine than this replica.
    OtherEngine {
        /// The reign.
        epoch: Epoch,
        /// Its first record.
        lsn: Lsn,
    },
    /// This replica was equal to the log behind records of another engine that it has handled itself.
    EnginesAgree(Lsn),
    /// Nobody is primary, and this replica may not be: it is not known whether it does what the engine of the last reign did.
    EngineInDoubt {
        /// The reign that is over.
        over: Epoch,
        /// The first record of which that is not known.
        since: Lsn,
    },
    /// The replica differs from the log, which the operator allows.
    DivergenceAllowed(crate::Divergence),
    /// Nobody else took over, so this replica does although its output takes nothing.
    TakesWhatWasLeft,
    /// This replica is primary.
    BecamePrimary {
        /// Its reign.
        epoch: Epoch,
        /// The record that begins it.
        lsn: Lsn,
    },
    /// The wall clock was behind the last record, by so many nanoseconds.
    ClockBehind(i128),
    /// The wall clock jumped by so many nanoseconds.
    ClockJumped(i128),
    /// Peers don't take their messages.
    Blocked(Blocked),
    /// The log takes nothing for the time being.
    LogStands {
        /// What was the matter last.
        reason: String,
        /// For how long.
        waited: Duration,
    },
    /// The log goes on.
    LogGoesOn,
    /// A peer's name stands for another instance now.
    Rebound {
        /// The peer.
        name: InstanceName,
        /// Messages to the old instance that are dropped.
        dropped: u64,
        /// Calls to it that fail.
        failed_calls: u64,
    },
    /// The replica that was asked for a checkpoint is gone.
    AskedOneIsGone(ReplicaIndex),
    /// This replica can't take the checkpoint that is due.
    NoCheckpoint {
        /// At which record.
        lsn: Lsn,
        /// Why.
        reason: String,
    },
    /// The checkpoint counts, and what it makes unnecessary could not be removed.
    NotTidied {
        /// The checkpoint.
        lsn: Lsn,
        /// Why.
        reason: String,
    },
    /// It can't be found out which other replicas there are.
    OthersUnknown,
    /// The output takes nothing, so that another replica is to reign.
    StepsDownForOutput,
    /// Peers did not take the last messages of an instance that has finished.
    Undelivered(u64),
    /// Standbys don't have the module of a wish at hand in time; the upgrade goes on without them, and they load it late.
    NotReady(Vec<ReplicaIndex>),
    /// Handlers wait that can't go on in another module, so an upgrade waits.
    UpgradeWaits {
        /// The wish.
        attempt: u64,
        /// Which handlers.
        report: String,
    },
    /// The instance runs another module, or has other limits.
    Upgraded {
        /// What was done.
        upgrade: Upgrade,
        /// The record of it.
        lsn: Lsn,
    },
    /// The instance stands at a record that its guest can't handle, and will go on behind it: a mend of it is in the log, or
    /// wished for.
    ToBeMended(Lsn),
    /// The instance goes on behind a record that it stood at.
    Mended {
        /// What was done.
        mend: Mend,
        /// The record of it.
        lsn: Lsn,
    },
    /// The instance goes on as it was.
    UpgradeRefused {
        /// The wish.
        attempt: u64,
        /// Why.
        fault: Fault,
    },
    /// Another replica is primary.
    Deposed {
        /// The reign that is over.
        own: Epoch,
        /// The reign that ended it.
        by: Epoch,
    },
}
