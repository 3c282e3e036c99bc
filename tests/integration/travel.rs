//! Journeys through logs: whatever way leads to a record, it is the same there, and nothing in the store changes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use ambrosia_core::{InstanceName, Lsn, Timestamp};
use ambrosia_host::travel::{Execution, TravelError, Traveller, with_stack_for_guests};
use ambrosia_storage::{Store, StorePlace};
use ambrosia_tests::{Cluster, LongMessage, write_long_log};
use serde_json::json;

use crate::support::{Replicas, Session, cluster};

fn open(directory: &Path) -> Arc<dyn Store> {
    StorePlace::from(directory).open().expect("there is a store")
}

fn traveller(store: &Arc<dyn Store>, instance: &str) -> Traveller {
    Traveller::new(store, &InstanceName::new(instance).expect("plain")).expect("the log has a beginning")
}

fn travel(directory: &Path, instance: &str, journey: impl FnOnce(Traveller) + Send) {
    let store = open(directory);
    with_stack_for_guests(|| journey(traveller(&store, instance))).expect("there is a thread");
}

/// What one sees at a record.
#[derive(PartialEq, Debug)]
struct Seen {
    digests: (u64, u64),
    execution: Option<Execution>,
    link: Option<u64>,
}

fn seen(traveller: &mut Traveller) -> Seen {
    let moment = traveller.moment().clone();
    Seen {
        digests: traveller.digests(),
        execution: moment.execution,
        link: moment.record.map(|record| record.header().link()),
    }
}

/// All files below a directory, with their contents.
pub(crate) fn tree(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).expect("it is a directory") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            found.extend(tree(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).expect("it can be read"));
        }
    }
    found
}

/// Numbers that are spread over `0..below`, always the same.
fn scattered(count: u64, below: u64) -> impl Iterator<Item = u64> {
    (1..=count).map(move |n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % below)
}

fn counted(cluster: &Cluster, messages: u64) -> Lsn {
    let message = |n: u64| LongMessage {
        method: if n.is_multiple_of(3) { "see" } else { "add" },
        arguments: json!([n]),
        request: n.is_multiple_of(2).then(|| format!("request-{n}")),
    };
    let messages = (0..messages).map(message);
    write_long_log(&cluster.store(), "counter", &cluster.guest("counter"), messages).expect("it can be written")
}

#[test]
fn every_way_to_a_record_leads_to_the_same_place() {
    let cluster = cluster();
    let last = counted(&cluster, 30_000);
    travel(&cluster.store(), "counter", |mut traveller| {
        assert_eq!(traveller.range(), (Lsn(1), last));
        let places: Vec<_> = scattered(40, last.0).map(|lsn| Lsn(lsn + 1)).collect();
        let mut straight = BTreeMap::new();
        let mut sorted = places.clone();
        sorted.sort();
        for lsn in &sorted {
            traveller.seek(*lsn).expect("it is in the log");
            straight.insert(*lsn, seen(&mut traveller));
        }
        traveller.seek(last).expect("it is in the log");
        assert!(traveller.snapshot_bytes() > 0, "a long replay leaves snapshots");
        // From wherever one is, with snapshots in between; and each also from the next one, back.
        for lsn in &places {
            traveller.seek(*lsn).expect("it is in the log");
            assert_eq!((traveller.lsn(), &seen(&mut traveller)), (*lsn, &straight[lsn]), "at {lsn}");
            if traveller.step().expect("the log can be read") {
                assert_eq!(traveller.lsn(), lsn.next());
                assert!(traveller.back().expect("the log can be read"));
                assert_eq!(seen(&mut traveller), straight[lsn], "at {lsn}, back from the next");
            }
        }
        traveller.seek(Lsn(1)).expect("the log begins there");
        assert!(!traveller.back().expect("nothing is read"));
        for lsn in [Lsn(0), last.next()] {
            let error = traveller.seek(lsn).expect_err("the log does not go there");
            assert!(matches!(error, TravelError::Outside { .. }), "{error}");
        }
    });
}

#[test]
fn a_record_is_found_by_its_time() {
    let cluster = cluster();
    let last = counted(&cluster, 300);
    travel(&cluster.store(), "counter", |mut traveller| {
        for lsn in [Lsn(2), Lsn(3), Lsn(4), Lsn(150), last] {
            traveller.seek(lsn).expect("it is in the log");
            let time = traveller.replica().time();
            let at = |time: u64| traveller.lsn_at(Timestamp(time)).expect("the log can be read");
            assert_eq!(at(time.0), lsn);
            assert_eq!(at(time.0 + 1), lsn);
            assert!(at(time.0 - 1) < lsn);
        }
        assert_eq!(traveller.lsn_at(Timestamp(0)).expect("the log can be read"), Lsn(1));
        assert_eq!(traveller.lsn_at(Timestamp(u64::MAX)).expect("the log can be read"), last);
    });
}

/// Handlers that wait, timers, prints and messages to itself; and digests that the primary wrote.
#[test]
fn every_digest_that_a_primary_wrote_is_met_again() {
    let cluster = cluster();
    let mut ticker = Replicas::of_with(&cluster, "ticker", "ticker", 2, &["--keep-log"]);
    let mut session = Session::new(&cluster, "ticker");
    for _ in 0..3 {
        assert_eq!(session.call("every", json!([5, 10])), 10);
        cluster.must(&["checkpoint", "--instance", "ticker"]);
    }
    ticker.kill_primary();
    assert_eq!(session.call("every", json!([5, 10])), 10);
    cluster.must(&["checkpoint", "--instance", "ticker"]);
    // The replica that lives goes on meanwhile.
    travel(&cluster.store(), "ticker", |mut traveller| {
        let (first, last) = traveller.range();
        assert_eq!(first, Lsn(1));
        // Not by way of the checkpoints.
        while traveller.step().expect("the log can be read") {}
        assert_eq!(traveller.lsn(), last);
        assert!(traveller.compared().len() >= 4, "{:?}", traveller.compared());
        assert!(traveller.compared().values().all(Option::is_none), "{:?}", traveller.compared());
        let at_end = seen(&mut traveller);
        traveller.seek(Lsn(2)).expect("it is in the log");
        traveller.seek(last).expect("it is in the log");
        assert_eq!(seen(&mut traveller), at_end, "by way of the newest checkpoint");
        assert_eq!(traveller.unusable(), "");
    });
    assert_eq!(session.call("every", json!([1, 1])), 1);
}

#[test]
fn a_log_that_was_trimmed_is_travelled_from_its_oldest_checkpoint() {
    let cluster = cluster();
    let more = ["--checkpoint-every", "100", "--keep-checkpoints", "2", "--history", "0"];
    let _counter = Replicas::of_with(&cluster, "counter", "counter", 1, &more);
    let mut session = Session::new(&cluster, "counter");
    let first = || cluster.status("counter")["first_lsn"].as_u64().expect("a number");
    let mut sent = 0;
    while first() == 1 {
        sent += 1;
        assert_eq!(session.call("add", json!([1])), sent);
        assert!(sent < 100_000, "the log is never trimmed");
    }
    drop(_counter);
    travel(&cluster.store(), "counter", |mut traveller| {
        let (begin, last) = traveller.range();
        assert!(begin.0 + 1 >= first() && begin < last, "{begin} {last}");
        assert!(traveller.moment().record.is_none());
        let at_first = traveller.digests();
        traveller.seek(last).expect("it is in the log");
        traveller.seek(begin).expect("it is a checkpoint");
        assert_eq!(traveller.digests(), at_first);
        let error = traveller.seek(Lsn(begin.0 - 1)).expect_err("it was trimmed");
        assert!(error.to_string().contains(&format!("from lsn {begin} to {last}")), "{error}");
    });
}

/// Also of a copy, whose shared page nobody has filled since the machine started.
#[test]
fn a_journey_changes_nothing_in_the_store() {
    let cluster = cluster();
    let last = counted(&cluster, 3000);
    let copy = cluster.file("copy");
    let status = std::process::Command::new("cp").arg("-r").arg(cluster.store()).arg(&copy).status();
    assert!(status.expect("cp is there").success());
    for log in std::fs::read_dir(copy.join("logs")).expect("there are logs") {
        std::fs::remove_file(log.expect("it can be listed").path().join("control")).expect("it is there");
    }
    std::fs::remove_dir_all(copy.join("compiled")).expect("it is there");
    for store in [cluster.store(), copy] {
        let before = tree(&store);
        travel(&store, "counter", |mut traveller| {
            for lsn in [last, Lsn(7), Lsn(last.0 / 2)] {
                traveller.seek(lsn).expect("it is in the log");
            }
        });
        let after = tree(&store);
        let changed = before.keys().chain(after.keys()).filter(|path| before.get(*path) != after.get(*path));
        assert_eq!(changed.collect::<Vec<_>>(), [] as [&PathBuf; 0]);
    }
}
