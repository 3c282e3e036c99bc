//! A store that does not have any more what was durable in it, such as one that was restored from a backup.

use ambrosia_core::{Epoch, Lsn};

use crate::LogId;

/// What a host has found of a log. No replica of it runs until that is accepted: what was lost was seen outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rollback {
    /// The log.
    pub log: LogId,
    /// A record that was durable.
    pub had: Lsn,
    /// The newest epoch that was known then.
    pub epoch: Epoch,
    /// Which machine knows that.
    pub found_by: String,
    /// What it has found, for people.
    pub reason: String,
}
