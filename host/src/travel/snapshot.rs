//! What a traveller was at some record, to go back to.
//!
//! **Architecture Invariant:** a snapshot is never changed, and whoever goes on from one leaves it as it is.

use ambrosia_core::{Lsn, SharedState};
use ambrosia_storage::LogTail;

use super::image::{Holding, Layers};

/// All that a traveller is at a record.
pub(super) struct Snapshot {
    pub(super) lsn: Lsn,
    /// The replicated state.
    pub(super) state: SharedState,
    pub(super) module: [u8; 32],
    pub(super) registers: Vec<u8>,
    pub(super) layers: Layers,
    /// Stands at the next record, or a little before.
    pub(super) tail: Box<dyn LogTail>,
    pub(super) _held: Holding,
}
