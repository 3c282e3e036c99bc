//! The roster: who runs, who is primary, and how others learn of it.

use std::{net::SocketAddr, sync::mpsc::channel, thread, time::Duration};

use ambrosia_core::{Epoch, EpochBody, Lsn, ReplicaIndex, Timestamp};

use super::support::{Fixture, SMALL, name};
use crate::{
    AcquireError, Acquired, EnterError, FileLog, FileLogOptions, HEARTBEAT_INTERVAL, Instances, LogStore, ProcessPlace,
    Role, Vacancy, conformance::Reign,
};

const LIMIT: Duration = Duration::from_secs(20);

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn a_replica_runs_once() {
    let fixture = Fixture::new(SMALL);
    let roster = fixture.store.members_of(&name()).expect("works");
    let presence = roster.enter(ReplicaIndex(3)).expect("not running");
    let other = fixture.store.members_of(&name()).expect("works");
    let error = other.enter(ReplicaIndex(3)).err().expect("it runs already");
    assert!(matches!(error, EnterError::AlreadyRunning { .. }), "{error}");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    assert!(other.enter(ReplicaIndex(4)).is_ok());
    drop(presence);
    assert!(other.enter(ReplicaIndex(3)).is_ok());
    assert!(matches!(roster.enter(ReplicaIndex(64)), Err(EnterError::NumberTooHigh { .. })));
}

#[test]
fn members_show_what_each_replica_says() {
    let fixture = Fixture::new(SMALL);
    let roster = fixture.store.members_of(&name()).expect("works");
    let primary = roster.enter(ReplicaIndex(0)).expect("not running");
    let standby = roster.enter(ReplicaIndex(1)).expect("not running");
    let reign = Reign::begin(&*fixture.log(), 0);
    primary.beat(Role::Primary);
    primary.set_applied(Lsn(2));
    primary.publish_primary(reign.epoch, address(7000));
    standby.beat(Role::Standby);
    standby.set_applied(Lsn(1));
    standby.set_address(address(7001));
    let members = roster.members(&[0, 1, 2].map(ReplicaIndex)).expect("works");
    let seen: Vec<_> = members.iter().map(|member| (member.role, member.applied, member.address)).collect();
    let expected = [
        (Role::Primary, Lsn(2), Some(address(7000))),
        (Role::Standby, Lsn(1), Some(address(7001))),
        (Role::Down, Lsn(0), None),
    ];
    assert_eq!(seen, expected);
    assert_eq!((members[0].pid, &members[0].place), (std::process::id(), ProcessPlace::here()));
    assert!(members[1].heartbeat_age < LIMIT);
    let info = roster.primary().expect("works").expect("there is one");
    assert_eq!((info.replica, info.epoch, info.address), (ReplicaIndex(0), reign.epoch, address(7000)));
    drop((primary, reign));
    assert_eq!(roster.primary().expect("works"), None);
    assert_eq!(roster.members(&[ReplicaIndex(0)]).expect("works")[0].role, Role::Down);
}

#[test]
fn a_deposed_primary_is_not_shown_as_primary() {
    let fixture = Fixture::new(SMALL);
    let roster = fixture.store.members_of(&name()).expect("works");
    let old = roster.enter(ReplicaIndex(0)).expect("not running");
    let new = roster.enter(ReplicaIndex(1)).expect("not running");
    let first = Reign::begin(&*fixture.log(), 0);
    old.beat(Role::Primary);
    old.set_applied(Lsn(2));
    old.publish_primary(first.epoch, address(7000));
    let second = Reign::begin(&*fixture.log(), 1);
    assert_eq!(roster.primary().expect("works"), None, "the new one has not said where it answers");
    new.beat(Role::Primary);
    new.set_applied(Lsn(3));
    new.publish_primary(second.epoch, address(7001));
    old.publish_primary(first.epoch, address(7000));
    assert_eq!(roster.primary().expect("works").expect("there is one").address, address(7001));
    let roles: Vec<_> = roster.members(&[0, 1].map(ReplicaIndex)).expect("works").iter().map(|m| m.role).collect();
    assert_eq!(roles, [Role::Standby, Role::Primary]);
}

#[test]
fn a_new_primary_and_its_end_are_told_to_those_who_have_subscribed() {
    let fixture = Fixture::new(SMALL);
    let roster = fixture.store.members_of(&name()).expect("works");
    let presence = roster.enter(ReplicaIndex(0)).expect("not running");
    let reign = Reign::begin(&*fixture.log(), 0);
    let (sender, calls) = channel();
    let waiting = fixture.store.members_of(&name()).expect("works");
    let call = move || sender.send(()).expect("the test waits for it");
    let _subscription = waiting.subscribe(Box::new(call)).expect("there are threads");
    presence.publish_primary(reign.epoch, address(7000));
    calls.recv_timeout(LIMIT).expect("it is told");
    drop(reign);
    calls.recv_timeout(LIMIT).expect("its end is told too");
}

#[test]
fn a_primary_that_beats_is_not_silent_and_one_that_does_not_is() {
    let options = FileLogOptions { silence: 3 * HEARTBEAT_INTERVAL, ..SMALL };
    let fixture = Fixture::new(options);
    let presence = fixture.store.members_of(&name()).expect("works").enter(ReplicaIndex(0)).expect("not running");
    let _reign = Reign::begin(&*fixture.log(), 0);
    let log = fixture.log();
    let vacancy = thread::scope(|scope| {
        let waiter = scope.spawn(|| log.wait_for_vacancy(6 * HEARTBEAT_INTERVAL).expect("works"));
        while !waiter.is_finished() {
            presence.beat(Role::Primary);
            presence.set_applied(Lsn(2));
            thread::park_timeout(HEARTBEAT_INTERVAL / 4);
        }
        waiter.join().expect("no panic")
    });
    assert_eq!(vacancy, None);
    let vacancy = log.wait_for_vacancy(LIMIT).expect("works");
    assert!(matches!(vacancy, Some(Vacancy::Silent(_))), "{vacancy:?}");
}

#[test]
fn two_candidates_at_once_get_one_after_the_other() {
    let fixture = Fixture::new(SMALL);
    let begun = fixture.log().begin_reign_for_test(0);
    let log = fixture.log();
    // A candidate that is at it is a primary to others until it falls silent or ends.
    assert_eq!(log.wait_for_vacancy(Duration::from_millis(20)).expect("works"), None);
    drop(begun);
    let vacancy = log.wait_for_vacancy(LIMIT).expect("works");
    assert!(matches!(vacancy, Some(Vacancy::Released(_))), "{vacancy:?}");
    let reign = Reign::begin(&*log, 1);
    assert_eq!(reign.epoch.0, 2, "the epoch of the first candidate is not used again");
}

#[test]
fn a_candidate_stopped_before_the_fence_is_passed_by() {
    let fixture = Fixture::new(SMALL);
    let (epoch, stopped) = fixture.log().lock_reign_for_test();
    assert_eq!(epoch.0, 1);
    let log = fixture.log();
    // The first try leaves the other candidate its time, and is the only one that fails: nobody spins.
    let contended = try_once(&log);
    assert!(matches!(contended, Err(AcquireError::Contended { .. })));
    assert_eq!(log.wait_for_vacancy(Duration::from_millis(20)).expect("works"), None, "the pause has begun");
    let vacancy = log.wait_for_vacancy(LIMIT).expect("works");
    assert_eq!(vacancy, Some(Vacancy::Released(Epoch(0))));
    let acquired = try_once(&log).expect("nobody holds the reign after that");
    assert_eq!(acquired.epoch.0, 2);
    // A second one stopped at the same place blocks nobody either.
    drop(acquired);
    let (third, stopped_too) = fixture.log().lock_reign_for_test();
    assert_eq!(third.0, 3);
    assert!(try_once(&log).is_err());
    assert!(log.wait_for_vacancy(LIMIT).expect("works").is_some());
    assert_eq!(try_once(&log).expect("nobody holds it").epoch.0, 4);
    drop((stopped, stopped_too));
}

#[test]
fn a_candidate_that_dies_before_the_fence_is_not_waited_for() {
    let fixture = Fixture::new(FileLogOptions { patience: LIMIT, ..SMALL });
    let (_, other) = fixture.log().lock_reign_for_test();
    let log = fixture.log();
    assert!(try_once(&log).is_err());
    drop(other);
    assert_eq!(log.wait_for_vacancy(LIMIT / 2).expect("works"), Some(Vacancy::Released(Epoch(0))));
    assert_eq!(try_once(&log).expect("nobody holds it").epoch.0, 1);
}

/// Waits that are each much shorter than the silence, as those of a standby that looks at other things in between.
#[test]
fn a_silence_is_counted_across_waits() {
    let fixture = Fixture::new(FileLogOptions { silence: 3 * HEARTBEAT_INTERVAL, ..SMALL });
    let _reign = Reign::begin(&*fixture.log(), 0);
    let log = fixture.log();
    let found = (0..400).find_map(|_| log.wait_for_vacancy(HEARTBEAT_INTERVAL / 2).expect("works"));
    assert!(matches!(found, Some(Vacancy::Silent(_))), "{found:?}");
}

fn try_once(log: &FileLog) -> Result<Acquired, AcquireError> {
    let head = log.head().expect("works");
    let tail = log.tail(Lsn(1)).expect("works");
    let me = EpochBody { replica: ReplicaIndex(1), engine: [0; 32] };
    log.acquire(head.epoch, me, Timestamp(7), tail, Box::new(|_| ()))
}

#[test]
fn a_control_page_of_a_version_without_places_is_extended_while_replicas_run() {
    let fixture = Fixture::new(SMALL);
    let before = fixture.store.members_of(&name()).expect("works").enter(ReplicaIndex(0)).expect("not running");
    let file = std::fs::File::options().write(true).open(fixture.log_path().join("control")).expect("it is there");
    file.set_len(12_288).expect("works");
    let roster = fixture.store.members_of(&name()).expect("works");
    let _after = roster.enter(ReplicaIndex(1)).expect("not running");
    before.beat(Role::Standby);
    let members = roster.members(&[0, 1].map(ReplicaIndex)).expect("works");
    let seen: Vec<_> = members.iter().map(|member| (member.role, member.pid, member.place.clone())).collect();
    let pid = std::process::id();
    let expected = [(Role::Standby, pid, ProcessPlace::default()), (Role::Standby, pid, ProcessPlace::here().clone())];
    assert_eq!(seen, expected);
}
