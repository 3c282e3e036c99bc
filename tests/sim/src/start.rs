//! How a process begins, and what its member asks of the disk to build its replica.

use std::time::Duration;

use ambrosia_core::{
    CheckpointState, Genesis, Lsn, ReplicaIndex, ScheduleOptions,
    member::{Keep, Member, MemberInput, MemberSettings},
};
use ambrosia_storage::{CheckpointError, FileLog, FileLogOptions, IoError, LogError, LogTail};

use crate::{
    agenda::Event,
    ids::Place,
    options::MILLISECOND,
    process::{Driver, Hands, Process},
    sim::{Sim, log_directory},
    wishes::WishStep,
};

/// A primary is taken for dead when it has been paused so long.
pub(crate) const SILENCE: u64 = 600 * MILLISECOND;

impl Sim {
    /// Hash of the engine that a replica has.
    pub(crate) fn engine(&self, place: Place) -> [u8; 32] {
        let version = place.replica % self.options.engines;
        std::array::from_fn(|_| 9 + version as u8)
    }

    /// The process opens the log, and its member begins.
    pub(crate) fn open(&self, process: &Process) {
        match self.driver(process) {
            Ok(driver) => {
                let mut own = process.driver.borrow_mut();
                let driver = own.insert(driver);
                self.begin_member(process, driver);
                if self.has_wishes() {
                    self.plan_wish(process.id, (0, 0), WishStep::Look);
                }
                self.put_in(self.options.poll, Event::Watch(process.id));
            }
            Err(error) => self.stop(process, &error),
        }
    }

    fn driver(&self, process: &Process) -> Result<Driver, LogError> {
        let options = FileLogOptions {
            segment_bytes_first: self.options.segment_bytes.0,
            segment_bytes_second: 0,
            segment_growth: 2,
            segment_bytes_max: self.options.segment_bytes.1,
            // Real time is none of the simulation's: who is silent it decides itself, and no candidate is waited for.
            silence: Duration::MAX,
            patience: Duration::ZERO,
            ..FileLogOptions::default()
        };
        let log = FileLog::open_on(process.machine.clone(), log_directory(process.uuid), process.uuid, options)?;
        self.check_whole_log(process, &log);
        let checkpoints = log.checkpoints();
        checkpoints.remove_leftovers(ReplicaIndex(process.place.replica))?;
        let member = Member::new(self.settings(process));
        Ok(Driver { log, checkpoints, member, hands: Hands::default() })
    }

    fn settings(&self, process: &Process) -> MemberSettings {
        let options = self.options.checkpoints;
        MemberSettings {
            replica: ReplicaIndex(process.place.replica),
            engine: self.engine(process.place),
            from_beginning: false,
            allow_engine_change: false,
            allow_divergence: None,
            schedule: ScheduleOptions {
                checkpoint_every_bytes: options.map_or(u64::MAX, |options| options.every_bytes),
                recovery_target_ns: options.map_or(u64::MAX, |options| options.every_ns),
            },
            keep: options.map_or(Keep::newest(1), |options| Keep {
                checkpoints: options.keep,
                log: options.keep_log,
                history_bytes: options.history_bytes,
            }),
            silence: Duration::from_nanos(SILENCE),
            configuration: self.configuration(process),
            entropy: std::array::from_fn(|_| self.dice().below(256) as u8),
        }
    }

    /// The checkpoints that there are.
    pub(crate) fn list(&self, process: &Process, driver: &mut Driver) -> Result<(), LogError> {
        let listed = driver.checkpoints.list()?;
        self.note(|| format!("{} begins with one of {listed:?}", process.id));
        let checkpoints = listed.iter().map(|info| info.lsn).collect();
        let published = driver.checkpoints.newest_published();
        self.give(process, driver, MemberInput::Listed { checkpoints, published });
        Ok(())
    }

    /// Reads a checkpoint. One that is damaged, or that somebody has just removed, is of no use.
    pub(crate) fn load(&self, process: &Process, driver: &mut Driver, lsn: Lsn) -> Result<(), LogError> {
        let (reason, vanished) = match driver.checkpoints.load(lsn) {
            Ok(loaded) => {
                let state = CheckpointState::decode(&loaded.state);
                let state = state.expect("a checkpoint that is not damaged holds a state");
                let known = self.witness.borrow().logs.link(process.uuid, lsn);
                assert_eq!(known, Some(state.link()), "a checkpoint holds the records that are durable");
                let head = loaded.head;
                driver.hands.loaded = Some(loaded);
                self.give(process, driver, MemberInput::Loaded { head, state: Box::new(state) });
                return Ok(());
            }
            Err(error @ (CheckpointError::Damaged { .. } | CheckpointError::OtherVersion { .. })) => {
                self.note(|| format!("{} skips a checkpoint: {error}", process.id));
                self.accept_damage(process, &error);
                self.witness.borrow_mut().counts.checkpoints_skipped += 1;
                (error.to_string(), false)
            }
            // Somebody has removed it just now.
            Err(error @ (CheckpointError::ParentMissing { .. } | CheckpointError::Missing { .. })) => {
                (error.to_string(), true)
            }
            Err(CheckpointError::Io(error)) if is_gone(&error) => (error.to_string(), true),
            Err(CheckpointError::Io(error)) => return Err(error.into()),
            Err(error @ CheckpointError::NoRoom { .. }) => unreachable!("nothing is written here: {error}"),
        };
        driver.hands.is_unusable = true;
        self.give(process, driver, MemberInput::Unusable { reason, vanished });
        Ok(())
    }

    /// Makes the guest of the checkpoint just read.
    pub(crate) fn restore_guest(&self, process: &Process, driver: &mut Driver) {
        let loaded = driver.hands.loaded.take().expect("a checkpoint was loaded before");
        let state = CheckpointState::decode(&loaded.state).expect("it was decoded before");
        let mut guest = self.make_guest(state.genesis(), state.module());
        guest.restore(&loaded);
        self.give(process, driver, MemberInput::Made(guest));
    }

    /// Makes a fresh guest.
    pub(crate) fn fresh_guest(&self, process: &Process, driver: &mut Driver, genesis: &Genesis) {
        let guest = self.make_guest(genesis, genesis.module);
        self.give(process, driver, MemberInput::Made(guest));
    }

    /// Begins to read the log there. What was to be read may have been removed.
    pub(crate) fn open_log(&self, process: &Process, driver: &mut Driver, from: Lsn) -> Result<(), LogError> {
        match driver.log.read_from(from) {
            Ok(tail) => {
                let link = tail.link();
                driver.hands.tail = Some(tail);
                self.give(process, driver, MemberInput::Opened(link));
                Ok(())
            }
            Err(error) => self.on_missing(process, driver, error),
        }
    }

    /// Part of the log was removed, or can't be read.
    pub(crate) fn on_missing(&self, process: &Process, driver: &mut Driver, error: LogError) -> Result<(), LogError> {
        let LogError::Missing { first, .. } = error else { return Err(error) };
        let published = driver.checkpoints.newest_published();
        driver.hands.is_unusable = true;
        self.give(process, driver, MemberInput::Trimmed { first, published });
        Ok(())
    }

    /// Only damage that was made is found.
    pub(crate) fn accept_damage(&self, process: &Process, error: &CheckpointError) {
        let instance = &self.instances.borrow()[process.place.instance];
        let flipped = instance.flip.as_ref().is_some_and(|flip| !flip.is_log())
            || instance.restored.checkpoint >= process.work_began.get();
        assert!(flipped, "a checkpoint that nothing was done to failed {}: {error}", process.id);
    }
}

pub(crate) fn is_gone(error: &IoError) -> bool {
    error.source.kind() == std::io::ErrorKind::NotFound
}
