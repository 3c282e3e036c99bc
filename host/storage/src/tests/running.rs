//! The roster: who runs, who is primary, and how others learn of it.

use std::{thread, time::Duration};

use ambrosia_core::{Epoch, EpochBody, Lsn, ReplicaIndex, Timestamp};

use super::support::{Fixture, SMALL, name};
use crate::{
    AcquireError, Acquired, FileLog, FileLogOptions, HEARTBEAT_INTERVAL, Instances, LogStore, ProcessPlace, Role,
    Vacancy,
    conformance::{Reign, wait_for_vacancy},
};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_primary_that_beats_is_not_silent_and_one_that_does_not_is() {
    let options = FileLogOptions { silence: 3 * HEARTBEAT_INTERVAL, ..SMALL };
    let fixture = Fixture::new(options);
    let presence = fixture.store.members_of(&name()).expect("works").enter(ReplicaIndex(0)).expect("not running");
    let _reign = Reign::begin(&*fixture.log(), 0);
    let log = fixture.log();
    let vacancy = thread::scope(|scope| {
        let waiter = scope.spawn(|| wait_for_vacancy(&*log, 6 * HEARTBEAT_INTERVAL));
        while !waiter.is_finished() {
            presence.beat(Role::Primary);
            presence.set_applied(Lsn(2));
            thread::park_timeout(HEARTBEAT_INTERVAL / 4);
        }
        waiter.join().expect("no panic")
    });
    assert_eq!(vacancy, None);
    let vacancy = wait_for_vacancy(&*log, LIMIT);
    assert!(matches!(vacancy, Some(Vacancy::Silent(_))), "{vacancy:?}");
}

#[test]
fn two_candidates_at_once_get_one_after_the_other() {
    let fixture = Fixture::new(SMALL);
    let begun = fixture.log().begin_reign_for_test(0);
    let log = fixture.log();
    // A candidate that is at it is a primary to others until it falls silent or ends.
    assert_eq!(wait_for_vacancy(&*log, Duration::from_millis(20)), None);
    drop(begun);
    let vacancy = wait_for_vacancy(&*log, LIMIT);
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
    assert_eq!(wait_for_vacancy(&*log, Duration::from_millis(20)), None, "the pause has begun");
    let vacancy = wait_for_vacancy(&*log, LIMIT);
    assert_eq!(vacancy, Some(Vacancy::Released(Epoch(0))));
    let acquired = try_once(&log).expect("nobody holds the reign after that");
    assert_eq!(acquired.epoch.0, 2);
    // A second one stopped at the same place blocks nobody either.
    drop(acquired);
    let (third, stopped_too) = fixture.log().lock_reign_for_test();
    assert_eq!(third.0, 3);
    assert!(try_once(&log).is_err());
    assert!(wait_for_vacancy(&*log, LIMIT).is_some());
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
    assert_eq!(wait_for_vacancy(&*log, LIMIT / 2), Some(Vacancy::Released(Epoch(0))));
    assert_eq!(try_once(&log).expect("nobody holds it").epoch.0, 1);
}

/// Waits that are each much shorter than the silence, as those of a standby that looks at other things in between.
#[test]
fn a_silence_is_counted_across_waits() {
    let fixture = Fixture::new(FileLogOptions { silence: 3 * HEARTBEAT_INTERVAL, ..SMALL });
    let _reign = Reign::begin(&*fixture.log(), 0);
    let log = fixture.log();
    let found = (0..400).find_map(|_| wait_for_vacancy(&*log, HEARTBEAT_INTERVAL / 2));
    assert!(matches!(found, Some(Vacancy::Silent(_))), "{found:?}");
}

fn try_once(log: &FileLog) -> Result<Acquired, AcquireError> {
    let head = log.head().expect("works");
    let tail = log.tail(Lsn(1)).expect("works");
    let me = EpochBody { replica: ReplicaIndex(1), engine: [0; 32] };
    tail.acquire(head.epoch, me, Timestamp(7), Box::new(|_, _| ()))
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

/// A process that lives until it is killed.
fn other_process() -> std::process::Child {
    std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().expect("every Linux has cat")
}

fn kill(mut process: std::process::Child) {
    process.kill().expect("it is ours");
    process.wait().expect("it is ours");
}

/// Beats as a primary until the log tells of a vacancy, and how it listened to the end of that primary before and after
/// `end`, which comes once it listens.
fn vacancy_after(
    fixture: &Fixture,
    pid: u32,
    place: &ProcessPlace,
    end: impl FnOnce(),
) -> (Vec<String>, Option<Vacancy>) {
    let log = fixture.log();
    let slot = log.control().slot(ReplicaIndex(0));
    slot.enter(pid, place);
    slot.beat(1, Duration::ZERO);
    let (sender, found) = std::sync::mpsc::channel();
    let _watch = log.watch(Box::new(move |found| sender.send(found.expect("works")).expect("the test waits for it")));
    let mut ways = Vec::new();
    let (mut end, deadline) = (Some(end), std::time::Instant::now() + LIMIT);
    loop {
        slot.beat(1, Duration::ZERO);
        let way = log.listens_by();
        if ways.last() != Some(&way) && way != "nothing" {
            ways.push(way);
            end.take().into_iter().for_each(|end| end());
        }
        match found.recv_timeout(HEARTBEAT_INTERVAL / 4) {
            Ok(vacancy) => return (ways, Some(vacancy)),
            Err(_) if std::time::Instant::now() < deadline && ways.len() < 2 => {}
            Err(_) => return (ways, None),
        }
    }
}

#[test]
fn the_end_of_the_process_of_the_primary_is_told_and_the_lock_says_whether_that_is_a_vacancy() {
    let fixture = Fixture::new(FileLogOptions { silence: LIMIT, ..SMALL });
    let begun = fixture.log().begin_reign_for_test(0);
    let other = other_process();
    let pid = other.id();
    let by_process = format!("a handle of process {pid}");
    // Somebody else has the lock: that a process ended which is said to have it means nothing.
    let (ways, vacancy) = vacancy_after(&fixture, pid, ProcessPlace::here(), || kill(other));
    assert_eq!((ways, vacancy), (vec![by_process, "looks at the lock".to_owned()], None));
    let other = other_process();
    let (ways, vacancy) = vacancy_after(&fixture, other.id(), ProcessPlace::here(), || drop(begun));
    assert_eq!(vacancy, Some(Vacancy::Released(Epoch(1))), "the lock is asked although nothing was told");
    assert_eq!(ways, [format!("a handle of process {}", other.id())]);
    kill(other);
}

#[test]
fn a_primary_whose_process_has_no_number_here_is_heard_by_its_lock() {
    for pid in [1, std::process::id()] {
        let fixture = Fixture::new(FileLogOptions { silence: LIMIT, ..SMALL });
        let begun = fixture.log().begin_reign_for_test(0);
        let elsewhere = ProcessPlace { pid_namespace: 1, ..ProcessPlace::here().clone() };
        let (ways, vacancy) = vacancy_after(&fixture, pid, &elsewhere, || drop(begun));
        assert_eq!(vacancy, Some(Vacancy::Released(Epoch(1))));
        assert_eq!(ways, ["a thread that waits for the lock"]);
    }
}
