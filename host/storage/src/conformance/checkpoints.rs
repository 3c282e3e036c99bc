//! What a store must do with checkpoints.

use std::sync::mpsc::channel;

use ambrosia_core::{Lsn, PAGE_BYTES, ReplicaIndex, member::Keep};

use super::{
    reign::{LIMIT, Reign},
    sample_checkpoints::{checkpoint, load},
    store::registered,
};
use crate::{Checkpoint, CheckpointError, Checkpoints, LogError, LogId, Store, Trimmed};

const ME: ReplicaIndex = ReplicaIndex(3);

fn take(checkpoints: &dyn Checkpoints, checkpoint: &Checkpoint) {
    checkpoints.write(checkpoint, ME).expect("there is room").publish().expect("it was written");
}

/// A log of so many durable records.
fn with_records(store: &dyn Store, count: u64) -> (LogId, Reign) {
    let log = registered(store);
    let mut reign = Reign::begin(&*store.log(log).expect("works"), 0);
    for _ in 2..count {
        reign.append(&[7; 1000]).expect("the reign goes on");
    }
    reign.wait_durable(Lsn(count));
    (log, reign)
}

pub fn a_base_with_changes_upon_changes_reads_back(store: &dyn Store) {
    let (log, _reign) = with_records(store, 10);
    let checkpoints = store.checkpoints(log).expect("works");
    let mut memory = vec![0; 3 * PAGE_BYTES];
    memory[5000] = 1;
    take(&*checkpoints, &checkpoint(2, None, &memory));
    let first = memory.clone();
    memory[9000] = 2;
    memory.resize(6 * PAGE_BYTES, 0);
    memory[5 * PAGE_BYTES] = 3;
    take(&*checkpoints, &checkpoint(4, Some((2, &first)), &memory));
    let second = memory.clone();
    memory[5000] = 9;
    take(&*checkpoints, &checkpoint(9, Some((4, &second)), &memory));
    let others = store.checkpoints(log).expect("works");
    for (lsn, memory) in [(2, &first), (4, &second), (9, &memory)] {
        assert!(load(&*others, lsn).expect("whole") == *memory, "at lsn {lsn}");
    }
    let listed: Vec<_> = others.list().expect("works").iter().map(|info| (info.lsn.0, info.depth)).collect();
    assert_eq!(listed, [(2, 0), (4, 1), (9, 2)]);
    assert!(others.is_complete(Lsn(4)).expect("works") && !others.is_complete(Lsn(5)).expect("works"));
    assert_eq!(others.newest_published(), Lsn(9));
}

pub fn a_checkpoint_is_told_to_those_who_follow_the_log(store: &dyn Store) {
    let (log, _reign) = with_records(store, 10);
    let follower = store.log(log).expect("works");
    let (sender, told) = channel();
    let _subscription = follower.subscribe(Box::new(move || sender.send(()).expect("the check waits for it")));
    take(&*store.checkpoints(log).expect("works"), &checkpoint(2, None, &vec![1; PAGE_BYTES]));
    told.recv_timeout(LIMIT).expect("nothing was written to the log, and it is told");
}

pub fn a_checkpoint_counts_once_it_is_published(store: &dyn Store) {
    let (log, _reign) = with_records(store, 10);
    let checkpoints = store.checkpoints(log).expect("works");
    let memory = vec![1; PAGE_BYTES];
    let (sender, calls) = channel();
    let call = move || sender.send(()).expect("the check waits for it");
    let subscription = store.checkpoints(log).expect("works").subscribe(Box::new(call)).expect("there are threads");
    let given_up = checkpoints.write(&checkpoint(4, None, &memory), ME).expect("there is room");
    assert!(!checkpoints.is_complete(Lsn(4)).expect("works"));
    given_up.discard().expect("works");
    let missing = load(&*checkpoints, 4).expect_err("it was given up");
    assert!(matches!(missing, CheckpointError::Missing { lsn: Lsn(4), .. }), "{missing}");
    for lsn in [6, 8] {
        take(&*checkpoints, &checkpoint(lsn, None, &memory));
        calls.recv_timeout(LIMIT).expect("it is told");
        assert_eq!(checkpoints.newest_published(), Lsn(lsn));
    }
    drop(subscription);
    checkpoints.remove_leftovers(ME).expect("works");
    assert_eq!(checkpoints.list().expect("works").len(), 2);
}

pub fn changes_without_what_they_rest_on_are_of_no_use(store: &dyn Store) {
    let (log, _reign) = with_records(store, 10);
    let checkpoints = store.checkpoints(log).expect("works");
    let memory = vec![1; PAGE_BYTES];
    take(&*checkpoints, &checkpoint(5, Some((2, &memory)), &vec![2; PAGE_BYTES]));
    let error = load(&*checkpoints, 5).expect_err("there is nothing at 2");
    assert!(matches!(error, CheckpointError::ParentMissing { lsn: Lsn(5), parent: Lsn(2), .. }), "{error}");
    assert!(checkpoints.list().expect("works").is_empty());
}

pub fn a_long_chain_is_made_a_base(store: &dyn Store) {
    let (log, _reign) = with_records(store, 20);
    let checkpoints = store.checkpoints(log).expect("works");
    let mut memory = vec![0; 64 * PAGE_BYTES];
    memory.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at % 251) as u8);
    take(&*checkpoints, &checkpoint(2, None, &memory));
    for lsn in 3..8 {
        let before = memory.clone();
        memory[lsn as usize * PAGE_BYTES] ^= 0xff;
        take(&*checkpoints, &checkpoint(lsn, Some((lsn - 1, &before)), &memory));
    }
    assert!(!checkpoints.compact(Lsn(2), ME).expect("it is a base"));
    assert!(checkpoints.compact(Lsn(7), ME).expect("works"));
    assert!(!checkpoints.compact(Lsn(7), ME).expect("it is one by now"));
    assert!(load(&*checkpoints, 7).expect("whole") == memory);
    let info = checkpoints.list().expect("works").pop().expect("not empty");
    assert_eq!((info.lsn, info.depth), (Lsn(7), 0));
}

pub fn what_is_needed_is_kept_and_the_rest_is_trimmed(store: &dyn Store) {
    let (log, _reign) = with_records(store, 400);
    let checkpoints = store.checkpoints(log).expect("works");
    let (one, two) = (vec![1; PAGE_BYTES], vec![2; PAGE_BYTES]);
    take(&*checkpoints, &checkpoint(300, None, &one));
    assert_eq!(checkpoints.trim(Keep::newest(2), &[Lsn(400)]).expect("works"), Trimmed::default(), "there is one only");
    take(&*checkpoints, &checkpoint(310, Some((300, &one)), &two));
    assert_eq!(
        checkpoints.trim(Keep::newest(2), &[Lsn(400)]).expect("works"),
        Trimmed::default(),
        "both rest on one base"
    );
    take(&*checkpoints, &checkpoint(390, None, &one));
    let trimmed = checkpoints.trim(Keep::newest(2).and_the_log(), &[Lsn(400)]).expect("works");
    assert_eq!(trimmed, Trimmed::default(), "the second newest rests on the first, and the log is to be kept");
    take(&*checkpoints, &checkpoint(395, None, &two));
    let trimmed = checkpoints.trim(Keep::newest(2), &[Lsn(400), Lsn(5)]).expect("works");
    assert_eq!(trimmed.checkpoints, 2);
    let handle = store.log(log).expect("works");
    assert!(handle.first().expect("works") <= Lsn(6), "a replica still needs it");
    checkpoints.trim(Keep::newest(2), &[Lsn(400)]).expect("works");
    assert!(load(&*checkpoints, 390).is_ok() && load(&*checkpoints, 395).is_ok());
    let mut tail = handle.tail(Lsn(391)).expect("what the oldest needs is there");
    assert_eq!(tail.read().expect("works")[0].lsn(), Lsn(391));
}

pub fn history_keeps_checkpoints_and_the_log_behind_them(store: &dyn Store) {
    let log = registered(store);
    let (handle, checkpoints) = (store.log(log).expect("works"), store.checkpoints(log).expect("works"));
    // Each reign begins a part of the log that can be removed as a whole.
    for lsn in (3..=21).step_by(2) {
        let mut reign = Reign::begin(&*handle, 0);
        assert_eq!(reign.append_durably(&[7; 1000]), Lsn(lsn));
        take(&*checkpoints, &checkpoint(lsn, None, &vec![1; PAGE_BYTES]));
    }
    let there = || checkpoints.list().expect("works").len();
    let goes_on = || {
        let oldest = checkpoints.list().expect("works")[0].lsn;
        let tail = handle.tail(oldest.next());
        assert!(tail.is_ok(), "the log goes on behind the oldest checkpoint, {oldest}: {:?}", tail.err());
        assert!(handle.first().expect("works") <= oldest.next());
    };
    let all = Keep::newest(2).and_history(u64::MAX);
    assert_eq!(checkpoints.trim(all, &[]).expect("works"), Trimmed::default(), "everything is history");
    // What each part of the log takes, and its checkpoint, depends on the store.
    let (mut kept, mut bytes) = (there(), 1 << 20);
    while kept > 2 {
        let trimmed = checkpoints.trim(Keep::newest(2).and_history(bytes), &[]).expect("works");
        assert_eq!(there(), kept - trimmed.checkpoints);
        goes_on();
        (kept, bytes) = (there(), bytes * 3 / 4);
    }
    assert!(bytes < 1 << 19, "half a megabyte keeps more than nothing");
    checkpoints.trim(Keep::newest(2), &[]).expect("works");
    assert_eq!(there(), 2);
    goes_on();
}

pub fn who_was_overtaken_by_trimming_is_told(store: &dyn Store) {
    let log = registered(store);
    let handle = store.log(log).expect("works");
    let mut behind = handle.tail(Lsn(1)).expect("works");
    let checkpoints = store.checkpoints(log).expect("works");
    // Each reign begins a part of the log that can be removed as a whole.
    for lsn in [3, 5] {
        let mut reign = Reign::begin(&*handle, 0);
        assert_eq!(reign.append_durably(b"record"), Lsn(lsn));
        take(&*checkpoints, &checkpoint(lsn, None, &vec![1; PAGE_BYTES]));
    }
    let _newest = Reign::begin(&*handle, 0);
    checkpoints.trim(Keep::newest(1), &[Lsn(6)]).expect("works");
    assert!(handle.first().expect("works") > Lsn(1));
    let error = handle.tail(Lsn(1)).err().expect("it was removed");
    assert!(matches!(error, LogError::Missing { asked: Lsn(1), .. }), "{error}");
    let error = behind.read().expect_err("it has read nothing");
    assert!(matches!(error, LogError::Missing { .. }), "{error}");
    let error = store.scan(log, Lsn(1)).err().expect("it was removed");
    assert!(matches!(error, LogError::Missing { .. }), "{error}");
}
