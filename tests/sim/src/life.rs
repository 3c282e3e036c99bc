//! How a process drives its member: hands it what happens, and carries out what it decides.

use std::time::Duration;

use ambrosia_core::{
    Epoch, Lsn, Outcome, Record, Remedy, Timestamp,
    member::{CheckpointEvent, Command, Ending, MemberInput, Notice, Verdict},
};
use ambrosia_storage::LogError;

use crate::{
    agenda::Event,
    damage::Flip,
    options::MILLISECOND,
    process::{Driver, Process},
    shell::SimShell,
    sim::{Sim, number_of},
};

/// A process that ended is started again after this time.
const RESTART: (u64, u64) = (MILLISECOND, 200 * MILLISECOND);
/// What comes into a member here.
pub(crate) type Input = MemberInput<Box<dyn crate::guest::SimGuest>>;

impl Sim {
    pub(crate) fn clock(&self, process: &Process) -> Timestamp {
        Timestamp(self.now.get().saturating_add_signed(process.skew.get()))
    }

    pub(crate) fn uptime(&self) -> Duration {
        Duration::from_nanos(self.now.get())
    }

    /// Begins the life of the member.
    pub(crate) fn begin_member(&self, process: &Process, driver: &mut Driver) {
        let Driver { member, hands, .. } = driver;
        member.begin(self.uptime(), &mut SimShell { sim: self, process, hands });
        self.carry_out(process, driver);
    }

    /// Hands the member what has happened, and carries out what it decides.
    pub(crate) fn step(&self, process: &Process, driver: &mut Driver, input: Input) {
        self.give(process, driver, input);
        self.carry_out(process, driver);
    }

    /// Hands the member what has happened.
    pub(crate) fn give(&self, process: &Process, driver: &mut Driver, input: Input) {
        let Driver { member, hands, .. } = driver;
        member.step(self.uptime(), input, &mut SimShell { sim: self, process, hands });
    }

    pub(crate) fn carry_out(&self, process: &Process, driver: &mut Driver) {
        while let Some(command) = driver.hands.commands.pop_front() {
            if let Err(error) = self.carry(process, driver, command) {
                self.stop(process, &error);
            }
            if process.dead.get() {
                return;
            }
        }
    }

    fn carry(&self, process: &Process, driver: &mut Driver, command: Command) -> Result<(), LogError> {
        match command {
            Command::ListCheckpoints => self.list(process, driver)?,
            Command::Load(lsn) => self.load(process, driver, lsn)?,
            Command::Restore => self.restore_guest(process, driver),
            Command::MakeGuest(genesis) => self.fresh_guest(process, driver, &genesis),
            Command::Open(lsn) => self.open_log(process, driver, lsn)?,
            Command::Read if driver.replica().is_none() => self.read(process, driver)?,
            Command::Read => driver.hands.is_reading = true, // in its time
            Command::Watch => {
                let (applied, durable) = (driver.the_replica().applied(), driver.hands.seen_durable);
                assert!(applied >= durable, "a takeover must not wait for a replay of {durable} from {applied}");
                driver.hands.is_watching = true;
            }
            Command::WatchOn => driver.hands.is_watching = true,
            Command::Acquire(over) => self.acquire(process, driver, over)?,
            Command::LookAtOutcome => {
                let is_written_down = self.instances.borrow()[process.place.instance].is_finished;
                self.give(process, driver, Input::Outcome { is_written_down });
            }
            Command::Look => self.look_at_others(process, driver)?,
            Command::LookUpPeer { name, traffic } => {
                let registered = Some(self.instances.borrow()[number_of(&name)].uuid);
                self.give(process, driver, Input::PeerLookedUp { traffic, registered });
            }
            Command::LookForMend { lsn, link } => self.look_for_mend(process, driver, lsn, link)?,
            Command::Reign(epoch) => self.begin_reign(process, driver, epoch),
            Command::Announce(epoch) => self.announce(process, driver, epoch),
            Command::Out(output) => self.let_out(process, driver, output),
            Command::Answer { verdict: Verdict::Asked { .. }, .. } => {}
            Command::Answer { verdict: Verdict::Refused(reason), .. } => {
                self.note(|| format!("{} takes no checkpoint: {reason}", process.id));
                self.instances.borrow_mut()[process.place.instance].wished = None;
            }
            Command::AnswerQuery(answer) => self.on_query_answered(process, driver, &answer),
            Command::AnswerInquiry(answer) => unreachable!("no client inquires: {answer:?}"),
            Command::CopyAhead { .. } => {
                let is_done = self.dice().percent(50);
                self.give(process, driver, Input::Checkpoint(CheckpointEvent::CopiedAhead { is_done }));
            }
            Command::Capture { at, parent } => self.capture(process, driver, at, parent),
            Command::Write(_) | Command::Publish(_) | Command::Compact(_) | Command::Trim { .. } => {
                self.plan_job(process, driver, command);
            }
            Command::Prepare { attempt, .. } => self.prepare(process, attempt),
            Command::Ready(attempt) => process.ready.set(attempt),
            Command::ClaimWish { attempt, epoch } => self.claim(process, attempt, epoch),
            Command::SettleWish { attempt, epoch, outcome } => self.settle_wish(process, attempt, epoch, outcome),
            Command::Yield => assert!(!process.has_yielded.replace(true), "a process steps down for its output once"),
            Command::DropPrints => process.stuck_until.set(0),
            Command::WriteDown(Outcome::Finished { code, .. }) => {
                assert_eq!(code, crate::model::EXIT_CODE);
                self.witness.borrow_mut().counts.exits += 1;
                self.instances.borrow_mut()[process.place.instance].is_finished = true;
            }
            Command::WriteDown(Outcome::Halted { fault, lsn }) => self.note_halt(process, &fault, lsn),
            Command::Close => self.close_log(process, driver),
            Command::Abandon => self.abandon(process, driver),
            Command::AskForCheckpoint => self.ask_for_checkpoint(process),
            Command::Tell(notice) => self.on_notice(process, driver, notice),
            Command::End(ending) => self.end_process(process, ending),
        }
        Ok(())
    }

    fn on_notice(&self, process: &Process, driver: &mut Driver, notice: Notice) {
        self.note(|| format!("{} says: {notice:?}", process.id));
        let mut witness = self.witness.borrow_mut();
        match notice {
            Notice::Restored(_) => witness.counts.checkpoints_restored += 1,
            Notice::Unusable { lsn, reason } => {
                let accepted = std::mem::take(&mut driver.hands.is_unusable);
                assert!(accepted, "the checkpoint at lsn {lsn} could be read, and is of no use: {reason}");
            }
            Notice::BeginsAnew(_) => {
                assert!(process.left_out.replace(false), "{} was overtaken by trimming although it ran", process.id);
                witness.counts.overtaken += 1;
            }
            Notice::Rebound { failed_calls, .. } => {
                witness.counts.rebounds += 1;
                witness.counts.failed_calls += failed_calls;
            }
            Notice::Deposed { own, by } => {
                assert!(own == process.epoch.get() && by > own && self.is_deposed(process, driver), "fenced by nobody");
                witness.counts.fenced += 1;
            }
            Notice::NoCheckpoint { .. } | Notice::NotTidied { .. } => {} // accepted where it failed
            Notice::LogStands { .. } | Notice::LogGoesOn => {}           // said by the simulation
            Notice::CaughtUp(_)
            | Notice::OthersUnknown
            | Notice::TakesWhatWasLeft
            | Notice::StepsDownForOutput
            | Notice::BecamePrimary { .. }
            | Notice::ClockBehind(_)
            | Notice::ClockJumped(_)
            | Notice::Blocked(_)
            | Notice::AskedOneIsGone(_)
            | Notice::NotReady(_)
            | Notice::Upgraded { .. }
            | Notice::ToBeMended(_) => {}
            Notice::Mended { mend, .. } => match mend.remedy {
                Remedy::Upgrade(_) => witness.counts.mends_by_upgrade += 1,
                Remedy::Skip(_) => witness.counts.mends_by_skip += 1,
            },
            Notice::UpgradeRefused { .. } => {}
            Notice::UpgradeWaits { .. } => witness.counts.upgrades_put_off += 1,
            Notice::OtherEngine { .. } => assert_eq!(self.options.engines, 2, "there is one engine"),
            Notice::EnginesAgree(_) => witness.counts.engines_agreed += 1,
            Notice::EngineInDoubt { .. } => witness.counts.engines_doubted += 1,
            Notice::DivergenceAllowed(_) | Notice::Undelivered(_) => {
                panic!("nothing here makes a member say {notice:?}")
            }
        }
    }

    /// The member is at its end.
    fn end_process(&self, process: &Process, ending: Ending) {
        self.note(|| format!("{} ends: {ending:?}", process.id));
        self.write_answers(process);
        match ending {
            Ending::Finished { code, .. } => {
                assert_eq!(code, crate::model::EXIT_CODE);
                self.instances.borrow_mut()[process.place.instance].finished.insert(process.place.replica);
            }
            // It said so when it wrote that down.
            Ending::Halted { .. } => self.witness.borrow_mut().counts.halts += 1,
            Ending::Stopped { .. } => self.witness.borrow_mut().counts.hand_overs += 1,
            Ending::LogFailed(reason) => {
                assert!(process.hurt.get(), "a log that nothing was done to failed: {reason}");
                self.witness.borrow_mut().counts.stopped_by_errors += 1;
            }
            ending => panic!("{} ends: {ending:?}", process.id),
        }
        self.exit(process, RESTART);
    }

    pub(crate) fn note_durable(&self, process: &Process, record: &Record) {
        let mut witness = self.witness.borrow_mut();
        if witness.logs.on_durable(process.uuid, record) {
            witness.streams.on_landed(process.uuid, record);
            witness.sessions.on_landed(process.uuid, record);
            witness.requests.on_landed(record);
            witness.counts.records += 1;
            witness.counts.messages += u64::from(record.header().messages);
            drop(witness);
            self.mix(record.header().link());
        }
    }

    /// The log failed the process, which says so and ends. That is right only if something was broken before.
    pub(crate) fn stop(&self, process: &Process, error: &LogError) {
        self.note(|| format!("{} stops: {error}", process.id));
        let damaged = matches!(error, LogError::Corrupt { .. } | LogError::OtherVersion { .. });
        // It may have read the damage, been paused, and say so when the file is restored.
        let flipped = {
            let instance = &self.instances.borrow()[process.place.instance];
            instance.flip.as_ref().is_some_and(Flip::is_log) || instance.restored.log >= process.work_began.get()
        };
        if damaged && flipped {
            self.witness.borrow_mut().counts.damage_reported += 1;
        } else {
            assert!(process.hurt.get() && !damaged, "a log that nothing was done to failed {}: {error}", process.id);
            self.witness.borrow_mut().counts.stopped_by_errors += 1;
        }
        self.exit(process, RESTART);
    }

    /// Nothing of this life is left but the process, in which another one begins.
    fn abandon(&self, process: &Process, driver: &mut Driver) {
        let reigned = process.is_primary();
        self.discard_checkpoint(driver);
        let commands = std::mem::take(&mut driver.hands.commands);
        driver.hands = crate::process::Hands { commands, ..Default::default() };
        *process.turns.borrow_mut() = None;
        process.reports().clear();
        process.epoch.set(Epoch(0));
        process.applied.set(Lsn(0));
        for flag in [&process.settle_planned, &process.write_planned, &process.queued, &process.deliver_planned] {
            flag.set(false);
        }
        let ends = self.network.borrow().of(process.id);
        for (connection, side) in ends {
            self.close(connection, side, false);
        }
        if reigned {
            self.put_in(self.options.poll, Event::Watch(process.id));
        }
    }
}
