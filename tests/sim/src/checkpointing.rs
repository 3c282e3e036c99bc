//! What is done to a checkpoint, one step after the other: anything may happen in between, and in each of them.

use ambrosia_core::{
    Guest, Lsn, ReplicaIndex,
    member::{CheckpointEvent, CheckpointHead, Command, Keep, MemberInput},
};
use ambrosia_storage::{Checkpoint, CheckpointError};

use crate::{
    agenda::Event,
    options::MILLISECOND,
    process::{Driver, Process},
    sim::Sim,
    start::is_gone,
};

/// Between two steps.
const STEP: (u64, u64) = (0, 5 * MILLISECOND);

/// What is being done to a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Task {
    Write,
    Publish,
    Compact,
    Trim,
}

/// Whether the others may not have heard of it for a while.
pub(crate) fn may_be_silent(process: &Process) -> bool {
    process.paused.get() || process.lag.get() > 0
}

impl Sim {
    /// Captures the replica as it is.
    pub(crate) fn capture(&self, process: &Process, driver: &mut Driver, at: Lsn, parent: Option<Lsn>) {
        assert!(driver.hands.captured.is_none() && driver.hands.written.is_none(), "one checkpoint is taken at a time");
        let listed = driver.checkpoints.list();
        let parent = parent.filter(|parent| listed.is_ok_and(|listed| listed.iter().any(|info| info.lsn == *parent)));
        let engine = driver.member.engine_of_reign().expect("a member has a replica when it is captured");
        let replica = driver.member.replica_mut().expect("a member has a replica when it is captured");
        assert_eq!(replica.applied(), at, "nothing is applied before it is captured");
        let head = CheckpointHead {
            lsn: at,
            module: replica.module(),
            engine,
            state_digest: replica.digest(),
            memory_digest: replica.guest_mut().digest(),
        };
        let state = replica.checkpoint();
        let capture = replica.guest_mut().capture(parent.is_none());
        if process.uncapturable_until.get() > self.now.get() {
            // Its changes are counted from here on all the same.
            self.witness.borrow_mut().counts.captures_failed += 1;
            let reason = "the guest holds what can't be captured".to_owned();
            return self.give(process, driver, MemberInput::Checkpoint(CheckpointEvent::Captured(Err(reason))));
        }
        self.note(|| format!("{} ({}) takes a checkpoint at {at} upon {parent:?}", process.id, process.place));
        driver.hands.captured = Some(Checkpoint { head, parent, state, capture });
        self.give(process, driver, MemberInput::Checkpoint(CheckpointEvent::Captured(Ok(()))));
    }

    /// Something is to be done to a checkpoint, some time later.
    pub(crate) fn plan_job(&self, process: &Process, driver: &mut Driver, job: Command) {
        assert!(driver.hands.job.is_none(), "one thing is done to a checkpoint at a time");
        if matches!(job, Command::Trim { .. }) {
            driver.hands.left_out = std::mem::take(&mut driver.hands.silent);
        }
        driver.hands.job = Some(job);
        self.put_in(STEP, Event::Checkpoint(process.id));
    }

    /// Does what was planned.
    pub(crate) fn do_job(&self, process: &Process) {
        let mut driver = process.driver.borrow_mut();
        let driver = driver.as_mut().expect("it has captured something");
        let Some(job) = driver.hands.job.take() else { return };
        // That its own file can't be written says nothing of the log.
        let hurt = process.hurt.replace(false);
        let event = match job {
            Command::Write(_) => CheckpointEvent::Written(self.write_checkpoint(process, driver)),
            Command::Publish(at) => {
                self.publish_checkpoint(process, driver, at);
                CheckpointEvent::Published(Ok(()))
            }
            Command::Compact(at) => CheckpointEvent::Compacted(self.compact(process, driver, at)),
            Command::Trim { keep, applied } => {
                self.trim(process, driver, keep, &applied);
                CheckpointEvent::Tidied(Ok(()))
            }
            job => unreachable!("that is not done to a checkpoint: {job:?}"),
        };
        process.task.set(None);
        process.hurt.set(hurt);
        self.step(process, driver, MemberInput::Checkpoint(event));
    }

    fn write_checkpoint(&self, process: &Process, driver: &mut Driver) -> Result<(), String> {
        process.task.set(Some(Task::Write));
        let checkpoint = driver.hands.captured.take().expect("it was captured before");
        match driver.checkpoints.write(&checkpoint, ReplicaIndex(process.place.replica)) {
            Ok(written) => {
                driver.hands.written = Some(written);
                self.witness.borrow_mut().counts.deltas += u64::from(checkpoint.parent.is_some());
                Ok(())
            }
            Err(error) => Err(self.accept_failure(process, &error)),
        }
    }

    /// It must be an error that was made. The replica goes on as if nothing had been asked of it.
    fn accept_failure(&self, process: &Process, error: &CheckpointError) -> String {
        assert!(process.hurt.get(), "a checkpoint that nothing was done to failed {}: {error}", process.id);
        self.note(|| format!("{} fails with a checkpoint: {error}", process.id));
        self.witness.borrow_mut().counts.checkpoints_failed += 1;
        error.to_string()
    }

    fn publish_checkpoint(&self, process: &Process, driver: &mut Driver, at: Lsn) {
        process.task.set(Some(Task::Publish));
        let written = driver.hands.written.take().expect("it was written before");
        {
            let witness = self.witness.borrow();
            let durable = witness.logs.link(process.uuid, at);
            let own = driver.hands.links.as_ref().and_then(|links| links.at(at));
            assert!(durable.is_some() && durable == own, "a checkpoint holds what is durable");
        }
        driver.checkpoints.publish(written).expect("no name is refused");
        self.witness.borrow_mut().counts.checkpoints += 1;
        self.note(|| format!("{} has published the checkpoint at {at}", process.id));
        self.mix(at.0);
        self.check_checkpoint(process, &driver.checkpoints, at);
    }

    fn compact(&self, process: &Process, driver: &mut Driver, at: Lsn) -> Result<(), String> {
        process.task.set(Some(Task::Compact));
        match driver.checkpoints.compact(at, ReplicaIndex(process.place.replica)) {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.witness.borrow_mut().counts.compactions += 1;
                self.check_checkpoint(process, &driver.checkpoints, at);
                Ok(())
            }
            // Somebody has removed it just now.
            Err(CheckpointError::Missing { .. } | CheckpointError::ParentMissing { .. }) => Ok(()),
            Err(CheckpointError::Io(error)) if is_gone(&error) => Ok(()),
            Err(error @ CheckpointError::Io(_)) => Err(self.accept_failure(process, &error)),
            Err(error) => {
                self.accept_damage(process, &error);
                Err(error.to_string())
            }
        }
    }

    fn trim(&self, process: &Process, driver: &Driver, keep: Keep, applied: &[Lsn]) {
        process.task.set(Some(Task::Trim));
        // Whoever was silent for long when it was looked who runs does not count as running.
        for silent in driver.hands.left_out.iter().filter_map(|id| self.process(*id)) {
            silent.left_out.set(true);
        }
        self.note(|| format!("{} is about to trim", process.id));
        let before = self.undisturbed(|| driver.checkpoints.list()).expect("a directory can be listed").len();
        let trimmed = driver.checkpoints.trim(keep, applied);
        let trimmed = trimmed.unwrap_or_else(|error| panic!("what is not needed can be removed: {error}"));
        self.note(|| format!("{} has removed {trimmed:?}, as others have applied {applied:?}", process.id));
        assert!(!keep.log || trimmed.segments == 0, "the log is kept");
        {
            let mut witness = self.witness.borrow_mut();
            witness.counts.checkpoints_trimmed += trimmed.checkpoints as u64;
            witness.counts.segments_trimmed += trimmed.segments as u64;
        }
        self.check_kept(process, driver, keep.checkpoints.min(before));
    }

    /// A life that is over takes nothing with it that does not count.
    pub(crate) fn discard_checkpoint(&self, driver: &mut Driver) {
        if let Some(written) = driver.hands.written.take() {
            driver.checkpoints.discard(written).expect("a file can be removed");
            self.witness.borrow_mut().counts.checkpoints_discarded += 1;
        }
    }
}
