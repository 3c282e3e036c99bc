//! Travels through the life of an instance: to any record that its log still has, forwards and backwards.
//!
//! A [`Traveller`] is a replica that is nobody's: it applies the records of the log as every other one does, and compares
//! itself with each digest on its way. While it replays it takes [snapshots](snapshot) of itself, in memory, so that going
//! back is going to the one before, and forwards from there.
//!
//! **Architecture Invariant:** nothing here writes into a store, or is seen by a replica that runs.

mod error;
mod export;
mod image;
mod native;
mod observed;
mod snapshot;
mod snapshots;
mod state;
mod stretch;
mod traveller;
mod trial;

pub use error::TravelError;
pub use export::{ExportError, Exported, export};
pub use native::{Native, NativeDifference, NativeError, NativeGuest};
pub use observed::Execution;
pub use state::{NoState, state_file};
pub use traveller::{Moment, Traveller, with_stack, with_stack_for_guests};
pub use trial::{
    Brought, Change as TrialChange, Difference, Handover, NoTrial, Trial, TrialMessage, TrialPlan, TrialProgress,
    TrialStretch, TrialTrap, message_named, try_upgrade,
};
