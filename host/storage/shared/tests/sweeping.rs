//! What a host has uploaded, and is taken for gone before that counts: it comes to count whole, or not at all. And what a host that lives has left
//! is removed by itself, unless it counts or may yet come to.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use ambrosia_core::{Capture, InstanceUuid, Lsn, ReplicaIndex, member::Keep};
use ambrosia_shared_log::{
    Answered, Answering, Engine, EngineFacts, EngineStore, Fault, HostId, KeysAnswer, KeysRequest, Lane, MemoryEngine,
    Put, Request, Space,
};
use ambrosia_storage::{
    Checkpoint, CheckpointHead, IoError, LogId, Store,
    conformance::{Reign, genesis_of},
};
use tempfile::TempDir;

const LOG: LogId = LogId(InstanceUuid([3; 16]));

/// Removes what hosts have left that are gone, once.
type Sweep = Mutex<Option<Box<dyn FnOnce() + Send>>>;

/// An engine on which somebody sweeps just before a key is put, or read, that begins so.
struct Swept {
    engine: MemoryEngine,
    before: fn(&KeysRequest) -> bool,
    sweep: Sweep,
    /// Whether others hear that the host is alive.
    beats: bool,
    parts_put: AtomicU64,
}

impl Engine for Swept {
    fn ask(&self, lane: Lane, request: Request, answer: Answering) {
        if let Request::Keys(request) = &request {
            let is_part = matches!(request, KeysRequest::Put(Put { key, .. }) if key.starts_with("part/"));
            self.parts_put.fetch_add(u64::from(is_part), Ordering::SeqCst);
            if (self.before)(request) && self.parts_put.load(Ordering::SeqCst) > 0 {
                let sweep = self.sweep.lock().unwrap_or_else(PoisonError::into_inner).take();
                sweep.into_iter().for_each(|sweep| sweep());
            }
        }
        if !self.beats && matches!(request, Request::Beat { .. }) {
            return answer(Err(Fault::Unavailable("it is cut off".to_owned())));
        }
        self.engine.ask(lane, request, answer);
    }

    fn facts(&self) -> EngineFacts {
        self.engine.facts()
    }
}

fn open(engine: Arc<dyn Engine>, me: u8) -> (EngineStore, TempDir) {
    let cache = tempfile::tempdir().expect("a temporary directory");
    let store = EngineStore::begin(engine, HostId([me; 16]), cache.path().join("cache")).expect("there are threads");
    (store, cache)
}

/// A host whose upload is swept then, its engine, and another host.
struct Hosts {
    way: Arc<Swept>,
    uploading: (EngineStore, TempDir),
    other: (EngineStore, TempDir),
}

fn hosts(before: fn(&KeysRequest) -> bool, beats: bool, sweep: fn(&EngineStore)) -> Hosts {
    let engine = MemoryEngine::default();
    let other = open(Arc::new(engine.clone()), 2);
    other.0.create_log(LOG, &genesis_of(LOG.0)).expect("works");
    let sweeper = other.0.clone();
    let sweep: Sweep = Mutex::new(Some(Box::new(move || sweep(&sweeper))));
    let way = Arc::new(Swept { engine, before, sweep, beats, parts_put: AtomicU64::new(0) });
    Hosts { uploading: open(Arc::clone(&way) as Arc<dyn Engine>, 1), way, other }
}

fn checkpoint() -> Checkpoint {
    checkpoint_at(5)
}

fn checkpoint_at(lsn: u64) -> Checkpoint {
    let head = CheckpointHead { lsn: Lsn(lsn), module: [1; 32], engine: [2; 32], state_digest: 3, memory_digest: 4 };
    let capture = Capture { registers: b"registers".to_vec(), memories: Vec::new() };
    Checkpoint { head, parent: None, state: b"state".to_vec().into(), capture }
}

fn remove_leftovers(store: &EngineStore) {
    store.checkpoints(LOG).expect("it is there").remove_leftovers(ReplicaIndex(1)).expect("works");
}

fn remove_orphans(store: &EngineStore) {
    store.remove_orphans(&BTreeSet::new(), false).expect("works");
}

fn is_list_put(request: &KeysRequest) -> bool {
    matches!(request, KeysRequest::Put(Put { key, .. }) if key.starts_with("checkpoints/"))
}

fn is_list_read(request: &KeysRequest) -> bool {
    matches!(request, KeysRequest::Get { key, .. } if key.starts_with("checkpoints/"))
}

fn is_blob_put(request: &KeysRequest) -> bool {
    matches!(request, KeysRequest::Put(Put { key, .. }) if key.starts_with("blob/"))
}

#[test]
fn a_checkpoint_that_was_swept_before_it_counts_does_not_come_to_count_and_the_next_one_does() {
    for before in [is_list_put, is_list_read] {
        let Hosts { uploading: (uploading, _cache), other: (other, _other), .. } =
            hosts(before, false, remove_leftovers);
        let checkpoints = uploading.checkpoints(LOG).expect("it is there");
        let publish = || {
            let written = checkpoints.write(&checkpoint(), ReplicaIndex(0)).expect("there is room");
            written.publish()
        };
        let error = publish().expect_err("its parts are gone").to_string();
        assert!(error.contains("taken for gone"), "{error}");
        let others = other.checkpoints(LOG).expect("it is there");
        assert_eq!(others.list().expect("works"), []);
        publish().expect("nobody sweeps now");
        let loaded = others.load(Lsn(5)).expect("it is whole");
        assert_eq!(loaded.into_whole().expect("works"), checkpoint());
    }
}

#[test]
fn contents_that_were_swept_before_they_count_are_uploaded_once_more() {
    let Hosts { uploading: (uploading, _cache), other: (other, _other), way } =
        hosts(is_blob_put, false, remove_orphans);
    let hash = uploading.blobs().put(b"module").expect("the second time");
    assert_eq!(way.parts_put.load(Ordering::SeqCst), 2);
    assert_eq!(other.blobs().get(hash).expect("it is whole"), b"module");
    remove_orphans(&other);
    assert_eq!(other.blobs().get(hash).expect("it counts"), b"module");
}

/// Such as a verb that registers an instance, and runs nothing.
#[test]
fn a_process_that_only_uploads_says_meanwhile_that_it_is_alive() {
    let Hosts { uploading: (uploading, _cache), way, other: (other, _other) } =
        hosts(is_blob_put, true, remove_orphans);
    let hash = uploading.blobs().put(b"module").expect("works");
    assert_eq!(way.parts_put.load(Ordering::SeqCst), 1);
    assert_eq!(other.blobs().get(hash).expect("it is whole"), b"module");
}

#[test]
fn what_a_host_has_under_way_it_does_not_sweep_itself() {
    let Hosts { uploading: (uploading, _cache), way, other: (other, _other) } =
        hosts(is_list_put, true, remove_leftovers);
    let sweeper = uploading.clone();
    let sweep = move || remove_leftovers(&sweeper);
    *way.sweep.lock().expect("no panic") = Some(Box::new(sweep));
    publish(&uploading, 5).expect("it was under way");
    assert!(way.sweep.lock().expect("no panic").is_none(), "it was swept meanwhile");
    remove_leftovers(&uploading);
    other.checkpoints(LOG).expect("it is there").load(Lsn(5)).expect("it is whole, and counts");
}

fn publish(store: &EngineStore, lsn: u64) -> Result<(), IoError> {
    let checkpoints = store.checkpoints(LOG).expect("it is there");
    checkpoints.write(&checkpoint_at(lsn), ReplicaIndex(0)).expect("there is room").publish()
}

/// An engine that once says of something that it is refused. It may have done it.
struct Refusing {
    engine: MemoryEngine,
    once: Mutex<Option<Refused>>,
}

#[derive(Clone, Copy)]
struct Refused {
    what: fn(&KeysRequest) -> bool,
    is_done: bool,
}

impl Refusing {
    fn begin() -> Arc<Refusing> {
        let refusing = Refusing { engine: MemoryEngine::default(), once: Mutex::default() };
        let (store, _cache) = open(Arc::new(refusing.engine.clone()), 9);
        store.create_log(LOG, &genesis_of(LOG.0)).expect("works");
        Arc::new(refusing)
    }

    fn refuse(&self, what: fn(&KeysRequest) -> bool, is_done: bool) {
        *self.once.lock().expect("no panic") = Some(Refused { what, is_done });
    }

    /// What is uploaded there, whether it counts or not.
    fn uploaded(&self) -> BTreeSet<String> {
        let list = KeysRequest::List { space: Space::Store, prefix: "part/".to_owned(), after: None, values: false };
        let (tell, told) = mpsc::channel();
        self.engine.ask(Lane::Other, Request::Keys(list), Box::new(move |answer| tell.send(answer).expect("it waits")));
        match told.recv().expect("it is answered") {
            Ok(Answered::Keys(KeysAnswer::Listed { entries, is_all: true, .. })) => {
                let upload = |key: &str| key.rsplit_once('/').expect("it has a number").0.to_owned();
                entries.iter().map(|entry| upload(&entry.key)).collect()
            }
            other => panic!("{other:?}"),
        }
    }
}

impl Engine for Refusing {
    fn ask(&self, lane: Lane, request: Request, answer: Answering) {
        let mut once = self.once.lock().expect("no panic");
        let refused = once.take_if(|refused| matches!(&request, Request::Keys(request) if (refused.what)(request)));
        drop(once);
        let Some(Refused { is_done, .. }) = refused else { return self.engine.ask(lane, request, answer) };
        let refuse = |_| answer(Err(Fault::Refused("it is the test's wish".to_owned())));
        if is_done { self.engine.ask(lane, request, Box::new(refuse)) } else { refuse(Ok(Answered::Barred)) }
    }

    fn facts(&self) -> EngineFacts {
        self.engine.facts()
    }
}

fn is_part_put(request: &KeysRequest) -> bool {
    matches!(request, KeysRequest::Put(Put { key, .. }) if key.starts_with("part/"))
}

fn is_look_at_parts(request: &KeysRequest) -> bool {
    matches!(request, KeysRequest::List { prefix, .. } if prefix.starts_with("part/"))
}

fn is_part_deleted(request: &KeysRequest) -> bool {
    matches!(request, KeysRequest::Delete { key, .. } if key.starts_with("part/"))
}

#[test]
fn of_a_checkpoint_that_failed_the_next_one_leaves_what_counts_and_nothing_else() {
    let failures =
        [(is_part_put as fn(&_) -> _, true), (is_look_at_parts, false), (is_list_put, false), (is_list_put, true)];
    for (number, (what, is_done)) in failures.into_iter().enumerate() {
        let engine = Refusing::begin();
        let (store, _cache) = open(Arc::clone(&engine) as Arc<dyn Engine>, 1);
        engine.refuse(what, is_done);
        publish(&store, 5).expect_err("it is refused");
        assert_eq!(engine.uploaded().len(), 1, "of failure {number}");
        publish(&store, 6).expect("nothing is refused any more");
        let (other, _cache) = open(Arc::new(engine.engine.clone()), 2);
        let checkpoints = other.checkpoints(LOG).expect("it is there");
        let counts: Vec<_> = checkpoints.list().expect("works").iter().map(|info| info.lsn).collect();
        assert_eq!(counts.contains(&Lsn(5)), number == 3, "it was listed then alone");
        assert_eq!(engine.uploaded().len(), counts.len(), "of failure {number}");
        counts.iter().for_each(|lsn| drop(checkpoints.load(*lsn).expect("it is whole")));
    }
}

#[test]
fn what_could_not_be_removed_when_it_was_trimmed_goes_the_next_time_whoever_has_uploaded_it() {
    let engine = Refusing::begin();
    let (store, _cache) = open(Arc::clone(&engine) as Arc<dyn Engine>, 1);
    let (other, _other) = open(Arc::new(engine.engine.clone()), 2);
    let mut reign = Reign::begin(&*other.log(LOG).expect("it is there"), 0);
    while reign.append_durably(b"record") < Lsn(20) {}
    for lsn in 5..8 {
        publish(&other, lsn).expect("works");
    }
    let checkpoints = store.checkpoints(LOG).expect("it is there");
    engine.refuse(is_part_deleted, false);
    checkpoints.trim(Keep::newest(1), &[Lsn(20)]).expect_err("it is refused");
    assert_eq!(engine.uploaded().len(), 2, "the others are gone");
    assert_eq!(checkpoints.trim(Keep::newest(1), &[Lsn(20)]).expect("works").checkpoints, 0);
    assert_eq!(engine.uploaded().len(), 1);
    checkpoints.load(Lsn(7)).expect("it counts");
}

#[test]
fn contents_that_may_come_to_count_at_any_time_stay_while_whoever_has_put_them_lives() {
    let engine = Refusing::begin();
    let (store, _cache) = open(Arc::clone(&engine) as Arc<dyn Engine>, 1);
    engine.refuse(is_blob_put, false);
    store.blobs().put(b"module").expect_err("it is refused");
    remove_orphans(&store);
    assert_eq!(engine.uploaded().len(), 1);
    engine.refuse(is_part_put, true);
    store.blobs().put(b"module").expect_err("it is refused");
    remove_orphans(&store);
    assert_eq!(engine.uploaded().len(), 1, "of what was not uploaded as a whole nothing comes to count");
}
