//! Several hosts with threads of their own on one engine, one of which is cut off from it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::channel},
    time::Duration,
};

use ambrosia_core::{Epoch, Lsn, Record};
use ambrosia_shared_log::{
    Answered, Answering, Engine, EngineFacts, EngineHost, EngineLog, Fault, HostId, Lane, MemoryEngine, Request,
    Session,
};
use ambrosia_storage::{
    AppendError, FenceLook, LogStore, StopCause, Vacancy,
    conformance::{Reign, genesis, read_all, wait_for_vacancy},
};

/// Nothing in a test takes that long.
const LIMIT: Duration = Duration::from_secs(30);

/// The way of one host to an engine. While it is cut nothing gets through, and whoever asks waits.
#[derive(Clone)]
struct Way {
    engine: MemoryEngine,
    /// Who waits, while it is cut.
    waiting: Arc<Mutex<Option<Vec<Answering>>>>,
}

impl Way {
    fn to(engine: &MemoryEngine) -> Way {
        Way { engine: engine.clone(), waiting: Arc::default() }
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Vec<Answering>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self) {
        self.waiting().get_or_insert_default();
    }

    fn mend(&self) {
        let waiting = self.waiting().take();
        for answer in waiting.into_iter().flatten() {
            answer(Err(Fault::Unknown("the connection was cut".to_owned())));
        }
    }
}

impl Engine for Way {
    fn ask(&self, lane: Lane, request: Request, answer: Answering) {
        let mut waiting = self.waiting();
        if let Some(waiting) = &mut *waiting {
            return waiting.push(answer);
        }
        drop(waiting);
        self.engine.ask(lane, request, answer);
    }

    fn facts(&self) -> EngineFacts {
        self.engine.facts()
    }
}

/// A log on an engine, by two hosts.
struct Two {
    engine: MemoryEngine,
    way: Way,
    first: EngineLog,
    second: EngineLog,
}

fn two() -> Two {
    let engine = MemoryEngine::default();
    let log = engine.create(ambrosia_core::InstanceUuid([7; 16]), &genesis());
    let way = Way::to(&engine);
    let host = |engine: Arc<dyn Engine>, me| EngineHost::begin(engine, HostId([me; 16])).expect("there are threads");
    let first = EngineLog::new(host(Arc::new(way.clone()), 1), log);
    let second = EngineLog::new(host(Arc::new(engine.clone()), 2), log);
    Two { engine, way, first, second }
}

fn bodies(log: &dyn LogStore) -> Vec<Vec<u8>> {
    read_all(log).iter().skip(1).map(|record: &Record| record.body().to_vec()).collect()
}

#[test]
fn a_host_that_is_cut_off_is_deposed_and_what_it_has_not_made_durable_is_not_in_the_log() {
    let Two { way, first, second, .. } = two();
    let mut old = Reign::begin(&first, 0);
    old.append_durably(b"kept");
    way.cut();
    old.append(b"lost").expect("it does not know");
    assert_eq!(wait_for_vacancy(&second, LIMIT), Some(Vacancy::Silent(Epoch(1))));
    let mut new = Reign::begin(&second, 1);
    new.append_durably(b"of the next reign");
    way.mend();
    assert_eq!(old.wait_stopped(), StopCause::Fenced { by: Epoch(2) });
    assert!(matches!(old.append(b"lost"), Err(AppendError::Fenced { by: Epoch(2) })));
    let bodies = bodies(&second);
    assert!(bodies.contains(&b"kept".to_vec()) && !bodies.contains(&b"lost".to_vec()), "{bodies:?}");
}

#[test]
fn a_tail_may_have_more_once_that_is_seen_and_not_before() {
    let Two { first, second, .. } = two();
    let mut reign = Reign::begin(&first, 0);
    let (sender, calls) = channel();
    let tell = move || sender.send(()).expect("it waits");
    let _following = second.subscribe(Box::new(tell)).expect("there are threads");
    let mut tail = second.tail(Lsn(1)).expect("it has its first record");
    for round in 0..20_u8 {
        let lsn = reign.append_durably(&[round]);
        while tail.position() <= lsn {
            if tail.may_have_more() {
                tail.read().expect("it reads");
            } else {
                calls.recv_timeout(LIMIT).expect("it is told, and may have more by then");
            }
        }
    }
    while tail.may_have_more() {
        assert!(tail.read().expect("it reads").is_empty());
    }
    assert!(tail.fork().may_have_more(), "it has read nothing itself");
}

#[test]
fn a_host_that_is_cut_off_for_a_while_goes_on_if_nobody_deposes_it() {
    let Two { way, first, .. } = two();
    let mut reign = Reign::begin(&first, 0);
    way.cut();
    let lsn = reign.append(b"late").expect("the reign goes on");
    way.mend();
    reign.wait_durable(lsn);
    assert_eq!(bodies(&first).last(), Some(&b"late".to_vec()));
}

#[test]
fn a_reign_that_a_host_does_not_know_of_as_its_own_is_vacant() {
    let Two { engine, first, .. } = two();
    // The answer to its takeover never came, and it gave up.
    let log = engine.rows().logs().next().expect("there is one");
    let claim = ambrosia_shared_log::Claim { host: HostId([1; 16]), attempt: 999 };
    let wanted =
        vec![ambrosia_shared_log::Raise { log, over: Epoch(0), claim, replica: ambrosia_core::ReplicaIndex(1) }];
    engine.ask(Lane::Other, Request::Raise { wanted }, Box::new(|_| ()));
    assert_eq!(wait_for_vacancy(&first, LIMIT), Some(Vacancy::Released(Epoch(1))));
    assert_eq!(Reign::begin(&first, 0).epoch, Epoch(2));
}

#[test]
fn a_look_at_the_fence_sees_a_reign_that_was_begun_elsewhere() {
    let Two { first, second, .. } = two();
    let mut reign = Reign::begin(&first, 0);
    assert_eq!(reign.look_at_fence(), Ok(()));
    let _next = Reign::begin(&second, 1);
    assert_eq!(reign.look_at_fence(), Err(Epoch(2)));
}

/// A state of before was restored, and somebody else has begun the reign that is the next one there.
#[test]
fn a_look_at_the_fence_sees_another_reign_of_the_same_number() {
    let Two { engine, first, .. } = two();
    let mut rows = engine.rows();
    let before = rows.clone();
    drop(rows);
    let mut reign = Reign::begin(&first, 0);
    assert_eq!(reign.look_at_fence(), Ok(()));
    rows = engine.rows();
    let log = rows.logs().next().expect("there is one");
    let claim = ambrosia_shared_log::Claim { host: HostId([2; 16]), attempt: 1 };
    let raise = ambrosia_shared_log::Raise { log, over: Epoch(0), claim, replica: ambrosia_core::ReplicaIndex(1) };
    *rows = before;
    let raised = rows.execute(&Request::Raise { wanted: vec![raise] }, Session(0));
    assert!(matches!(&raised, Answered::Raised(raised) if raised[0].is_ok_and(|head| head.epoch == reign.epoch)));
    drop(rows);
    assert_eq!(reign.look_at_fence(), Err(Epoch(2)), "it is no reign of this host");
}

#[test]
fn a_look_at_the_fence_waits_for_nobody_and_is_told_when_the_engine_is_there_again() {
    let Two { first, way, .. } = two();
    let mut reign = Reign::begin(&first, 0);
    way.cut();
    assert_eq!(reign.begin_look(), Ok(FenceLook::Begun));
    way.mend();
    assert_eq!(reign.wait_looked(), Ok(()));
}

#[test]
fn an_idle_writer_is_told_that_it_was_deposed_and_who_asks_for_that_waits_for_nothing() {
    let Two { first, second, way, .. } = two();
    let mut old = Reign::begin(&first, 0);
    let _new = Reign::begin(&second, 1);
    assert_eq!(old.wait_stopped(), StopCause::Fenced { by: Epoch(2) });
    way.cut();
    // What would have to be asked for would not come: that is left to those who look at all logs together.
    assert_eq!(first.later_reign(Epoch(1)).expect("nothing can go wrong"), None);
}

#[test]
fn a_tail_of_a_store_that_has_gone_back_says_so() {
    let Two { engine, first, second, .. } = two();
    let mut reign = Reign::begin(&first, 0);
    reign.append_durably(b"kept");
    let older = engine.rows().clone();
    reign.append_durably(b"lost");
    let mut tail = second.tail(Lsn(1)).expect("it can be read");
    assert_eq!(tail.read().expect("it can be read").len(), 4);
    *engine.rows() = older;
    let error = tail.read().expect_err("it has read what is not there any more").to_string();
    assert!(error.contains("gone back") && error.contains("record 4") && error.contains("record 3"), "{error}");
    reign.append(b"after it").expect("it does not know");
    let StopCause::Failed(reason) = reign.wait_stopped() else { panic!("nobody has deposed it") };
    assert!(reason.contains("gone back"), "{reason}");
}

#[test]
fn a_log_that_is_removed_is_told_to_those_who_follow_it() {
    let Two { engine, first, .. } = two();
    let mut tail = first.tail(Lsn(1)).expect("it can be read");
    let (sender, told) = channel();
    let call = move || {
        // The test may be over.
        let _gone = sender.send(());
    };
    let _subscription = first.subscribe(Box::new(call)).expect("there are threads");
    let log = engine.rows().logs().next().expect("there is one");
    assert_eq!(engine.rows().execute(&Request::Remove { log }, Session(0)), Answered::Removed(true));
    let error = loop {
        match tail.read() {
            Ok(_) => told.recv_timeout(LIMIT).expect("it is told"),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("the log is gone"), "{error}");
}

#[test]
fn a_subscription_ends_behind_a_call_that_is_under_way() {
    let Two { first, .. } = two();
    let ((entered, calls), (go, wait), (left, order)) = (channel(), channel::<()>(), channel());
    let (leaving, wait) = (left.clone(), Mutex::new(wait));
    let call = move || {
        // Only the first call is waited for.
        let _later = entered.send(());
        let _gone = wait.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let _gone = leaving.send("the call is over");
    };
    let subscription = first.subscribe(Box::new(call)).expect("there are threads");
    calls.recv_timeout(LIMIT).expect("whoever comes is called");
    let ending = std::thread::spawn(move || {
        drop(subscription);
        left.send("the subscription is over").expect("the test waits for it");
    });
    // If it does not wait for the call, it is over by then.
    order.recv_timeout(Duration::from_millis(50)).expect_err("it waits");
    go.send(()).expect("the call waits for it");
    assert_eq!(order.recv_timeout(LIMIT), Ok("the call is over"));
    assert_eq!(order.recv_timeout(LIMIT), Ok("the subscription is over"));
    ending.join().expect("no panic");
}
