//! The state of an application at a record, and why there is none.
//!
//! **Architecture Invariant:** a state is saved by a copy of the guest, which is dropped behind that: the guest itself can't
//! tell that it was looked at.

use ambrosia_core::{Fault, Lsn};
use ambrosia_engine::SavedState;
use ambrosia_storage::BlobHash;

use super::error::TravelError;

/// A copy may take so many times the fuel of a delivery to save its state: a large state takes more than one, and a `save` that
/// loops ends all the same.
pub(super) const FUEL_TIMES: u64 = 10;

/// Why there is no state to be seen at a record.
#[derive(Debug, thiserror::Error)]
pub enum NoState {
    /// The guest has called exit.
    #[error("the instance finished at lsn {0}, so its code gives no state any more: look at it before, at lsn {before}", before = .0.0 - 1)]
    Finished(Lsn),
    /// The guest has failed.
    #[error("the instance halted at lsn {0}, in the middle of its work, so its code gives no state there: look at it before, at lsn {before}", before = .0.0 - 1)]
    Halted(Lsn),
    /// The component is captured by no copy of its memory.
    #[error(
        "module {0} can't be copied by its memory, and its own guest is not to notice that it is looked at: it can't show its state"
    )]
    NotCopied(BlobHash),
    /// It can't be captured at this record, but at others.
    #[error("the guest can't be copied at lsn {0}: look at a record before it or behind it")]
    NotHere(Lsn),
    /// The component has none to give.
    #[error(
        "module {0} has no `interface upgrade`, by which a module gives its state: an immortal of the SDK has it if its struct is an \
         `#[ambrosia::state]`"
    )]
    NoInterface(BlobHash),
    /// The code of the guest fails at it.
    #[error("the code of the guest can't give its state at lsn {lsn}: {fault}")]
    Fails {
        /// The record.
        lsn: Lsn,
        /// What it did wrong.
        fault: Fault,
    },
    /// The copy can't be made.
    #[error(transparent)]
    Travel(#[from] TravelError),
}

impl NoState {
    /// Whether there is none at this record, as there may be at others; else the journey itself failed.
    pub fn is_of_the_record(&self) -> bool {
        !matches!(self, NoState::Travel(_))
    }
}

/// The state as a file that `Harness::load` of the SDK reads, for tests of later builds.
///
/// ```text
/// offset size field
/// 0      8    the letters "ambstate"
/// 8      4    version of this format, 1
/// 12     4    version of the state
/// 16     …    the state, as `save` of `interface upgrade` gives it
/// ```
/// Numbers are little-endian.
pub fn state_file(saved: &SavedState) -> Vec<u8> {
    const MAGIC: &[u8; 8] = b"ambstate";
    const FORMAT: u32 = 1;
    [&MAGIC[..], &FORMAT.to_le_bytes(), &saved.version.to_le_bytes(), &saved.state].concat()
}
