//! Sessions of programs: a feeder gets its requests done once each and in order, whatever dies.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ambrosia_core::{InstanceName, Seq, SessionId};
use ambrosia_host::{PendingRequest, Session, SessionError, decode_value, encode_arguments, session_with};
use ambrosia_storage::StorePlace;
use ambrosia_tests::{Cluster, PATIENCE};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::{Replicas, cluster};

/// Requests that a feeder has under way at a time.
const UNDER_WAY: usize = 100;

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime can be made")
}

async fn open(store: PathBuf, instance: &str, id: SessionId) -> Session {
    let store = StorePlace::from(&*store).open().expect("something was registered in the store");
    let name = InstanceName::new(instance).expect("a plain name");
    session_with(store, name, id, PATIENCE).await.expect("the instance runs")
}

fn arguments(arguments: &Value) -> Bytes {
    encode_arguments(&arguments.to_string(), true).expect("an array").into()
}

/// Adds 1; the counter says how often that was done.
async fn begin(session: &Session) -> PendingRequest {
    session.begin("add", arguments(&json!([1]))).await.expect("the session goes on")
}

/// The number of a request, which the counter was asked for as often as that.
async fn check(pending: PendingRequest) -> u64 {
    let seq = pending.seq().0;
    let answer = pending.answer().await.expect("it is answered");
    assert_eq!(decode_value(&answer.value), json!(seq), "each is done once and in order");
    seq
}

/// The requests of sessions in the log, as ticket and number, in order.
fn logged(cluster: &Cluster, instance: &str) -> Vec<(u64, u64)> {
    let mut logged = Vec::new();
    for record in cluster.log(instance) {
        for message in record["messages"].as_array().into_iter().flatten() {
            if let Some(session) = message["session"].as_str() {
                let (ticket, seq) = session.split_once('/').expect("ticket and number");
                logged.push((ticket.parse().expect("a number"), seq.parse().expect("a number")));
            }
        }
    }
    logged
}

#[test]
fn a_feeder_has_each_request_done_once_and_in_order_while_the_primary_is_killed_in_a_loop() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 2);
    let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (told, stopped, store) = (Arc::clone(&done), Arc::clone(&stop), cluster.store());
    let feeder = thread::spawn(move || {
        runtime().block_on(async {
            let session = open(store, "counter", Session::new_id()).await;
            let mut under_way = VecDeque::new();
            while !stopped.load(Ordering::Acquire) {
                under_way.push_back(begin(&session).await);
                if under_way.len() >= UNDER_WAY {
                    let first = under_way.pop_front().expect("some are under way");
                    told.store(check(first).await, Ordering::Release);
                }
            }
            for pending in under_way {
                told.store(check(pending).await, Ordering::Release);
            }
            session.close().await;
        });
    });
    let wait_for = |more: u64| {
        let (wanted, began) = (done.load(Ordering::Acquire) + more, Instant::now());
        while done.load(Ordering::Acquire) < wanted {
            assert!(began.elapsed() < PATIENCE, "{done:?} of {wanted} were answered");
            assert!(!feeder.is_finished(), "the feeder has failed");
            thread::park_timeout(Duration::from_millis(5));
        }
    };
    for _ in 0..5 {
        wait_for(300);
        let dead = counter.kill_primary();
        counter.start_standby(dead);
    }
    wait_for(300);
    stop.store(true, Ordering::Release);
    feeder.join().expect("every request was answered");
    let count = done.load(Ordering::Acquire);
    assert_eq!(cluster.send("counter", "total", json!([])), count);
    let numbers: Vec<u64> = logged(&cluster, "counter").into_iter().map(|(_, seq)| seq).collect();
    assert!(numbers.iter().copied().eq(1..=count), "the log has each once and in order");
}

#[test]
fn a_client_that_dies_goes_on_where_its_session_was_and_the_one_before_is_over() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 2);
    let id = Session::new_id();
    let runtime = runtime();
    let (first, under_way) = runtime.block_on(async {
        let session = open(cluster.store(), "counter", id).await;
        assert_eq!((session.accepted(), session.confirmed()), (Seq(0), Seq(0)));
        for _ in 0..3 {
            check(begin(&session).await).await;
        }
        let under_way = begin(&session).await;
        (session, under_way)
    });
    counter.kill_primary();
    runtime.block_on(async {
        check(under_way).await;
        let second = open(cluster.store(), "counter", id).await;
        assert_eq!(second.accepted(), Seq(4));
        let last = second.repeat(Seq(4), "add", arguments(&json!([1]))).await.expect("it was not confirmed");
        assert_eq!(decode_value(&last.value), json!(4));
        let over = first.call("add", arguments(&json!([1]))).await;
        assert!(matches!(over, Err(SessionError::Superseded(_))), "{over:?}");
        check(begin(&second).await).await;
    });
    assert_eq!(cluster.send("counter", "total", json!([])), 5);
}

#[test]
fn what_can_not_be_done_fails_in_its_place_and_status_and_log_tell_of_sessions() {
    let cluster = cluster();
    let _counter = Replicas::of(&cluster, "counter", "counter", 1);
    let runtime = runtime();
    let session = runtime.block_on(async {
        let session = open(cluster.store(), "counter", Session::new_id()).await;
        check(begin(&session).await).await;
        let missing = session.call("no_such_method", arguments(&json!([]))).await;
        assert!(matches!(&missing, Err(SessionError::Failed(why)) if why.contains("no_such_method")), "{missing:?}");
        let third = session.call("add", arguments(&json!([1]))).await.expect("it is answered");
        assert_eq!(decode_value(&third.value), json!(2));
        session
    });
    let status = cluster.status("counter");
    assert_eq!(status["sessions"]["sessions"], 1, "{status}");
    assert!(cluster.must(&["status", "--instance", "counter"]).contains("1 session, 0 requests of them under way"));
    let log = cluster.must(&["log", "--instance", "counter"]);
    assert!(log.contains("session ") && log.contains(" is open") && log.contains("/2 fails: "), "{log}");
    assert_eq!(logged(&cluster, "counter").into_iter().map(|(_, seq)| seq).collect::<Vec<_>>(), [1, 3]);
    drop(session);
}
