//! Stores and registrations: what is refused, and what a crash at any point leaves.

use ambrosia_core::{InstanceName, InstanceUuid, Limits, Lsn, ReplicaIndex, Timestamp};

use super::support::{Fixture, SMALL};
use crate::{
    BlobStore, FileStore, InstanceEntry, InstanceError, LogStore, OpenError, Outcome, Registered, Role,
    conformance::{Reign, read_all},
};

fn named(name: &str) -> InstanceName {
    InstanceName::new(name).expect("plain")
}

fn register(store: &FileStore, name: &str, module: &[u8], uuid: u8) -> Result<Registered, InstanceError> {
    let limits = Limits { fuel: 1, memory_bytes: 1 };
    store.register(&named(name), module, 1, InstanceUuid([uuid; 16]), limits, Timestamp(1))
}

fn empty() -> (tempfile::TempDir, FileStore) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = FileStore::create_or_open(directory.path().join("new/store")).expect("works");
    (directory, store)
}

#[test]
fn a_store_that_is_not_there_is_told() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let error = FileStore::open(directory.path().join("nowhere")).err().expect("it is not there");
    assert!(matches!(error, OpenError::NoStore(_)), "{error}");
    assert!(error.to_string().contains("register an instance first"));
}

#[test]
fn a_store_of_another_version_is_refused_and_named() {
    let (_directory, store) = empty();
    std::fs::write(store.root().join("FORMAT"), "ambrosia-store 2\n").expect("works");
    for opened in [FileStore::open(store.root()), FileStore::create_or_open(store.root())] {
        let error = opened.err().expect("another version");
        assert!(matches!(error, OpenError::OtherVersion { .. }), "{error}");
        assert!(error.to_string().contains("\"ambrosia-store 2\""), "{error}");
    }
}

#[test]
fn a_directory_with_other_things_in_it_is_refused() {
    let directory = tempfile::tempdir().expect("temporary directory");
    std::fs::write(directory.path().join("thesis.tex"), "").expect("works");
    let error = FileStore::create_or_open(directory.path()).err().expect("it is not empty");
    assert!(matches!(error, OpenError::NotEmpty(_)), "{error}");
    // What a crash of the first open leaves is no such thing.
    std::fs::rename(directory.path().join("thesis.tex"), directory.path().join("FORMAT.1-0.tmp")).expect("works");
    assert!(FileStore::create_or_open(directory.path()).is_ok());
}

#[test]
fn an_instance_is_registered_once_with_one_module() {
    let (_directory, store) = empty();
    assert_eq!(register(&store, "server", b"module", 1).expect("works"), Registered::New);
    assert_eq!(register(&store, "server", b"module", 2).expect("works"), Registered::Same);
    let error = register(&store, "server", b"other", 3).expect_err("another module");
    assert!(matches!(error, InstanceError::OtherModule { .. }), "{error}");
    assert!(error.to_string().contains("upgrade"), "{error}");
    let entry = store.instance(&named("server")).expect("works");
    assert_eq!((entry.uuid, entry.replicas.len()), (InstanceUuid([1; 16]), 1));
    assert_eq!(BlobStore::get(&store, crate::BlobHash(entry.module)).expect("works"), b"module");
    assert_eq!(read_all(&*store.log(&named("server")).expect("works")).len(), 1);
    let unknown = store.log(&named("client")).err().expect("not registered");
    assert!(matches!(unknown, InstanceError::Unknown { .. }), "{unknown}");
}

#[test]
fn replicas_and_the_outcome_are_kept_in_the_entry() {
    let (_directory, store) = empty();
    register(&store, "server", b"module", 1).expect("works");
    store.add_replica(&named("server"), ReplicaIndex(2)).expect("works");
    store.add_replica(&named("server"), ReplicaIndex(2)).expect("it is no error twice");
    let too_high = store.add_replica(&named("server"), ReplicaIndex(64)).expect_err("too high");
    assert!(matches!(too_high, InstanceError::NumberTooHigh { .. }), "{too_high}");
    let outcome = Outcome::Finished { code: 3, lsn: Lsn(17) };
    store.set_outcome(&named("server"), outcome.clone()).expect("works");
    let entry: InstanceEntry = store.instances().expect("works").remove(0);
    assert_eq!((entry.replicas, entry.outcome), ([0, 2].into(), Some(outcome)));
    store.clear_outcome(&named("server")).expect("works");
    assert_eq!(store.instance(&named("server")).expect("works").outcome, None);
}

/// What is in the directory of a store at some point of a registration, named by what was done last.
const CRASHES: [&str; 5] = ["module", "directory", "lock file", "unfinished segment", "whole log"];

#[test]
fn a_crash_at_any_point_of_a_registration_leaves_nothing_in_the_way() {
    for (point, what) in CRASHES.iter().enumerate() {
        let (_directory, store) = empty();
        register(&store, "other", b"module", 9).expect("works");
        leave_partial_registration(&store, point);
        assert!(matches!(store.log(&named("server")), Err(InstanceError::Unknown { .. })), "{what}");
        assert_eq!(register(&store, "server", b"its module", 2).expect("works"), Registered::New, "{what}");
        assert_eq!(read_all(&*store.log(&named("server")).expect("works")).len(), 1, "{what}");
        let logs = std::fs::read_dir(store.root().join("logs")).expect("works").count();
        assert_eq!(logs, 2, "what was left after {what} is removed");
    }
}

/// Registers "server" in a store beside, and copies what would be there had it crashed.
fn leave_partial_registration(store: &FileStore, point: usize) {
    store.put(b"its module").expect("works");
    if point == 0 {
        return;
    }
    let (_directory, beside) = empty();
    register(&beside, "server", b"its module", 1).expect("works");
    let uuid = InstanceUuid([1; 16]).to_string();
    let from = beside.root().join("logs").join(&uuid);
    let unfinished = point < CRASHES.len() - 1;
    let to = store.root().join("logs").join(if unfinished { format!("{uuid}.new") } else { uuid });
    std::fs::create_dir(&to).expect("works");
    if point >= 2 {
        std::fs::write(to.join("lock"), []).expect("works");
    }
    for segment in std::fs::read_dir(from).expect("works").map(|entry| entry.expect("works")) {
        let name = segment.file_name().into_string().expect("plain");
        match point {
            3 if name.ends_with(".seg") => drop(std::fs::write(to.join("first-0000000000.tmp"), [1; 100])),
            4 if name.ends_with(".seg") => drop(std::fs::copy(segment.path(), to.join(name))),
            _ => {}
        }
    }
}

#[test]
fn the_log_of_an_instance_is_not_taken_for_a_leftover_when_its_entry_is_lost() {
    let fixture = Fixture::new(SMALL);
    Reign::begin(&*fixture.log(), 0).append_durably(b"precious");
    let log = fixture.log_path();
    std::fs::remove_file(fixture.store.root().join("registry/instances:checked")).expect("works");
    register(&fixture.store, "another", b"module", 3).expect("works");
    assert!(log.exists());
}

#[test]
fn an_instance_is_not_deregistered_while_a_replica_runs() {
    let fixture = Fixture::new(SMALL);
    let (store, name) = (&fixture.store, super::support::name());
    let presence = store.roster(&name).expect("works").enter(ReplicaIndex(0)).expect("not running");
    presence.beat(Role::Standby);
    presence.set_applied(Lsn(1));
    let refused = store.deregister(&name).expect_err("it runs");
    assert!(matches!(refused, InstanceError::Running { .. }), "{refused}");
    assert!(refused.to_string().contains("replica 0"), "{refused}");
    drop(presence);
    let reign = Reign::begin(&*fixture.log(), 0);
    assert!(matches!(store.deregister(&name), Err(InstanceError::Running { .. })));
    drop(reign);
    let module = crate::BlobHash(store.instance(&name).expect("works").module);
    register(store, "twin", crate::conformance::MODULE, 8).expect("works");
    store.deregister(&name).expect("nothing runs");
    assert!(matches!(store.instance(&name), Err(InstanceError::Unknown { .. })));
    assert!(BlobStore::get(store, module).is_ok(), "the twin needs it");
    store.deregister(&named("twin")).expect("nothing runs");
    assert!(BlobStore::get(store, module).is_err(), "nobody needs it");
    assert_eq!(std::fs::read_dir(store.root().join("logs")).expect("works").count(), 0);
}

#[test]
fn a_damaged_entry_is_told_with_its_file() {
    let fixture = Fixture::new(SMALL);
    let path = fixture.store.root().join("registry/instances:checked");
    let mut contents = std::fs::read(&path).expect("works");
    *contents.last_mut().expect("not empty") ^= 1;
    std::fs::write(&path, contents).expect("works");
    let error = fixture.store.instance(&super::support::name()).expect_err("it is damaged").to_string();
    assert!(error.contains("registry/instances:checked"), "{error}");
}

#[test]
fn a_control_file_replaced_under_running_replicas_is_told() {
    let fixture = Fixture::new(SMALL);
    let reign = Reign::begin(&*fixture.log(), 0);
    fixture.forget_control();
    let error = fixture.store.log(&super::support::name()).err().expect("two fences would be none");
    assert!(matches!(error, InstanceError::Log(crate::LogError::ControlLost { .. })), "{error}");
    drop(reign);
    assert_eq!(fixture.log().head().expect("works").durable, Lsn(2));
}
