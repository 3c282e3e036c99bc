//! Removing: what is no longer in a log, and whole logs. What is much goes in slices, for etcd does nothing else meanwhile.

use ambrosia_core::Lsn;
use ambrosia_shared_log::Answered;
use ambrosia_storage::LogId;
use tokio::time::Instant;

use crate::{
    error::Failed,
    layout::{Fence, Head, Layout, StoredGroup},
    line::Effect,
    messages::{Compare, Range, Step, Txn, behind},
    office::{Office, Shared, Way, behind_key, found},
};

/// Keys of one slice.
const SLICE: u64 = 1000;

/// Removes groups that end before a record. The last group stays.
pub(crate) async fn trim(office: &Shared, log: LogId, before: Lsn, until: Instant) -> Result<Answered, Failed> {
    loop {
        if trim_slice(office, log, before, until).await? {
            return Ok(Answered::Trimmed);
        }
        if Instant::now() >= until {
            return Err(Failed::undone("there is more to trim than one request takes"));
        }
    }
}

/// Removes some of them. Whether that were all.
async fn trim_slice(office: &Office, log: LogId, before: Lsn, until: Instant) -> Result<bool, Failed> {
    let layout = &office.layout;
    let (groups, end) = (layout.groups(log), behind(&layout.groups(log)));
    let one = |key: Vec<u8>| Step::Read(Range { limit: 1, ..Range::between(key, end.clone()) });
    let slice = Range { limit: SLICE, keys_only: true, ..Range::between(groups.clone(), end.clone()) };
    let txn =
        Txn::of(vec![Step::Read(Range::under(&layout.head(log))), one(layout.group(log, before)), Step::Read(slice)]);
    let (_, outcome) = office.transact(Way::Bulk, &txn, until).await?;
    let revision = outcome.header.revision;
    let [head, kept, slice] = outcome.brought()?;
    let (head, slice) = (found(head)?, found(slice)?);
    let made = head.entries.first().map(|fence| fence.made);
    let (Some(there), Some(made)) = (Head::decode(&head.entries)?, made) else { return Ok(true) };
    // The first group to stay: that which holds the record, or the last one; or the one behind a slice, if that comes first.
    let mut kept = found(kept)?.one();
    if kept.is_none() {
        let last = Range { revision, ..Range::of(layout.group(log, there.last.position.lsn)) };
        kept = office.range(Way::Bulk, &last, until).await?.1.one();
    }
    let Some(mut kept) = kept else { return Err(crate::layout::damaged(&groups).into()) };
    let is_all = slice.entries.last().is_none_or(|last| !slice.has_more || last.key >= kept.key);
    if let Some(last) = slice.entries.last().filter(|_| !is_all) {
        let next = Range { revision, limit: 1, ..Range::between(behind_key(&last.key), end) };
        kept = office.range(Way::Bulk, &next, until).await?.1.one().unwrap_or(kept);
    }
    let (last, stored) = StoredGroup::decode(&kept.key, kept.value)?;
    let first = stored.after.lsn.next();
    if first == there.fence.first {
        return Ok(is_all);
    }
    let fence = Fence { first, trimmed: stored.bytes_before, ..there.fence };
    let key = layout.fence(log);
    let txn = Txn {
        // It is the same log, of which nothing was trimmed meanwhile.
        compare: vec![Compare::Value(key.clone(), there.fence.encode()), Compare::Made(key.clone(), made)],
        success: vec![
            Step::Put(key, fence.encode()),
            Step::Delete(groups, kept.key.to_vec()),
            Step::Delete(layout.parts(log), layout.parts_from(log, last)),
        ],
        failure: Vec::new(),
    };
    let (_, outcome) = office.transact(Way::Bulk, &txn, until).await?;
    Ok(outcome.succeeded && is_all)
}

/// Removes a log: its head, by which it is there, and then what else there is.
pub(crate) async fn remove(office: &Shared, log: LogId, until: Instant) -> Result<Answered, Failed> {
    let layout = &office.layout;
    let txn = Txn {
        compare: vec![Compare::There(layout.fence(log))],
        success: vec![Step::delete_under(&layout.head(log)), Step::Put(layout.gone(log), "1".into())],
        failure: Vec::new(),
    };
    let (_, outcome) = office.transact(Way::Bulk, &txn, until).await?;
    office.heads().remove(&log);
    if outcome.succeeded
        && let Err(Failed(fault)) = finish(office, log, until).await
    {
        // It is gone; its groups go with the next look for such.
        tracing::debug!("groups of log {log}, which was removed, stay for a while: {fault}");
    }
    Ok(Answered::Removed(outcome.succeeded))
}

/// Removes what is left of a log that was removed.
pub(crate) async fn finish(office: &Office, log: LogId, until: Instant) -> Result<(), Failed> {
    let layout = &office.layout;
    for prefix in [layout.groups(log), layout.parts(log)] {
        loop {
            let slice = Range { limit: SLICE, keys_only: true, ..Range::under(&prefix) };
            let (_, slice) = office.range(Way::Bulk, &slice, until).await?;
            let Some(last) = slice.entries.last() else { break };
            delete(office, log, Step::Delete(prefix.clone(), behind_key(&last.key)), until).await?;
        }
    }
    delete(office, log, Step::Delete(layout.gone(log), Vec::new()), until).await
}

/// Deletes as long as the log counts as removed: one that was made again under its name keeps what it has.
async fn delete(office: &Office, log: LogId, step: Step, until: Instant) -> Result<(), Failed> {
    let compare = vec![Compare::There(office.layout.gone(log)), Compare::Made(office.layout.fence(log), 0)];
    let txn = Txn { compare, success: vec![step], failure: Vec::new() };
    // Twice, it is the same.
    office.transact_with(Way::Bulk, &txn, Effect::Repeatable, until).await?;
    Ok(())
}

/// Logs that were removed and may have left something.
pub(crate) async fn unfinished(office: &Office, until: Instant) -> Result<Vec<LogId>, Failed> {
    let prefix = office.layout.gone_logs();
    let range = Range { keys_only: true, ..Range::under(&prefix) };
    let (_, entries) = office.all(Way::Bulk, range, SLICE, until).await?;
    Ok(entries.iter().map(|entry| Layout::log_in(&entry.key, &prefix)).collect::<Result<_, _>>()?)
}
