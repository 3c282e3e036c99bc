//! Stores and registrations: what is refused, and what a crash at any point leaves.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use ambrosia_core::{InstanceName, InstanceUuid, Limits, Lsn, ReplicaIndex, Timestamp};

use super::support::{Fixture, SMALL, files};
use crate::{
    FileStore, InstanceError, Instances, LogStore, OpenError, Registered, Role, Store,
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

/// What is in the directory of a store at some point of a registration, named by what was done last.
const CRASHES: [&str; 5] = ["module", "directory", "lock file", "unfinished segment", "whole log"];

#[test]
fn a_crash_at_any_point_of_a_registration_leaves_nothing_in_the_way() {
    for (point, what) in CRASHES.iter().enumerate() {
        let (_directory, store) = empty();
        register(&store, "other", b"module", 9).expect("works");
        leave_partial_registration(&store, point);
        assert!(matches!(store.file_log(&named("server")), Err(InstanceError::Unknown { .. })), "{what}");
        assert_eq!(register(&store, "server", b"its module", 2).expect("works"), Registered::New, "{what}");
        assert_eq!(read_all(&*store.file_log(&named("server")).expect("works")).len(), 1, "{what}");
        let logs = std::fs::read_dir(store.root().join("logs")).expect("works").count();
        assert_eq!(logs, 2, "what was left after {what} is removed");
    }
}

/// Registers "server" in a store beside, and copies what would be there had it crashed.
fn leave_partial_registration(store: &FileStore, point: usize) {
    store.blobs().put(b"its module").expect("works");
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
    let presence = store.members_of(&name).expect("works").enter(ReplicaIndex(0)).expect("not running");
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
    assert!(store.blobs().get(module).is_ok(), "the twin needs it");
    store.deregister(&named("twin")).expect("nothing runs");
    assert!(store.blobs().get(module).is_err(), "nobody needs it");
    assert_eq!(std::fs::read_dir(store.root().join("logs")).expect("works").count(), 0);
}

#[test]
fn what_was_compiled_of_a_module_goes_with_the_last_instance_that_has_it() {
    let fixture = Fixture::new(SMALL);
    let store = &fixture.store;
    register(store, "twin", crate::conformance::MODULE, 8).expect("works");
    register(store, "another", b"another module", 9).expect("works");
    let cache = Store::cache(store).expect("it is on files");
    let compiled = |module: &[u8], engine: &str| {
        let path = cache.join(format!("{}-{engine}.cwasm", crate::BlobHash::of(module)));
        std::fs::write(&path, b"compiled").expect("works");
        path
    };
    let own = [compiled(crate::conformance::MODULE, "aa"), compiled(crate::conformance::MODULE, "bb")];
    let other = compiled(b"another module", "aa");
    store.deregister(&super::support::name()).expect("nothing runs");
    assert!(own.iter().all(|path| path.exists()), "the twin needs it");
    store.deregister(&named("twin")).expect("nothing runs");
    assert!(!own.iter().any(|path| path.exists()), "nobody needs it");
    assert!(other.exists(), "another instance has that module");
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
fn an_entry_whose_reserved_bytes_are_not_zero_is_of_a_later_version() {
    let fixture = Fixture::new(SMALL);
    let path = fixture.store.root().join("registry/instances:checked");
    let written = std::fs::read(&path).expect("works");
    // As `docs/formats.md` has them, written down once more.
    for at in 20..24 {
        let mut contents = written.clone();
        assert_eq!(contents[at], 0, "it is written as zeros");
        contents[at] = 1;
        std::fs::write(&path, contents).expect("works");
        let error = fixture.store.instance(&super::support::name()).expect_err("it is refused").to_string();
        assert!(error.contains("a later version of ambrosia-host wrote it"), "{error}");
    }
}

type Break = fn(&Fixture);

/// Ways in which what an instance has on the disk can be broken.
const BREAKS: [(&str, Break); 6] = [
    ("no log directory", |fixture| std::fs::remove_dir_all(fixture.log_path()).expect("works")),
    ("an empty log directory", |fixture| {
        let log = fixture.log_path();
        std::fs::remove_dir_all(&log).expect("works");
        std::fs::create_dir(log).expect("works");
    }),
    ("a control page of garbage", |fixture| {
        std::fs::write(fixture.log_path().join("control"), [7; 99]).expect("works")
    }),
    ("a directory for a control page", |fixture| {
        fixture.forget_control();
        std::fs::create_dir(fixture.log_path().join("control")).expect("works");
    }),
    ("a damaged checksum of its entry", |fixture| damage_entry(fixture, |contents| contents[16] ^= 1)),
    ("an entry that was cut short", |fixture| damage_entry(fixture, |contents| contents.truncate(30))),
];

fn damage_entry(fixture: &Fixture, damage: fn(&mut Vec<u8>)) {
    let path = fixture.store.root().join("registry/instances:checked");
    let mut contents = std::fs::read(&path).expect("works");
    damage(&mut contents);
    std::fs::write(&path, contents).expect("works");
}

#[test]
fn a_broken_instance_can_be_deregistered_and_others_registered_beside_it() {
    for (what, break_it) in BREAKS {
        let fixture = Fixture::new(SMALL);
        let store = &fixture.store;
        Reign::begin(&*fixture.log(), 0).append_durably(b"some record");
        register(store, "healthy", b"its module", 17).expect("works");
        break_it(&fixture);
        register(store, "another", b"its module", 18).unwrap_or_else(|error| panic!("{what}: {error}"));
        let names: Vec<_> = store.survey().expect(what).iter().map(|found| found.name.to_string()).collect();
        assert_eq!(names, ["another", "checked", "healthy"], "{what}");
        let done = store.deregister(&super::support::name()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(done.uuid.is_some() && done.left.is_empty(), "{what}: {done:?}");
        let unknown = store.instance(&super::support::name());
        assert!(matches!(unknown, Err(InstanceError::Unknown { .. })), "{what}");
        let logs: BTreeSet<_> = store.instances().expect(what).iter().map(|entry| entry.uuid.to_string()).collect();
        let left = std::fs::read_dir(store.root().join("logs")).expect("works");
        let left: BTreeSet<_> =
            left.map(|entry| entry.expect("works").file_name().into_string().expect("plain")).collect();
        assert_eq!(left, logs, "{what}: its log is gone, and no other");
        assert_eq!(read_all(&*store.file_log(&named("healthy")).expect("works")).len(), 1, "{what}");
    }
}

#[test]
fn a_log_that_nobody_knows_is_left_and_named_when_a_damaged_entry_does_not_tell_whose_it_is() {
    let fixture = Fixture::new(SMALL);
    let log = fixture.log_path();
    damage_entry(&fixture, |contents| contents.truncate(30));
    for segment in fixture_segments(&log) {
        std::fs::write(segment, b"garbage").expect("works");
    }
    let done = fixture.store.deregister(&super::support::name()).expect("works");
    assert_eq!((done.uuid, done.left), (None, vec![log.display().to_string()]));
    assert!(log.exists());
}

fn fixture_segments(log: &std::path::Path) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(log).expect("works").map(|entry| entry.expect("works").path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).collect()
}

#[test]
fn the_log_of_a_damaged_entry_is_not_taken_for_a_leftover() {
    let fixture = Fixture::new(SMALL);
    let log = fixture.log_path();
    damage_entry(&fixture, |contents| contents.truncate(30));
    register(&fixture.store, "another", b"module", 3).expect("works");
    assert!(log.exists(), "it has never run, and may be anybody's");
}

#[test]
fn a_broken_instance_is_not_deregistered_while_a_replica_runs() {
    let fixture = Fixture::new(SMALL);
    let name = super::support::name();
    let presence = fixture.store.members_of(&name).expect("works").enter(ReplicaIndex(5)).expect("not running");
    damage_entry(&fixture, |contents| contents[16] ^= 1);
    assert!(matches!(fixture.store.deregister(&name), Err(InstanceError::Running { .. })));
    drop(presence);
    fixture.store.deregister(&name).expect("nothing runs");
}

#[test]
fn a_replica_sees_that_another_store_lies_in_the_place_of_its_own() {
    let fixture = Fixture::new(SMALL);
    let presence =
        fixture.store.members_of(&super::support::name()).expect("works").enter(ReplicaIndex(0)).expect("free");
    assert_eq!(presence.lost_store().expect("works"), None);
    let (log, moved) = (fixture.log_path(), fixture.directory.path().join("moved"));
    std::fs::rename(&log, &moved).expect("works");
    assert_eq!(
        presence.lost_store().expect("works"),
        Some(log.join("control").display().to_string()),
        "nothing is there"
    );
    std::fs::create_dir(&log).expect("works");
    std::fs::copy(moved.join("control"), log.join("control")).expect("works");
    assert_eq!(
        presence.lost_store().expect("works"),
        Some(log.join("control").display().to_string()),
        "a copy is there"
    );
}

#[test]
fn a_control_file_replaced_under_running_replicas_is_told() {
    let fixture = Fixture::new(SMALL);
    let reign = Reign::begin(&*fixture.log(), 0);
    fixture.forget_control();
    let error = fixture.store.file_log(&super::support::name()).err().expect("two fences would be none");
    assert!(matches!(error, InstanceError::Log(crate::LogError::ControlLost { .. })), "{error}");
    drop(reign);
    assert_eq!(fixture.log().head().expect("works").durable, Lsn(2));
}

/// Nobody has used the log since the machine started, so whoever opens it fills what all share; but not who only looks.
#[test]
fn who_only_looks_writes_nothing() {
    let (_directory, store) = empty();
    register(&store, "checked", b"module", 1).expect("works");
    let id = store.log_of(&named("checked")).expect("works");
    let before = tree(store.root());
    let looking = store.looking();
    let log = looking.log(id).expect("works");
    assert_eq!((log.head().expect("works").durable, log.first().expect("works")), (Lsn(1), Lsn(1)));
    assert!(log.is_at_rest());
    assert_eq!(read_all(&*log).len(), 1);
    assert_eq!(looking.checkpoints(id).expect("works").list().expect("works"), []);
    assert_eq!(tree(store.root()), before);
    assert_eq!(store.log(id).expect("works").head().expect("works").durable, Lsn(1));
    assert_ne!(tree(store.root()), before, "another one fills it");
    // From then on both see the same.
    let _reign = Reign::begin(&*store.log(id).expect("works"), 0);
    assert_eq!(looking.log(id).expect("works").head().expect("works").durable, Lsn(2));
}

/// All files below a directory, with their contents.
fn tree(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for path in files(directory) {
        if path.is_dir() {
            found.extend(tree(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).expect("it can be read"));
        }
    }
    found
}
