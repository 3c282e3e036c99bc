//! How checkpoints are taken, one step after the other: anything may happen in between, and in each of them.

use ambrosia_core::{Due, Guest, Input, Lsn, RecordHeader, ReplicaIndex};
use ambrosia_storage::{Checkpoint, CheckpointError, CheckpointHead, WrittenCheckpoint};

use crate::{
    agenda::Event,
    options::MILLISECOND,
    process::{Driver, Process},
    sim::Sim,
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

/// How far a checkpoint is.
#[derive(Debug)]
enum Stage {
    Captured(Box<Checkpoint>),
    Written(WrittenCheckpoint),
    Published,
    Compacted,
}

/// A checkpoint that is being taken.
#[derive(Debug)]
pub(crate) struct Taking {
    at: Lsn,
    is_delta: bool,
    exact: bool,
    stage: Stage,
}

/// Whether the others have not heard of it for a while.
fn may_be_silent(process: &Process) -> bool {
    process.paused.get() || process.lag.get() > 0
}

/// How long the guest has worked for a record: made up, and the same everywhere.
pub(crate) fn guest_ns(header: &RecordHeader) -> u64 {
    u64::from(header.messages) * 1000
}

impl Sim {
    /// A primary asks for a digest, and for a checkpoint, when one is due.
    pub(crate) fn digest_if_due(&self, process: &Process, driver: &mut Driver) {
        let now = self.clock(process);
        driver.schedule.on_checkpoint(driver.checkpoints.newest_published());
        if driver.asked.take_if(|asked| self.process(*asked).is_none()).is_some() {
            driver.schedule.on_gone();
        }
        let Some(due) = driver.schedule.due(now) else { return };
        let by = (due == Due::Checkpoint).then(|| self.who_takes_it(process));
        let (before, _) = driver.links.last();
        let replica = by.as_ref().map(|by| ReplicaIndex(by.place.replica));
        self.step(process, driver, Input::Digest { checkpoint_by: replica, now });
        let (at, _) = driver.links.last();
        if at > before {
            self.witness.borrow_mut().counts.digests += 1;
            self.note_applied(process, driver);
            if let Some(by) = by {
                driver.schedule.on_asked(at, now);
                driver.asked = Some(by.id);
            }
        }
    }

    /// A standby, if it sees that one runs.
    fn who_takes_it(&self, primary: &Process) -> std::rc::Rc<Process> {
        let mut running = self.living();
        running.retain(|other| other.uuid == primary.uuid);
        let heard_of = |other: &std::rc::Rc<Process>| !may_be_silent(other) || self.dice().percent(20);
        let standbys: Vec<_> =
            running.iter().filter(|other| other.id != primary.id && heard_of(other)).cloned().collect();
        let chosen = if standbys.is_empty() || self.dice().percent(20) { running } else { standbys };
        let at = self.dice().below(chosen.len() as u64) as usize;
        chosen[at].clone()
    }

    /// The replica is to take a checkpoint of what it is now.
    pub(crate) fn capture(&self, process: &Process, driver: &mut Driver, by: ReplicaIndex, at: Lsn) {
        // Whoever reads the log again meets what was done long ago.
        let done = at <= driver.checkpoints.newest_published();
        if by != ReplicaIndex(process.place.replica) || done || !driver.replica.guest().can_be_captured() {
            return;
        }
        if driver.taking.is_some() {
            self.note(|| format!("{} is busy with a checkpoint", process.id));
            return;
        }
        // Afterwards the guest knows only what has changed since now.
        let parent = driver.parent.take().filter(|parent| {
            let listed = driver.checkpoints.list();
            listed.is_ok_and(|listed| listed.iter().any(|info| info.lsn == *parent))
        });
        let head = CheckpointHead {
            lsn: at,
            module: [1; 32],
            engine: [9; 32],
            state_digest: driver.replica.digest(),
            memory_digest: driver.replica.guest_mut().digest(),
        };
        let state = driver.replica.checkpoint();
        let capture = driver.replica.guest_mut().capture(parent.is_none());
        let checkpoint = Checkpoint { head, parent, state, capture };
        self.note(|| format!("{} ({}) takes a checkpoint at {at} upon {parent:?}", process.id, process.place));
        let stage = Stage::Captured(Box::new(checkpoint));
        driver.taking = Some(Taking { at, is_delta: parent.is_some(), exact: driver.exact, stage });
        self.put_in(STEP, Event::Checkpoint(process.id));
    }

    /// The next step of the checkpoint that is being taken.
    pub(crate) fn go_on_with_checkpoint(&self, process: &Process) {
        let mut driver = process.driver.borrow_mut();
        let driver = driver.as_mut().expect("it has captured something");
        let Some(Taking { at, is_delta, exact, stage }) = driver.taking.take() else { return };
        // That its own file can't be written says nothing of the log.
        let hurt = process.hurt.replace(false);
        let next = match stage {
            Stage::Captured(checkpoint) => self.write_checkpoint(process, driver, &checkpoint).map(Stage::Written),
            Stage::Written(written) if driver.durable < at => Some(Stage::Written(written)),
            Stage::Written(written) => {
                self.publish_checkpoint(process, driver, (at, is_delta, exact), written);
                Some(Stage::Published)
            }
            Stage::Published => {
                self.compact(process, driver, at);
                Some(Stage::Compacted)
            }
            Stage::Compacted => {
                self.trim(process, driver);
                None
            }
        };
        process.task.set(None);
        process.hurt.set(hurt);
        driver.taking = next.map(|stage| Taking { at, is_delta, exact, stage });
        if driver.taking.is_some() {
            self.put_in(STEP, Event::Checkpoint(process.id));
        }
    }

    fn write_checkpoint(
        &self,
        process: &Process,
        driver: &mut Driver,
        checkpoint: &Checkpoint,
    ) -> Option<WrittenCheckpoint> {
        process.task.set(Some(Task::Write));
        let written = driver.checkpoints.write(checkpoint, ReplicaIndex(process.place.replica));
        written.map_err(|error| self.on_checkpoint_failed(process, driver, &error)).ok()
    }

    /// It must be an error that was made. The replica goes on as if nothing had been asked of it.
    fn on_checkpoint_failed(&self, process: &Process, driver: &mut Driver, error: &CheckpointError) {
        assert!(process.hurt.get(), "a checkpoint that nothing was done to failed {}: {error}", process.id);
        self.note(|| format!("{} fails with a checkpoint: {error}", process.id));
        self.witness.borrow_mut().counts.checkpoints_failed += 1;
        driver.schedule.on_failed();
    }

    fn publish_checkpoint(
        &self,
        process: &Process,
        driver: &mut Driver,
        (at, is_delta, exact): (Lsn, bool, bool),
        written: WrittenCheckpoint,
    ) {
        process.task.set(Some(Task::Publish));
        {
            let mut witness = self.witness.borrow_mut();
            let durable = witness.logs.link(process.uuid, at);
            assert!(durable.is_some() && durable == driver.links.at(at), "a checkpoint holds what is durable");
            witness.replays.on_published(process.uuid, at, exact);
        }
        driver.checkpoints.publish(written).expect("no name is refused");
        driver.parent = Some(at);
        driver.schedule.on_checkpoint(at);
        {
            let mut witness = self.witness.borrow_mut();
            witness.counts.checkpoints += 1;
            witness.counts.deltas += u64::from(is_delta);
        }
        self.note(|| format!("{} has published the checkpoint at {at}", process.id));
        self.mix(at.0);
        self.check_checkpoint(process, &driver.checkpoints, at);
    }

    fn compact(&self, process: &Process, driver: &mut Driver, at: Lsn) {
        process.task.set(Some(Task::Compact));
        match driver.checkpoints.compact(at, ReplicaIndex(process.place.replica)) {
            Ok(false) => {}
            Ok(true) => {
                self.witness.borrow_mut().counts.compactions += 1;
                self.check_checkpoint(process, &driver.checkpoints, at);
            }
            // Somebody has removed it just now.
            Err(CheckpointError::Missing { .. } | CheckpointError::ParentMissing { .. }) => {}
            Err(CheckpointError::Io(error)) if error.source.kind() == std::io::ErrorKind::NotFound => {}
            Err(error @ CheckpointError::Io(_)) => self.on_checkpoint_failed(process, driver, &error),
            Err(error) => {
                self.accept_damage(process, &error);
                // Whatever rests on it is lost with it.
                driver.parent = None;
            }
        }
    }

    fn trim(&self, process: &Process, driver: &Driver) {
        process.task.set(Some(Task::Trim));
        let Some(options) = self.options.checkpoints else { return };
        let others = self.living().into_iter().filter(|other| other.uuid == process.uuid);
        // One that was silent for long does not count as running.
        let (silent, running): (Vec<_>, Vec<_>) =
            others.partition(|other| other.id != process.id && may_be_silent(other) && self.dice().percent(50));
        silent.iter().for_each(|other| other.left_out.set(true));
        let applied: Vec<_> = running.iter().map(|other| other.applied.get()).collect();
        self.note(|| format!("{} is about to trim", process.id));
        let before = self.undisturbed(|| driver.checkpoints.list()).expect("a directory can be listed").len();
        let trimmed = driver.checkpoints.trim(options.keep, &applied, options.keep_log);
        let trimmed = trimmed.unwrap_or_else(|error| panic!("what is not needed can be removed: {error}"));
        self.note(|| format!("{} has removed {trimmed:?}, as others have applied {applied:?}", process.id));
        assert!(!options.keep_log || trimmed.segments == 0, "the log is kept");
        {
            let mut witness = self.witness.borrow_mut();
            witness.counts.checkpoints_trimmed += trimmed.checkpoints as u64;
            witness.counts.segments_trimmed += trimmed.segments as u64;
        }
        self.check_kept(process, driver, options.keep.min(before));
    }

    /// A process that was deposed takes nothing with it that is not durable.
    pub(crate) fn discard_checkpoint(&self, driver: &mut Driver) {
        if let Some(Taking { stage: Stage::Written(written), .. }) = driver.taking.take() {
            driver.checkpoints.discard(written).expect("a file can be removed");
            self.witness.borrow_mut().counts.checkpoints_discarded += 1;
        }
    }
}
