//! The checkpoints of a log: files as on any store, uploaded, and one list that says which of them count.
//!
//! ```text
//! checkpoints/{log}        the list. Each change of it is one put of the whole, on the condition that nobody has changed it since
//! part/checkpoint/{log}/…  contents (uploads.rs)
//! ```
//! Files are kept in the cache of this machine too, so a replica that took a checkpoint, or had it already, downloads nothing. A file there gets
//! its name once the list has it: so one that the list has no more when it is read behind the names in the directory was trimmed, by whichever
//! machine, and is of no use. Should its name come to count once more in that moment, it is downloaded once more.
//!
//! **Architecture Invariant:** what is removed is what the list does not have any more, and no name is used twice: so whoever is
//! slow removes nothing that others need.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, BufWriter},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use ambrosia_core::{Lsn, ReplicaIndex, member::Keep};
use ambrosia_storage::{
    Callback, Chains, Checkpoint, CheckpointDirectory, CheckpointError, CheckpointInfo, CheckpointName, Checkpoints,
    HistoryCosts, IoError, LoadedCheckpoint, LogError, LogId, LogPart, Revision, Subscription, Trimmed,
    WrittenCheckpoint, WrittenFile,
};
use serde::{Deserialize, Serialize};

use super::{
    Inner, blobs,
    downloads::{self, Download},
    rollbacks, stored,
    uploads::{Missing, Upload, Uploads},
};
use crate::{
    engine::{Answered, EngineHead, News, Request},
    keys::{PutRefused, Space},
    shell::host::{lock, log_error},
};

/// In which folder of a depot checkpoints lie, in one for each log.
const FOLDER: &str = "checkpoint";

/// The cache is looked through for logs that are gone each time that so many replicas have begun, and with the first.
const BEGINS_BEFORE_LOOK: u64 = 64;

#[derive(Clone)]
pub(super) struct EngineCheckpoints {
    inner: Arc<Inner>,
    log: LogId,
    files: CheckpointDirectory,
    directory: PathBuf,
}

/// A checkpoint of the list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Listed {
    lsn: u64,
    /// 0 for a base.
    parent: u64,
    upload: Upload,
}

/// The list, and where it stands.
struct List {
    revision: Option<Revision>,
    uploads: BTreeMap<CheckpointName, Upload>,
}

impl List {
    fn chains(&self) -> Chains {
        Chains::new(self.uploads.keys().copied().collect())
    }

    fn bytes_of(&self, name: CheckpointName) -> u64 {
        self.uploads.get(&name).map_or(0, |upload| upload.bytes)
    }

    /// By what names those that count were begun.
    fn begun(&self) -> BTreeSet<String> {
        self.uploads.values().map(Uploads::begun_as).collect()
    }

    fn encode(&self) -> Vec<u8> {
        let listed = |(name, upload): (&CheckpointName, &Upload)| Listed {
            lsn: name.lsn.0,
            parent: name.parent.map_or(0, |parent| parent.0),
            upload: upload.clone(),
        };
        stored::encode(&self.uploads.iter().map(listed).collect::<Vec<_>>())
    }
}

pub(super) fn key(log: LogId) -> String {
    format!("checkpoints/{log}")
}

fn uploaded_of(log: LogId) -> String {
    format!("{FOLDER}/{log}")
}

impl EngineCheckpoints {
    pub(super) fn new(inner: Arc<Inner>, log: LogId) -> EngineCheckpoints {
        let directory = cache_of(&inner).join(log.to_string());
        EngineCheckpoints { files: CheckpointDirectory::new(directory.clone(), log.0), directory, log, inner }
    }

    fn place(&self) -> String {
        self.inner.place_of(self.log)
    }

    fn list_now(&self) -> Result<List, IoError> {
        let Some(entry) = self.inner.desk.get(Space::Store, &key(self.log))? else {
            return Ok(List { revision: None, uploads: BTreeMap::new() });
        };
        let damaged = || {
            let source = io::Error::new(io::ErrorKind::InvalidData, "its list of checkpoints is not what it was");
            IoError { action: "read", place: self.place(), source }
        };
        let listed: Vec<Listed> = stored::decode(&entry.value).ok_or_else(damaged)?;
        let parent = |lsn: u64| (lsn > 0).then_some(Lsn(lsn));
        let name = |listed: &Listed| CheckpointName { lsn: Lsn(listed.lsn), parent: parent(listed.parent) };
        let uploads = listed.into_iter().map(|listed| (name(&listed), listed.upload)).collect();
        Ok(List { revision: Some(entry.revision), uploads })
    }

    /// Changes the list; `change` tells whether there is something to be changed. What it was, and is.
    fn change(&self, mut change: impl FnMut(&mut List) -> Result<bool, LogError>) -> Result<List, LogError> {
        loop {
            let mut list = self.list_now()?;
            if !change(&mut list)? {
                return Ok(list);
            }
            match self.inner.desk.put(Space::Store, &key(self.log), list.revision, list.encode(), Some(self.log))? {
                Ok(_) => return Ok(list),
                Err(PutRefused::Stands(_)) => {}
                Err(PutRefused::NoLog) => return Err(LogError::Gone { place: self.place() }),
            }
        }
    }

    /// What counts, in a list that is put anew: whoever was about to change the one before has to look again.
    fn fence(&self) -> Result<BTreeSet<String>, IoError> {
        match self.change(|_| Ok(true)) {
            Ok(list) => Ok(list.begun()),
            Err(LogError::Gone { .. }) => Ok(BTreeSet::new()),
            Err(error) => Err(self.as_io_error(error)),
        }
    }

    fn make_directory(&self) -> Result<(), IoError> {
        let place = || self.directory.display().to_string();
        fs::create_dir_all(&self.directory).map_err(|source| IoError { action: "create", place: place(), source })
    }

    /// Uploads what was written, and has it count.
    fn publish(&self, written: &WrittenFile) -> Result<(), IoError> {
        let cached = self.cached()?;
        let list = self.have_listed(written).inspect_err(|_| self.leave(&[]))?;
        self.files.name(written)?;
        self.tell_published(written.name().lsn);
        self.remove_left();
        self.remove_unlisted(&cached, &list)
    }

    /// The list that has what was written.
    fn have_listed(&self, written: &WrittenFile) -> Result<List, IoError> {
        let name = written.name();
        let path = written.path().display().to_string();
        let reading = |source| IoError { action: "read", place: path.clone(), source };
        let list = self.list_now()?;
        if list.uploads.contains_key(&name) {
            // Another replica has published the same, or this one, which was not told so.
            return Ok(list);
        }
        let file = File::open(written.path()).map_err(reading)?;
        // Until this returns: what is not known of the list then, whoever sweeps settles by a fence.
        let (upload, _under_way) = self.inner.uploads.upload(&uploaded_of(self.log), Some(self.log), file, reading)?;
        let add = |list: &mut List| {
            let is_new = !list.uploads.contains_key(&name);
            // Read behind the list: who sweeps it later changes the list before it removes anything.
            if is_new && self.inner.uploads.is_swept(&upload)? {
                self.inner.uploads.remove(&upload)?;
                return Err(self.swept().into());
            }
            // What is taken of records that are lost would count as the newest, and have others trimmed that are needed.
            if is_new && let Err(lost) = self.check_none_lost() {
                self.inner.uploads.remove(&upload)?;
                return Err(lost);
            }
            list.uploads.entry(name).or_insert_with(|| upload.clone());
            Ok(is_new)
        };
        let list = match self.change(add) {
            Ok(list) => list,
            Err(error @ LogError::Gone { .. }) => {
                // In a depot it would stay. What is at hand is the error that matters; what is left is removed with a later registration.
                let _gone = self.inner.uploads.remove(&upload);
                return Err(self.as_io_error(error));
            }
            // The list may have it all the same.
            Err(error) => return Err(self.as_io_error(error)),
        };
        if list.uploads.get(&name) != Some(&upload) {
            // Another replica has the same.
            self.inner.uploads.remove(&upload)?;
        }
        Ok(list)
    }

    fn check_none_lost(&self) -> Result<(), LogError> {
        self.inner.host.check_kept(self.log).map_err(log_error)?;
        rollbacks::check_none_found(&self.inner.desk, self.log)
    }

    /// Removes what the list has no more: all of it, whatever is wrong with one.
    fn remove_uploads(&self, uploads: &[Upload]) -> Result<(), IoError> {
        let mut removed = Ok(());
        for upload in uploads {
            let gone = self.inner.uploads.remove(upload);
            removed = removed.and(gone.inspect_err(|_| self.leave(std::slice::from_ref(upload))));
        }
        removed
    }

    /// Something that does not count may be left here, such as these.
    fn leave(&self, uploads: &[Upload]) {
        lock(&self.inner.left).entry(self.log).or_default().extend(uploads.iter().map(Uploads::begun_as));
    }

    /// Removes what was left, now that something could be done again. What can't be removed is for the next time.
    fn remove_left(&self) {
        let Some(left) = lock(&self.inner.left).remove(&self.log) else { return };
        match self.sweep_left(&left) {
            Ok(still) if still.is_empty() => {}
            swept => lock(&self.inner.left).entry(self.log).or_default().extend(swept.unwrap_or(left)),
        }
    }

    /// Which of these are still there.
    fn sweep_left(&self, left: &BTreeSet<String>) -> Result<BTreeSet<String>, IoError> {
        // What a store that has gone back does not name is what the newer state names, which may yet be brought back.
        self.check_none_lost().map_err(|error| self.as_io_error(error))?;
        let mut begun = self.inner.uploads.begun_here(&uploaded_of(self.log))?;
        begun.extend(left.iter().cloned());
        // Behind them, and a fence: no change that nobody has heard of comes later, which may lose some of these.
        let kept = self.fence()?;
        begun.retain(|upload| !kept.contains(upload));
        self.inner.sweep(&begun, || self.fence())
    }

    /// What the cache has, to be held against a list that is read behind it.
    fn cached(&self) -> Result<BTreeSet<CheckpointName>, IoError> {
        match self.files.names() {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            names => names,
        }
    }

    /// Removes from the cache what a list that was read behind it has no more.
    fn remove_unlisted(&self, cached: &BTreeSet<CheckpointName>, list: &List) -> Result<(), IoError> {
        cached.iter().filter(|name| !list.uploads.contains_key(name)).try_for_each(|name| self.files.remove(*name))
    }

    fn swept(&self) -> IoError {
        let reason =
            "this host was taken for gone while it uploaded a checkpoint, and that was removed: the next one will do";
        IoError { action: "write", place: self.place(), source: io::Error::other(reason) }
    }

    fn tell_published(&self, lsn: Lsn) {
        self.inner.publish(self.log, lsn);
        self.inner.clerk.tell(News::Checkpoint { log: self.log, lsn });
    }

    fn as_io_error(&self, error: LogError) -> IoError {
        match error {
            LogError::Io(error) => error,
            error => IoError { action: "write", place: self.place(), source: io::Error::other(error.to_string()) },
        }
    }

    /// Downloads what the cache lacks of a chain.
    fn fetch(&self, list: &List, lsn: Lsn, chain: &[CheckpointName]) -> Result<(), CheckpointError> {
        self.make_directory()?;
        for name in chain {
            let path = self.files.path_of(*name);
            if path.exists() {
                continue;
            }
            let upload = &list.uploads[name];
            let download = Download::begin(&self.directory, *name, || self.inner.desk.new_claim())?;
            let out = BufWriter::new(download.file());
            match self.inner.uploads.download(upload, out, download.error("write")) {
                Ok(()) => download.finish(&path)?,
                Err(missing) => {
                    download.give_up();
                    return Err(match missing {
                        Missing::Io(error) => error.into(),
                        Missing::Part(_) if !self.list_now()?.uploads.contains_key(name) => {
                            CheckpointError::Missing { lsn, place: self.place() }
                        }
                        Missing::Part(reason) => {
                            CheckpointError::Damaged { place: format!("{name} of {}", self.place()), reason }
                        }
                    });
                }
            }
        }
        Ok(())
    }

    fn head(&self) -> Result<EngineHead, LogError> {
        self.inner.host.head(self.log).map_err(log_error)
    }
}

struct Written {
    checkpoints: EngineCheckpoints,
    file: WrittenFile,
}

impl WrittenCheckpoint for Written {
    fn publish(self: Box<Self>) -> Result<(), IoError> {
        let published = self.checkpoints.publish(&self.file);
        if published.is_err() {
            // What is at hand is the error that matters; a later process of the replica removes it.
            let _left = self.checkpoints.files.discard(&self.file);
        }
        published
    }

    fn discard(self: Box<Self>) -> Result<(), IoError> {
        self.checkpoints.files.discard(&self.file)
    }
}

/// What is counted when history is to be kept.
struct Costs<'a> {
    list: &'a List,
    head: EngineHead,
}

impl HistoryCosts for Costs<'_> {
    type Error = LogError;

    fn bytes_of(&self, name: CheckpointName) -> Result<u64, LogError> {
        Ok(self.list.bytes_of(name))
    }

    /// What lies between two checkpoints is a part, and all records count as equally large: an engine does not tell.
    fn parts(&self, newest: Lsn, needed: Lsn) -> Result<Vec<LogPart>, LogError> {
        let EngineHead { first, last, bytes, .. } = self.head;
        let records = last.lsn.0.saturating_sub(first.0) + 1;
        let mut begins: Vec<Lsn> =
            self.list.uploads.keys().map(|name| name.lsn.next()).filter(|lsn| *lsn > first).collect();
        begins.push(first);
        begins.sort_unstable();
        begins.dedup();
        let end_of = |at: usize| begins.get(at + 1).copied().unwrap_or(last.lsn.next());
        let bytes = |at: usize, begin: Lsn| {
            let is_needed = end_of(at) > needed;
            let share = u128::from(bytes) * u128::from(end_of(at).0.saturating_sub(begin.0)) / u128::from(records);
            if is_needed { 0 } else { u64::try_from(share).unwrap_or(u64::MAX) }
        };
        let parts = begins.iter().enumerate().filter(|(_, begin)| **begin <= newest).rev();
        Ok(parts.map(|(at, begin)| LogPart { first: *begin, bytes: bytes(at, *begin) }).collect())
    }
}

impl Checkpoints for EngineCheckpoints {
    fn write(&self, checkpoint: &Checkpoint, by: ReplicaIndex) -> Result<Box<dyn WrittenCheckpoint>, CheckpointError> {
        self.make_directory()?;
        let file = self.files.write(checkpoint, by)?;
        Ok(Box::new(Written { checkpoints: self.clone(), file }))
    }

    fn newest_published(&self) -> Lsn {
        self.inner.newest_published(self.log)
    }

    fn subscribe(&self, call: Callback) -> io::Result<Subscription> {
        Ok(self.inner.host.follow(self.log, call))
    }

    fn list(&self) -> Result<Vec<CheckpointInfo>, IoError> {
        let list = self.list_now()?;
        let chains = list.chains();
        let info = |lsn| CheckpointInfo {
            lsn,
            bytes: chains.at(lsn).map(|name| list.bytes_of(name)).sum(),
            depth: chains.chain(lsn).expect("it is complete").len() - 1,
        };
        Ok(chains.complete().map(info).collect())
    }

    fn is_complete(&self, lsn: Lsn) -> Result<bool, IoError> {
        Ok(self.list_now()?.chains().chain(lsn).is_some())
    }

    fn load(&self, lsn: Lsn) -> Result<LoadedCheckpoint, CheckpointError> {
        let list = self.list_now()?;
        let chain = list.chains().whole(lsn, || self.place())?;
        self.fetch(&list, lsn, &chain)?;
        match self.files.load(&chain) {
            Err(CheckpointError::Damaged { .. }) => {
                // A cache can be made anew.
                for name in &chain {
                    self.files.remove(*name)?;
                }
                self.fetch(&list, lsn, &chain)?;
                self.files.load(&chain)
            }
            loaded => loaded,
        }
    }

    fn compact(&self, lsn: Lsn, by: ReplicaIndex) -> Result<bool, CheckpointError> {
        let list = self.list_now()?;
        let chains = list.chains();
        if !chains.is_compaction_due(lsn, |name| Ok::<_, CheckpointError>(list.bytes_of(name)))? {
            return Ok(false);
        }
        let chain = chains.whole(lsn, || self.place())?;
        self.fetch(&list, lsn, &chain)?;
        let written = self.files.write_base(&chain, by)?;
        self.publish(&written)?;
        Ok(true)
    }

    fn trim(&self, keep: Keep, applied: &[Lsn]) -> Result<Trimmed, LogError> {
        let head = self.head()?;
        let cached = self.cached()?;
        let (mut removed, mut log_before) = (Vec::new(), None);
        let list = self.change(|list| {
            let unneeded = list.chains().unneeded(keep, applied, &Costs { list, head })?;
            removed = unneeded.checkpoints.iter().filter_map(|name| list.uploads.remove(name)).collect();
            log_before = unneeded.log_before;
            Ok(!removed.is_empty())
        });
        // The list may have lost them all the same.
        let list = list.inspect_err(|_| self.leave(&removed))?;
        let gone = self.remove_uploads(&removed);
        self.remove_unlisted(&cached, &list)?;
        let mut segments = 0;
        if let Some(before) = log_before {
            match self.inner.desk.ask(Request::Trim { log: self.log, before })? {
                Answered::Trimmed => segments = usize::from(self.head()?.first > head.first),
                other => return Err(self.inner.desk.unfit(&other).into()),
            }
        }
        gone?;
        self.remove_left();
        Ok(Trimmed { checkpoints: removed.len(), segments })
    }

    fn remove_leftovers(&self, of: ReplicaIndex) -> Result<(), IoError> {
        self.make_directory()?;
        self.files.remove_leftovers(of)?;
        downloads::remove_left(&self.directory)?;
        let cached = self.cached()?;
        if !cached.is_empty() {
            self.remove_unlisted(&cached, &self.list_now()?)?;
        }
        if self.inner.begins.fetch_add(1, Ordering::Relaxed).is_multiple_of(BEGINS_BEFORE_LOOK) {
            remove_cached_of_gone(&self.inner)?;
        }
        let counted = || Ok(self.list_now()?.begun());
        self.inner.remove_abandoned_uploads(&uploaded_of(self.log), counted, || self.fence())
    }
}

/// Has no checkpoint count that was taken behind the end of the log, for what it was taken of is lost.
pub(super) fn forget_lost(inner: &Arc<Inner>, log: LogId) -> Result<(), LogError> {
    let checkpoints = EngineCheckpoints::new(Arc::clone(inner), log);
    let end = checkpoints.head()?.last.lsn;
    let mut lost = Vec::new();
    checkpoints.change(|list| {
        lost = list.uploads.extract_if(.., |name, _| name.lsn > end).map(|(_, upload)| upload).collect();
        Ok(!lost.is_empty())
    })?;
    checkpoints.remove_uploads(&lost).map_err(LogError::from)
}

/// Removes all checkpoints of a log that is gone.
pub(super) fn remove_all(inner: &Inner, log: LogId) -> Result<(), IoError> {
    lock(&inner.left).remove(&log);
    inner.desk.remove(&key(log))?;
    inner.uploads.remove_all(&uploaded_of(log))?;
    remove_cached(inner, log)
}

/// Removes checkpoints in a depot whose logs are gone, by whoever was still about to publish one.
pub(super) fn remove_orphans(inner: &Inner) -> Result<(), IoError> {
    remove_cached_of_gone(inner)?;
    let folders = inner.uploads.folders(FOLDER);
    if folders.is_empty() {
        return Ok(());
    }
    // Read behind the folders: each log of which something is uploaded was there before that.
    let logs: BTreeSet<String> = inner.logs()?.iter().map(ToString::to_string).collect();
    for log in folders.iter().filter(|log| !logs.contains(*log)) {
        // Nothing comes to count in a log that is gone.
        let none = || Ok(BTreeSet::new());
        inner.remove_abandoned_uploads(&format!("{FOLDER}/{log}"), none, none)?;
    }
    Ok(())
}

/// Removes what the cache of this machine has of a log.
pub(super) fn remove_cached(inner: &Inner, log: LogId) -> Result<(), IoError> {
    lock(&inner.published).remove(&log);
    remove_directory(&cache_of(inner).join(log.to_string()))
}

fn remove_directory(directory: &Path) -> Result<(), IoError> {
    match fs::remove_dir_all(directory) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(IoError { action: "remove", place: directory.display().to_string(), source })
        }
        _ => Ok(()),
    }
}

/// Where the cache of this machine has checkpoints, in a directory for each log.
fn cache_of(inner: &Inner) -> PathBuf {
    inner.cache.join("checkpoints")
}

/// Removes what the cache of this machine has of logs and modules that are gone: another machine may have removed them. What is known to have
/// been durable stays: a log that is not there may come back, in a store that is restored once more, and have lost something.
fn remove_cached_of_gone(inner: &Inner) -> Result<(), IoError> {
    blobs::remove_cached_of_gone(inner)?;
    let mut cached = directories(&cache_of(inner))?;
    for log in inner.places.logs() {
        cached.remove(&log.to_string());
    }
    if cached.is_empty() {
        return Ok(());
    }
    // Read behind the cache: each log of which something is there was there before that.
    let logs: BTreeSet<String> = inner.logs()?.iter().map(ToString::to_string).collect();
    cached.difference(&logs).try_for_each(|log| remove_directory(&cache_of(inner).join(log)))
}

/// Names of the directories in one; none, if that is not there.
fn directories(of: &Path) -> Result<BTreeSet<String>, IoError> {
    let listing = |source| IoError { action: "list", place: of.display().to_string(), source };
    let entries = match fs::read_dir(of) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.map_err(listing)?,
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        let entry = entry.map_err(listing)?;
        if entry.file_type().map_err(listing)?.is_dir() {
            names.extend(entry.file_name().into_string());
        }
    }
    Ok(names)
}

/// Bytes of the checkpoints of a log.
pub(super) fn bytes(checkpoints: &EngineCheckpoints) -> Result<u64, IoError> {
    Ok(checkpoints.list_now()?.uploads.values().map(|upload| upload.bytes).sum())
}
