//! How a process begins: with the newest checkpoint that is of use and the log behind it, or with all of the log.

use ambrosia_core::{CheckpointState, Genesis, Lsn, Record, Replica, ReplicaIndex, Schedule, ScheduleOptions};
use ambrosia_storage::{CheckpointError, Checkpoints, FileLog, FileLogOptions, IoError, LogError, LogStore, LogTail};

use crate::{
    agenda::Event,
    guest::SimGuest,
    process::{Driver, Links, Process},
    sim::{Sim, log_directory},
};

/// A replica, and the log behind it.
struct Begun {
    replica: Replica<Box<dyn SimGuest>>,
    tail: Box<dyn LogTail>,
    /// The checkpoint that it was restored from.
    checkpoint: Option<Lsn>,
    records: Vec<Record>,
}

impl Sim {
    /// The process opens the log and builds its replica.
    pub(crate) fn open(&self, process: &Process) {
        match self.build(process) {
            Ok(driver) => {
                *process.driver.borrow_mut() = Some(driver);
                self.put_in(self.options.poll, Event::Watch(process.id));
            }
            Err(error) => self.stop(process, &error),
        }
    }

    /// A standby that stood still for too long finds that the log does not go on where it was, and begins anew.
    pub(crate) fn begin_anew(&self, process: &Process, driver: &mut Driver) -> Result<(), LogError> {
        assert!(process.left_out.replace(false), "{} was overtaken by trimming although it ran", process.id);
        self.note(|| format!("{} was overtaken by trimming", process.id));
        self.witness.borrow_mut().counts.overtaken += 1;
        process.applied.set(Lsn(0));
        *driver = self.build(process)?;
        Ok(())
    }

    fn build(&self, process: &Process) -> Result<Driver, LogError> {
        let options = FileLogOptions {
            segment_bytes_first: self.options.segment_bytes.0,
            segment_growth: 2,
            segment_bytes_max: self.options.segment_bytes.1,
            // Real time is none of the simulation's: who is silent it decides itself, and no candidate is waited for.
            silence: std::time::Duration::MAX,
            patience: std::time::Duration::ZERO,
            ..FileLogOptions::default()
        };
        let log = FileLog::open_on(process.machine.clone(), log_directory(process.uuid), process.uuid, options)?;
        self.check_whole_log(process, &log);
        let checkpoints = log.checkpoints();
        checkpoints.remove_leftovers(ReplicaIndex(process.place.replica))?;
        let Begun { replica, tail, checkpoint, records } = self.begin_replica(process, &log, &checkpoints)?;
        let schedule = ScheduleOptions {
            checkpoints: self.options.checkpoints.is_some() && replica.guest().can_be_captured(),
            checkpoint_every_bytes: self.options.checkpoints.map_or(u64::MAX, |options| options.every_bytes),
            recovery_target_ns: self.options.checkpoints.map_or(u64::MAX, |options| options.every_ns),
        };
        let begin = replica.applied();
        let exact = checkpoint.is_none_or(|lsn| self.witness.borrow().replays.is_exact(process.uuid, lsn));
        let mut driver = Driver {
            log,
            links: Links::new(begin, replica.link()),
            replica,
            tail: Some(tail),
            reign: None,
            durable: begin,
            checkpoints,
            schedule: Schedule::new(schedule, checkpoint.unwrap_or_default()),
            asked: None,
            taking: None,
            parent: checkpoint,
            exact,
        };
        self.note_applied(process, &driver);
        for record in records {
            self.apply(process, &mut driver, record);
        }
        Ok(driver)
    }

    /// The newest checkpoint from which the log goes on, or genesis. Both may be removed while it looks.
    fn begin_replica(&self, process: &Process, log: &FileLog, checkpoints: &Checkpoints) -> Result<Begun, LogError> {
        loop {
            let listed = checkpoints.list()?;
            for info in listed.iter().rev() {
                let Some(replica) = self.restore_replica(process, checkpoints, info.lsn)? else { continue };
                match read_from(log, info.lsn.next()) {
                    Ok((tail, records)) => {
                        let follows = records.first().is_none_or(|record| record.header().previous == replica.link());
                        assert!(follows, "a log goes on behind each of its checkpoints");
                        self.note(|| format!("{} begins with the checkpoint at {}", process.id, info.lsn));
                        self.witness.borrow_mut().counts.checkpoints_restored += 1;
                        return Ok(Begun { replica, tail, checkpoint: Some(info.lsn), records });
                    }
                    Err(error) if is_overtaken(&error) => break,
                    Err(error) => return Err(error),
                }
            }
            match read_from(log, Lsn(1)) {
                Ok((tail, mut records)) => {
                    let first = records.remove(0);
                    let genesis = Genesis::decode(first.body()).expect("the first record is genesis");
                    let replica = Replica::new(&first, self.make_guest(&genesis)).expect("a genesis record");
                    self.note_durable(process, &first);
                    return Ok(Begun { replica, tail, checkpoint: None, records });
                }
                Err(error) if is_overtaken(&error) => {
                    // There is a newer one, or a base was made of the newest and what that rested on is gone.
                    let changed = checkpoints.list()? != listed;
                    assert!(changed, "neither a checkpoint nor the log reaches, of {listed:?}: {error}");
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// `None` if the checkpoint is of no use.
    fn restore_replica(
        &self,
        process: &Process,
        checkpoints: &Checkpoints,
        lsn: Lsn,
    ) -> Result<Option<Replica<Box<dyn SimGuest>>>, LogError> {
        let loaded = match checkpoints.load(lsn) {
            Ok(loaded) => loaded,
            Err(error @ (CheckpointError::Damaged { .. } | CheckpointError::OtherVersion { .. })) => {
                self.note(|| format!("{} skips a checkpoint: {error}", process.id));
                self.accept_damage(process, &error);
                self.witness.borrow_mut().counts.checkpoints_skipped += 1;
                return Ok(None);
            }
            // Somebody has removed it just now.
            Err(CheckpointError::ParentMissing { .. } | CheckpointError::Missing { .. }) => return Ok(None),
            Err(CheckpointError::Io(error)) if is_gone(&error) => return Ok(None),
            Err(CheckpointError::Io(error)) => return Err(error.into()),
            Err(error @ CheckpointError::NoRoom { .. }) => unreachable!("nothing is written here: {error}"),
        };
        let state = CheckpointState::decode(&loaded.state).expect("a checkpoint that is not damaged holds a state");
        let mut guest = self.make_guest(state.genesis());
        guest.restore(&loaded);
        let mut replica = Replica::resume(state, guest);
        let digests = (replica.digest(), ambrosia_core::Guest::digest(replica.guest_mut()));
        assert_eq!(
            digests,
            (loaded.head.state_digest, loaded.head.memory_digest),
            "what is restored is what was taken"
        );
        let known = self.witness.borrow().logs.link(process.uuid, lsn);
        assert_eq!(known, Some(replica.link()), "a checkpoint holds the records that are durable");
        Ok(Some(replica))
    }

    /// Only damage that was made is found.
    pub(crate) fn accept_damage(&self, process: &Process, error: &CheckpointError) {
        let instance = &self.instances.borrow()[process.place.instance];
        let flipped = instance.flip.as_ref().is_some_and(|flip| !flip.is_log())
            || instance.restored.checkpoint >= process.work_began.get();
        assert!(flipped, "a checkpoint that nothing was done to failed {}: {error}", process.id);
    }
}

/// The log from that record on, and the first that there is of it.
fn read_from(log: &FileLog, from: Lsn) -> Result<(Box<dyn LogTail>, Vec<Record>), LogError> {
    let mut tail = log.tail(from)?;
    let records = tail.next(std::time::Duration::ZERO)?;
    Ok((tail, records))
}

/// Whether a part of the log that was to be read has been removed.
pub(crate) fn is_overtaken(error: &LogError) -> bool {
    matches!(error, LogError::Missing { .. })
}

fn is_gone(error: &IoError) -> bool {
    error.source.kind() == std::io::ErrorKind::NotFound
}
