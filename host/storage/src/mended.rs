//! Whether what a guest could not handle was delivered all the same.

use ambrosia_core::{Lsn, RecordKind, is_mended};

use crate::{LogError, LogStore};

/// Whether a mend of that record is in the log, with that chain value if it is known. A log that was trimmed behind the record
/// has gone on.
///
/// # Errors
/// If the log can't be read.
pub fn is_mended_in_log(log: &dyn LogStore, lsn: Lsn, link: Option<u64>) -> Result<bool, LogError> {
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
