//! What does not depend on where a store is: each test runs with processes on a store on files, in PostgreSQL and in etcd, and with
//! threads of one process on a store in memory and on an engine in memory, each of them a host of its own there.

mod cast;
pub(crate) mod ground;

use std::{collections::BTreeSet, sync::Arc};

use ambrosia_core::{InstanceName, Lsn, RecordKind};
use ambrosia_host::Hindrance;
use ambrosia_storage::{Instances, RecordedOutcome, Role, Store};
use cast::{Cast, register};
use ground::{Ground, Memory, OnEngine, Processes};
use serde_json::{Value, json};

use crate::support::Session;

/// Makes a test of each function for each ground that has processes. Where there is no PostgreSQL, that is said.
macro_rules! on_processes {
    ($($name:ident)*) => {
        mod on_files {
            $(#[test] fn $name() { super::$name(&super::Processes::on_files()); })*
        }
        mod in_postgresql {
            $(#[test] fn $name() {
                if let Some(ground) = super::Processes::in_postgresql() {
                    super::$name(&ground);
                }
            })*
        }
    };
}
pub(crate) use on_processes;

/// The same for every ground.
macro_rules! on_both_stores {
    ($($name:ident)*) => {
        on_processes! { $($name)* }
        mod in_etcd {
            $(#[test] fn $name() {
                if let Some(ground) = super::Processes::in_etcd() {
                    super::$name(&ground);
                }
            })*
        }
        mod beside_objects {
            $(#[test] fn $name() {
                if let Some(ground) = super::Processes::beside_objects() {
                    super::$name(&ground);
                }
            })*
        }
        mod in_memory {
            $(#[test] fn $name() { super::$name(&super::Memory::new()); })*
        }
        mod on_an_engine {
            $(#[test] fn $name() { super::$name(&super::OnEngine::new()); })*
        }
    };
}

on_both_stores! {
    calls_are_answered_and_one_that_comes_again_is_done_once
    whoever_takes_over_goes_on_where_the_primary_was_killed
    a_replica_that_is_stopped_hands_over
    a_replica_that_is_started_again_has_everything
    a_standby_follows_while_it_waits
    a_killed_replica_is_a_standby_when_it_comes_back
    each_line_is_printed_once_across_a_takeover
    a_checkpoint_is_where_a_restart_begins
    checkpoints_allow_the_log_to_be_trimmed
    messages_come_once_and_in_order
    messages_come_once_and_in_order_although_primaries_are_killed
    messages_wait_for_an_instance_that_is_registered_later
    an_instance_that_is_registered_anew_starts_afresh
    of_three_replicas_two_may_die
    the_epochs_of_a_log_only_rise_and_each_names_its_replica
}

/// What of these has to do with where large contents lie.
mod in_postgresql_beside_objects {
    #[test]
    fn a_checkpoint_is_where_a_restart_begins() {
        if let Some(ground) = super::Processes::in_postgresql_beside_objects() {
            super::a_checkpoint_is_where_a_restart_begins(&ground);
        }
    }

    #[test]
    fn checkpoints_allow_the_log_to_be_trimmed() {
        if let Some(ground) = super::Processes::in_postgresql_beside_objects() {
            super::checkpoints_allow_the_log_to_be_trimmed(&ground);
        }
    }
}

fn session(ground: &dyn Ground, instance: &str) -> Session {
    Session::on(ground.store(), instance)
}

fn calls_are_answered_and_one_that_comes_again_is_done_once(ground: &dyn Ground) {
    let _counter = Cast::of(ground, "counter", "counter", 1);
    let mut session = session(ground, "counter");
    (1..=50).for_each(|n| assert_eq!(session.call("add", json!([1])), n));
    for _ in 0..3 {
        assert_eq!(session.call_as("the same", "add", json!([7])), 57);
    }
    assert_eq!(session.call("total", json!([])), 57);
    assert_eq!(session.call("echo", json!(["word"])), "word");
}

fn whoever_takes_over_goes_on_where_the_primary_was_killed(ground: &dyn Ground) {
    let mut counter = Cast::of(ground, "counter", "counter", 2);
    let mut session = session(ground, "counter");
    let mut expected = 0;
    for round in 0..4 {
        (0..10).for_each(|_| {
            expected += 1;
            assert_eq!(session.call("add", json!([1])), expected);
        });
        let id = format!("before takeover {round}");
        expected += 100;
        assert_eq!(session.call_as(&id, "add", json!([100])), expected);
        let (killed, _) = counter.kill_primary();
        assert_eq!(session.call_as(&id, "add", json!([100])), expected, "it was done before");
        counter.start_standby(killed);
    }
    assert_eq!(session.call("total", json!([])), expected);
}

fn a_replica_that_is_stopped_hands_over(ground: &dyn Ground) {
    let mut counter = Cast::of(ground, "counter", "counter", 2);
    let mut session = session(ground, "counter");
    assert_eq!(session.call("add", json!([3])), 3);
    let before = counter.primary();
    counter.stop(0);
    let next = counter.wait_for_primary(|next| next.epoch > before.epoch);
    assert_eq!(next.replica.0, 1);
    assert_eq!(session.call("add", json!([4])), 7);
    counter.wait_for_member(0, |member| member.role == Role::Down);
    counter.stop(1);
    assert_eq!(ground.store().members_of(&name("counter")).expect("there").primary().expect("works"), None);
}

fn name(text: &str) -> InstanceName {
    InstanceName::new(text).expect("a plain name")
}

fn a_replica_that_is_started_again_has_everything(ground: &dyn Ground) {
    let mut counter = Cast::of(ground, "counter", "counter", 1);
    let mut session = session(ground, "counter");
    for round in 1..=3 {
        (0..20).for_each(|n| drop(session.call("see", json!([round * 100 + n]))));
        counter.kill(0);
        counter.start(0);
        let seen = session.call("seen", json!([]));
        let seen: Vec<u64> = serde_json::from_value(seen).expect("numbers");
        let expected = (1..=round).flat_map(|round| (0..20).map(move |n| round * 100 + n));
        assert_eq!(seen, expected.collect::<Vec<_>>());
    }
}

fn a_standby_follows_while_it_waits(ground: &dyn Ground) {
    let counter = Cast::of(ground, "counter", "counter", 2);
    let mut session = session(ground, "counter");
    for _ in 0..20 {
        session.call("add", json!([1]));
        let durable = counter.log().head().expect("works").durable;
        counter.wait_for_member(1, |member| member.role == Role::Standby && member.applied >= durable);
    }
}

fn a_killed_replica_is_a_standby_when_it_comes_back(ground: &dyn Ground) {
    let mut counter = Cast::of(ground, "counter", "counter", 2);
    let mut session = session(ground, "counter");
    session.call("add", json!([5]));
    let (killed, _) = counter.kill_primary();
    assert_eq!(killed, 0);
    counter.start_standby(0);
    counter.wait_for_member(1, |member| member.role == Role::Primary);
    assert_eq!(session.call("add", json!([5])), 10);
    assert_eq!(counter.kill_primary().0, 1);
    assert_eq!(session.call("add", json!([5])), 15);
}

fn each_line_is_printed_once_across_a_takeover(ground: &dyn Ground) {
    let mut printer = Cast::of(ground, "printer", "printer", 2);
    let mut session = session(ground, "printer");
    (1..=10).for_each(|_| drop(session.call("say", json!(["before"]))));
    printer.wait_for_lines(0, 12);
    let (_, mut printed) = printer.kill_primary();
    (11..=20).for_each(|_| drop(session.call("say", json!(["after"]))));
    printed.extend(printer.wait_for_lines(1, 11));
    let mut expected = vec!["first start".to_owned(), "primary".to_owned()];
    expected.extend((1..=10).map(|n| format!("{n} before")));
    expected.push("primary".to_owned());
    expected.extend((11..=20).map(|n| format!("{n} after")));
    assert_eq!(printed, expected);
}

fn a_checkpoint_is_where_a_restart_begins(ground: &dyn Ground) {
    let mut counter = Cast::of(ground, "counter", "counter", 1);
    let mut session = session(ground, "counter");
    (0..30).for_each(|n| drop(session.call("see", json!([n]))));
    let first = counter.take_checkpoint();
    (30..40).for_each(|n| drop(session.call("see", json!([n]))));
    let second = counter.take_checkpoint();
    assert!(second > first);
    let infos = counter.checkpoints().list().expect("works");
    assert!(infos.iter().any(|info| info.lsn == second), "{infos:?}");
    session.call("see", json!([40]));
    counter.kill(0);
    counter.start(0);
    assert_eq!(session.call("seen", json!([])), json!((0..=40).collect::<Vec<_>>()));
    let loaded = counter.checkpoints().load(second).expect("it is whole");
    assert_eq!(loaded.head.lsn, second);
}

fn checkpoints_allow_the_log_to_be_trimmed(ground: &dyn Ground) {
    let mut counter = Cast::of(ground, "counter", "counter", 1);
    let mut session = session(ground, "counter");
    // Each reign begins a part of the log that can be removed as a whole, and each life a base.
    for _ in 0..4 {
        assert!(session.call("add", json!([1])).as_u64() >= Some(1));
        counter.take_checkpoint();
        counter.kill(0);
        counter.start(0);
    }
    session.call("add", json!([1]));
    counter.take_checkpoint();
    let deadline = std::time::Instant::now() + ambrosia_tests::PATIENCE;
    while counter.log().first().expect("works") == Lsn(1) {
        assert!(std::time::Instant::now() < deadline, "nothing was removed: {:?}", counter.checkpoints().list());
        session.call("add", json!([0]));
        counter.take_checkpoint();
    }
    let total = session.call("total", json!([]));
    counter.kill(0);
    counter.start(0);
    assert_eq!(session.call("total", json!([])), total);
}

/// Messages of one stream.
const COUNT: u64 = 5_000;

fn start_stream(ground: &dyn Ground) {
    session(ground, "sender").call("start", json!(["receiver", COUNT, 1, 64]));
}

fn received(ground: &dyn Ground, at_least: u64) {
    let enough = |report: &Value| report[1] != 0 || report[0].as_u64() >= Some(at_least);
    let report = session(ground, "receiver").call_until("report", enough);
    assert_eq!(report[1], 0, "a message was lost or doubled: {report}");
}

fn messages_come_once_and_in_order(ground: &dyn Ground) {
    let _receiver = Cast::of(ground, "receiver", "receiver", 1);
    let _sender = Cast::of(ground, "sender", "sender", 1);
    start_stream(ground);
    received(ground, COUNT);
    assert_eq!(session(ground, "receiver").call("report", json!([])), json!([COUNT, 0]));
}

fn messages_come_once_and_in_order_although_primaries_are_killed(ground: &dyn Ground) {
    let mut receiver = Cast::of(ground, "receiver", "receiver", 2);
    let mut sender = Cast::of(ground, "sender", "sender", 2);
    start_stream(ground);
    received(ground, COUNT / 10);
    receiver.kill_primary();
    received(ground, COUNT / 4);
    sender.kill_primary();
    received(ground, COUNT);
    assert_eq!(session(ground, "receiver").call("report", json!([])), json!([COUNT, 0]));
}

fn messages_wait_for_an_instance_that_is_registered_later(ground: &dyn Ground) {
    let _sender = Cast::of(ground, "sender", "sender", 1);
    let hindrance = || Hindrance::without_primary(&*ground.store(), &name("receiver"));
    assert_eq!(hindrance(), Hindrance::NotRegistered);
    start_stream(ground);
    register(ground, "receiver", "receiver", 1);
    assert_eq!(hindrance(), Hindrance::NoPrimary { name: name("receiver") });
    let mut receiver = Cast::new(ground, "receiver");
    receiver.start(0);
    received(ground, COUNT);
}

fn an_instance_that_is_registered_anew_starts_afresh(ground: &dyn Ground) {
    let counter = Cast::of(ground, "counter", "counter", 1);
    let mut before = session(ground, "counter");
    assert_eq!(before.call("add", json!([9])), 9);
    let store = ground.store();
    let first = store.log_of(&name("counter")).expect("it is registered");
    counter.deregister();
    assert!(store.log(first).is_err(), "its log is gone");
    let _counter = Cast::of(ground, "counter", "counter", 1);
    assert_ne!(store.log_of(&name("counter")).expect("it is registered"), first);
    // The same client goes on with whoever has the name.
    assert_eq!(before.call("total", json!([])), 0);
}

fn of_three_replicas_two_may_die(ground: &dyn Ground) {
    let mut counter = Cast::of(ground, "counter", "counter", 3);
    let mut session = session(ground, "counter");
    assert_eq!(session.call("add", json!([1])), 1);
    let (first, _) = counter.kill_primary();
    assert_eq!(session.call("add", json!([1])), 2);
    let (second, _) = counter.kill_primary();
    assert_eq!(session.call("add", json!([1])), 3);
    let last = counter.primary().replica.0;
    assert_eq!(BTreeSet::from([first, second, last]), BTreeSet::from([0, 1, 2]));
    let store = ground.store();
    store.set_outcome(&name("counter"), RecordedOutcome::Finished { code: 0, lsn: Lsn(1) }).expect("works");
    store.clear_outcome(&name("counter")).expect("works");
    assert_eq!(session.call("total", json!([])), 3, "who runs does not look at it");
}

fn the_epochs_of_a_log_only_rise_and_each_names_its_replica(ground: &dyn Ground) {
    let mut counter = Cast::of(ground, "counter", "counter", 2);
    let mut session = session(ground, "counter");
    let mut reigned = vec![0];
    for _ in 0..3 {
        session.call("add", json!([1]));
        let (killed, _) = counter.kill_primary();
        reigned.push(1 - killed);
        counter.start_standby(killed);
    }
    let store: Arc<dyn Store> = ground.store();
    let scan = store.scan(store.log_of(&name("counter")).expect("it is registered"), Lsn(1)).expect("works");
    let records: Vec<_> = scan.map(|found| found.expect("whole").record).collect();
    let epochs: Vec<_> = records.iter().filter(|record| record.header().kind == RecordKind::Epoch).collect();
    let replicas: Vec<_> = epochs
        .iter()
        .map(|record| ambrosia_core::EpochBody::decode(record.body()).expect("it was written").replica.0)
        .collect();
    assert_eq!(replicas, reigned);
    assert!(epochs.is_sorted_by(|a, b| a.header().epoch < b.header().epoch));
    let links = records.windows(2).all(|pair| pair[1].header().previous == pair[0].header().link());
    assert!(links, "each record says which one it follows");
}
