//! What of a log on files is copied: all that is durable, and what a replica would go on with behind that.

use ambrosia_core::{Lsn, RECORD_HEADER_BYTES};

use super::support::{Fixture, WITHOUT_MARKS, name};
use crate::{
    CopiedInstance, CopyError, InstanceError, Instances, LogError, LogStore, MemoryStore, conformance::Reign,
    copy_instance,
};

/// A log with some durable records, as if its primary was killed then.
fn fixture() -> Fixture {
    let fixture = Fixture::new(WITHOUT_MARKS);
    let mut reign = Reign::begin(&*fixture.log(), 0);
    for n in 0..3_u8 {
        reign.append_durably(&[n; 21]);
    }
    drop(reign);
    fixture
}

fn copy(fixture: &Fixture, target: &MemoryStore) -> Result<CopiedInstance, CopyError> {
    copy_instance(&fixture.store, target, &name(), &mut |_| true)
}

#[test]
fn damage_in_the_last_record_that_was_durable_does_not_make_a_shorter_copy() {
    let (fixture, target) = (fixture(), MemoryStore::default());
    let last = fixture.scan().pop().expect("not empty");
    let mut damaged = std::fs::read(&last.file).expect("works");
    damaged[last.offset as usize + RECORD_HEADER_BYTES] ^= 0x10;
    std::fs::write(&last.file, damaged).expect("works");
    let error = copy(&fixture, &target).expect_err("a record is missing");
    let CopyError::From(InstanceError::Log(LogError::Corrupt { lsn, .. })) = error else { panic!("{error}") };
    assert_eq!(lsn, last.record.lsn());
    assert!(target.instances().expect("works").is_empty(), "it can't be run");
}

#[test]
fn what_nobody_knows_to_be_durable_is_copied_and_found_again() {
    let (fixture, target) = (fixture(), MemoryStore::default());
    let last = fixture.log().head().expect("works").durable;
    fixture.set_durable(Lsn(last.0 - 1));
    for was_there in [false, true] {
        let copied = copy(&fixture, &target).expect("nothing runs");
        assert_eq!((copied.last, copied.was_there), (last, was_there));
    }
}
