//! Whether an instance goes on that stands at a record which its guest could not handle.
//!
//! **Architecture Invariant:** the log decides. That an instance has halted is a note in the registry, and whoever comes late
//! may have written it.

use ambrosia_core::Lsn;
use ambrosia_storage::{InstanceEntry, RecordedOutcome, Store, is_mended_in_log};

use crate::run::RunError;

/// The record that an instance stands at since its guest can't handle it; `None` if there is none, or its log has a mend of it.
///
/// # Errors
/// If its log can't be read.
pub fn stands_at(store: &dyn Store, entry: &InstanceEntry) -> Result<Option<Lsn>, RunError> {
    let Some(RecordedOutcome::Halted { lsn, .. }) = entry.outcome else { return Ok(None) };
    let is_mended = is_mended_in_log(&*store.log(entry.log())?, lsn, None)?;
    Ok((!is_mended).then_some(lsn))
}

/// Whether there is anything to be done by an instance: it goes on, or it stands and somebody wishes for what may mend that.
///
/// # Errors
/// If its log can't be read.
pub(crate) fn has_work(store: &dyn Store, entry: &InstanceEntry) -> Result<bool, RunError> {
    let has_finished = matches!(entry.outcome, Some(RecordedOutcome::Finished { .. }));
    Ok(!has_finished && (entry.upgrades.wanted.is_some() || stands_at(store, entry)?.is_none()))
}
