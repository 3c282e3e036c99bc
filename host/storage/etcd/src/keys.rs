//! What is asked about keys, and what is answered.

use std::{collections::BTreeMap, sync::Arc};

use ambrosia_shared_log::{
    Answered, DepotError, KeyEntry, KeysAnswer, KeysRequest, LIST_BYTES_MAX, LIST_KEYS_MAX, Put, PutRefused, Space,
};
use ambrosia_storage::Revision;
use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    error::Failed,
    files::{Files, Missing, name},
    groups::next_rows,
    heads::LOGS_MAX,
    layout::{Contents, Layout, StoredValue},
    messages::{Compare, Entry, Found, Range, Step, Txn, behind},
    office::{Office, Shared, Way, behind_key, found},
};

/// A larger value of the store's space is put into a file.
const FILE_BYTES_MIN: usize = 16 << 10;

/// Keys that are read first, if their values are wanted.
const FIRST_ROWS: u64 = 32;

/// Bytes of notes that are put together.
const NOTES_BYTES_MAX: usize = 512 << 10;

/// Keys of one page.
const PAGE: u64 = 1000;

pub(crate) async fn perform(office: &Shared, request: KeysRequest, until: Instant) -> Result<Answered, Failed> {
    let layout = &office.layout;
    let answer = match request {
        KeysRequest::Get { space, key } => {
            let (session, entry) = loop {
                let (session, found) = office.range(Way::Bulk, &Range::of(layout.entry(space, &key)), until).await?;
                let Some(entry) = found.one() else { break (session, None) };
                if let Some(entry) = opened(office, key.clone(), entry, until).await? {
                    break (session, Some(entry));
                }
            };
            KeysAnswer::Got { session, entry }
        }
        KeysRequest::List { space, prefix, after, values } => {
            list(office, space, &prefix, after, values, until).await?
        }
        KeysRequest::Put(put) => put_entry(office, put, until).await?,
        KeysRequest::Delete { space, key, expected } => delete(office, space, &key, expected, until).await?,
        KeysRequest::Changes => {
            let (_, found) = office.range(Way::Quick, &Range::of(layout.changes()), until).await?;
            KeysAnswer::Changes(found.one().map_or(0, |entry| entry.version))
        }
        KeysRequest::Note { notes } => {
            note(office, notes, until).await?;
            KeysAnswer::Noted
        }
        KeysRequest::Notes { prefix } => {
            let all = layout.note("");
            let (_, entries) = office.all(Way::Bulk, Range::under(&layout.note(&prefix)), PAGE, until).await?;
            let note = |entry: Entry| Ok((Layout::rest_of(&entry.key, &all)?, entry.value));
            KeysAnswer::Notes(entries.into_iter().map(note).collect::<Result<_, Failed>>()?)
        }
    };
    Ok(Answered::Keys(answer))
}

/// The entry with its value, if that is in a file; `None` if it has to be read anew, for both were removed meanwhile.
async fn opened(office: &Shared, key: String, entry: Entry, until: Instant) -> Result<Option<KeyEntry>, Failed> {
    let stored = StoredValue::decode(&entry.key, entry.value.clone())?;
    let revision = Revision(entry.changed);
    let seal = match stored.contents {
        Contents::Here(value) => return Ok(Some(KeyEntry { key, revision, value })),
        Contents::File(seal) => seal,
    };
    let missing = match with_files(office, move |files| files.get(stored.claim, seal)).await? {
        Ok(value) => return Ok(Some(KeyEntry { key, revision, value })),
        Err(Missing(words)) => words,
    };
    let still = office.range(Way::Bulk, &Range::of(entry.key.to_vec()), until).await?.1.one();
    if still.is_some_and(|still| still.changed == entry.changed) {
        return Err(Failed::undone(format!("a value in etcd can't be read: {missing}")));
    }
    Ok(None)
}

/// Where a disk may be slow, and others go on meanwhile.
async fn with_files<T: Send + 'static>(
    office: &Shared,
    what: impl FnOnce(&Files) -> Result<T, DepotError> + Send + 'static,
) -> Result<T, Failed> {
    let files = office.files.clone();
    let done = tokio::task::spawn_blocking(move || what(&files)).await;
    let done = done.map_err(|error| Failed::undone(error.to_string()))?;
    done.map_err(|error| Failed::undone(error.to_string()))
}

async fn list(
    office: &Shared,
    space: Space,
    prefix: &str,
    after: Option<String>,
    values: bool,
    until: Instant,
) -> Result<KeysAnswer, Failed> {
    let (layout, all) = (&office.layout, office.layout.entry(space, ""));
    let (begin, end) = (layout.entry(space, prefix), behind(&layout.entry(space, prefix)));
    let from = after.map_or_else(|| begin.clone(), |after| behind_key(&layout.entry(space, &after))).max(begin.clone());
    if from >= end {
        let (session, _) = office.range(Way::Bulk, &Range { keys_only: true, ..Range::of(begin) }, until).await?;
        return Ok(KeysAnswer::Listed { session, entries: Vec::new(), is_all: true });
    }
    'anew: loop {
        let mut limit = if values { FIRST_ROWS } else { LIST_KEYS_MAX as u64 + 1 };
        let mut rows = Range { limit, keys_only: !values, ..Range::between(from.clone(), end.clone()) };
        let (session, mut page) = office.range(Way::Bulk, &rows, until).await?;
        rows.revision = page.header.revision;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        loop {
            let Found { entries: found, has_more, .. } = page;
            let last = found.last().map(|entry| entry.key.clone());
            let mut found = found.into_iter();
            while entries.len() < LIST_KEYS_MAX && bytes < LIST_BYTES_MAX {
                let Some(entry) = found.next() else { break };
                let key = Layout::rest_of(&entry.key, &all)?;
                let entry = if values {
                    let Some(entry) = opened(office, key, entry, until).await? else { continue 'anew };
                    entry
                } else {
                    KeyEntry { key, revision: Revision(entry.changed), value: Bytes::new() }
                };
                bytes += entry.value.len();
                entries.push(entry);
            }
            let is_full = entries.len() >= LIST_KEYS_MAX || bytes >= LIST_BYTES_MAX;
            let is_all = found.next().is_none() && !has_more;
            let Some(last) = last.filter(|_| !is_full && !is_all) else {
                return Ok(KeysAnswer::Listed { session, entries, is_all });
            };
            limit =
                next_rows(LIST_BYTES_MAX - bytes, bytes / entries.len().max(1), limit).min(LIST_KEYS_MAX as u64 + 1);
            rows = Range { key: behind_key(&last), limit, ..rows };
            page = office.range(Way::Bulk, &rows, until).await?.1;
        }
    }
}

async fn put_entry(office: &Shared, put: Put, until: Instant) -> Result<KeysAnswer, Failed> {
    let Put { space, key, expected, value, claim, beside } = put;
    let (layout, key) = (&office.layout, office.layout.entry(space, &key));
    let is_file = space == Space::Store && value.len() >= FILE_BYTES_MIN;
    if space == Space::Store && !is_file {
        office.count(value.len());
    }
    let contents = if is_file {
        Contents::File(with_files(office, move |files| files.put(claim, &value)).await?)
    } else {
        Contents::Here(value)
    };
    let look = Step::Read(Range::of(key.clone()));
    let mut compare = vec![match expected {
        None => Compare::Made(key.clone(), 0),
        Some(revision) => Compare::Changed(key.clone(), revision.0),
    }];
    compare.extend(beside.map(|log| Compare::There(layout.fence(log))));
    let mut success = vec![look.clone(), Step::Put(key.clone(), StoredValue { claim, contents }.encode())];
    success.extend((space == Space::Registry).then(|| Step::Put(layout.changes(), Bytes::new())));
    let txn = Txn { compare, success, failure: vec![look] };
    let (_, outcome) = office.transact(Way::Bulk, &txn, until).await?;
    let (succeeded, revision) = (outcome.succeeded, outcome.header.revision);
    let stood = outcome.brought.into_iter().next().ok_or(crate::protobuf::Malformed)?;
    let stood = found(stood)?.one();
    let stored = stood.as_ref().map(|entry| StoredValue::decode(&entry.key, entry.value.clone())).transpose()?;
    let is_mine = stored.as_ref().is_some_and(|stored| stored.claim == claim);
    let stands = stood.map(|entry| Revision(entry.changed));
    if succeeded {
        // Where it was put a second time at the revision of the first, it is the same file.
        remove_file_of(office, stored.filter(|_| !is_mine)).await;
        return Ok(KeysAnswer::Put(Ok(Revision(revision))));
    }
    if let Some(revision) = stands.filter(|_| is_mine) {
        return Ok(KeysAnswer::Put(Ok(revision)));
    }
    if is_file {
        remove_file(office, name(claim)).await;
    }
    let refused = if stands == expected { PutRefused::NoLog } else { PutRefused::Stands(stands) };
    Ok(KeysAnswer::Put(Err(refused)))
}

async fn delete(
    office: &Shared,
    space: Space,
    key: &str,
    expected: Revision,
    until: Instant,
) -> Result<KeysAnswer, Failed> {
    let (layout, key) = (&office.layout, office.layout.entry(space, key));
    let look = Step::Read(Range::of(key.clone()));
    // One that is not there stands at none.
    let compare = vec![Compare::There(key.clone()), Compare::Changed(key.clone(), expected.0)];
    let mut success = vec![look.clone(), Step::Delete(key, Vec::new())];
    success.extend((space == Space::Registry).then(|| Step::Put(layout.changes(), Bytes::new())));
    let txn = Txn { compare, success, failure: vec![look] };
    let (_, outcome) = office.transact(Way::Bulk, &txn, until).await?;
    let succeeded = outcome.succeeded;
    let stood = outcome.brought.into_iter().next().ok_or(crate::protobuf::Malformed)?;
    let stood = found(stood)?.one();
    if !succeeded {
        return Ok(KeysAnswer::Deleted(Err(stood.map(|entry| Revision(entry.changed)))));
    }
    let stored = stood.and_then(|entry| StoredValue::decode(&entry.key, entry.value).ok());
    remove_file_of(office, stored).await;
    Ok(KeysAnswer::Deleted(Ok(())))
}

/// Removes the file of a value that is gone.
async fn remove_file_of(office: &Shared, stored: Option<StoredValue>) {
    if let Some(StoredValue { claim, contents: Contents::File(_) }) = stored {
        remove_file(office, name(claim)).await;
    }
}

/// What stays counts for nothing, and is removed by the next sweep.
async fn remove_file(office: &Shared, name: String) {
    let shown = name.clone();
    if let Err(Failed(fault)) = with_files(office, move |files| files.remove(&name)).await {
        tracing::debug!("the file {shown} stays for a while: {fault}");
    }
}

/// Puts notes, as many in one transaction as it takes.
async fn note(office: &Office, notes: Vec<(String, Option<Bytes>)>, until: Instant) -> Result<(), Failed> {
    // The last word counts.
    let notes: BTreeMap<_, _> = notes.into_iter().collect();
    let (mut steps, mut bytes) = (Vec::new(), 0);
    let mut parts = Vec::new();
    for (name, value) in notes {
        let key = office.layout.note(&name);
        let length = key.len() + value.as_ref().map_or(0, Bytes::len);
        if steps.len() >= LOGS_MAX || bytes + length > NOTES_BYTES_MAX {
            parts.push(std::mem::take(&mut steps));
            bytes = 0;
        }
        bytes += length;
        steps.push(value.map_or_else(|| Step::Delete(key.clone(), Vec::new()), |value| Step::Put(key.clone(), value)));
    }
    parts.push(steps);
    for steps in parts.into_iter().filter(|steps| !steps.is_empty()) {
        office.transact(Way::Bulk, &Txn::of(steps), until).await?;
    }
    Ok(())
}

/// The files that count.
pub(crate) async fn files_in_use(
    office: &Office,
    until: Instant,
) -> Result<std::collections::BTreeSet<String>, Failed> {
    let range = Range::under(&office.layout.entry(Space::Store, ""));
    let (_, entries) = office.all(Way::Bulk, range, PAGE, until).await?;
    let mut names = std::collections::BTreeSet::new();
    for entry in entries {
        let StoredValue { claim, contents } = StoredValue::decode(&entry.key, entry.value)?;
        if matches!(contents, Contents::File(_)) {
            names.insert(name(claim));
        }
    }
    Ok(names)
}

/// Removes files that do not count and were seen before already.
pub(crate) async fn remove_files(office: &Arc<Office>, names: Vec<String>) {
    for name in names {
        remove_file(office, name).await;
    }
}

/// All files.
pub(crate) async fn all_files(office: &Arc<Office>) -> Result<Vec<String>, Failed> {
    with_files(office, Files::list).await
}
