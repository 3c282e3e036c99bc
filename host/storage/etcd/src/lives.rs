//! How often hosts have said that they are alive.

use std::collections::HashMap;

use ambrosia_shared_log::{Answered, HostId};
use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    error::Failed,
    heads::LOGS_MAX,
    layout::{Layout, damaged},
    messages::{Compare, Entry, Range, Step, Txn},
    office::{Office, Way, found},
};

/// Hosts of one page.
const PAGE: u64 = 1000;

/// Says that a host is alive, if it does, and reads of others.
pub(crate) async fn perform(
    office: &Office,
    said: Option<(HostId, u64)>,
    of: &[HostId],
    until: Instant,
) -> Result<Answered, Failed> {
    let layout = &office.layout;
    let put = said.map(|(host, beats)| Step::Put(layout.host(host), Bytes::copy_from_slice(&beats.to_le_bytes())));
    let is_many = of.len() > LOGS_MAX;
    let mut steps: Vec<_> = put.into_iter().collect();
    let puts = steps.len();
    if !is_many {
        steps.extend(of.iter().map(|host| Step::Read(Range::of(layout.host(*host)))));
    }
    // An empty one would be no request.
    if steps.is_empty() {
        steps.push(Step::Read(Range { keys_only: true, ..Range::of(layout.store()) }));
    }
    let (mut session, outcome) = office.transact(Way::Quick, &Txn::of(steps), until).await?;
    let mut entries = Vec::new();
    if is_many {
        (session, entries) = office.all(Way::Quick, Range::under(&layout.hosts()), PAGE, until).await?;
    } else if !of.is_empty() {
        for brought in outcome.brought.into_iter().skip(puts) {
            entries.extend(found(brought)?.entries);
        }
    }
    let prefix = layout.hosts();
    let told = |entry: &Entry| {
        let beats: [u8; 8] = entry.value[..].try_into().map_err(|_| damaged(&entry.key))?;
        Ok::<_, Failed>((Layout::host_in(&entry.key, &prefix)?, u64::from_le_bytes(beats)))
    };
    let beats = entries.iter().map(told).collect::<Result<HashMap<_, _>, _>>()?;
    let mut wanted: Vec<_> = of.iter().filter_map(|host| Some((*host, *beats.get(host)?))).collect();
    wanted.dedup();
    Ok(Answered::Beats { session, beats: wanted })
}

/// Which hosts there are, and the change by which each has said last that it is alive.
pub(crate) async fn all(office: &Office, until: Instant) -> Result<HashMap<Bytes, u64>, Failed> {
    let range = Range { keys_only: true, ..Range::under(&office.layout.hosts()) };
    let (_, entries) = office.all(Way::Bulk, range, PAGE, until).await?;
    Ok(entries.into_iter().map(|entry| (entry.key, entry.changed)).collect())
}

/// Forgets one that has not said anything since.
pub(crate) async fn forget(office: &Office, key: &Bytes, changed: u64, until: Instant) -> Result<(), Failed> {
    let txn = Txn {
        compare: vec![Compare::Changed(key.to_vec(), changed)],
        success: vec![Step::Delete(key.to_vec(), Vec::new())],
        failure: Vec::new(),
    };
    office.transact(Way::Bulk, &txn, until).await?;
    Ok(())
}
