//! A whole store on an engine: registry, modules, logs, checkpoints and members.
//!
//! **Architecture Invariant:** two that are opened on one engine are the same store, on whichever machines they are.

mod adoption;
mod blobs;
mod changes;
mod checkpoints;
mod clerk;
mod desk;
mod downloads;
mod hosts;
mod kept_blobs;
mod members;
mod note;
mod observer;
mod own_places;
mod registrations;
mod registry;
mod rollbacks;
mod stored;
mod uploads;
mod witness;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::AtomicU64},
};

use ambrosia_core::{Epoch, EpochBody, Lsn, Record, ReplicaIndex, Timestamp};
use ambrosia_storage::{
    AcquireError, Acquired, BlobStore, Callback, Checkpoints, CloseError, ClosedLog, Events, Head, Held,
    HeldRegistrations, Hosts, IoError, LogError, LogId, LogScan, LogStore, LogTail, Members, OnRead, OnVacancy,
    PlacedRecord, Registry, Relayed, Revision, Rollback, Store, Subscription,
};
use bytes::Bytes;

use self::{
    blobs::EngineBlobs,
    checkpoints::EngineCheckpoints,
    clerk::Clerk,
    desk::Desk,
    hosts::{Addresses, EngineHosts},
    kept_blobs::KeptBlobs,
    members::{EngineMembers, Place},
    observer::Observer,
    own_places::OwnPlaces,
    registry::EngineRegistry,
    uploads::Uploads,
    witness::Witness,
};
use super::{
    depot::Depot,
    host::{EngineHost, io_error, lock, log_error},
    log::EngineLog,
    relay::EngineRelay,
};
use crate::{
    engine::{Answered, Engine, Group, HostId, Request},
    keys::{KeyEntry, KeysAnswer, KeysRequest, Space},
    reader::Standing,
};

/// A store on an engine. A clone is the same.
#[derive(Clone)]
pub struct EngineStore {
    inner: Arc<Inner>,
    registry: Arc<EngineRegistry>,
    blobs: Arc<EngineBlobs>,
    hosts: Arc<EngineHosts>,
    /// What a host passes on of it, if it is known which store it is.
    relay: Option<Arc<EngineRelay>>,
}

struct Inner {
    desk: Arc<Desk>,
    uploads: Arc<Uploads>,
    host: Arc<EngineHost>,
    clerk: Arc<Clerk>,
    observer: Observer,
    addresses: Addresses,
    witness: Arc<Witness>,
    cache: PathBuf,
    /// Modules in it.
    kept: Arc<KeptBlobs>,
    /// Replicas that run in this process.
    places: Arc<OwnPlaces>,
    /// The newest checkpoints that this process has published.
    published: Mutex<BTreeMap<LogId, Lsn>>,
    /// Of which logs this process may have left uploads that do not count; and those that it could not remove, whoever has begun them.
    left: Mutex<BTreeMap<LogId, BTreeSet<String>>>,
    /// So often a replica was about to begin.
    begins: AtomicU64,
}

impl EngineStore {
    /// A store for this process, which is a host that none was before: `me` is to be random. What can be made again at any time
    /// is kept in the directory `cache`, one for each store.
    ///
    /// # Errors
    /// If the system has no more threads.
    pub fn begin(engine: Arc<dyn Engine>, me: HostId, cache: PathBuf) -> io::Result<EngineStore> {
        EngineStore::begin_with(engine, None, me, cache)
    }

    /// The same, whose large contents lie in a depot if there is one. One that was begun without can read none of them.
    ///
    /// # Errors
    /// If the system has no more threads.
    pub fn begin_with(
        engine: Arc<dyn Engine>,
        depot: Option<Arc<dyn Depot>>,
        me: HostId,
        cache: PathBuf,
    ) -> io::Result<EngineStore> {
        let host = EngineHost::begin(Arc::clone(&engine), me)?;
        let desk = Arc::new(Desk::new(engine, me));
        let witness = Arc::new(Witness::new(cache.join("durable")));
        let places = Arc::<OwnPlaces>::default();
        let (to_look_at, to_give_back) = (Arc::clone(&host), Arc::clone(&places));
        let clerk = Arc::new(Clerk::begin(Arc::clone(&desk), to_look_at, Arc::clone(&witness), to_give_back)?);
        let registry = Arc::new(EngineRegistry { desk: Arc::clone(&desk), clerk: Arc::clone(&clerk) });
        let uploads = Arc::new(Uploads::new(Arc::clone(&desk), depot));
        let kept = Arc::new(KeptBlobs::new(&cache));
        let blobs = Arc::new(EngineBlobs {
            desk: Arc::clone(&desk),
            uploads: Arc::clone(&uploads),
            host: Arc::clone(&host),
            kept: Arc::clone(&kept),
        });
        let inner = Inner {
            desk,
            uploads,
            host,
            clerk,
            observer: Observer::default(),
            addresses: Addresses::default(),
            witness,
            cache,
            kept,
            places,
            published: Mutex::default(),
            left: Mutex::default(),
            begins: AtomicU64::new(0),
        };
        let inner = Arc::new(inner);
        let hosts = Arc::new(EngineHosts(Arc::clone(&inner)));
        Ok(EngineStore { inner, registry, blobs, hosts, relay: None })
    }

    /// The same, which a host may pass on to those that reach the host alone. They know it by that name, whichever way it is reached.
    #[must_use]
    pub fn relayed_as(self, store: String) -> EngineStore {
        let (engine, depot) = (self.inner.desk.engine(), self.inner.uploads.depot());
        EngineStore { relay: Some(Arc::new(EngineRelay::new(engine, depot, store))), ..self }
    }

    fn check_there(&self, id: LogId) -> Result<(), LogError> {
        // Nobody removes a log of which a replica runs.
        if self.inner.places.has_any_of(id) {
            return Ok(());
        }
        self.inner.host.head(id).map(drop).map_err(log_error)
    }

    /// Keeps replicas from beginning to run, until what is returned is dropped.
    fn close(&self, id: LogId) -> Result<Option<ClosedOnEngine>, CloseError> {
        match self.inner.host.head(id) {
            Ok(_) => {}
            Err(crate::fault::LogFault::Gone { .. }) => return Ok(None),
            Err(fault) => return Err(io_error(&fault).into()),
        }
        let (desk, key) = (&self.inner.desk, members::closed_key(id));
        // Registrations are held: what is there was left by somebody who is gone.
        let stands = desk.get(Space::Store, &key)?.map(|entry| entry.revision);
        // Who does not say that he is alive is taken for gone.
        let alive = self.inner.host.stay_alive();
        let Ok(revision) = desk.put(Space::Store, &key, stands, stored::encode(&Place::here(desk.me)), None)? else {
            return Err(CloseError::Running { what: "somebody else who deregisters it".to_owned() });
        };
        let closed = ClosedOnEngine { inner: Arc::clone(&self.inner), id, key, revision, _alive: alive };
        match members::running(&self.inner, id)? {
            Some(what) => Err(CloseError::Running { what }),
            None => Ok(Some(closed)),
        }
    }
}

impl Inner {
    fn place_of(&self, id: LogId) -> String {
        format!("log {id} of {}", self.desk.place())
    }

    fn notes(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, IoError> {
        match self.desk.ask(Request::Keys(KeysRequest::Notes { prefix: prefix.to_owned() }))? {
            Answered::Keys(KeysAnswer::Notes(notes)) => Ok(notes),
            other => Err(self.desk.unfit(&other)),
        }
    }

    fn newest_published(&self, log: LogId) -> Lsn {
        let own = lock(&self.published).get(&log).copied().unwrap_or_default();
        self.host.seen(log).map_or(own, |head| head.checkpoint.max(own))
    }

    fn publish(&self, log: LogId, lsn: Lsn) {
        let mut published = lock(&self.published);
        let newest = published.entry(log).or_default();
        *newest = (*newest).max(lsn);
    }

    /// Removes what was uploaded of something and does not count, by hosts that are gone or by this one. `counted` tells which uploads count
    /// by now, and `fence` the same, so that no other one comes to count that was swept before.
    fn remove_abandoned_uploads(
        &self,
        of: &str,
        counted: impl FnOnce() -> Result<BTreeSet<String>, IoError>,
        fence: impl FnOnce() -> Result<BTreeSet<String>, IoError>,
    ) -> Result<(), IoError> {
        let mut begun = self.uploads.begun(of)?;
        if begun.is_empty() {
            return Ok(());
        }
        // Read behind them: what has come to count meanwhile is in it.
        let kept = counted()?;
        begun.retain(|upload, _| !kept.contains(upload));
        let lives = self.observer.lives(&self.desk, begun.values().copied().collect())?;
        begun.retain(|_, uploader| *uploader == self.desk.me || !lives[&*uploader].is_alive);
        // What is still there is found there the next time.
        self.sweep(&begun.into_keys().collect(), fence).map(drop)
    }

    /// Removes those uploads that do not count; which of them are still there.
    fn sweep(
        &self,
        begun: &BTreeSet<String>,
        fence: impl FnOnce() -> Result<BTreeSet<String>, IoError>,
    ) -> Result<BTreeSet<String>, IoError> {
        let mut left = BTreeSet::new();
        if begun.is_empty() {
            return Ok(left);
        }
        // Who seems to be gone may only have stood still, and what this host was not told of may yet be done.
        for upload in begun {
            self.uploads.sweep_begun(upload)?;
        }
        let kept = fence()?;
        for upload in begun {
            if kept.contains(upload) {
                self.uploads.spare_begun(upload)?;
            } else if !self.uploads.remove_begun(upload)? {
                left.insert(upload.clone());
            }
        }
        Ok(left)
    }

    fn logs(&self) -> Result<Vec<LogId>, IoError> {
        match self.desk.ask(Request::Logs)? {
            Answered::Logs { logs, .. } => Ok(logs),
            other => Err(self.desk.unfit(&other)),
        }
    }

    /// The uploads that hold modules.
    fn uploads_of_blobs(&self) -> Result<BTreeSet<String>, IoError> {
        let entries = self.desk.list(Space::Store, "blob/", true)?;
        let upload = |entry: &KeyEntry| Some(Uploads::begun_as(&stored::decode(&entry.value)?));
        Ok(entries.iter().filter_map(upload).collect())
    }
}

/// A log with what lies beside it.
struct WholeLog {
    inner: Arc<Inner>,
    id: LogId,
    log: EngineLog,
    checkpoints: EngineCheckpoints,
}

impl LogStore for WholeLog {
    fn tail(&self, from: Lsn) -> Result<Box<dyn LogTail>, LogError> {
        let tail = match self.log.tail(from) {
            Err(LogError::Missing { last, .. }) if from > last.next() => {
                // Whoever asks for it may have had what is before it.
                rollbacks::compare_now(&self.inner, self.id)?;
                self.log.tail(from)?
            }
            tail => tail?,
        };
        Ok(Box::new(CheckedTail { tail, inner: Arc::clone(&self.inner), log: self.id }))
    }

    fn head(&self) -> Result<Head, LogError> {
        self.log.head()
    }

    fn later_reign(&self, than: Epoch) -> Result<Option<Epoch>, LogError> {
        self.log.later_reign(than)
    }

    fn first(&self) -> Result<Lsn, LogError> {
        self.log.first()
    }

    fn stored_bytes(&self) -> Result<u64, IoError> {
        Ok(self.log.stored_bytes()? + checkpoints::bytes(&self.checkpoints)?)
    }

    fn is_at_rest(&self) -> bool {
        self.log.is_at_rest()
    }

    fn subscribe(&self, call: Callback) -> io::Result<Subscription> {
        self.log.subscribe(call)
    }

    fn watch(&self, call: OnVacancy) -> io::Result<Subscription> {
        self.log.watch(call)
    }
}

/// Read for a replica, which does not become primary while the store is known to have gone back.
struct CheckedTail {
    tail: Box<dyn LogTail>,
    inner: Arc<Inner>,
    log: LogId,
}

impl LogTail for CheckedTail {
    fn read(&mut self) -> Result<Vec<Record>, LogError> {
        self.tail.read()
    }

    fn begin_read(self: Box<Self>, done: OnRead) {
        let CheckedTail { tail, inner, log } = *self;
        tail.begin_read(Box::new(move |tail, records| done(Box::new(CheckedTail { tail, inner, log }), records)));
    }

    fn may_have_more(&self) -> bool {
        self.tail.may_have_more()
    }

    fn position(&self) -> Lsn {
        self.tail.position()
    }

    fn link(&self) -> u64 {
        self.tail.link()
    }

    fn fork(&self) -> Box<dyn LogTail> {
        Box::new(CheckedTail { tail: self.tail.fork(), inner: Arc::clone(&self.inner), log: self.log })
    }

    fn acquire(
        self: Box<Self>,
        over: Epoch,
        me: EpochBody,
        now: Timestamp,
        events: Events,
    ) -> Result<Acquired, AcquireError> {
        let CheckedTail { tail, inner, log } = *self;
        rollbacks::check_none_found(&inner.desk, log)?;
        match tail.acquire(over, me, now, events) {
            Ok(acquired) => {
                // What was found while it was about to begin deposes nobody who had not begun. Dropped, it is over.
                rollbacks::check_none_found(&inner.desk, log)?;
                Ok(acquired)
            }
            Err(error @ AcquireError::Log(LogError::Lost { .. })) => {
                // What was found is the error that matters; who is refused here deposes whoever reigns, too.
                let _deposed = rollbacks::depose_candidate(&inner.desk, &inner.host, log, over);
                Err(error)
            }
            Err(error) => Err(error),
        }
    }
}

impl Store for EngineStore {
    fn registry(&self) -> &dyn Registry {
        &*self.registry
    }

    fn blobs(&self) -> &dyn BlobStore {
        &*self.blobs
    }

    fn looking(&self) -> Arc<dyn Store> {
        Arc::new(self.clone())
    }

    fn log(&self, id: LogId) -> Result<Arc<dyn LogStore>, LogError> {
        self.check_there(id)?;
        let log = EngineLog::new(Arc::clone(&self.inner.host), id);
        let inner = Arc::clone(&self.inner);
        Ok(Arc::new(WholeLog { checkpoints: EngineCheckpoints::new(Arc::clone(&inner), id), inner, id, log }))
    }

    fn checkpoints(&self, id: LogId) -> Result<Arc<dyn Checkpoints>, LogError> {
        self.check_there(id)?;
        Ok(Arc::new(EngineCheckpoints::new(Arc::clone(&self.inner), id)))
    }

    fn members(&self, id: LogId) -> Result<Arc<dyn Members>, LogError> {
        self.check_there(id)?;
        Ok(Arc::new(EngineMembers { inner: Arc::clone(&self.inner), log: id }))
    }

    fn hosts(&self) -> &dyn Hosts {
        &*self.hosts
    }

    fn scan(&self, id: LogId, from: Lsn) -> Result<LogScan, LogError> {
        let standing = self.inner.host.find(id, from).map_err(log_error)?;
        let read = self.inner.host.read_patiently(id, standing).map_err(log_error)?;
        let scan = Scan { inner: Arc::clone(&self.inner), id, standing, read: read.into_iter(), is_over: false };
        Ok(Box::new(scan))
    }

    fn logs(&self) -> Result<Vec<LogId>, IoError> {
        self.inner.logs()
    }

    fn place_of(&self, id: LogId) -> String {
        self.inner.place_of(id)
    }

    fn hold_registrations(&self) -> Result<Box<dyn HeldRegistrations>, IoError> {
        Ok(Box::new(registrations::hold(&self.inner.desk)?))
    }

    fn is_changing(&self) -> Result<bool, IoError> {
        registrations::are_held(&self.inner.desk)
    }

    fn create_log(&self, id: LogId, genesis: &Record) -> Result<(), IoError> {
        match self.inner.desk.ask(Request::Create { genesis: Group::genesis(id, genesis) })? {
            // Names of logs are random: one that is there was made by a try that was not answered.
            Answered::Created(_) => Ok(()),
            other => Err(self.inner.desk.unfit(&other)),
        }
    }

    fn remove_orphans(&self, known: &BTreeSet<LogId>, is_all_known: bool) -> Result<(), IoError> {
        // What is of no use to a store that has gone back is what the newer state has, which may yet be brought back.
        if !self.rollbacks()?.is_empty() {
            return Ok(());
        }
        let orphans = if is_all_known { self.logs()? } else { Vec::new() };
        for log in orphans.into_iter().filter(|log| !known.contains(log)) {
            let Ok(head) = self.inner.host.head(log) else { continue };
            let is_unused = head.last.lsn == Lsn(1) && !head.is_reigned;
            if is_unused && members::running(&self.inner, log)?.is_none() {
                self.inner.remove_log(log)?;
            }
        }
        checkpoints::remove_orphans(&self.inner)?;
        let counted = || self.inner.uploads_of_blobs();
        self.inner.remove_abandoned_uploads("blob", counted, counted)
    }

    fn close_log(&self, id: LogId, _: &BTreeSet<ReplicaIndex>) -> Result<Option<Box<dyn ClosedLog>>, CloseError> {
        Ok(self.close(id)?.map(|closed| Box::new(closed) as Box<dyn ClosedLog>))
    }

    fn adopt_log(
        &self,
        id: LogId,
        epoch: Epoch,
        records: &mut dyn Iterator<Item = Result<Record, LogError>>,
    ) -> Result<(), LogError> {
        adoption::adopt(&self.inner.desk, id, epoch, records)
    }

    fn hold_still(&self, id: LogId, _: &BTreeSet<ReplicaIndex>) -> Result<Held, CloseError> {
        let Some(closed) = self.close(id)? else { return Err(IoError::gone(self.place_of(id)).into()) };
        // A primary that seems to be gone may only stand still, and would go on.
        rollbacks::depose(&self.inner.desk, &self.inner.host, id)?;
        Ok(Box::new(closed))
    }

    /// It knows of beats alone.
    fn sees_processes(&self) -> bool {
        false
    }

    fn asks_together(&self) -> bool {
        true
    }

    fn check_kept(&self, id: LogId) -> Result<(), LogError> {
        rollbacks::check_kept(&self.inner, id)
    }

    fn rollbacks(&self) -> Result<Vec<Rollback>, IoError> {
        rollbacks::list(&self.inner.desk)
    }

    fn accept_rollback(&self, id: LogId) -> Result<Option<Rollback>, LogError> {
        rollbacks::accept(&self.inner, id)
    }

    fn relayed(&self) -> Option<Arc<dyn Relayed>> {
        self.relay.clone().map(|relay| relay as Arc<dyn Relayed>)
    }

    fn caution(&self) -> Option<String> {
        self.inner.desk.caution()
    }

    fn cache(&self) -> Option<&Path> {
        Some(&self.inner.cache)
    }
}

impl Inner {
    fn remove_log(&self, log: LogId) -> Result<(), IoError> {
        // What was found of it is of no use then, and if this is cut short nobody would remove that.
        rollbacks::forget(self, log)?;
        match self.desk.ask(Request::Remove { log })? {
            Answered::Removed(_) => {}
            other => return Err(self.desk.unfit(&other)),
        }
        // Nothing is added to a log that is gone, so this takes all.
        checkpoints::remove_all(self, log)?;
        members::remove_places(self, log)?;
        // Whoever has found something since.
        rollbacks::forget(self, log)?;
        for (name, _) in self.notes(&note::prefix(log))? {
            self.clerk.forget(&name);
        }
        Ok(())
    }
}

/// A log that is there no more for whoever wants to run.
struct ClosedOnEngine {
    inner: Arc<Inner>,
    id: LogId,
    key: String,
    revision: Revision,
    /// By which others see that it is closed.
    _alive: Subscription,
}

impl ClosedLog for ClosedOnEngine {
    fn check(&self) -> Result<(), IoError> {
        let stands = self.inner.desk.get(Space::Store, &self.key)?.map(|entry| entry.revision);
        if stands == Some(self.revision) {
            return Ok(());
        }
        let reason = "this process was taken for gone, and the instance may run again: its log was not removed, so try it once more";
        Err(IoError { action: "remove", place: self.inner.place_of(self.id), source: io::Error::other(reason) })
    }

    fn remove(self: Box<Self>) -> Result<(), IoError> {
        self.check()?;
        self.inner.remove_log(self.id)
    }
}

impl Drop for ClosedOnEngine {
    fn drop(&mut self) {
        // If that can't be done, the next replica that begins sees that nobody holds registrations.
        let _left = self.inner.desk.delete(Space::Store, &self.key, self.revision);
    }
}

/// Reads a log on and on.
struct Scan {
    inner: Arc<Inner>,
    id: LogId,
    standing: Standing,
    read: std::vec::IntoIter<Record>,
    is_over: bool,
}

impl Iterator for Scan {
    type Item = Result<PlacedRecord, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.read.next() {
                self.standing = Standing::at(&record);
                return Some(Ok(PlacedRecord { record, place: self.inner.place_of(self.id) }));
            }
            if self.is_over {
                return None;
            }
            match self.inner.host.read_patiently(self.id, self.standing) {
                Ok(records) => (self.is_over, self.read) = (records.is_empty(), records.into_iter()),
                Err(fault) => {
                    self.is_over = true;
                    return Some(Err(log_error(fault)));
                }
            }
        }
    }
}
