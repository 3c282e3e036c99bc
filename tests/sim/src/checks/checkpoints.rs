//! A checkpoint is what a replay of the log gives, whoever took it and whatever it rests on; there are always enough of
//! them, and the log goes on behind each.

use std::collections::BTreeMap;

use ambrosia_core::{CheckpointState, Guest, Input, InstanceUuid, Lsn, Output, Replica, is_void};
use ambrosia_storage::{CheckpointError, FileCheckpoints, LogError, LogStore};

use super::logs::Logs;
use crate::{
    model::Model,
    process::{Driver, Process},
    sim::{Sim, log_directory},
};

/// A checkpoint rests on no more than these, since a base is made of it when it does.
const DEPTH_MAX: usize = 4;

/// No file of a checkpoint is smaller: its head takes this much.
const CHECKPOINT_BYTES_MIN: u64 = 4096;

/// No segment is made smaller.
const SEGMENT_BYTES_MIN: u64 = 8 << 10;

/// A replica for each instance that does nothing but replay what was durable once.
#[derive(Default)]
pub(crate) struct Replays {
    replicas: BTreeMap<InstanceUuid, Replica<Model>>,
}

impl Replays {
    /// A replica that has applied so much.
    pub(crate) fn replay(&mut self, logs: &Logs, uuid: InstanceUuid, lsn: Lsn) -> &mut Replica<Model> {
        let records = logs.records(uuid);
        let replica = self.replicas.remove(&uuid).filter(|replica| replica.applied() <= lsn);
        let fresh = || Replica::new(&records[0], Model::default()).expect("the first record is genesis");
        let mut replica = replica.unwrap_or_else(fresh);
        let mut outputs = Vec::new();
        for record in &records[replica.applied().0 as usize..lsn.0 as usize] {
            let is_void = is_void(record, &records[record.lsn().0 as usize..]);
            let input = if is_void { Input::Void(record.clone()) } else { Input::Record(record.clone()) };
            replica.step(input, &mut outputs);
        }
        let diverged = outputs.iter().find(|output| matches!(output, Output::Diverged(_)));
        assert!(diverged.is_none(), "a replay is what the primary was: {diverged:?}");
        self.replicas.entry(uuid).or_insert(replica)
    }
}

impl Sim {
    /// Looks at something on a disk to which nothing happens meanwhile.
    pub(crate) fn undisturbed<T>(&self, look: impl FnOnce() -> T) -> T {
        let actor = self.actor.replace(None);
        let seen = look();
        self.actor.set(actor);
        seen
    }

    /// The checkpoint is what a replay gives. One that is damaged, or that somebody has just removed, is not looked at.
    pub(crate) fn check_checkpoint(&self, process: &Process, checkpoints: &FileCheckpoints, lsn: Lsn) {
        let loaded = match self.undisturbed(|| checkpoints.load(lsn)) {
            Ok(loaded) => loaded,
            Err(CheckpointError::Missing { .. } | CheckpointError::ParentMissing { .. }) => return,
            Err(error @ CheckpointError::Damaged { .. }) => return self.accept_damage(process, &error),
            Err(error) => panic!("a checkpoint can be read: {error}"),
        };
        let state = CheckpointState::decode(&loaded.state).expect("a checkpoint holds a state");
        let mut guest = self.make_guest(state.genesis(), state.module());
        guest.restore(&loaded);
        let resumed = Replica::resume(state, guest);
        let mut witness = self.witness.borrow_mut();
        let witness = &mut *witness;
        let replayed = witness.replays.replay(&witness.logs, process.uuid, lsn);
        assert_eq!(resumed.guest().model(), replayed.guest(), "the guest of a checkpoint is that of a replay");
        assert_eq!(resumed.link(), replayed.link(), "a checkpoint and a replay hold the same records");
        assert_eq!(resumed.digest(), replayed.digest(), "the state of a checkpoint is that of a replay");
        let digests = (replayed.digest(), replayed.guest_mut().digest());
        assert_eq!((loaded.head.state_digest, loaded.head.memory_digest), digests, "its head says so too");
        let bytes = replayed.checkpoint().to_vec();
        assert!(loaded.state == bytes, "a checkpoint is to the byte what one of a replay is");
        witness.counts.checkpoints_compared += 1;
    }

    /// After trimming there are as many checkpoints as there should be, and the log reaches from each of them.
    pub(crate) fn check_kept(&self, process: &Process, driver: &Driver, keep: usize) {
        let listed = self.undisturbed(|| driver.checkpoints.list()).expect("a directory can be listed");
        assert!(listed.len() >= keep, "{keep} checkpoints are kept, and there are {listed:?}");
        let Some(oldest) = listed[listed.len() - keep..].first() else { return };
        let flipped = self.instances.borrow()[process.place.instance].flip.is_some();
        match self.undisturbed(|| driver.log.tail(oldest.lsn.next()).map(drop)) {
            Ok(()) => {}
            Err(LogError::Corrupt { .. }) if flipped => {}
            Err(error) => panic!("the log goes on behind every kept checkpoint: {error}"),
        }
        let bases = listed.iter().filter(|info| info.depth == 0).count();
        let begins_later = self.undisturbed(|| matches!(driver.log.tail(Lsn(1)), Err(LogError::Missing { .. })));
        assert!(keep < 2 || bases > 1 || !begins_later, "one damaged file would be enough to lose all: {listed:?}");
    }

    /// A bit of a checkpoint has just flipped: each is either called damaged or what it was.
    pub(crate) fn check_damaged(&self, uuid: InstanceUuid) {
        for process in self.living().iter().filter(|process| process.uuid == uuid) {
            // One that is paused at work has its driver at hand.
            let Ok(driver) = process.driver.try_borrow() else { continue };
            let Some(driver) = &*driver else { continue };
            for info in self.undisturbed(|| driver.checkpoints.list()).expect("a directory can be listed") {
                self.check_checkpoint(process, &driver.checkpoints, info.lsn);
            }
            return;
        }
    }

    /// All checkpoints of an instance, when the storm is over: a fresh replica can begin with any of them.
    pub(crate) fn check_checkpoints(&self, instance: usize) {
        self.at_primary(instance, |process, driver| {
            for info in self.undisturbed(|| driver.checkpoints.list()).expect("a directory can be listed") {
                self.check_checkpoint(process, &driver.checkpoints, info.lsn);
            }
            let mut witness = self.witness.borrow_mut();
            let witness = &mut *witness;
            let replayed = witness.replays.replay(&witness.logs, process.uuid, driver.the_replica().applied());
            assert_eq!(
                replayed.digest(),
                driver.the_replica().digest(),
                "a replay of the whole log gives the same state"
            );
            assert_eq!(replayed.guest(), driver.the_replica().guest().model(), "and the same guest");
        });
    }

    /// What newer checkpoints have made unnecessary is gone. All replicas had applied `before` when the last was taken.
    pub(crate) fn check_trimmed(&self, instance: usize, before: Lsn) {
        let Some(options) = self.options.checkpoints else { return };
        self.at_primary(instance, |process, driver| {
            let taken = driver.checkpoints.newest_published() > before;
            let capturable =
                driver.the_replica().guest().cannot_capture().is_none() && driver.the_replica().outcome().is_none();
            assert!(taken || !capturable, "a checkpoint that is wanted is taken");
            let names = process.machine.names(&log_directory(process.uuid));
            let files = names.iter().filter(|name| name.ends_with(".base") || name.ends_with(".delta")).count();
            // One more than is kept may be there, of another base; each rests on so many, with a delta beside its base;
            // and each replica may have left one that rests on what was removed meanwhile. Those of the history count as part
            // of it.
            let of_history = (options.history_bytes / CHECKPOINT_BYTES_MIN) as usize;
            let most = (options.keep + 1) * (DEPTH_MAX + 2) + usize::from(self.options.replicas) + of_history;
            assert!(files <= most, "{files} files of checkpoints are there, and {most} should do");
            let listed = self.undisturbed(|| driver.checkpoints.list()).expect("a directory can be listed");
            let bases = listed.iter().filter(|info| info.depth == 0).count();
            if options.keep_log || listed.len() < options.keep || bases.min(options.keep) < options.keep.min(2) {
                return;
            }
            let first = match self.undisturbed(|| driver.log.tail(Lsn(1)).map(drop)) {
                Ok(()) => Lsn(1),
                Err(LogError::Missing { first, .. }) => first,
                Err(error) => panic!("the log is healthy: {error}"),
            };
            let needed = listed.first().expect("some are kept").lsn.min(before);
            let witness = self.witness.borrow();
            let (mut unneeded, mut largest) = (0, 0);
            for record in witness.logs.records(process.uuid) {
                let bytes = record.stored().len() as u64;
                largest = largest.max(bytes);
                unneeded += if (first..=needed).contains(&record.lsn()) { bytes } else { 0 };
            }
            let segment = self.options.segment_bytes.1.max(SEGMENT_BYTES_MIN) + largest;
            assert!(
                unneeded <= segment + options.history_bytes,
                "{unneeded} bytes of the log from {first} to {needed} are left over"
            );
        });
    }
}
