//! Whole stores on an engine in memory, whose modules and checkpoints lie in a depot.

use std::{
    io::{Read, Take, Write},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ambrosia_core::{Capture, InstanceUuid, Lsn, MemoryCapture, PAGE_BYTES, ReplicaIndex, member::Keep, page_hash};
use ambrosia_shared_log::{
    Answering, Depot, DepotError, Engine, EngineFacts, EngineStore, KeysRequest, Lane, Listing, MemoryEngine, Request,
    conformance::{ask, open, open_with},
};
use ambrosia_storage::{
    BlobHash, Checkpoint, CheckpointError, CheckpointHead, LogId, Store,
    conformance::{Reign, genesis_of},
};
use ambrosia_test_database::Objects;
use tempfile::TempDir;
use uuid::Uuid;

use crate::{
    gate::{Gate, Mode},
    grounds::{Ground, at},
};

/// Far more than it takes until a host counts as gone.
const PATIENCE: Duration = Duration::from_secs(60);

const ME: ReplicaIndex = ReplicaIndex(3);

/// A store with what it lies in.
struct Opened<G> {
    store: EngineStore,
    _ground: G,
    _cache: TempDir,
}

fn cache() -> TempDir {
    tempfile::tempdir().expect("there is room")
}

fn opened<G: Ground>(ground: G) -> Opened<G> {
    let cache = cache();
    let store = open_with(Arc::new(MemoryEngine::default()), ground.depot(), cache.path());
    Opened { store, _ground: ground, _cache: cache }
}

fn store<G>(opened: &Opened<G>) -> &dyn Store {
    &opened.store
}

mod in_a_directory {
    ambrosia_storage::store_conformance!(
        || crate::stores::opened(tempfile::tempdir().expect("there is room")),
        crate::stores::store::<tempfile::TempDir>
    );
}

/// What lies there; all else of a store does not know that it does.
macro_rules! in_an_object_store {
    ($($module:ident::$name:ident of $part:expr;)*) => {
        mod in_an_object_store {
            $(#[test] fn $name() {
                if let Some(objects) = super::Objects::begin() {
                    let opened = super::opened(objects);
                    ambrosia_storage::conformance::$module::$name($part(&opened.store));
                }
            })*
        }
    };
}

fn whole(store: &EngineStore) -> &dyn Store {
    store
}

in_an_object_store! {
    blobs::a_blob_is_named_by_its_hash of ambrosia_storage::Store::blobs;
    blobs::blobs_are_listed_and_deleted of ambrosia_storage::Store::blobs;
    checkpoints::a_base_with_changes_upon_changes_reads_back of super::whole;
    checkpoints::a_checkpoint_counts_once_it_is_published of super::whole;
    checkpoints::a_long_chain_is_made_a_base of super::whole;
    checkpoints::what_is_needed_is_kept_and_the_rest_is_trimmed of super::whole;
    checkpoints::history_keeps_checkpoints_and_the_log_behind_them of super::whole;
    wishes::modules_stay_until_the_last_instance_that_had_them_is_deregistered of super::whole;
}

fn log(store: &EngineStore) -> LogId {
    let log = LogId(InstanceUuid(*Uuid::new_v4().as_bytes()));
    store.create_log(log, &genesis_of(log.0)).expect("it is new");
    log
}

/// A checkpoint that is too large for one part of an upload, and can't be compressed.
fn checkpoint(lsn: u64) -> Checkpoint {
    const PAGES: usize = (10 << 20) / PAGE_BYTES;
    let mut state = lsn;
    let mut memory = MemoryCapture { bytes: (PAGES * PAGE_BYTES) as u64, ..MemoryCapture::default() };
    for page in 0..PAGES {
        let mut contents = vec![0; PAGE_BYTES];
        for eight in contents.chunks_exact_mut(8) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            eight.copy_from_slice(&(state ^ state >> 29).to_le_bytes());
        }
        memory.push(page as u32, page_hash(&contents), &contents);
    }
    let head =
        CheckpointHead { lsn: Lsn(lsn), module: [1; 32], engine: [2; 32], state_digest: lsn, memory_digest: lsn };
    let capture = Capture { registers: b"registers".to_vec(), memories: vec![memory] };
    Checkpoint { head, parent: None, state: b"state".to_vec().into(), capture }
}

fn publish(store: &EngineStore, log: LogId, lsn: u64) -> Result<(), String> {
    let written = store.checkpoints(log).expect("it is there").write(&checkpoint(lsn), ME).expect("there is room");
    written.publish().map_err(|error| error.to_string())
}

fn load(store: &EngineStore, log: LogId, lsn: u64) -> Result<(), CheckpointError> {
    let loaded = store.checkpoints(log).expect("it is there").load(Lsn(lsn))?;
    assert_eq!((loaded.head, &loaded.registers[..]), (checkpoint(lsn).head, &b"registers"[..]));
    Ok(())
}

/// Files with such an end in the cache of a machine.
fn cached(cache: &Path, log: LogId, end: &str) -> usize {
    let files = std::fs::read_dir(cache.join("checkpoints").join(log.to_string())).into_iter().flatten();
    files.filter(|file| file.as_ref().expect("it is read").file_name().to_string_lossy().ends_with(end)).count()
}

#[test]
fn another_machine_has_what_one_has_published_and_what_is_damaged_it_refuses() {
    let (ground, engine) = (cache(), MemoryEngine::default());
    let (depot, caches) = (ground.depot(), [cache(), cache(), cache()]);
    let [one, other, third] =
        [0, 1, 2].map(|at: usize| open_with(Arc::new(engine.clone()), Arc::clone(&depot), caches[at].path()));
    let log = log(&one);
    publish(&one, log, 5).expect("there is room");
    assert_eq!((ground.count(), cached(caches[1].path(), log, "")), (1, 0));
    load(&other, log, 5).expect("it is in the depot");
    assert_eq!(cached(caches[1].path(), log, "") - cached(caches[1].path(), log, ".tmp"), 1, "and now here");
    publish(&other, log, 5).expect("it is the same");
    assert_eq!(ground.count(), 1, "and is not put twice");
    let module = one.blobs().put(b"module").expect("there is room");
    assert_eq!(other.blobs().put(b"module").expect("it is there"), module);
    assert_eq!(ground.count(), 2, "of the module, too, there is one");
    // A byte of the checkpoint, which has the same length.
    let folder = depot.list("checkpoint").expect("it can be seen").folders.remove(0);
    let name = depot.list(&format!("checkpoint/{folder}")).expect("it can be seen").files.remove(0);
    let name = format!("checkpoint/{folder}/{name}");
    let mut contents = Vec::new();
    depot.get(&name, &mut contents).expect("it is there");
    contents[5000] ^= 1;
    depot.put(&name, &mut &contents[..]).expect("it is the test's own");
    let damaged = load(&third, log, 5).expect_err("it is not what it was");
    assert!(matches!(&damaged, CheckpointError::Damaged { reason, .. } if reason.contains("is damaged")), "{damaged}");
    assert_eq!(cached(caches[2].path(), log, ""), 0, "nothing of it stays in the cache");
    depot.remove(&name).expect("it is the test's own");
    let missing = load(&third, log, 5).expect_err("it is not there");
    assert!(matches!(&missing, CheckpointError::Damaged { reason, .. } if reason.contains("is missing")), "{missing}");
    load(&other, log, 5).expect("it is in its cache");
}

#[test]
fn a_host_without_the_place_for_blobs_says_what_it_lacks() {
    let (ground, engine, caches) = (cache(), MemoryEngine::default(), [cache(), cache()]);
    let one = open_with(Arc::new(engine.clone()), ground.depot(), caches[0].path());
    let without = open(Arc::new(engine), caches[1].path());
    let log = log(&one);
    publish(&one, log, 5).expect("there is room");
    let module = one.blobs().put(b"module").expect("there is room");
    let said = load(&without, log, 5).expect_err("it does not know where").to_string();
    assert!(said.contains("blobs="), "{said}");
    let said = without.blobs().get(module).expect_err("it does not know where").to_string();
    assert!(said.contains("blobs="), "{said}");
    // What lay in the engine before is read as before by those that have a place beside it.
    let in_engine = without.blobs().put(&vec![3; 3 << 20]).expect("there is room");
    publish(&without, log, 6).expect("there is room");
    assert!(one.blobs().get(in_engine).expect("it is there") == vec![3; 3 << 20]);
    load(&one, log, 6).expect("it is there");
}

#[test]
fn what_is_deregistered_or_was_left_by_the_dead_goes_and_what_the_living_put_stays() {
    let (ground, engine, caches) = (cache(), MemoryEngine::default(), [cache(), cache()]);
    let depot = ground.depot();
    let one = open_with(Arc::new(engine.clone()), Arc::clone(&depot), caches[0].path());
    let [kept, gone] = [log(&one), log(&one)];
    for log in [kept, gone] {
        publish(&one, log, 5).expect("there is room");
    }
    let module = one.blobs().put(b"module").expect("there is room");
    assert_eq!(ground.count(), 3);
    one.close_log(gone, &[ME].into()).expect("nobody runs").expect("it is there").remove().expect("it can be removed");
    assert_eq!(ground.count(), 2);
    // As whoever died in the middle of it would leave them: begun, and counted by nobody; one of a log that is gone.
    let dead = "0f".repeat(16);
    let left = [format!("blob/{dead}-1"), format!("checkpoint/{kept}/{dead}-2"), format!("checkpoint/{gone}/{dead}-3")];
    for name in &left {
        depot.put(name, &mut &b"left"[..]).expect("it is the test's own");
    }
    assert_eq!(ground.count(), 5);
    let sweep = || {
        one.checkpoints(kept).expect("it is there").remove_leftovers(ME).expect("the depot is there");
        one.remove_orphans(&[kept].into(), false).expect("the depot is there");
    };
    let until = Instant::now() + PATIENCE;
    while ground.count() > 2 {
        assert!(Instant::now() < until, "it stays");
        sweep();
    }
    load(&one, kept, 5).expect("it counts");
    assert_eq!(one.blobs().get(module).expect("it counts"), b"module");
    // Another host lives, and is still putting what does not count yet.
    let other = open_with(Arc::new(engine), Arc::clone(&depot), caches[1].path());
    // Whoever reigns, or runs a replica, says that it lives.
    let _reign = Reign::begin(&*other.log(kept).expect("it is there"), 0);
    let before = depot.list("blob").expect("it can be seen").files;
    let living = other.blobs().put(b"another").expect("there is room");
    let mut files = depot.list("blob").expect("it can be seen").files;
    files.retain(|file| !before.contains(file));
    let (host, _) = files[0].split_once('-').expect("it names its host");
    depot.put(&format!("blob/{host}-999"), &mut &b"under way"[..]).expect("it is the test's own");
    sweep();
    assert_eq!((ground.count(), other.blobs().get(living).expect("it counts")), (4, b"another".to_vec()));
}

/// Lsns of the checkpoints that the cache of a machine has.
fn lsns_cached(cache: &Path, log: LogId) -> Vec<u64> {
    let files = std::fs::read_dir(cache.join("checkpoints").join(log.to_string())).expect("it is there");
    let name = |file: std::io::Result<std::fs::DirEntry>| file.expect("it is read").file_name();
    let lsn = |name: std::ffi::OsString| name.to_str()?.strip_suffix(".base")?.parse().ok();
    let mut lsns: Vec<_> = files.map(name).filter_map(lsn).collect();
    lsns.sort_unstable();
    lsns
}

#[test]
fn what_another_machine_has_trimmed_goes_from_the_cache_of_each() {
    let (ground, engine, caches) = (cache(), MemoryEngine::default(), [cache(), cache()]);
    let depot = ground.depot();
    let [one, other] =
        [0, 1].map(|at: usize| open_with(Arc::new(engine.clone()), Arc::clone(&depot), caches[at].path()));
    let log = log(&one);
    let mut reign = Reign::begin(&*one.log(log).expect("it is there"), 0);
    while reign.append_durably(b"record") < Lsn(20) {}
    let trim = |store: &EngineStore| {
        let checkpoints = store.checkpoints(log).expect("it is there");
        checkpoints.trim(Keep::newest(1), &[Lsn(20)]).expect("works").checkpoints
    };
    let [of_one, of_other] = [0, 1].map(|at: usize| caches[at].path());
    publish(&one, log, 5).expect("there is room");
    load(&other, log, 5).expect("it is there");
    publish(&one, log, 6).expect("there is room");
    assert_eq!((trim(&one), lsns_cached(of_one, log), lsns_cached(of_other, log)), (1, vec![6], vec![5]));
    publish(&other, log, 7).expect("there is room");
    assert_eq!(lsns_cached(of_other, log), [7], "it takes a checkpoint");
    publish(&one, log, 8).expect("there is room");
    assert_eq!((trim(&one), lsns_cached(of_one, log)), (2, vec![8]));
    assert_eq!((trim(&other), lsns_cached(of_other, log)), (0, vec![]), "it would trim");
    publish(&other, log, 9).expect("there is room");
    assert_eq!((trim(&other), lsns_cached(of_one, log)), (1, vec![8]));
    for store in [&one, &other] {
        store.checkpoints(log).expect("it is there").remove_leftovers(ME).expect("works");
    }
    assert_eq!((lsns_cached(of_one, log), lsns_cached(of_other, log)), (vec![], vec![9]), "a replica begins");
}

/// An engine that, once, does something else behind the answer to what is in such a list and before that is told.
struct Held {
    engine: MemoryEngine,
    what: fn(&KeysRequest) -> bool,
    then: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Engine for Held {
    fn ask(&self, lane: Lane, request: Request, answer: Answering) {
        let is_list = matches!(&request, Request::Keys(request) if (self.what)(request));
        let answered = ask(&self.engine, lane, request);
        let then = if is_list { self.then.lock().expect("no panic").take() } else { None };
        then.into_iter().for_each(|then| then());
        answer(answered);
    }

    fn facts(&self) -> EngineFacts {
        self.engine.facts()
    }
}

fn is_look_at_checkpoints(request: &KeysRequest) -> bool {
    matches!(request, KeysRequest::Get { key, .. } if key.starts_with("checkpoints/"))
}

fn is_look_at_blobs(request: &KeysRequest) -> bool {
    matches!(request, KeysRequest::List { prefix, .. } if prefix == "blob/")
}

#[test]
fn what_comes_to_count_while_the_cache_is_looked_through_stays_there() {
    let (ground, engine, shared) = (cache(), MemoryEngine::default(), cache());
    let depot = ground.depot();
    let held = Arc::new(Held { engine: engine.clone(), what: is_look_at_checkpoints, then: Mutex::default() });
    // Two processes of one machine.
    let one = open_with(Arc::new(engine), Arc::clone(&depot), shared.path());
    let other = open_with(Arc::clone(&held) as Arc<dyn Engine>, depot, shared.path());
    let log = log(&one);
    publish(&one, log, 5).expect("there is room");
    let publishing = one.clone();
    let then = move || publish(&publishing, log, 6).expect("there is room");
    *held.then.lock().expect("no panic") = Some(Box::new(then));
    other.checkpoints(log).expect("it is there").remove_leftovers(ReplicaIndex(4)).expect("works");
    assert!(held.then.lock().expect("no panic").is_none(), "the list was read");
    assert_eq!(lsns_cached(shared.path(), log), [5, 6]);
}

/// A depot to which something is done while contents are half put, once; and that for a time removes nothing.
struct Disturbed {
    depot: Arc<dyn Depot>,
    half: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    removes: AtomicBool,
}

/// Contents of a checkpoint, half of which has been taken when something is done.
struct Half<'a>(Take<&'a mut dyn Read>, Option<Box<dyn FnOnce() + Send>>);

impl Read for Half<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.0.read(buffer)?;
        if self.0.limit() == 0 {
            self.0.set_limit(u64::MAX);
            self.1.take().into_iter().for_each(|half| half());
        }
        Ok(read)
    }
}

impl Depot for Disturbed {
    fn place(&self) -> String {
        self.depot.place()
    }

    fn make(&self) -> Result<(), DepotError> {
        self.depot.make()
    }

    fn check(&self) -> Result<(), DepotError> {
        self.depot.check()
    }

    fn put(&self, name: &str, contents: &mut dyn Read) -> Result<(), DepotError> {
        let half = self.half.lock().expect("no panic").take();
        self.depot.put(name, &mut Half(contents.take(5 << 20), half))
    }

    fn get(&self, name: &str, out: &mut dyn Write) -> Result<(), DepotError> {
        self.depot.get(name, out)
    }

    fn remove(&self, name: &str) -> Result<(), DepotError> {
        if self.removes.load(Ordering::SeqCst) {
            return self.depot.remove(name);
        }
        Err(DepotError::Away { place: self.place(), reason: "it is the test's wish".to_owned() })
    }

    fn list(&self, folder: &str) -> Result<Listing, DepotError> {
        self.depot.list(folder)
    }
}

#[test]
fn a_host_that_lives_removes_from_the_depot_what_it_has_left_there_and_nothing_that_is_under_way() {
    let (ground, engine, caches) = (cache(), MemoryEngine::default(), [cache(), cache()]);
    let depot = Arc::new(Disturbed { depot: ground.depot(), half: Mutex::default(), removes: AtomicBool::new(true) });
    let one = open_with(Arc::new(engine.clone()), Arc::clone(&depot) as Arc<dyn Depot>, caches[0].path());
    let log = log(&one);
    let mut reign = Reign::begin(&*one.log(log).expect("it is there"), 0);
    while reign.append_durably(b"record") < Lsn(20) {}
    let sweeper = one.clone();
    let half = move || sweeper.checkpoints(log).expect("it is there").remove_leftovers(ReplicaIndex(4)).expect("works");
    *depot.half.lock().expect("no panic") = Some(Box::new(half));
    publish(&one, log, 5).expect("it is under way");
    assert!(depot.half.lock().expect("no panic").is_none(), "it was swept meanwhile");
    publish(&one, log, 6).expect("there is room");
    publish(&one, log, 7).expect("there is room");
    // As a put would leave it that was given up, and came to an end all the same.
    let folder = format!("checkpoint/{log}");
    let files = depot.list(&folder).expect("it can be seen").files;
    let (host, _) = files[0].split_once('-').expect("it names its host");
    depot.put(&format!("{folder}/{host}-999"), &mut &b"late"[..]).expect("there is room");
    let trim = || one.checkpoints(log).expect("it is there").trim(Keep::newest(1), &[Lsn(20)]);
    depot.removes.store(false, Ordering::SeqCst);
    let refused = trim().expect_err("it does not answer").to_string();
    assert!(refused.contains("the test's wish"), "{refused}");
    trim().expect("nothing counts any more that is not needed");
    assert_eq!(ground.count(), 4);
    depot.removes.store(true, Ordering::SeqCst);
    trim().expect("works");
    assert_eq!(ground.count(), 1);
    load(&open_with(Arc::new(engine), depot, caches[1].path()), log, 7).expect("it counts");
}

#[test]
fn the_cache_keeps_nothing_of_logs_that_another_machine_has_removed_and_of_downloads_that_were_killed() {
    let (ground, engine, caches) = (cache(), MemoryEngine::default(), [cache(), cache()]);
    let depot = ground.depot();
    let [one, other] =
        [0, 1].map(|at: usize| open_with(Arc::new(engine.clone()), Arc::clone(&depot), caches[at].path()));
    let [kept, gone, later] = [log(&one), log(&one), log(&one)];
    for log in [kept, gone, later] {
        publish(&one, log, 5).expect("there is room");
        load(&other, log, 5).expect("it is there");
    }
    let of_other = caches[1].path();
    let left = of_other.join("checkpoints").join(kept.to_string()).join("00000000000000000005.base.1-1.tmp");
    std::fs::write(&left, b"half").expect("there is room");
    let remove = |log| {
        one.close_log(log, &[ME].into())
            .expect("nobody runs")
            .expect("it is there")
            .remove()
            .expect("it can be removed");
    };
    let has = |log: LogId| of_other.join("checkpoints").join(log.to_string()).exists();
    remove(gone);
    assert!(has(gone), "nobody has told this machine");
    other.checkpoints(kept).expect("it is there").remove_leftovers(ME).expect("works");
    assert!(!has(gone) && has(later) && !left.exists(), "a replica begins");
    assert_eq!(lsns_cached(of_other, kept), [5]);
    remove(later);
    other.remove_orphans(&[kept].into(), false).expect("works");
    assert!(!has(later) && has(kept), "an instance is registered");
}

#[test]
fn the_cache_keeps_nothing_of_modules_that_another_machine_has_removed() {
    let (engine, caches) = (MemoryEngine::default(), [cache(), cache()]);
    let held = Arc::new(Held { engine: engine.clone(), what: is_look_at_blobs, then: Mutex::default() });
    let one = open(Arc::new(engine), caches[0].path());
    let other = open(Arc::clone(&held) as Arc<dyn Engine>, caches[1].path());
    let log = log(&one);
    let module = |contents: &[u8]| {
        let hash = one.blobs().put(contents).expect("there is room");
        other.blobs().get(hash).expect("it is there");
        let compiled = caches[1].path().join(format!("{hash}-engine.cwasm"));
        std::fs::write(compiled, b"compiled").expect("there is room");
        hash
    };
    let files = |hash: BlobHash| {
        let cache = caches[1].path();
        [cache.join("modules").join(hash.to_string()), cache.join(format!("{hash}-engine.cwasm"))]
            .map(|file| file.exists())
    };
    let [kept, gone] = [module(b"kept"), module(b"gone")];
    one.blobs().delete(gone).expect("it is there");
    assert_eq!([files(kept), files(gone)], [[true; 2]; 2], "nobody has told this machine");
    let modules = caches[1].path().join("modules");
    let [left, under_way] = [1, 2].map(|number| modules.join(format!("{gone}.1-{number}.tmp")));
    std::fs::write(&left, b"half").expect("there is room");
    let writing = std::fs::File::create(&under_way).expect("there is room");
    writing.lock().expect("nobody else writes it");
    // An instance is registered with another module, and a replica begins here, while the cache is looked through.
    let (registering, beginning) = (one.clone(), other.clone());
    let then = move || {
        let hash = registering.blobs().put(b"just now").expect("there is room");
        beginning.blobs().get(hash).expect("it is there");
    };
    *held.then.lock().expect("no panic") = Some(Box::new(then));
    other.checkpoints(log).expect("it is there").remove_leftovers(ME).expect("works");
    assert!(held.then.lock().expect("no panic").is_none(), "it was looked through");
    assert_eq!([files(kept), files(gone)], [[true; 2], [false; 2]]);
    assert_eq!([left.exists(), under_way.exists()], [false, true]);
    assert!(files(BlobHash::of(b"just now"))[0]);
}

#[test]
fn without_its_object_store_a_store_goes_on_with_what_is_in_its_cache_and_takes_checkpoints_when_that_is_back() {
    let Some(objects) = Objects::begin() else { return };
    let (gate, engine, caches) = (Gate::before(objects.address()), MemoryEngine::default(), [cache(), cache()]);
    let depot = || -> Arc<dyn Depot> {
        at(gate.address(), "s3://shop/p", "all").depot(Uuid::from_bytes([7; 16])).expect("it is one")
    };
    depot().make().expect("it is there");
    let one = open_with(Arc::new(engine.clone()), depot(), caches[0].path());
    let log = log(&one);
    publish(&one, log, 5).expect("it is there");
    let module = one.blobs().put(b"module").expect("it is there");
    gate.set(Mode::Closed);
    let refused = publish(&one, log, 6).expect_err("it is gone");
    assert!(refused.contains("s3://shop/p/") && refused.contains("does not answer"), "{refused}");
    load(&one, log, 5).expect("it is in the cache");
    let checkpoints = one.checkpoints(log).expect("the engine is there");
    assert_eq!(checkpoints.list().expect("the engine is there").len(), 1, "what was not put does not count");
    let other = open_with(Arc::new(engine), depot(), caches[1].path());
    let said = load(&other, log, 5).expect_err("it has it nowhere").to_string();
    assert!(said.contains("does not answer"), "{said}");
    assert!(other.blobs().get(module).is_err());
    gate.set(Mode::Open);
    load(&other, log, 5).expect("it is back");
    publish(&one, log, 6).expect("it is back");
    load(&other, log, 6).expect("it is there");
    assert_eq!(other.blobs().get(module).expect("it is back"), b"module");
    assert_eq!(BlobHash::of(b"module"), module);
}
