//! The conformance suite of whole stores, on an engine in memory: as it is, and when it often does not say what it did.

mod support;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ambrosia_core::{InstanceUuid, Lsn, ReplicaIndex};
use ambrosia_shared_log::{
    Answered, Answering, Claim, Engine, EngineFacts, EngineStore, Fault, HostId, KeyEntry, KeysAnswer, KeysRequest,
    Lane, MemoryEngine, Put, Request, Space,
};
use ambrosia_storage::{EnterError, HEARTBEAT_SILENCE, LogId, Store, conformance::genesis_of};
use support::{Failure, Unsure, new_id};

/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

/// A store, and the directory of its cache.
struct Opened {
    store: EngineStore,
    _cache: tempfile::TempDir,
}

fn open(engine: Arc<dyn Engine>) -> Opened {
    let cache = tempfile::tempdir().expect("a temporary directory");
    let store = EngineStore::begin(engine, new_id(), cache.path().join("cache")).expect("there are threads");
    Opened { store, _cache: cache }
}

fn store(opened: &Opened) -> &dyn Store {
    &opened.store
}

/// How the engine fails that often does not say what it did.
fn failure(number: u64, request: &Request) -> Option<Failure> {
    let is_change = match request {
        Request::Keys(request) => matches!(request, KeysRequest::Put(_) | KeysRequest::Delete { .. }),
        request => matches!(request, Request::Create { .. } | Request::Remove { .. } | Request::Tell { .. }),
    };
    let is_of_logs = matches!(request, Request::Heads { .. } | Request::Read { .. } | Request::Barrier { .. });
    match number % 5 {
        2 if is_change => Some(Failure::Unheard),
        3 if is_change => Some(Failure::Lost),
        4 if !is_of_logs => Some(Failure::Refused),
        _ => None,
    }
}

mod on_an_engine_in_memory {
    fn new() -> super::Opened {
        super::open(std::sync::Arc::new(ambrosia_shared_log::MemoryEngine::default()))
    }

    ambrosia_storage::store_conformance!(super::new, super::super::store);
}

mod on_an_engine_that_is_unsure {
    fn new() -> super::Opened {
        let engine = ambrosia_shared_log::MemoryEngine::default();
        super::open(std::sync::Arc::new(super::Unsure::new(engine, super::failure)))
    }

    ambrosia_storage::store_conformance!(super::new, super::super::store);
}

/// What is uploaded and does not count is removed once its host is gone, and not before.
#[test]
fn what_a_host_has_uploaded_in_vain_is_removed_when_it_is_gone() {
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::default());
    let (gone, own) = (HostId([9; 16]), open(Arc::clone(&engine)));
    let parts = || {
        let list =
            KeysRequest::List { space: Space::Store, prefix: "part/blob/".to_owned(), after: None, values: false };
        match ask(&*engine, Request::Keys(list)) {
            Answered::Keys(KeysAnswer::Listed { entries, .. }) => entries.len(),
            other => panic!("{other:?}"),
        }
    };
    own.store.blobs().put(b"module").expect("works");
    let key = format!("part/blob/{}/{}-1/00000000", "00", "09".repeat(16));
    let put = |attempt| {
        let claim = Claim { host: gone, attempt };
        let value = b"half".to_vec().into();
        Request::Keys(KeysRequest::Put(Put {
            space: Space::Store,
            key: key.clone(),
            expected: None,
            value,
            claim,
            beside: None,
        }))
    };
    ask(&*engine, put(1));
    assert_eq!(parts(), 2);
    let none = BTreeSet::new();
    // It says that it is alive as often as it is asked about.
    let beating = Arc::new(Beating { engine: Arc::clone(&engine), host: gone, beats: AtomicU64::new(1) });
    open(beating).store.remove_orphans(&none, true).expect("works");
    assert_eq!(parts(), 2, "it may be about to have it count");
    open(Arc::clone(&engine)).store.remove_orphans(&none, true).expect("works");
    assert_eq!(parts(), 1);
    assert_eq!(own.store.blobs().list().expect("works").len(), 1);
}

/// Whoever copies or deregisters an instance may be killed, and leave behind that it is closed.
#[test]
fn an_instance_is_closed_as_long_as_whoever_has_closed_it_lives() {
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::default());
    let (own, log) = (open(Arc::clone(&engine)), LogId(InstanceUuid([7; 16])));
    own.store.create_log(log, &genesis_of(log.0)).expect("works");
    let enter = || own.store.members(log).expect("it is there").enter(ReplicaIndex(0));
    let other = open(Arc::clone(&engine));
    let held = other.store.hold_registrations().expect("nobody holds them");
    let closed = other.store.close_log(log, &BTreeSet::new()).expect("nobody runs").expect("it is there");
    let refused = enter().err().expect("it is closed").to_string();
    assert!(refused.contains("being deregistered or copied"), "{refused}");
    let left = [format!("closed/{log}"), "lock/registrations".to_owned()].map(|key| (key.clone(), get(&*engine, &key)));
    drop((closed, held, other));
    for (key, entry) in left {
        let claim = Claim { host: HostId([98; 16]), attempt: 1 };
        let value = entry.expect("it stood there").value;
        let put = Put { space: Space::Store, key, expected: None, value, claim, beside: None };
        ask(&*engine, Request::Keys(KeysRequest::Put(put)));
    }
    // It was seen to be alive a moment ago.
    let until = Instant::now() + LIMIT;
    while let Err(refused) = enter() {
        assert!(Instant::now() < until, "whoever had closed it is gone: {refused}");
    }
    assert!(get(&*engine, &format!("closed/{log}")).is_none());
}

#[test]
fn who_was_taken_for_gone_while_it_had_an_instance_closed_removes_nothing() {
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::default());
    let (own, log) = (open(Arc::clone(&engine)), LogId(InstanceUuid([7; 16])));
    own.store.create_log(log, &genesis_of(log.0)).expect("works");
    let closed = own.store.close_log(log, &BTreeSet::new()).expect("nobody runs").expect("it is there");
    let key = format!("closed/{log}");
    let expected = get(&*engine, &key).expect("it stands there").revision;
    ask(&*engine, Request::Keys(KeysRequest::Delete { space: Space::Store, key, expected }));
    let refused = closed.remove().expect_err("somebody may run").to_string();
    assert!(refused.contains("its log was not removed"), "{refused}");
    own.store.log(log).expect("it is there").head().expect("works");
}

fn get(engine: &dyn Engine, key: &str) -> Option<KeyEntry> {
    match ask(engine, Request::Keys(KeysRequest::Get { space: Space::Store, key: key.to_owned() })) {
        Answered::Keys(KeysAnswer::Got { entry, .. }) => entry,
        other => panic!("{other:?}"),
    }
}

fn ask(engine: &dyn Engine, request: Request) -> Answered {
    let (tell, told) = std::sync::mpsc::channel();
    engine.ask(Lane::Other, request, Box::new(move |answer| tell.send(answer).expect("somebody waits")));
    told.recv().expect("it is answered").expect("it is there")
}

/// An engine on which another host beats before each question who is alive.
struct Beating {
    engine: Arc<dyn Engine>,
    host: HostId,
    beats: AtomicU64,
}

impl Engine for Beating {
    fn ask(&self, lane: Lane, request: Request, answer: Answering) {
        if matches!(request, Request::Lives { .. }) {
            let beats = self.beats.fetch_add(1, Ordering::Relaxed);
            ask(&*self.engine, Request::Beat { host: self.host, beats, of: Vec::new() });
        }
        self.engine.ask(lane, request, answer);
    }

    fn facts(&self) -> EngineFacts {
        self.engine.facts()
    }
}

/// An engine that answers a host no more once it is cut off.
#[derive(Clone)]
struct Cut {
    engine: Arc<dyn Engine>,
    is_cut: Arc<AtomicBool>,
}

impl Engine for Cut {
    fn ask(&self, lane: Lane, request: Request, answer: Answering) {
        match self.is_cut.load(Ordering::SeqCst) {
            true => answer(Err(Fault::Unavailable("it is cut off".to_owned()))),
            false => self.engine.ask(lane, request, answer),
        }
    }

    fn facts(&self) -> EngineFacts {
        self.engine.facts()
    }
}

/// A replica does nothing yet but have its place, and is not taken for dead; once its host is cut off, it is.
#[test]
fn a_replica_has_its_place_until_its_host_is_silent() {
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::default());
    let is_cut = Arc::<AtomicBool>::default();
    let first = open(Arc::new(Cut { engine: Arc::clone(&engine), is_cut: Arc::clone(&is_cut) }));
    let second = open(Arc::clone(&engine));
    let log = LogId(InstanceUuid([3; 16]));
    second.store.create_log(log, &genesis_of(log.0)).expect("works");
    let place = first.store.members(log).expect("it is there").enter(ReplicaIndex(0)).expect("nobody has it");
    let others = second.store.members(log).expect("it is there");
    let until = Instant::now() + 3 * HEARTBEAT_SILENCE;
    while Instant::now() < until {
        let refused = others.enter(ReplicaIndex(0)).err().expect("it runs");
        assert!(matches!(refused, EnterError::AlreadyRunning { .. }), "{refused}");
        assert!(others.is_running(ReplicaIndex(0)).expect("works"));
    }
    is_cut.store(true, Ordering::SeqCst);
    let until = Instant::now() + LIMIT;
    let taken = loop {
        match others.enter(ReplicaIndex(0)) {
            Ok(presence) => break presence,
            Err(refused) => assert!(Instant::now() < until, "{refused}"),
        }
    };
    is_cut.store(false, Ordering::SeqCst);
    drop(place);
    assert!(others.is_running(ReplicaIndex(0)).expect("works"), "whoever comes back takes nothing from it");
    drop(taken);
    assert!(!others.is_running(ReplicaIndex(0)).expect("works"));
}

/// An engine on which, while that lasts, no place can be given back, and nobody is told that he has one.
#[derive(Clone)]
struct Holding {
    engine: Arc<dyn Engine>,
    holds: Arc<AtomicBool>,
}

impl Engine for Holding {
    fn ask(&self, lane: Lane, request: Request, answer: Answering) {
        let is_place = |key: &str| self.holds.load(Ordering::SeqCst) && key.starts_with("place/");
        match &request {
            Request::Keys(KeysRequest::Delete { key, .. }) if is_place(key) => {
                answer(Err(Fault::Unavailable("the connection was refused".to_owned())));
            }
            Request::Keys(KeysRequest::Put(put)) if is_place(&put.key) => {
                let unheard = move |_| answer(Err(Fault::Unknown("the connection was cut".to_owned())));
                self.engine.ask(lane, request, Box::new(unheard));
            }
            _ => self.engine.ask(lane, request, answer),
        }
    }

    fn facts(&self) -> EngineFacts {
        self.engine.facts()
    }
}

/// A replica leaves its place, or does not come to have it, and its host lives on; others have the place once requests get through.
fn others_get_the_place(leave: impl FnOnce(&EngineStore, LogId, &AtomicBool)) {
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::default());
    let holding = Holding { engine: Arc::clone(&engine), holds: Arc::default() };
    let (first, second) = (open(Arc::new(holding.clone())), open(engine));
    let log = LogId(InstanceUuid([3; 16]));
    second.store.create_log(log, &genesis_of(log.0)).expect("works");
    // The host has another replica, so all see that it is alive.
    let _alive = first.store.members(log).expect("it is there").enter(ReplicaIndex(1)).expect("nobody has it");
    leave(&first.store, log, &holding.holds);
    let others = second.store.members(log).expect("it is there");
    let refused = others.enter(ReplicaIndex(0)).err().expect("its host is alive");
    assert!(matches!(refused, EnterError::AlreadyRunning { .. }), "{refused}");
    holding.holds.store(false, Ordering::SeqCst);
    let until = Instant::now() + LIMIT;
    while others.is_running(ReplicaIndex(0)).expect("works") {
        assert!(Instant::now() < until, "it stands there for ever");
    }
    drop(others.enter(ReplicaIndex(0)).expect("nobody has it any more"));
    assert!(others.is_running(ReplicaIndex(1)).expect("works"), "what the host has it keeps");
}

#[test]
fn a_place_that_could_not_be_given_back_is_given_back_later() {
    others_get_the_place(|store, log, holds| {
        let place = store.members(log).expect("it is there").enter(ReplicaIndex(0)).expect("nobody has it");
        holds.store(true, Ordering::SeqCst);
        drop(place);
    });
}

#[test]
fn a_place_that_a_replica_did_not_hear_that_it_has_is_given_back() {
    others_get_the_place(|store, log, holds| {
        holds.store(true, Ordering::SeqCst);
        let error = store.members(log).expect("it is there").enter(ReplicaIndex(0)).err().expect("it does not know");
        assert!(matches!(error, EnterError::Io(_)), "{error}");
    });
}

/// An engine on which a place is not given back before something was noted.
#[derive(Clone)]
struct Noting {
    engine: Arc<dyn Engine>,
    state: Arc<Mutex<Noted>>,
}

#[derive(Default)]
struct Noted {
    is_noted: bool,
    /// What waits for that.
    waiting: Option<(Request, Answering)>,
}

impl Engine for Noting {
    fn ask(&self, lane: Lane, request: Request, answer: Answering) {
        let lock = || self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &request {
            Request::Keys(KeysRequest::Delete { key, .. }) if key.starts_with("place/") => {
                let mut noted = lock();
                if !noted.is_noted {
                    noted.waiting = Some((request, answer));
                    return;
                }
                drop(noted);
                self.engine.ask(lane, request, answer);
            }
            Request::Keys(KeysRequest::Note { .. }) => {
                self.engine.ask(lane, request, answer);
                let mut noted = lock();
                noted.is_noted = true;
                let waiting = noted.waiting.take();
                drop(noted);
                waiting.into_iter().for_each(|(request, answer)| self.engine.ask(lane, request, answer));
            }
            _ => self.engine.ask(lane, request, answer),
        }
    }

    fn facts(&self) -> EngineFacts {
        self.engine.facts()
    }
}

#[test]
fn of_a_replica_that_has_left_no_note_stays_whatever_it_has_said_last() {
    let engine = Noting { engine: Arc::new(MemoryEngine::default()), state: Arc::default() };
    let (own, log) = (open(Arc::new(engine.clone())), LogId(InstanceUuid([7; 16])));
    own.store.create_log(log, &genesis_of(log.0)).expect("works");
    let members = own.store.members(log).expect("it is there");
    let notes = || match ask(&engine, Request::Keys(KeysRequest::Notes { prefix: format!("member/{log}/") })) {
        Answered::Keys(KeysAnswer::Notes(notes)) => notes.len(),
        other => panic!("{other:?}"),
    };
    let presence = members.enter(ReplicaIndex(0)).expect("nobody has it");
    assert_eq!((members.running().expect("works").len(), notes()), (1, 1));
    engine.state.lock().unwrap_or_else(PoisonError::into_inner).is_noted = false;
    presence.set_applied(Lsn(7));
    drop(presence);
    // By then all is written down.
    assert!(members.running().expect("works").is_empty());
    assert_eq!(notes(), 0);
}
