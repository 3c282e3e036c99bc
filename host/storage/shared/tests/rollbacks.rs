//! A store on an engine that goes back: nobody goes on with it before that is accepted.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use ambrosia_core::{Capture, Epoch, EpochBody, InstanceName, InstanceUuid, Limits, Lsn, ReplicaIndex, Timestamp};
use ambrosia_shared_log::{
    Answered, Answering, Claim, Engine, EngineFacts, EngineStore, Fault, HostId, KeysAnswer, KeysRequest, Lane,
    MemoryEngine, Put, Raise, Request, Rows, Session, Space,
};
use ambrosia_storage::{
    AcquireError, AppendError, Checkpoint, CheckpointHead, CopiedInstance, CopyError, EnterError, InstanceError,
    Instances, LogError, LogId, LogStore, LogTail, MemoryStore, Presence, StopCause, Store, WrittenCheckpoint,
    conformance::{MODULE, Reign, genesis_of, read_all},
    copy_instance,
};
use tempfile::TempDir;

const LOG: LogId = LogId(InstanceUuid([3; 16]));

/// A process of a machine.
fn process(engine: &MemoryEngine, machine: &Path) -> EngineStore {
    process_on(Arc::new(engine.clone()), machine)
}

fn process_on(engine: Arc<dyn Engine>, machine: &Path) -> EngineStore {
    static HOSTS: AtomicU8 = AtomicU8::new(1);
    let me = HostId([HOSTS.fetch_add(1, Ordering::Relaxed); 16]);
    EngineStore::begin(engine, me, machine.to_owned()).expect("there are threads")
}

/// An engine that can't be reached while it is cut off.
#[derive(Clone)]
struct Cut {
    engine: MemoryEngine,
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

fn enter(store: &EngineStore, replica: u16) -> Result<Box<dyn Presence>, EnterError> {
    store.members(LOG).expect("it is there").enter(ReplicaIndex(replica))
}

fn reason(entered: Result<Box<dyn Presence>, EnterError>) -> String {
    match entered.err().expect("it is refused") {
        EnterError::Lost { reason } => reason,
        other => panic!("{other}"),
    }
}

fn machine() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// A tail that has read all that there is.
fn read_to_the_end(log: &dyn LogStore) -> Box<dyn LogTail> {
    let mut tail = log.tail(Lsn(1)).expect("it can be read");
    while !tail.read().expect("it can be read").is_empty() {}
    tail
}

/// A process with a primary that has written something durable.
struct Reigning {
    place: Box<dyn Presence>,
    reign: Reign,
    log: Arc<dyn LogStore>,
    store: EngineStore,
}

impl Reigning {
    fn begin(engine: &MemoryEngine, machine: &Path) -> Reigning {
        Reigning::of(process(engine, machine))
    }

    fn of(store: EngineStore) -> Reigning {
        let place = enter(&store, 0).expect("nothing is amiss");
        let log = store.log(LOG).expect("it is there");
        let mut reign = Reign::begin(&*log, 0);
        reign.append_durably(b"lost");
        Reigning { place, reign, log, store }
    }

    /// Writes on, and is stopped by what it finds.
    fn find(&mut self) {
        self.reign.append(b"more").expect("it is not known yet");
        self.wait_stopped();
    }

    fn wait_stopped(&mut self) {
        let cause = self.reign.wait_stopped();
        assert!(matches!(&cause, StopCause::Failed(reason) if reason.contains("gone back")), "{cause:?}");
    }
}

fn candidate(tail: Box<dyn LogTail>, store: &EngineStore) -> Result<(), AcquireError> {
    let over = store.log(LOG).expect("it is there").head().expect("works").epoch;
    let me = EpochBody { replica: ReplicaIndex(1), engine: [3; 32] };
    tail.acquire(over, me, Timestamp(7), Box::new(|_, _| ())).map(drop)
}

fn name() -> InstanceName {
    InstanceName::new("checked").expect("plain")
}

/// Registers an instance that has the log.
fn register(store: &dyn Store) {
    let limits = Limits { fuel: 1, memory_bytes: 1 };
    store.register(&name(), MODULE, 1, LOG.0, limits, Timestamp(1)).expect("works");
}

fn checkpoint(lsn: Lsn) -> Checkpoint {
    let head = CheckpointHead { lsn, module: [1; 32], engine: [2; 32], state_digest: 3, memory_digest: 4 };
    let capture = Capture { registers: b"registers".to_vec(), memories: Vec::new() };
    Checkpoint { head, parent: None, state: b"state".to_vec().into(), capture }
}

fn copy(source: &dyn Store, target: &dyn Store) -> Result<CopiedInstance, CopyError> {
    copy_instance(source, target, &name(), &mut |_| true)
}

/// An engine with a log, and how its rows were after the reign of a first process that has written so many records.
fn backed_up(machine: &Path, records: usize) -> (MemoryEngine, Rows) {
    let engine = MemoryEngine::default();
    let store = process(&engine, machine);
    register(&store);
    let _place = enter(&store, 0).expect("nothing is amiss");
    let mut reign = Reign::begin(&*store.log(LOG).expect("it is there"), 0);
    for _ in 0..records {
        reign.append_durably(b"kept");
    }
    reign.writer.close();
    let rows = engine.rows().clone();
    (engine, rows)
}

/// Goes on for a while, until all processes have ended.
fn go_on(engine: &MemoryEngine, machine: &Path) -> Lsn {
    let store = process(engine, machine);
    let _place = enter(&store, 0).expect("nothing is amiss");
    let mut reign = Reign::begin(&*store.log(LOG).expect("it is there"), 0);
    let last = reign.append_durably(b"lost");
    reign.writer.close();
    last
}

#[test]
fn a_machine_that_knows_more_than_a_restored_store_keeps_all_from_going_on() {
    let (here, elsewhere) = (machine(), machine());
    let (engine, backup) = backed_up(here.path(), 2);
    let lost = go_on(&engine, here.path());
    *engine.rows() = backup;
    let end = process(&engine, here.path()).log(LOG).expect("it is there").head().expect("works").durable;
    assert!(end < lost);

    // Another machine knows nothing, and can't: until one that does has found it.
    let other = process(&engine, elsewhere.path());
    drop(enter(&other, 1).expect("nothing is amiss, as far as it knows"));
    let standby = enter(&other, 1).expect("nothing is amiss");
    let tail = other.log(LOG).expect("it is there").tail(Lsn(1)).expect("it can be read");
    let store = process(&engine, here.path());
    let told = reason(enter(&store, 0));
    assert!(
        told.contains(&format!("record {lost} of log")) && told.contains(&format!("ends with record {end}")),
        "{told}"
    );
    let error = candidate(tail, &other).expect_err("it is known by now");
    assert!(matches!(error, AcquireError::Log(LogError::Lost { .. })), "{error}");
    drop(standby);
    reason(enter(&other, 1));
    reason(enter(&process(&engine, elsewhere.path()), 1));
    let found = other.rollbacks().expect("works");
    assert_eq!((found.len(), found[0].log, found[0].had), (1, LOG, lost));

    assert_eq!(other.accept_rollback(LOG).expect("works").map(|rollback| rollback.had), Some(lost));
    assert_eq!(other.accept_rollback(LOG).expect("works"), None);
    assert!(other.rollbacks().expect("works").is_empty());
    let _place = enter(&store, 0).expect("it was accepted");
    let log = store.log(LOG).expect("it is there");
    let mut reign = Reign::begin(&*log, 0);
    assert!(reign.epoch > found[0].epoch, "no epoch names two reigns");
    let last = reign.append_durably(b"anew");
    assert_eq!(read_all(&*log).last().map(ambrosia_core::Record::lsn), Some(last));
    drop(reign);
    // And the next processes find that all is well.
    drop((_place, store));
    drop(enter(&process(&engine, here.path()), 0).expect("all is well"));
}

/// It could not know it when it began.
#[test]
fn who_reigns_when_it_is_found_that_the_store_has_gone_back_is_deposed() {
    let (here, elsewhere) = (machine(), machine());
    let (engine, backup) = backed_up(here.path(), 2);
    go_on(&engine, here.path());
    go_on(&engine, here.path());
    *engine.rows() = backup;
    let Reigning { place: _place, mut reign, log, store } = Reigning::begin(&engine, elsewhere.path());
    let finder = process(&engine, here.path());
    reason(enter(&finder, 1));
    let cause = reign.wait_stopped();
    assert!(matches!(cause, StopCause::Fenced { .. }), "{cause:?}");
    let error = candidate(read_to_the_end(&*log), &store).expect_err("it is known by now");
    assert!(matches!(error, AcquireError::Log(LogError::Lost { .. })), "{error}");
    finder.accept_rollback(LOG).expect("works").expect("it was found");
    let mut reign = Reign::begin(&*log, 0);
    reign.append_durably(b"anew");
}

/// Who has written it down may die before it deposes anybody.
#[test]
fn who_is_refused_for_what_another_one_has_found_deposes_who_reigns() {
    let (here, elsewhere) = (machine(), machine());
    let (engine, backup) = backed_up(here.path(), 2);
    go_on(&engine, here.path());
    *engine.rows() = backup.clone();
    reason(enter(&process(&engine, here.path()), 1));
    let found = get(&engine, &rollback_key()).expect("it is written down");
    *engine.rows() = backup;
    let mut reigning = Reigning::begin(&engine, elsewhere.path());
    put(&engine, &rollback_key(), found);
    let bystander = machine();
    reason(enter(&process(&engine, bystander.path()), 2));
    let cause = reigning.reign.wait_stopped();
    assert!(matches!(cause, StopCause::Fenced { .. }), "{cause:?}");
}

fn rollback_key() -> String {
    format!("rollback/{LOG}")
}

fn keys(engine: &MemoryEngine, request: KeysRequest) -> KeysAnswer {
    match engine.rows().execute(&Request::Keys(request), Session(0)) {
        Answered::Keys(answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn get(engine: &MemoryEngine, key: &str) -> Option<Vec<u8>> {
    match keys(engine, KeysRequest::Get { space: Space::Store, key: key.to_owned() }) {
        KeysAnswer::Got { entry, .. } => entry.map(|entry| entry.value.to_vec()),
        other => panic!("{other:?}"),
    }
}

fn put(engine: &MemoryEngine, key: &str, value: Vec<u8>) {
    let claim = Claim { host: HostId([98; 16]), attempt: 1 };
    let put =
        Put { space: Space::Store, key: key.to_owned(), expected: None, value: value.into(), claim, beside: None };
    let put = keys(engine, KeysRequest::Put(put));
    assert!(matches!(put, KeysAnswer::Put(Ok(_))), "{put:?}");
}

fn written(store: &EngineStore, lsn: Lsn, by: u16) -> Box<dyn WrittenCheckpoint> {
    let head = CheckpointHead { lsn, module: [1; 32], engine: [2; 32], state_digest: 3, memory_digest: 4 };
    let capture = Capture { registers: b"registers".to_vec(), memories: Vec::new() };
    let checkpoint = Checkpoint { head, parent: None, state: b"state".to_vec().into(), capture };
    let checkpoints = store.checkpoints(LOG).expect("it is there");
    checkpoints.write(&checkpoint, ReplicaIndex(by)).expect("there is room")
}

/// As the newest it would have others trimmed, to which a replica can come.
#[test]
fn a_checkpoint_of_what_is_lost_does_not_count() {
    let (here, elsewhere) = (machine(), machine());
    let (engine, backup) = backed_up(here.path(), 2);
    let old = process(&engine, elsewhere.path());
    let lost = go_on(&engine, here.path());
    let late = written(&old, lost, 0);
    written(&old, lost, 1).publish().expect("there is room");
    let list = get(&engine, &format!("checkpoints/{LOG}")).expect("it counts");
    *engine.rows() = backup;
    let store = process(&engine, here.path());
    reason(enter(&store, 0));
    let error = late.publish().expect_err("it is known to be lost");
    assert!(error.source.to_string().contains("gone back"), "{error}");
    let counting = || store.checkpoints(LOG).expect("it is there").list().expect("works").len();
    assert_eq!(counting(), 0);
    // As if it had come in before that was known.
    put(&engine, &format!("checkpoints/{LOG}"), list);
    assert_eq!(counting(), 1);
    store.accept_rollback(LOG).expect("works").expect("it was found");
    assert_eq!(counting(), 0);
}

/// To the state that is there now it is of no use.
#[test]
fn what_a_newer_state_may_need_is_not_removed_while_that_may_be_brought_back() {
    let here = machine();
    let (engine, backup) = backed_up(here.path(), 2);
    go_on(&engine, here.path());
    *engine.rows() = backup;
    let store = process(&engine, here.path());
    let orphan = LogId(InstanceUuid([4; 16]));
    store.create_log(orphan, &genesis_of(orphan.0)).expect("works");
    reason(enter(&store, 0));
    store.remove_orphans(&[LOG].into(), true).expect("works");
    assert!(store.logs().expect("works").contains(&orphan));
    store.accept_rollback(LOG).expect("works").expect("it was found");
    store.remove_orphans(&[LOG].into(), true).expect("works");
    assert!(!store.logs().expect("works").contains(&orphan));
}

#[test]
fn a_log_that_has_other_records_than_were_durable_is_refused_too() {
    let (here, elsewhere) = (machine(), machine());
    let (engine, backup) = backed_up(here.path(), 2);
    go_on(&engine, here.path());
    *engine.rows() = backup;
    // Somebody who can't know it goes on, further than it was.
    {
        let other = process(&engine, elsewhere.path());
        let _place = enter(&other, 1).expect("nothing is amiss, as far as it knows");
        let mut reign = Reign::begin(&*other.log(LOG).expect("it is there"), 1);
        for _ in 0..9 {
            reign.append_durably(b"other");
        }
        reign.writer.close();
    }
    let told = reason(enter(&process(&engine, here.path()), 0));
    assert!(told.contains("was rewritten") && told.contains("accept-rollback"), "{told}");
}

#[test]
fn replicas_that_run_while_the_store_goes_back_stop_and_stay_so() {
    let here = machine();
    let (engine, backup) = backed_up(here.path(), 2);
    let mut primary = Reigning::begin(&engine, here.path());
    let mut tail = read_to_the_end(&*primary.log);
    *engine.rows() = backup;
    primary.find();
    let Reigning { place, reign: _reign, log, store } = primary;
    // It would build its state anew from what is there now.
    for error in [log.tail(Lsn(1)).err().expect("refused"), tail.read().expect_err("refused")] {
        assert!(matches!(error, LogError::Lost { .. }), "{error}");
    }
    drop(place);
    reason(enter(&store, 0));
    assert_eq!(store.rollbacks().expect("works").len(), 1);
    store.accept_rollback(LOG).expect("works");
    let _primary = enter(&store, 0).expect("it was accepted");
    assert!(!read_all(&*store.log(LOG).expect("it is there")).is_empty());
}

/// It comes back when all is over, with what was given up.
#[test]
fn a_host_that_was_cut_off_while_a_rollback_was_accepted_begins_anew_and_stops_nobody() {
    let (here, elsewhere) = (machine(), machine());
    let (engine, backup) = backed_up(here.path(), 2);
    let way = Cut { engine: engine.clone(), is_cut: Arc::default() };
    let old = Reigning::of(process_on(Arc::new(way.clone()), here.path()));
    let mut tail = read_to_the_end(&*old.log);
    let other = process(&engine, elsewhere.path());
    let standby = enter(&other, 1).expect("nothing is amiss");
    read_to_the_end(&*other.log(LOG).expect("it is there"));
    way.is_cut.store(true, Ordering::SeqCst);
    *engine.rows() = backup;
    drop(standby);
    reason(enter(&other, 1));
    other.accept_rollback(LOG).expect("works").expect("it was found");
    let standby = enter(&other, 1).expect("it was accepted");
    let mut reign = Reign::begin(&*other.log(LOG).expect("it is there"), 1);
    for _ in 0..9 {
        reign.append_durably(b"anew");
    }

    way.is_cut.store(false, Ordering::SeqCst);
    let Reigning { place, reign: given_up, log, store } = old;
    for error in [tail.read().expect_err("refused"), log.tail(Lsn(1)).err().expect("refused")] {
        assert!(matches!(error, LogError::Lost { .. }), "{error}");
    }
    // What it has found it tells before what its replicas say of themselves, for which this waits.
    place.set_applied(Lsn(1));
    store.members(LOG).expect("it is there").running().expect("works");
    assert_eq!(other.rollbacks().expect("works"), []);
    drop(standby);
    drop(enter(&other, 1).expect("all is well"));
    drop((given_up, place));
    let _place = enter(&store, 0).expect("what it had was given up");
    assert!(read_all(&*log).iter().any(|record| record.body() == b"anew"));
    read_to_the_end(&*log);
}

/// A replica that has run on while a rollback was accepted, for it had nothing that was given up, and has read what came since; and how the
/// rows were before the last of that.
struct RanOn {
    engine: MemoryEngine,
    backup: Rows,
    lost: Lsn,
    tail: Box<dyn LogTail>,
    place: Box<dyn Presence>,
    store: EngineStore,
    machine: TempDir,
}

impl RanOn {
    fn new() -> RanOn {
        let (here, elsewhere) = (machine(), machine());
        let (engine, backup) = backed_up(here.path(), 2);
        let other = process(&engine, elsewhere.path());
        let place = enter(&other, 1).expect("nothing is amiss");
        let mut tail = read_to_the_end(&*other.log(LOG).expect("it is there"));
        go_on(&engine, here.path());
        *engine.rows() = backup;
        let store = process(&engine, here.path());
        reason(enter(&store, 0));
        store.accept_rollback(LOG).expect("works").expect("it was found");
        drop(store);
        go_on(&engine, here.path());
        let backup = engine.rows().clone();
        let lost = go_on(&engine, here.path());
        while tail.position() <= lost {
            tail.read().expect("it goes on with what was accepted");
        }
        RanOn { engine, backup, lost, tail, place, store: other, machine: elsewhere }
    }
}

#[test]
fn a_replica_that_runs_on_while_a_rollback_is_accepted_tells_when_the_store_goes_back_again() {
    let RanOn { engine, backup, lost, mut tail, place, store, machine: _machine } = RanOn::new();
    *engine.rows() = backup;
    let error = tail.read().expect_err("it has read what is not there any more");
    assert!(matches!(error, LogError::Lost { .. }), "{error}");
    place.set_applied(lost);
    store.members(LOG).expect("it is there").running().expect("works");
    assert_eq!(store.rollbacks().expect("works").iter().map(|found| found.had).collect::<Vec<_>>(), [lost]);
}

/// As above, but all hosts are ended before anybody finds it, as for a restore.
#[test]
fn a_machine_whose_replica_ran_on_while_a_rollback_was_accepted_knows_what_came_since() {
    let RanOn { engine, backup, lost, tail, place, store, machine } = RanOn::new();
    drop((tail, place, store));
    *engine.rows() = backup;
    let told = reason(enter(&process(&engine, machine.path()), 1));
    assert!(told.contains(&format!("record {lost} of log")), "{told}");
}

/// An engine in which something is found when the next candidate raises the epoch.
struct FoundThen {
    engine: MemoryEngine,
    found: Mutex<Option<Vec<u8>>>,
}

impl Engine for FoundThen {
    fn ask(&self, lane: Lane, request: Request, answer: Answering) {
        if let Request::Raise { .. } = &request
            && let Some(found) = self.found.lock().expect("no panic").take()
        {
            put(&self.engine, &rollback_key(), found);
        }
        self.engine.ask(lane, request, answer);
    }

    fn facts(&self) -> EngineFacts {
        self.engine.facts()
    }
}

#[test]
fn nobody_begins_to_reign_over_what_was_found_to_be_lost_while_it_was_about_to() {
    let (here, elsewhere) = (machine(), machine());
    let (engine, backup) = backed_up(here.path(), 2);
    go_on(&engine, here.path());
    *engine.rows() = backup.clone();
    reason(enter(&process(&engine, here.path()), 1));
    let found = Mutex::new(get(&engine, &rollback_key()));
    *engine.rows() = backup;
    let store = process_on(Arc::new(FoundThen { engine: engine.clone(), found }), elsewhere.path());
    let _place = enter(&store, 1).expect("nothing is amiss, as far as it knows");
    let tail = read_to_the_end(&*store.log(LOG).expect("it is there"));
    let error = candidate(tail, &store).expect_err("it is known by now");
    assert!(matches!(error, AcquireError::Log(LogError::Lost { .. })), "{error}");
}

/// Whoever reads what an old state has does not make it all that was ever durable.
#[test]
fn what_was_durable_stays_known_whatever_is_read_since() {
    let here = machine();
    let (engine, backup) = backed_up(here.path(), 2);
    let mut primary = Reigning::begin(&engine, here.path());
    let newer = engine.rows().clone();
    *engine.rows() = backup;
    primary.find();
    let Reigning { place, reign, log, store } = primary;
    drop(place);
    let records = store.scan(LOG, Lsn(1)).expect("it can be looked at");
    assert!(!records.collect::<Result<Vec<_>, _>>().expect("it can be read").is_empty());
    drop((reign, log, store));
    reason(enter(&process(&engine, here.path()), 0));
    *engine.rows() = newer;
    let store = process(&engine, here.path());
    drop(enter(&store, 0).expect("all is there again"));
}

#[test]
fn a_process_that_has_found_something_lost_goes_on_when_it_is_brought_back() {
    let here = machine();
    let (engine, backup) = backed_up(here.path(), 2);
    let mut primary = Reigning::begin(&engine, here.path());
    let newer = engine.rows().clone();
    *engine.rows() = backup;
    primary.find();
    let Reigning { place, reign, log, store } = primary;
    drop((reign, place));
    reason(enter(&store, 0));
    *engine.rows() = newer;
    let _place = enter(&store, 0).expect("all is there again");
    log.tail(Lsn(1)).expect("it can be read again");
}

/// It has read further than the log goes by now, and its reign is one that the log does not know.
#[test]
fn a_standby_that_tries_to_become_primary_finds_that_the_store_has_gone_back() {
    let (here, elsewhere) = (machine(), machine());
    let (engine, backup) = backed_up(here.path(), 2);
    let other = process(&engine, elsewhere.path());
    let _place = enter(&other, 1).expect("nothing is amiss");
    let log = other.log(LOG).expect("it is there");
    let lost = go_on(&engine, here.path());
    let tail = read_to_the_end(&*log);
    assert_eq!(tail.position(), lost.next());
    *engine.rows() = backup;
    // Whoever was refused reads on where it stood.
    let error = log.tail(lost.next()).err().expect("it is not there any more");
    assert!(matches!(error, LogError::Lost { .. }), "{error}");
    let error = candidate(tail, &other).expect_err("it knows more");
    assert!(matches!(error, AcquireError::Log(LogError::Lost { .. })), "{error}");
    // Beyond what anybody here ever had is another matter.
    let stranger = machine();
    let error = process(&engine, stranger.path()).log(LOG).expect("it is there").tail(Lsn(99)).err();
    assert!(matches!(error, Some(LogError::Missing { .. })), "{error:?}");
}

/// As above, but nothing else is read meanwhile.
#[test]
fn a_candidate_of_a_reign_that_is_lost_is_told_so() {
    let (here, elsewhere) = (machine(), machine());
    let (engine, backup) = backed_up(here.path(), 2);
    let other = process(&engine, elsewhere.path());
    let _place = enter(&other, 1).expect("nothing is amiss");
    go_on(&engine, here.path());
    let tail = read_to_the_end(&*other.log(LOG).expect("it is there"));
    *engine.rows() = backup;
    let error = candidate(tail, &other).expect_err("it knows more");
    assert!(matches!(error, AcquireError::Log(LogError::Lost { .. })), "{error}");
}

/// The number of its reign was lost, and another one tried to begin a reign since, which has the same.
#[test]
fn a_primary_that_has_nothing_to_do_finds_that_the_store_has_gone_back_whatever_epoch_it_shows() {
    let here = machine();
    let (engine, backup) = backed_up(here.path(), 2);
    let mut primary = Reigning::begin(&engine, here.path());
    let epoch = primary.reign.epoch;
    let mut rows = engine.rows();
    *rows = backup;
    let raise = Raise {
        log: LOG,
        over: Epoch(epoch.0 - 1),
        claim: Claim { host: HostId([99; 16]), attempt: 1 },
        replica: ReplicaIndex(1),
    };
    let raised = rows.execute(&Request::Raise { wanted: vec![raise] }, Session(0));
    drop(rows);
    assert!(matches!(&raised, Answered::Raised(raised) if raised[0].is_ok_and(|head| head.epoch == epoch)));
    primary.wait_stopped();
}

/// What was accepted is lost as well, when the store goes back behind it.
#[test]
fn a_store_that_goes_back_twice_is_refused_twice() {
    let here = machine();
    let (engine, backup) = backed_up(here.path(), 2);
    for _ in 0..2 {
        go_on(&engine, here.path());
        *engine.rows() = backup.clone();
        let store = process(&engine, here.path());
        reason(enter(&store, 0));
        store.accept_rollback(LOG).expect("works").expect("it was found");
        drop(enter(&store, 0).expect("it was accepted"));
    }
}

#[test]
fn checkpoints_of_what_was_given_up_are_removed_from_the_cache() {
    let here = machine();
    let (engine, backup) = backed_up(here.path(), 2);
    go_on(&engine, here.path());
    let cached = here.path().join("checkpoints").join(LOG.to_string());
    std::fs::create_dir_all(&cached).expect("works");
    *engine.rows() = backup;
    let store = process(&engine, here.path());
    reason(enter(&store, 0));
    assert!(cached.exists(), "nothing is removed before it is accepted");
    store.accept_rollback(LOG).expect("works");
    drop(enter(&store, 0).expect("it was accepted"));
    assert!(!cached.exists());
}

#[test]
fn a_primary_that_was_cut_off_while_its_instance_was_copied_confirms_nothing_that_the_copy_lacks() {
    let (here, elsewhere) = (machine(), machine());
    let (engine, _) = backed_up(here.path(), 2);
    let way = Cut { engine: engine.clone(), is_cut: Arc::default() };
    let mut old = Reigning::of(process_on(Arc::new(way.clone()), here.path()));
    way.is_cut.store(true, Ordering::SeqCst);
    let (other, target) = (process(&engine, elsewhere.path()), MemoryStore::default());
    let copied = copy(&other, &target).expect("it seems to have ended");
    way.is_cut.store(false, Ordering::SeqCst);
    let appended = old.reign.append(b"more");
    assert!(matches!(appended, Ok(_) | Err(AppendError::Fenced { .. })), "{appended:?}");
    let cause = old.reign.wait_stopped();
    assert!(matches!(cause, StopCause::Fenced { .. }), "{cause:?}");
    assert_eq!(other.log(LOG).expect("it is there").head().expect("works").durable, copied.last);
    assert!(copy(&other, &target).expect("nothing was appended").was_there);
}

#[test]
fn an_instance_whose_store_has_gone_back_is_not_copied_before_that_is_accepted() {
    let (here, elsewhere) = (machine(), machine());
    let (engine, backup) = backed_up(here.path(), 2);
    go_on(&engine, here.path());
    *engine.rows() = backup;
    let target = MemoryStore::default();
    let refused = |store: &EngineStore| {
        let error = copy(store, &target).expect_err("it has gone back");
        assert!(matches!(&error, CopyError::From(InstanceError::Log(LogError::Lost { .. }))), "{error}");
        assert!(error.to_string().contains("accept-rollback"), "{error}");
    };
    let other = process(&engine, elsewhere.path());
    // By a machine that knows it, of whom others have it.
    refused(&process(&engine, here.path()));
    assert_eq!(other.rollbacks().expect("works").len(), 1);
    refused(&other);
    assert!(target.instances().expect("works").is_empty());
    other.accept_rollback(LOG).expect("works").expect("it was found");
    assert!(!copy(&process(&engine, here.path()), &target).expect("it was accepted").was_there);
}

/// It was tried here, deregistered, and is copied anew, with less than it had come to.
#[test]
fn an_instance_that_is_copied_again_begins_anew_on_machines_that_have_seen_more() {
    let (here, there, elsewhere) = (machine(), machine(), machine());
    let (source, engine) = (MemoryStore::default(), MemoryEngine::default());
    register(&source);
    let other = process(&engine, elsewhere.path());
    // A process that ends, and one that goes on, with the next one.
    let goes_on = process(&engine, there.path());
    for _ in 0..2 {
        assert!(!copy(&source, &other).expect("nothing runs").was_there);
        go_on(&engine, here.path());
        let place = enter(&goes_on, 1).expect("what it had is of no use any more");
        let mut reign = Reign::begin(&*goes_on.log(LOG).expect("it is there"), 1);
        let checkpoints = goes_on.checkpoints(LOG).expect("it is there");
        assert_eq!(checkpoints.newest_published(), Lsn(0), "it is of what is gone");
        let checkpoint = checkpoint(reign.append_durably(b"more"));
        checkpoints.write(&checkpoint, ReplicaIndex(1)).expect("works").publish().expect("works");
        // What was said of this life is told before the next one begins.
        goes_on.members(LOG).expect("it is there").running().expect("works");
        drop((reign, place));
        other.deregister(&name()).expect("nothing runs");
    }
    // Where one was accepted, too.
    copy(&source, &other).expect("nothing runs");
    let backup = engine.rows().clone();
    go_on(&engine, here.path());
    *engine.rows() = backup;
    reason(enter(&process(&engine, here.path()), 0));
    other.accept_rollback(LOG).expect("works").expect("it was found");
    go_on(&engine, here.path());
    other.deregister(&name()).expect("nothing runs");
    copy(&source, &other).expect("nothing runs");
    go_on(&engine, here.path());
}

/// It comes back when all is over, with what it had before.
#[test]
fn a_host_that_was_cut_off_while_an_instance_was_copied_again_stops_nobody() {
    let (here, elsewhere) = (machine(), machine());
    let (source, engine) = (MemoryStore::default(), MemoryEngine::default());
    register(&source);
    let other = process(&engine, elsewhere.path());
    copy(&source, &other).expect("nothing runs");
    let way = Cut { engine: engine.clone(), is_cut: Arc::default() };
    let old = Reigning::of(process_on(Arc::new(way.clone()), here.path()));
    let mut tail = read_to_the_end(&*old.log);
    way.is_cut.store(true, Ordering::SeqCst);
    other.deregister(&name()).expect("it seems to have ended");
    copy(&source, &other).expect("nothing runs");
    way.is_cut.store(false, Ordering::SeqCst);
    let error = tail.read().expect_err("what it has read is not there any more");
    assert!(matches!(error, LogError::Lost { .. }), "{error}");
    old.place.set_applied(Lsn(1));
    old.store.members(LOG).expect("it is there").running().expect("works");
    assert_eq!(other.rollbacks().expect("works"), []);
    drop(enter(&other, 1).expect("all is well"));
}

#[test]
fn a_copy_whose_store_has_gone_back_is_not_taken_for_one_that_is_there_already() {
    let (here, source, engine) = (machine(), MemoryStore::default(), MemoryEngine::default());
    register(&source);
    copy(&source, &process(&engine, here.path())).expect("nothing runs");
    let backup = engine.rows().clone();
    go_on(&engine, here.path());
    *engine.rows() = backup;
    let error = copy(&source, &process(&engine, here.path())).expect_err("it has gone back");
    assert!(matches!(&error, CopyError::To(InstanceError::Log(LogError::Lost { .. }))), "{error}");
}
