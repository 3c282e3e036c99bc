//! An instance that is copied from each kind of store into each other: on files, in memory and on an engine, also one that often does not
//! say what it did.

mod support;

use std::{
    cell::Cell,
    sync::{Arc, Mutex},
};

use ambrosia_core::{
    Capture, InstanceName, InstanceUuid, Limits, Lsn, MemoryCapture, PAGE_BYTES, ReplicaIndex, Timestamp, page_hash,
};
use ambrosia_shared_log::{Answering, Engine, EngineFacts, EngineStore, KeysRequest, Lane, MemoryEngine, Put, Request};
use ambrosia_storage::{
    BlobHash, Checkpoint, CheckpointHead, CopiedInstance, CopyError, FileStore, InstanceError, Instances, Keep,
    LogStore, MemoryStore, Placing, Progress, Store,
    conformance::{MODULE, Reign, genesis_of},
    copy_instance, copy_tokens,
};
use support::{Failure, Unsure, new_id};

/// A store, and the directory that it has.
type Opened = (Arc<dyn Store>, tempfile::TempDir);

fn on_files() -> Opened {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = FileStore::create_or_open(directory.path()).expect("it is empty");
    (Arc::new(store), directory)
}

fn in_memory() -> Opened {
    (Arc::new(MemoryStore::default()), tempfile::tempdir().expect("a temporary directory"))
}

fn on(engine: impl Engine + 'static) -> Opened {
    let cache = tempfile::tempdir().expect("a temporary directory");
    let store = EngineStore::begin(Arc::new(engine), new_id(), cache.path().join("cache"));
    (Arc::new(store.expect("there are threads")), cache)
}

fn on_an_engine() -> Opened {
    on(MemoryEngine::default())
}

fn on_an_unsure_engine() -> Opened {
    let failure = |number: u64, request: &Request| match (request, number % 3) {
        (Request::Append { .. } | Request::Create { .. }, 0) => Some(Failure::Unheard),
        (Request::Append { .. } | Request::Create { .. }, 1) => Some(Failure::Lost),
        (Request::Append { .. }, 2) if number.is_multiple_of(2) => Some(Failure::Refused),
        _ => None,
    };
    on(Unsure::new(MemoryEngine::default(), failure))
}

/// An engine on which somebody does something just before a key is put that begins so, once.
struct Before {
    engine: MemoryEngine,
    key: &'static str,
    act: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Engine for Before {
    fn ask(&self, lane: Lane, request: Request, answer: Answering) {
        if let Request::Keys(KeysRequest::Put(Put { key, .. })) = &request
            && key.starts_with(self.key)
        {
            let act = self.act.lock().expect("no panic").take();
            act.into_iter().for_each(|act| act());
        }
        self.engine.ask(lane, request, answer);
    }

    fn facts(&self) -> EngineFacts {
        self.engine.facts()
    }
}

const KINDS: [fn() -> Opened; 4] = [on_files, in_memory, on_an_engine, on_an_unsure_engine];

fn name() -> InstanceName {
    InstanceName::new("checked").expect("plain")
}

fn register(store: &dyn Store) {
    let limits = Limits { fuel: 1, memory_bytes: 1 };
    store.register(&name(), MODULE, 1, InstanceUuid([7; 16]), limits, Timestamp(1)).expect("works");
    store.add_replica(&name(), ReplicaIndex(2)).expect("works");
}

fn log(store: &dyn Store) -> Arc<dyn LogStore> {
    store.log(store.log_of(&name()).expect("it is registered")).expect("it is there")
}

/// Two reigns, with records of several sizes; the last record.
fn write(store: &dyn Store) -> Lsn {
    let log = log(store);
    let mut last = Lsn(0);
    for replica in 0..2 {
        let mut reign = Reign::begin(&*log, replica);
        for bytes in [10, 100_000, 900_000, 1_500_000, 7] {
            last = reign.append_durably(&vec![replica as u8 + 1; bytes]);
        }
    }
    last
}

fn checkpoint(lsn: Lsn) -> Checkpoint {
    let mut memory = MemoryCapture { bytes: 3 * PAGE_BYTES as u64, ..MemoryCapture::default() };
    let page = vec![lsn.0 as u8; PAGE_BYTES];
    memory.push(1, page_hash(&page), &page);
    let head = CheckpointHead { lsn, module: [1; 32], engine: [2; 32], state_digest: 3, memory_digest: 5 };
    let state = b"state".to_vec().into();
    Checkpoint {
        head,
        parent: None,
        state,
        capture: Capture { registers: b"registers".to_vec(), memories: vec![memory] },
    }
}

fn take(store: &dyn Store, lsn: Lsn) {
    let checkpoints = store.checkpoints(store.log_of(&name()).expect("registered")).expect("works");
    checkpoints.write(&checkpoint(lsn), ReplicaIndex(0)).expect("there is room").publish().expect("it was written");
}

/// The records as they are stored.
fn records(store: &dyn Store, first: Lsn) -> Vec<Vec<u8>> {
    let log = store.log_of(&name()).expect("registered");
    let scan = store.scan(log, first).expect("it can be read");
    scan.map(|found| found.expect("it is whole").record.stored().to_vec()).collect()
}

fn copy(source: &dyn Store, target: &dyn Store) -> Result<CopiedInstance, CopyError> {
    copy_instance(source, target, &name(), &mut |_| true)
}

/// Each kind of store into each.
fn each(check: impl Fn(&dyn Store, &dyn Store)) {
    for from in KINDS {
        for to in KINDS {
            let ((source, _source), (target, _target)) = (from(), to());
            check(&*source, &*target);
        }
    }
}

#[test]
fn a_copy_has_the_same_records_and_goes_on_with_an_epoch_of_its_own() {
    each(|source, target| {
        register(source);
        let last = write(source);
        take(source, Lsn(5));
        take(source, Lsn(8));
        take(source, Lsn(10));
        let copied = copy(source, target).expect("nothing runs");
        assert_eq!((copied.first, copied.last, copied.was_there), (Lsn(1), last, false));
        assert_eq!(copied.checkpoints, [Lsn(5), Lsn(10)]);
        assert!(records(source, Lsn(1)) == records(target, Lsn(1)), "they are the same bytes");
        let (here, there) = (source.instance(&name()).expect("there"), target.instance(&name()).expect("there"));
        assert_eq!(here, there);
        assert_eq!(target.blobs().get(BlobHash(there.module)).expect("there"), MODULE);
        let loaded = target.checkpoints(there.log()).expect("works").load(Lsn(10)).expect("it is whole");
        assert_eq!(loaded.into_whole().expect("works"), checkpoint(Lsn(10)));
        // Whoever says it again finds it there; and not any more once it has gone on.
        assert!(copy(source, target).expect("works").was_there);
        let before = log(source).head().expect("works");
        let mut reign = Reign::begin(&*log(target), 0);
        assert!(reign.epoch > before.epoch);
        reign.append_durably(b"news");
        drop(reign);
        assert!(matches!(copy(source, target), Err(CopyError::Taken { .. })));
        assert_eq!(log(source).head().expect("works"), before, "nothing was changed");
    });
}

/// Who deregistered it there before was cut off once its log was gone.
#[test]
fn hosts_serve_a_copy_of_what_they_were_to_end_before() {
    let ((source, _source), (target, _target)) = (in_memory(), on_an_engine());
    register(&*source);
    target.retire(source.instance(&name()).expect("it is there").uuid).expect("works");
    copy(&*source, &*target).expect("nothing runs");
    assert!(target.retiring().expect("works").is_empty());
}

#[test]
fn an_instance_that_has_never_run_is_copied_and_runs_there() {
    each(|source, target| {
        register(source);
        assert_eq!(copy(source, target).expect("nothing runs").last, Lsn(1));
        Reign::begin(&*log(target), 0).append_durably(b"news");
    });
}

#[test]
fn a_log_whose_beginning_was_trimmed_is_copied_with_what_replaces_it() {
    each(|source, target| {
        register(source);
        write(source);
        // Each reign, and so each checkpoint here, begins a part that can be removed.
        take(source, Lsn(9));
        take(source, Lsn(11));
        let checkpoints = source.checkpoints(source.log_of(&name()).expect("registered")).expect("works");
        checkpoints.trim(Keep::newest(1), &[Lsn(12)]).expect("works");
        let first = log(source).first().expect("works");
        assert!(first > Lsn(1), "nothing was removed");
        let copied = copy(source, target).expect("nothing runs");
        assert_eq!((copied.first, log(target).first().expect("works")), (first, first));
        assert!(records(source, first) == records(target, first), "they are the same bytes");
        let mut tail = log(target).tail(first).expect("it can be read");
        while !tail.read().expect("works").is_empty() {}
        Reign::begin_with(&*log(target), 0, tail).append_durably(b"news");
    });
}

#[test]
fn what_was_cut_short_is_not_registered_and_begun_anew() {
    each(|source, target| {
        register(source);
        let last = write(source);
        take(source, last);
        // At each of these steps it is stopped once.
        for stop in [4, 14, 20] {
            let steps = Cell::new(0);
            let stopped = copy_instance(source, target, &name(), &mut |_: Progress| {
                steps.set(steps.get() + 1);
                steps.get() < stop
            });
            assert!(matches!(stopped, Err(CopyError::Stopped(_))), "{stop}: {stopped:?}");
            assert!(matches!(target.instance(&name()), Err(InstanceError::Unknown { .. })), "it can't be run");
        }
        assert!(!copy(source, target).expect("works").was_there);
        assert!(records(source, Lsn(1)) == records(target, Lsn(1)), "they are the same bytes");
    });
}

/// As by whoever removes another instance that has it too, and has not seen this one.
#[test]
fn a_module_that_is_removed_while_its_instance_is_copied_is_put_once_more() {
    each(|source, target| {
        register(source);
        let module = BlobHash::of(MODULE);
        let remove = || target.blobs().delete(module).expect("works");
        let check = |found: Result<CopiedInstance, CopyError>, was_there| {
            assert_eq!(found.expect("nothing runs").was_there, was_there);
            assert_eq!(target.blobs().get(module).expect("it is there"), MODULE);
        };
        let copied = copy_instance(source, target, &name(), &mut |progress| {
            if matches!(progress, Progress::ReadBack(lsn, last) if lsn == last) {
                remove();
            }
            true
        });
        check(copied, false);
        remove();
        check(copy(source, target), true);
    });
}

#[test]
fn who_waits_for_another_one_that_copies_the_same_finds_it_there_and_leaves_it() {
    let ((source, _source), engine) = (on_files(), MemoryEngine::default());
    register(&*source);
    write(&*source);
    let (from, (to, _to)) = (Arc::clone(&source), on(engine.clone()));
    let other = move || assert!(!copy(&*from, &*to).expect("nothing runs").was_there);
    let (target, _target) = on(Before { engine, key: "lock/registrations", act: Mutex::new(Some(Box::new(other))) });
    assert!(copy(&*source, &*target).expect("nothing runs").was_there);
    assert!(records(&*source, Lsn(1)) == records(&*target, Lsn(1)), "they are the same bytes");
}

#[test]
fn what_is_noted_of_an_instance_before_it_stands_still_is_copied() {
    let ((source, _source), engine) = (on_files(), MemoryEngine::default());
    register(&*source);
    let from = Arc::clone(&source);
    let note = move || from.add_replica(&name(), ReplicaIndex(9)).expect("works");
    let (target, _target) = on(Before { engine, key: "lock/registrations", act: Mutex::new(Some(Box::new(note))) });
    copy(&*source, &*target).expect("nothing runs");
    assert!(target.instance(&name()).expect("there").replicas.contains(&9));
}

/// Whoever was taken for gone goes on while what he has written is about to be removed.
#[test]
fn what_is_registered_meanwhile_is_no_leftover() {
    let ((source, _source), engine) = (on_files(), MemoryEngine::default());
    register(&*source);
    write(&*source);
    let (other, _other) = on(engine.clone());
    copy(&*source, &*other).expect("nothing runs");
    let last = Reign::begin(&*log(&*other), 0).append_durably(b"news");
    let (revision, entry) = other.registry().get("instances/checked").expect("works").expect("it is there");
    other.registry().delete_if("instances/checked", revision).expect("works");
    let goes_on = Arc::clone(&other);
    let put = move || {
        goes_on.registry().put_if("instances/checked", None, &entry).expect("works");
    };
    let (target, _target) = on(Before { engine, key: "closed/", act: Mutex::new(Some(Box::new(put))) });
    let overtaken = copy(&*source, &*target).expect_err("it is registered");
    assert!(matches!(&overtaken, CopyError::To(InstanceError::Overtaken { .. })), "{overtaken}");
    assert_eq!(log(&*other).head().expect("works").durable, last, "nothing was removed");
}

#[test]
fn what_runs_is_not_copied_and_nothing_begins_to_run_meanwhile() {
    for from in KINDS {
        let ((source, _source), (target, _target)) = (from(), on_files());
        register(&*source);
        write(&*source);
        let members = source.members_of(&name()).expect("registered");
        let running = members.enter(ReplicaIndex(2)).expect("nobody else runs");
        let refused = copy(&*source, &*target).expect_err("it runs");
        assert!(matches!(&refused, CopyError::From(InstanceError::Running { .. })), "{refused}");
        drop(running);
        let (tries, there) = (Cell::new(0), Arc::clone(&source));
        let copied = copy_instance(&*source, &*target, &name(), &mut |_| {
            let members = there.members_of(&name()).expect("registered");
            assert!(members.enter(ReplicaIndex(0)).is_err(), "a replica has begun to run");
            tries.set(tries.get() + 1);
            true
        });
        assert!(!copied.expect("it is over").was_there && tries.get() > 0);
        drop(members.enter(ReplicaIndex(0)).expect("it may run again"));
    }
}

#[test]
fn what_has_the_name_or_is_the_instance_under_another_one_is_left_alone() {
    let ((source, _source), (target, _target)) = (on_files(), on_an_engine());
    register(&*source);
    let limits = Limits { fuel: 1, memory_bytes: 1 };
    target.register(&name(), MODULE, 1, InstanceUuid([8; 16]), limits, Timestamp(1)).expect("works");
    assert!(matches!(copy(&*source, &*target), Err(CopyError::Taken { .. })));
    assert_eq!(target.log_of(&name()).expect("there").0, InstanceUuid([8; 16]));
    assert_eq!(records(&*target, Lsn(1)), [genesis_of(InstanceUuid([8; 16])).stored().to_vec()]);
}

#[test]
fn tokens_are_copied_as_they_are_and_another_one_of_that_name_stays() {
    let ((source, _source), (target, _target)) = (on_files(), on_an_engine());
    source.registry().put_if("tokens/laptop", None, b"the same").expect("works");
    source.registry().put_if("tokens/phone", None, b"one").expect("works");
    target.registry().put_if("tokens/laptop", None, b"the same").expect("works");
    assert_eq!(copy_tokens(&*source, &*target).expect("works"), 1);
    assert_eq!(copy_tokens(&*source, &*target).expect("works"), 0);
    source.registry().put_if("tokens/tv", None, b"this").expect("works");
    target.registry().put_if("tokens/tv", None, b"that").expect("works");
    assert!(matches!(copy_tokens(&*source, &*target), Err(CopyError::OtherToken(_))));
}
