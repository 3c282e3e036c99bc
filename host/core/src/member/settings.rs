//! What a member is told at its beginning.

use core::time::Duration;
use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{Lsn, PROMISE_KEY_BYTES, ReplicaIndex, ScheduleOptions};

/// What is kept of what newer checkpoints make unnecessary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keep {
    /// How many checkpoints; one at least.
    pub checkpoints: usize,
    /// The whole log.
    pub log: bool,
    /// Bytes of the log, and of the checkpoints in it, beyond what that needs: to be looked at.
    pub history_bytes: u64,
}

impl Keep {
    /// The newest checkpoints, and what a recovery needs.
    pub const fn newest(checkpoints: usize) -> Keep {
        Keep { checkpoints, log: false, history_bytes: 0 }
    }

    /// The same, and the whole log.
    pub const fn and_the_log(self) -> Keep {
        Keep { log: true, ..self }
    }

    /// The same, and so many bytes of history.
    pub const fn and_history(self, bytes: u64) -> Keep {
        Keep { history_bytes: bytes, ..self }
    }
}

/// What a member is told at its beginning, and does not change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberSettings {
    /// Which replica it is.
    pub replica: ReplicaIndex,
    /// Hash of the engine that runs its guest.
    pub engine: [u8; 32],
    /// Replay the log from its beginning, or from the oldest checkpoint if it was trimmed.
    pub from_beginning: bool,
    /// Become primary although it is not known that this engine does what that of the last reign did.
    pub allow_engine_change: bool,
    /// The record at which the replica may differ from what the log says.
    pub allow_divergence: Option<Lsn>,
    /// When checkpoints are due.
    pub schedule: ScheduleOptions,
    /// What is kept when checkpoints and the log are trimmed.
    pub keep: Keep,
    /// A replica that has not been heard of for this long may be taken for dead.
    pub silence: Duration,
    /// What the operator has set for the guest: one MessagePack value for each name, within the limits
    /// ([`crate::Configuration::check`]). [`super::MemberInput::Configure`] sets others.
    pub configuration: BTreeMap<String, Bytes>,
    /// Random, of the operating system, and secret.
    pub entropy: [u8; PROMISE_KEY_BYTES],
}
