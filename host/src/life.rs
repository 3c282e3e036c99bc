//! One life of a replica in this process: from its recovery until it stops or is deposed.
//!
//! **Architecture Invariant:** every record that a replica applies is counted here, whoever made it, so that the next
//! primary knows when a checkpoint is due.

use std::time::{Duration, Instant};

use ambrosia_core::{Divergence, Input, Lsn, Output, Record, RecordHeader, RecordKind, Schedule};
use ambrosia_engine::Captures;
use ambrosia_storage::{CaptureMeans, LogTail};

use crate::{
    checkpointer::{CheckpointDone, Checkpointer},
    divergence,
    driver::{Driver, Replica},
    record_times::RecordTimes,
    recovery::Recovered,
    run::RunError,
};

/// The log is read back at least as fast, in bytes a nanosecond.
const READ_BYTES_PER_NS: u64 = 1;

/// A replica, with what counts and takes its checkpoints.
pub(crate) struct Life<'a> {
    pub(crate) driver: &'a Driver,
    pub(crate) replica: Replica,
    pub(crate) schedule: Schedule,
    pub(crate) checkpointer: Checkpointer,
    /// When records were made, of those that this process has applied.
    pub(crate) times: RecordTimes,
    outputs: Vec<Output>,
}

impl<'a> Life<'a> {
    /// Begins where the disk allows, and gives the tail to go on with.
    pub(crate) fn begin(driver: &'a Driver) -> Result<(Self, Box<dyn LogTail>), RunError> {
        let Recovered { replica, tail, records, checkpoint } = driver.recover()?;
        let mut life = Life {
            driver,
            replica,
            schedule: Schedule::new(driver.options.schedule, checkpoint.unwrap_or_default()),
            checkpointer: Checkpointer::new(driver, checkpoint),
            times: RecordTimes::default(),
            outputs: Vec::new(),
        };
        driver.presence.set_applied(life.replica.applied());
        driver.presence.set_capture(match driver.module.capture_means() {
            Captures::Memory => CaptureMeans::Memory,
            Captures::Save(_) => CaptureMeans::Save,
            Captures::Nothing(_) => CaptureMeans::None,
        });
        for record in records {
            life.apply(record)?;
        }
        Ok((life, tail))
    }

    /// Applies a durable record of the log.
    pub(crate) fn apply(&mut self, record: Record) -> Result<(), RunError> {
        let header = *record.header();
        record.check_body().map_err(|error| RunError::Record { lsn: header.lsn, error })?;
        if header.kind == RecordKind::Epoch {
            self.driver.check_engine(&record)?;
        }
        let begin = Instant::now();
        let mut outputs = std::mem::take(&mut self.outputs);
        self.replica.step(Input::Record(record), &mut outputs);
        self.count(&header, begin.elapsed());
        for output in outputs.drain(..) {
            match output {
                Output::Print { stream, bytes, .. } if self.driver.options.print_replay => {
                    self.driver.printer.print_replayed(stream, bytes);
                }
                Output::Checkpoint { by, at } => self.on_checkpoint_asked(by, at),
                Output::Diverged(found) => self.on_diverged(&found)?,
                Output::Halted { fault, after } => return Err(self.driver.halted(fault, after)),
                _ => {}
            }
        }
        self.outputs = outputs;
        Ok(())
    }

    /// A record was applied, for which the guest has worked that long.
    pub(crate) fn count(&mut self, header: &RecordHeader, work: Duration) {
        let work = if header.kind == RecordKind::Deliver { work.as_nanos() as u64 } else { 0 };
        self.times.note(header.lsn, header.time);
        self.schedule.on_applied(header, work);
        let replay = self.schedule.replay();
        let presence = &self.driver.presence;
        presence.set_applied(self.replica.applied());
        presence.set_replay(Duration::from_nanos(replay.guest_ns + replay.bytes / READ_BYTES_PER_NS));
    }

    /// A standby is to take a checkpoint. What it reads is durable; what it reads late was taken by another one since.
    fn on_checkpoint_asked(&mut self, by: ambrosia_core::ReplicaIndex, at: Lsn) {
        self.see_checkpoints();
        if by == self.driver.replica && at > self.schedule.checkpoint() {
            // Why not is said; the primary finds out by its absence.
            let _taken = self.checkpointer.take(&mut self.replica, true);
        }
    }

    /// Notices what checkpoints anybody has published.
    pub(crate) fn see_checkpoints(&mut self) {
        self.schedule.on_checkpoint(self.driver.checkpoints.newest_published());
    }

    /// The thread that writes checkpoints has ended.
    pub(crate) fn on_checkpoint_done(&mut self, done: &CheckpointDone) {
        self.checkpointer.on_done(done);
        self.see_checkpoints();
        if !done.published {
            self.schedule.on_failed();
        } else if cfg!(debug_assertions) {
            self.driver.check_checkpoint(done.lsn);
        }
    }

    fn on_diverged(&mut self, found: &Divergence) -> Result<(), RunError> {
        let instance = &self.driver.name;
        if self.driver.options.allow_divergence == Some(found.lsn) {
            tracing::warn!(%instance, "{found}; this is accepted as asked for");
            return Ok(());
        }
        let description = divergence::describe(self.driver, &mut self.replica, found);
        Err(RunError::Diverged { name: instance.clone(), lsn: found.lsn, description })
    }
}
