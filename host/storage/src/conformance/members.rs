//! What a store must tell of the replicas of a log.

use std::{
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

use ambrosia_core::{Epoch, HostAddress, Lsn, ReplicaIndex};

use super::{
    reign::{LIMIT, Reign, wait_for_vacancy},
    store::registered,
};
use crate::{
    CaptureMeans, EnterError, HEARTBEAT_INTERVAL, HEARTBEAT_SILENCE, HostName, Instances, ProcessPlace, Role, Store,
    Vacancy,
};

fn address(port: u16) -> HostAddress {
    HostAddress::named("host-7.hosts.example", port).expect("a name")
}

pub fn a_replica_runs_once(store: &dyn Store) {
    let log = registered(store);
    let (members, others) = (store.members(log).expect("works"), store.members(log).expect("works"));
    let presence = members.enter(ReplicaIndex(3)).expect("not running");
    assert_eq!(presence.replica(), ReplicaIndex(3));
    let error = others.enter(ReplicaIndex(3)).err().expect("it runs already");
    assert!(matches!(error, EnterError::AlreadyRunning { .. }), "{error}");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    assert!(others.enter(ReplicaIndex(4)).is_ok());
    assert!(others.is_running(ReplicaIndex(3)).expect("works"));
    drop(presence);
    assert!(!others.is_running(ReplicaIndex(3)).expect("works"));
    assert!(others.enter(ReplicaIndex(3)).is_ok());
    assert!(matches!(members.enter(ReplicaIndex(64)), Err(EnterError::NumberTooHigh { .. })));
}

pub fn members_show_what_each_replica_says(store: &dyn Store) {
    let log = registered(store);
    let members = store.members(log).expect("works");
    let primary = members.enter(ReplicaIndex(0)).expect("not running");
    let standby = members.enter(ReplicaIndex(1)).expect("not running");
    let reign = Reign::begin(&*store.log(log).expect("works"), 0);
    primary.beat(Role::Primary);
    primary.set_applied(Lsn(2));
    primary.set_replay(Duration::from_millis(7));
    primary.set_capture(CaptureMeans::Save);
    standby.set_ready(7);
    standby.set_waiting(Some(0));
    primary.set_waiting(Some(2));
    primary.set_address(&address(7000)).expect("works");
    primary.publish_primary(reign.epoch);
    standby.beat(Role::Standby);
    standby.set_applied(Lsn(1));
    standby.set_address(&address(7001)).expect("works");
    let all = members.members(&[0, 1, 2].map(ReplicaIndex)).expect("works");
    let seen: Vec<_> = all.iter().map(|member| (member.role, member.applied, member.address.clone())).collect();
    let expected = [
        (Role::Primary, Lsn(2), Some(address(7000))),
        (Role::Standby, Lsn(1), Some(address(7001))),
        (Role::Down, Lsn(0), None),
    ];
    assert_eq!(seen, expected);
    assert_eq!((all[0].pid, &all[0].place), (std::process::id(), ProcessPlace::here()));
    assert_eq!((all[0].replay, all[0].capture), (Duration::from_millis(7), Some(CaptureMeans::Save)));
    assert_eq!(all[1].capture, None, "it has not said so yet");
    assert_eq!((all[0].ready, all[1].ready), (None, Some(7)));
    assert_eq!((all[0].waiting, all[1].waiting, all[2].waiting), (Some(2), Some(0), None));
    assert!(all[1].heartbeat_age < LIMIT);
    assert_eq!(primary.lost_store().expect("works"), None);
    let running: Vec<_> = members.running().expect("works").iter().map(|member| member.replica.0).collect();
    assert_eq!(running, [0, 1]);
    let info = members.primary().expect("works").expect("there is one");
    assert_eq!((info.replica, info.epoch, info.address), (ReplicaIndex(0), reign.epoch, address(7000)));
    drop((primary, reign));
    assert_eq!(members.primary().expect("works"), None);
    assert_eq!(members.members(&[ReplicaIndex(0)]).expect("works")[0].role, Role::Down);
}

pub fn what_a_replica_said_in_an_earlier_life_is_forgotten(store: &dyn Store) {
    let members = store.members(registered(store)).expect("works");
    let first = members.enter(ReplicaIndex(0)).expect("not running");
    first.beat(Role::Primary);
    first.set_applied(Lsn(9));
    first.set_capture(CaptureMeans::Memory);
    first.set_ready(3);
    first.set_waiting(Some(1));
    first.set_address(&address(7000)).expect("works");
    drop(first);
    let _second = members.enter(ReplicaIndex(0)).expect("not running");
    let member = members.members(&[ReplicaIndex(0)]).expect("works").remove(0);
    let told = (member.role, member.applied, member.capture, member.ready, member.waiting, member.address.clone());
    assert_eq!(told, (Role::Standby, Lsn(0), None, None, None, None));
}

pub fn a_deposed_primary_is_not_shown_as_primary(store: &dyn Store) {
    let log = registered(store);
    let members = store.members(log).expect("works");
    let old = members.enter(ReplicaIndex(0)).expect("not running");
    let new = members.enter(ReplicaIndex(1)).expect("not running");
    let first = Reign::begin(&*store.log(log).expect("works"), 0);
    old.beat(Role::Primary);
    old.set_address(&address(7000)).expect("works");
    old.publish_primary(first.epoch);
    let second = Reign::begin(&*store.log(log).expect("works"), 1);
    assert_eq!(members.primary().expect("works"), None, "the new one has not said where it answers");
    new.beat(Role::Primary);
    new.set_address(&address(7001)).expect("works");
    new.publish_primary(second.epoch);
    old.set_address(&address(7000)).expect("works");
    old.publish_primary(first.epoch);
    assert_eq!(members.primary().expect("works").expect("there is one").address, address(7001));
    let roles: Vec<_> = members.members(&[0, 1].map(ReplicaIndex)).expect("works").iter().map(|m| m.role).collect();
    assert_eq!(roles, [Role::Standby, Role::Primary]);
}

pub fn a_new_primary_and_its_end_are_told_to_those_who_have_subscribed(store: &dyn Store) {
    let log = registered(store);
    let presence = store.members(log).expect("works").enter(ReplicaIndex(0)).expect("not running");
    let reign = Reign::begin(&*store.log(log).expect("works"), 0);
    let (sender, calls) = channel();
    let waiting = store.members(log).expect("works");
    let call = move || sender.send(()).expect("the check waits for it");
    let subscription = waiting.subscribe(Box::new(call)).expect("there are threads");
    presence.set_address(&address(7000)).expect("works");
    presence.publish_primary(reign.epoch);
    calls.recv_timeout(LIMIT).expect("it is told");
    assert!(waiting.primary().expect("works").is_some());
    reign.writer.close();
    let deadline = Instant::now() + LIMIT;
    while waiting.primary().expect("works").is_some() {
        calls.recv_timeout(deadline - Instant::now()).expect("its end is told too");
    }
    drop(subscription);
    presence.set_address(&address(7000)).expect("works");
    presence.publish_primary(reign.epoch);
    while calls.try_recv().is_ok() {}
    assert!(calls.recv().is_err(), "nothing is left that could tell more");
}

pub fn what_was_seen_of_a_primary_follows_what_is_told(store: &dyn Store) {
    let log = registered(store);
    let name = HostName::new("host").expect("a plain name");
    let _host = store.hosts().join(&name, &address(7000)).expect("nobody has the name");
    let members = store.members(log).expect("works");
    let presence = members.enter(ReplicaIndex(0)).expect("not running");
    let (sender, calls) = channel();
    let call = move || sender.send(()).expect("the check waits for it");
    let _subscription = members.subscribe(Box::new(call)).expect("there are threads");
    let reign = Reign::begin(&*store.log(log).expect("works"), 0);
    let wait_for = |epoch: Option<Epoch>| loop {
        let seen = members.primary_seen().expect("works");
        if seen.as_ref().map(|info| info.epoch) == epoch {
            return seen;
        }
        calls.recv_timeout(LIMIT).expect("it is told");
    };
    wait_for(None);
    presence.beat(Role::Primary);
    presence.set_address(&address(7000)).expect("works");
    presence.publish_primary(reign.epoch);
    assert_eq!(wait_for(Some(reign.epoch)), members.primary().expect("works"));
    reign.writer.close();
    wait_for(None);
}

pub fn a_primary_that_beats_is_not_silent_and_one_that_does_not_is(store: &dyn Store) {
    let log = registered(store);
    let presence = store.members(log).expect("works").enter(ReplicaIndex(0)).expect("not running");
    let reign = Reign::begin(&*store.log(log).expect("works"), 0);
    let log = store.log(log).expect("works");
    let vacancy = thread::scope(|scope| {
        let waiter = scope.spawn(|| wait_for_vacancy(&*log, 2 * HEARTBEAT_SILENCE));
        while !waiter.is_finished() {
            presence.beat(Role::Primary);
            thread::park_timeout(HEARTBEAT_INTERVAL / 4);
        }
        waiter.join().expect("no panic")
    });
    assert_eq!(vacancy, None);
    assert_eq!(wait_for_vacancy(&*log, LIMIT), Some(Vacancy::Silent(reign.epoch)));
}

pub fn an_instance_is_not_deregistered_while_a_replica_runs(store: &dyn Store) {
    let log = registered(store);
    let name = super::store::name();
    let presence = store.members(log).expect("works").enter(ReplicaIndex(0)).expect("not running");
    let refused = store.deregister(&name).expect_err("it runs");
    assert!(refused.to_string().contains("replica 0"), "{refused}");
    drop(presence);
    let reign = Reign::begin(&*store.log(log).expect("works"), 0);
    assert!(store.deregister(&name).is_err(), "a primary reigns");
    // Who drops it has the store told that the reign is over, and waits for no answer.
    reign.writer.close();
    store.deregister(&name).expect("nothing runs");
}
