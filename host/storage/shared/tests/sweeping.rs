//! What a host has uploaded, and is taken for gone before that counts: it comes to count whole, or not at all.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use ambrosia_core::{Capture, InstanceUuid, Lsn, ReplicaIndex};
use ambrosia_shared_log::{
    Answering, Engine, EngineFacts, EngineStore, Fault, HostId, KeysRequest, Lane, MemoryEngine, Put, Request,
};
use ambrosia_storage::{Checkpoint, CheckpointHead, LogId, Store, conformance::genesis_of};
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
    let head = CheckpointHead { lsn: Lsn(5), module: [1; 32], engine: [2; 32], state_digest: 3, memory_digest: 4 };
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
