//! What instances by name, and tools, must find in any store.

use ambrosia_core::{InstanceName, InstanceUuid, Limits, Lsn, ReplicaIndex, Timestamp};

use super::reign::{MODULE, Reign, read_all};
use crate::{
    BlobHash, InstanceError, Instances, LogError, LogId, MemoryStore, RecordedOutcome, Registered, Store, copy_instance,
};

/// The instance of the checks.
pub(super) fn name() -> InstanceName {
    InstanceName::new("checked").expect("plain")
}

fn register(store: &dyn Store, module: &[u8], uuid: u8) -> Result<Registered, InstanceError> {
    let limits = Limits { fuel: 1, memory_bytes: 1 };
    store.register(&name(), module, 1, InstanceUuid([uuid; 16]), limits, Timestamp(1))
}

/// The log of a new instance.
pub(super) fn registered(store: &dyn Store) -> LogId {
    assert_eq!(register(store, MODULE, 7).expect("works"), Registered::New);
    store.log_of(&name()).expect("it was registered")
}

pub fn an_instance_is_registered_once_with_one_module(store: &dyn Store) {
    assert!(matches!(store.instance(&name()), Err(InstanceError::Unknown { .. })));
    assert_eq!(register(store, b"module", 1).expect("works"), Registered::New);
    assert_eq!(register(store, b"module", 2).expect("works"), Registered::Same);
    let error = register(store, b"other", 3).expect_err("another module");
    assert!(matches!(error, InstanceError::OtherModule { .. }), "{error}");
    let entry = store.instance(&name()).expect("works");
    assert_eq!((entry.log(), entry.replicas.len()), (LogId(InstanceUuid([1; 16])), 1));
    assert_eq!(store.blobs().get(BlobHash(entry.module)).expect("works"), b"module");
    assert_eq!(read_all(&*store.log(entry.log()).expect("works")).len(), 1);
    assert!(!store.is_changing().expect("works"));
    let found = store.survey().expect("works");
    assert_eq!(found.iter().map(|found| &found.name).collect::<Vec<_>>(), [&name()]);
}

pub fn replicas_and_the_outcome_are_kept(store: &dyn Store) {
    registered(store);
    store.add_replica(&name(), ReplicaIndex(2)).expect("works");
    store.add_replica(&name(), ReplicaIndex(2)).expect("it is no error twice");
    let too_high = store.add_replica(&name(), ReplicaIndex(64)).expect_err("too high");
    assert!(matches!(too_high, InstanceError::NumberTooHigh { .. }), "{too_high}");
    let outcome = RecordedOutcome::Finished { code: 3, lsn: Lsn(17) };
    store.set_outcome(&name(), outcome.clone()).expect("works");
    let entry = store.instances().expect("works").remove(0);
    assert_eq!((entry.replicas, entry.outcome), ([0, 2].into(), Some(outcome)));
    store.clear_outcome(&name()).expect("works");
    assert_eq!(store.instance(&name()).expect("works").outcome, None);
    store.add_replicas(&name(), 2).expect("works");
    assert_eq!(store.instance(&name()).expect("works").replicas, [0, 1, 2].into());
    let too_many = store.add_replicas(&name(), 65).expect_err("too many");
    assert!(matches!(too_many, InstanceError::NumberTooHigh { .. }), "{too_many}");
}

pub fn an_instance_that_is_registered_anew_has_another_log(store: &dyn Store) {
    let first = registered(store);
    Reign::begin(&*store.log(first).expect("works"), 0).append_durably(b"of the first life");
    let done = store.deregister(&name()).expect("nothing runs");
    assert_eq!((done.uuid.map(LogId), done.left), (Some(first), Vec::new()));
    assert!(matches!(store.instance(&name()), Err(InstanceError::Unknown { .. })));
    assert!(store.blobs().list().expect("works").is_empty(), "nobody needs its module");
    let gone = store.log(first).err().expect("it was removed");
    assert!(matches!(gone, LogError::Gone { .. }), "{gone}");
    assert_eq!(register(store, MODULE, 8).expect("the name is free"), Registered::New);
    let second = store.log_of(&name()).expect("works");
    assert_ne!(first, second);
    assert_eq!(store.logs().expect("works"), [second]);
    assert_eq!(read_all(&*store.log(second).expect("works")).len(), 1);
}

pub fn a_log_that_no_instance_has_and_nobody_used_is_removed(store: &dyn Store) {
    let log = registered(store);
    let (left, used) = (LogId(InstanceUuid([50; 16])), LogId(InstanceUuid([51; 16])));
    for id in [left, used] {
        store.create_log(id, &super::genesis_of(id.0)).expect("works");
    }
    Reign::begin(&*store.log(used).expect("works"), 0).append_durably(b"precious");
    let other = InstanceName::new("other").expect("plain");
    let limits = Limits { fuel: 1, memory_bytes: 1 };
    store.register(&other, MODULE, 1, InstanceUuid([9; 16]), limits, Timestamp(1)).expect("works");
    let mut logs = store.logs().expect("works");
    logs.sort_unstable();
    assert_eq!(logs, [log, LogId(InstanceUuid([9; 16])), used]);
}

pub fn a_scan_finds_all_records_and_where_they_are(store: &dyn Store) {
    let log = registered(store);
    let mut reign = Reign::begin(&*store.log(log).expect("works"), 0);
    for n in 0..20_u8 {
        reign.append_durably(&[n]);
    }
    let all = read_all(&*store.log(log).expect("works"));
    for from in [1, 2, 9, 22] {
        let found: Vec<_> = store.scan(log, Lsn(from)).expect("works").map(|found| found.expect("whole")).collect();
        assert!(found.iter().all(|found| found.place.contains(&log.to_string())), "{found:?}");
        let records: Vec<_> = found.into_iter().map(|found| found.record).collect();
        assert_eq!(records, all[from as usize - 1..]);
    }
    assert!(store.place_of(log).contains(&log.to_string()));
    let handle = store.log(log).expect("works");
    assert!(handle.stored_bytes().expect("works") > 0);
    assert_eq!((handle.first().expect("works"), handle.is_at_rest()), (Lsn(1), false));
}

pub fn registrations_come_one_after_the_other(store: &dyn Store) {
    let held = store.hold_registrations().expect("nobody else is at it");
    assert!(store.is_changing().expect("works"));
    std::thread::scope(|scope| {
        let other = scope.spawn(|| register(store, MODULE, 7));
        assert!(matches!(store.instance(&name()), Err(InstanceError::Unknown { .. })));
        drop(held);
        assert_eq!(other.join().expect("no panic").expect("works"), Registered::New);
    });
}

pub fn a_copy_runs_and_is_made_anew_once_it_was_deregistered(store: &dyn Store) {
    let source = MemoryStore::default();
    let log = registered(&source);
    Reign::begin(&*source.log(log).expect("works"), 0).append_durably(b"copied");
    let copy = || copy_instance(&source, store, &name(), &mut |_| true).expect("nothing runs");
    for _ in 0..2 {
        let copied = copy();
        assert!(!copied.was_there && copy().was_there);
        let running = store.members(log).expect("works").enter(ReplicaIndex(0)).expect("nobody runs");
        let mut reign = Reign::begin(&*store.log(log).expect("works"), 0);
        assert!(reign.append_durably(b"of the copy") > copied.last);
        drop((reign, running));
        store.deregister(&name()).expect("nothing runs");
    }
}
