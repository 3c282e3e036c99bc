//! Groups that are too large for one request of etcd: parts, which count once a group names them.
//!
//! Parts are named by what is in them and by the last record of their group. So whoever puts a group again after a while puts the same,
//! and goes on where the last try has ended; and parts of a group that never came to be lie where nobody looks for records.

use std::{collections::BTreeSet, sync::Arc};

use ambrosia_shared_log::Group;
use ambrosia_storage::LogId;
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    error::Failed,
    layout::{Layout, PART_BYTES, PartsName, damaged},
    line::Effect,
    messages::{Compare, Range, Step, Txn},
    office::{Office, Shared, Way},
};

/// Parts that are on their way at a time.
const TOGETHER: usize = 4;

/// Parts of one page.
const PAGE: u64 = 4;

/// Puts the parts of a group, if it is large. They are put beside the head of that log, if one is named: so none comes behind its removal.
pub(crate) async fn put(
    office: &Shared,
    group: &Group,
    beside: Option<LogId>,
    until: Instant,
) -> Result<Option<PartsName>, Failed> {
    if group.bytes.len() <= PART_BYTES {
        return Ok(None);
    }
    let (layout, lsn) = (&office.layout, group.last.lsn);
    let name = name_of(&group.bytes);
    let there = Range { keys_only: true, ..Range::under(&layout.parts_of(group.log, lsn, name)) };
    let (_, there) = office.range(Way::Groups, &there, until).await?;
    let there: BTreeSet<_> = there.entries.into_iter().map(|entry| entry.key).collect();
    let wanted = (0..parts_in(group)).map(|number| (number, layout.part(group.log, lsn, name, number)));
    let mut wanted = wanted.filter(|(_, key)| !there.contains(&key[..])).peekable();
    let mut tasks = JoinSet::new();
    while wanted.peek().is_some() || !tasks.is_empty() {
        while let Some((number, key)) = if tasks.len() < TOGETHER { wanted.next() } else { None } {
            let bytes = group.bytes.slice(number * PART_BYTES..group.bytes.len().min((number + 1) * PART_BYTES));
            let compare = beside.map(|log| Compare::There(layout.last(log))).into_iter().collect();
            let txn = Txn { compare, success: vec![Step::Put(key, bytes)], failure: Vec::new() };
            let office = Arc::clone(office);
            // Twice, it is the same.
            tasks.spawn(
                async move { office.transact_with(Way::Groups, &txn, Effect::Repeatable, until).await.map(drop) },
            );
        }
        if let Some(ended) = tasks.join_next().await {
            let put = ended.expect("no task is ended from outside");
            // Whatever has become of the part, the group has not happened.
            put.map_err(|fault| Failed::undone(format!("a part of a large group was not put: {fault}")))?;
        }
    }
    Ok(Some(name))
}

/// That all parts are there, which a transaction checks that makes them count.
pub(crate) fn conditions(layout: &Layout, group: &Group, name: Option<PartsName>) -> Vec<Compare> {
    let numbers = name.map_or(0, |_| parts_in(group));
    let key = |number| name.map(|name| layout.part(group.log, group.last.lsn, name, number));
    (0..numbers).filter_map(key).map(Compare::There).collect()
}

fn parts_in(group: &Group) -> usize {
    group.bytes.len().div_ceil(PART_BYTES)
}

fn name_of(bytes: &Bytes) -> PartsName {
    let whole: [u8; 32] = Sha256::digest(bytes).into();
    PartsName(*whole.first_chunk().expect("it has 32"))
}

/// The bytes of a group in parts, as it was at a revision.
pub(crate) async fn read(
    office: &Office,
    log: LogId,
    last: ambrosia_core::Lsn,
    (length, name): (u64, PartsName),
    revision: u64,
    until: Instant,
) -> Result<Bytes, Failed> {
    let prefix = office.layout.parts_of(log, last, name);
    let range = Range { revision, ..Range::under(&prefix) };
    let (_, entries) = office.all(Way::Bulk, range, PAGE, until).await?;
    let mut bytes = BytesMut::new();
    for (number, entry) in entries.iter().enumerate() {
        if entry.key != office.layout.part(log, last, name, number) {
            return Err(damaged(&entry.key).into());
        }
        bytes.extend_from_slice(&entry.value);
    }
    let bytes = bytes.freeze();
    if bytes.len() as u64 != length || name_of(&bytes) != name {
        return Err(damaged(&prefix).into());
    }
    Ok(bytes)
}
