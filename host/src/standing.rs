//! Whether an instance goes on that stands at a record which its guest could not handle.
//!
//! **Architecture Invariant:** the log decides. That an instance has halted is a note in the registry, and whoever comes late
//! may have written it.

use ambrosia_core::{Lsn, RecordKind, is_mended};
use ambrosia_storage::{InstanceEntry, LogError, LogStore, RecordedOutcome, Store};

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

/// Whether a mend of that record is in the log, with that chain value if it is known. A log that was trimmed behind the record
/// has gone on.
///
/// # Errors
/// If the log can't be read.
pub(crate) fn is_mended_in_log(log: &dyn LogStore, lsn: Lsn, link: Option<u64>) -> Result<bool, LogError> {
    match look_behind(log, lsn, link) {
        Err(LogError::Missing { first, .. }) if first > lsn.next() => Ok(true),
        looked => looked,
    }
}

fn look_behind(log: &dyn LogStore, lsn: Lsn, link: Option<u64>) -> Result<bool, LogError> {
    let mut tail = log.tail(lsn.next())?.fork();
    let link = link.unwrap_or(tail.link());
    let mut following = Vec::new();
    // Only records that begin reigns stand between the two.
    loop {
        let records = tail.read()?;
        let is_all = records.is_empty() || records.iter().any(|record| record.header().kind != RecordKind::Epoch);
        following.extend(records);
        if is_all {
            return Ok(is_mended(lsn, link, &following));
        }
    }
}
