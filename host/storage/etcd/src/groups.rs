//! Groups: appending and reading them.

use std::{collections::HashMap, sync::Arc};

use ambrosia_shared_log::{Answered, AppendFault, Fault, Group, LogRead, ReadFrom};
use ambrosia_storage::LogId;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    error::Failed,
    heads::{self, LOGS_MAX},
    layout::{Body, Head, PART_BYTES, StoredGroup},
    messages::{Compare, Entry, Found, Range, Step, Txn, behind},
    office::{Shared, Way, behind_key, found},
    parts,
    protobuf::Malformed,
};

/// Its parts are conditions of one transaction, of which etcd takes 128.
pub(crate) const GROUP_BYTES_MAX: usize = 96 << 20;

/// Logs that are read in one transaction: each has two steps.
const READ_LOGS_MAX: usize = LOGS_MAX / 2;

/// Groups of one log that are read first; then as many as are needed by the size of these.
const FIRST_ROWS: u64 = 4;

/// No more are read at a time.
const ROWS_MAX: u64 = 4096;

/// A group that is to be appended, and the head by which that is tried.
struct Wanted {
    at: usize,
    group: Group,
    head: Head,
}

/// What has become of one.
enum Became {
    Appended,
    /// It was not, and there is that head.
    Behind(Option<Head>),
}

pub(crate) async fn append(office: &Shared, groups: Vec<Group>, until: Instant) -> Answered {
    let mut answers: Vec<Option<Result<(), AppendFault>>> = vec![None; groups.len()];
    if let Err(Failed(fault)) = office.check_room(groups.iter().map(|group| group.bytes.len()).sum()) {
        return Answered::Appended(groups.iter().map(|_| Err(AppendFault::Failed(fault.clone()))).collect());
    }
    let mut pending = begin(office, groups, &mut answers, until).await;
    while !pending.is_empty() {
        if Instant::now() >= until {
            let fault = || Fault::Unavailable("the heads of the logs change all the time".to_owned());
            pending.iter().for_each(|wanted| answers[wanted.at] = Some(Err(AppendFault::Failed(fault()))));
            break;
        }
        let mut tasks = JoinSet::new();
        for part in in_parts(std::mem::take(&mut pending)) {
            let office = Arc::clone(office);
            tasks.spawn(async move {
                let became = append_part(&office, &part, until).await;
                (part, became)
            });
        }
        while let Some(ended) = tasks.join_next().await {
            let (part, became) = ended.expect("no task is ended from outside");
            match became {
                Ok(became) => {
                    for (wanted, became) in part.into_iter().zip(became) {
                        match settle(office, wanted, became) {
                            Settled::Answered(at, answer) => answers[at] = Some(answer),
                            Settled::Again(again) => pending.push(again),
                        }
                    }
                }
                Err(Failed(fault)) => {
                    part.iter().for_each(|wanted| answers[wanted.at] = Some(Err(AppendFault::Failed(fault.clone()))));
                }
            }
        }
    }
    Answered::Appended(answers.into_iter().map(|answer| answer.expect("each has one by now")).collect())
}

/// What is to be tried, by heads that are known, or read where those known would not take the group. What is decided by that already is answered.
async fn begin(
    office: &Shared,
    groups: Vec<Group>,
    answers: &mut [Option<Result<(), AppendFault>>],
    until: Instant,
) -> Vec<Wanted> {
    let known = |group: &Group| office.heads().get(&group.log).copied().filter(|head| head.takes(group));
    let unknown: Vec<LogId> = groups.iter().filter(|group| known(group).is_none()).map(|group| group.log).collect();
    let read = if unknown.is_empty() {
        Ok(Vec::new())
    } else {
        heads::read(office, Way::Groups, &unknown, until).await.map(|(_, heads)| heads)
    };
    let read: Result<HashMap<LogId, Option<Head>>, Failed> = read.map(|heads| unknown.into_iter().zip(heads).collect());
    let mut pending = Vec::new();
    for (at, group) in groups.into_iter().enumerate() {
        if group.bytes.len() > GROUP_BYTES_MAX {
            answers[at] = Some(Err(AppendFault::TooLarge { max: GROUP_BYTES_MAX }));
            continue;
        }
        let head = match &read {
            Ok(read) => read.get(&group.log).copied().unwrap_or_else(|| office.heads().get(&group.log).copied()),
            Err(Failed(fault)) => {
                answers[at] = Some(Err(AppendFault::Failed(fault.clone())));
                continue;
            }
        };
        match head {
            Some(head) if head.takes(&group) => pending.push(Wanted { at, group, head }),
            head => answers[at] = Some(Err(refused(&group, head))),
        }
    }
    pending
}

fn refused(group: &Group, head: Option<Head>) -> AppendFault {
    AppendFault::Refused(head.map(|head| head.told(group.log)))
}

/// The answer, or what is to be tried once more.
enum Settled {
    Answered(usize, Result<(), AppendFault>),
    /// Another part of the head has changed.
    Again(Wanted),
}

fn settle(office: &Shared, wanted: Wanted, became: Became) -> Settled {
    let Wanted { at, group, head } = wanted;
    match became {
        Became::Appended => {
            let last = head.behind(&group);
            office.heads().insert(group.log, Head { last, ..head });
            Settled::Answered(at, Ok(()))
        }
        Became::Behind(Some(head)) if head.takes(&group) => Settled::Again(Wanted { at, group, head }),
        Became::Behind(head) => {
            match head {
                Some(head) => drop(office.heads().insert(group.log, head)),
                None => drop(office.heads().remove(&group.log)),
            }
            Settled::Answered(at, Err(refused(&group, head)))
        }
    }
}

/// As many as one request takes. One that is in parts is alone, for its parts are conditions.
fn in_parts(pending: Vec<Wanted>) -> Vec<Vec<Wanted>> {
    let mut parts: Vec<Vec<Wanted>> = Vec::new();
    let mut bytes = usize::MAX;
    for wanted in pending {
        let length = wanted.group.bytes.len();
        let fits = bytes.checked_add(length).is_some_and(|bytes| bytes <= PART_BYTES);
        match parts.last_mut().filter(|part| fits && part.len() < LOGS_MAX) {
            Some(part) => {
                bytes += length;
                part.push(wanted);
            }
            None => {
                bytes = length;
                parts.push(vec![wanted]);
            }
        }
    }
    parts
}

/// Appends groups of several logs, each on its own condition, in one transaction.
async fn append_part(office: &Shared, part: &[Wanted], until: Instant) -> Result<Vec<Became>, Failed> {
    let layout = &office.layout;
    let mut steps = Vec::with_capacity(part.len());
    for Wanted { group, head, .. } in part {
        let log = group.log;
        let name = parts::put(office, group, Some(log), until).await?;
        let (fence, last) = (layout.fence(log), layout.last(log));
        let mut compare =
            vec![Compare::Value(fence, head.fence.encode()), Compare::Value(last.clone(), head.last.encode())];
        compare.extend(parts::conditions(layout, group, name));
        steps.push(Step::Transact(Txn {
            compare,
            success: vec![
                Step::Put(last, head.behind(group).encode()),
                Step::Put(layout.group(log, group.last.lsn), StoredGroup::of(group, head.last.bytes, name).encode()),
            ],
            failure: vec![Step::Read(Range::under(&layout.head(log)))],
        }));
    }
    let (_, outcome) = office.transact(Way::Groups, &Txn::of(steps), until).await?;
    if outcome.brought.len() != part.len() {
        return Err(Malformed.into());
    }
    let became = outcome.brought.into_iter().map(|brought| {
        let outcome = brought.outcome()?;
        if outcome.succeeded {
            return Ok(Became::Appended);
        }
        let [head] = outcome.brought()?;
        Ok(Became::Behind(Head::decode(&found(head)?.entries)?))
    });
    became.collect()
}

/// Reads groups and heads as they are at one moment, of as many logs as go into one transaction.
pub(crate) async fn read(
    office: &Shared,
    wanted: &[ReadFrom],
    bytes: usize,
    until: Instant,
) -> Result<Answered, Failed> {
    let wanted = &wanted[..wanted.len().min(READ_LOGS_MAX)];
    let limit = if wanted.len() == 1 { FIRST_ROWS } else { 1 };
    // Each group has a byte at least.
    let limit = |of: &ReadFrom| limit.min(of.bytes as u64);
    let steps = wanted.iter().flat_map(|of @ ReadFrom { log, from, .. }| {
        let from = office.layout.group(*log, *from);
        let head = Range::under(&office.layout.head(*log));
        [Step::Read(head), Step::Read(rows(office, *log, from, limit(of), 0))]
    });
    let (session, outcome) = office.transact(Way::Bulk, &Txn::of(steps.collect()), until).await?;
    let revision = outcome.header.revision;
    let mut brought = outcome.brought.into_iter();
    let (mut logs, mut left) = (Vec::new(), bytes);
    for of @ ReadFrom { log, .. } in wanted {
        let (head, page) = brought.next().zip(brought.next()).ok_or(Malformed)?;
        if left == 0 {
            break;
        }
        let head = Head::decode(&found(head)?.entries)?.map(|head| head.told(*log));
        let groups =
            groups_behind(office, *log, (found(page)?, limit(of)), revision, left.min(of.bytes), until).await?;
        left = left.saturating_sub(groups.iter().map(|group| group.bytes.len()).sum());
        logs.push(LogRead { head, groups });
    }
    Ok(Answered::Read { session, logs })
}

/// The groups of a first page, which has at most `limit` of them, and of those behind it, as they were at that revision.
async fn groups_behind(
    office: &Shared,
    log: LogId,
    (mut page, mut limit): (Found, u64),
    revision: u64,
    bytes: usize,
    until: Instant,
) -> Result<Vec<Group>, Failed> {
    let (mut groups, mut had) = (Vec::new(), 0);
    loop {
        let last_key = page.entries.last().map(|entry| entry.key.clone());
        for Entry { key, value, .. } in page.entries {
            if had >= bytes {
                return Ok(groups);
            }
            let (last, stored) = StoredGroup::decode(&key, value)?;
            had += stored.length() as usize;
            let contents = match &stored.body {
                Body::Here(bytes) => bytes.clone(),
                Body::Parts(length, name) => parts::read(office, log, last, (*length, *name), revision, until).await?,
            };
            groups.push(stored.group(log, last, contents));
        }
        let Some(last_key) = last_key.filter(|_| page.has_more && had < bytes) else { return Ok(groups) };
        limit = next_rows(bytes - had, had / groups.len().max(1), limit);
        (_, page) = office.range(Way::Bulk, &rows(office, log, behind_key(&last_key), limit, revision), until).await?;
    }
}

/// Rows of groups of a log from a key on, as they were at that revision.
fn rows(office: &Shared, log: LogId, from: Vec<u8>, limit: u64, revision: u64) -> Range {
    Range { limit, revision, ..Range::between(from, behind(&office.layout.groups(log))) }
}

/// How many more rows may be needed for so many bytes, by the size of those before.
pub(crate) fn next_rows(bytes: usize, each: usize, before: u64) -> u64 {
    let wanted = (bytes / each.max(1)) as u64 + 1;
    wanted.min(before * 8).min(ROWS_MAX)
}
