//! How a process drives its member: hands it what happens, and carries out what it decides.

use std::{sync::Arc, time::Duration};

use ambrosia_core::{
    ConnectionId, Epoch, EpochBody, Lsn, Outcome, Output, Record, Refusal, ReplicaIndex, Timestamp,
    member::{
        CheckpointEvent, Command, Ending, Flow, MemberInput, Next, Notice, Other, OtherRole, Surroundings, Verdict,
    },
};
use ambrosia_storage::{AcquireError, Acquired, LogError, LogEvent, LogStore, Vacancy};

use crate::{
    agenda::Event,
    checkpointing::may_be_silent,
    damage::Flip,
    network::{Back, Side},
    options::{FaultKind, MICROSECOND, MILLISECOND},
    process::{Driver, Process},
    shell::SimShell,
    sim::{Sim, number_of},
    start::{ENGINE, SILENCE},
    storm::SKEW,
};

/// A process that ended is started again after this time.
const RESTART: (u64, u64) = (MILLISECOND, 200 * MILLISECOND);
/// A primary makes a record this long after something came in.
const GATHER: (u64, u64) = (0, 20 * MICROSECOND);
/// A log that is idle for this long says that all of it is durable.
const IDLE: u64 = 20 * MILLISECOND;
/// A primary that has nothing to write looks this often whether it was deposed.
const FENCE_LOOK: u64 = 100 * MILLISECOND;
/// A primary looks this often whether it is connected to whom it should be.
const MEND: (u64, u64) = (10 * MILLISECOND, 30 * MILLISECOND);
/// Of a million looks of a standby, so many take a primary that is well for dead.
const SUSPICIONS: u64 = 2_000;

/// One that has been silent for this long keeps nobody from trimming the log, and one for this long is not asked for
/// anything.
const SILENT_FOR_LONG: Duration = Duration::from_secs(61);
const SILENT: Duration = Duration::from_secs(1);

type Input = MemberInput<Box<dyn crate::guest::SimGuest>>;

impl Sim {
    pub(crate) fn clock(&self, process: &Process) -> Timestamp {
        Timestamp(self.now.get().saturating_add_signed(process.skew.get()))
    }

    fn uptime(&self) -> Duration {
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

    fn carry_out(&self, process: &Process, driver: &mut Driver) {
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
            Command::Announce(epoch) => self.announce(process, driver, epoch),
            Command::Out(output) => self.let_out(process, driver, output),
            Command::Answer { verdict: Verdict::Asked { .. }, .. } => {}
            Command::Answer { verdict: Verdict::Refused(reason), .. } => {
                self.note(|| format!("{} takes no checkpoint: {reason}", process.id));
                self.instances.borrow_mut()[process.place.instance].wished = None;
            }
            Command::CopyAhead { .. } => {
                let is_done = self.dice().percent(50);
                self.give(process, driver, Input::Checkpoint(CheckpointEvent::CopiedAhead { is_done }));
            }
            Command::Capture { at, parent } => self.capture(process, driver, at, parent),
            Command::Write(_) | Command::Publish(_) | Command::Compact(_) | Command::Trim { .. } => {
                self.plan_job(process, driver, command);
            }
            Command::Yield => assert!(!process.has_yielded.replace(true), "a process steps down for its output once"),
            Command::DropPrints => process.stuck_until.set(0),
            Command::WriteDown(Outcome::Finished { code, .. }) => {
                assert_eq!(code, crate::model::EXIT_CODE);
                self.witness.borrow_mut().counts.exits += 1;
                self.instances.borrow_mut()[process.place.instance].is_finished = true;
            }
            Command::WriteDown(Outcome::Halted { fault, .. }) => panic!("the model does not fail: {fault}"),
            Command::Close => self.close_log(process, driver),
            Command::Abandon => self.abandon(process, driver),
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
            Notice::CaughtUp(_)
            | Notice::OthersUnknown
            | Notice::TakesWhatWasLeft
            | Notice::StepsDownForOutput
            | Notice::BecamePrimary { .. }
            | Notice::ClockBehind(_)
            | Notice::ClockJumped(_)
            | Notice::Blocked(_)
            | Notice::AskedOneIsGone(_) => {}
            Notice::OtherEngine { .. } | Notice::DivergenceAllowed(_) | Notice::Undelivered(_) => {
                panic!("nothing here makes a member say {notice:?}")
            }
        }
    }

    /// The member is at its end.
    fn end_process(&self, process: &Process, ending: Ending) {
        self.note(|| format!("{} ends: {ending:?}", process.id));
        match ending {
            Ending::Finished { code, .. } => {
                assert_eq!(code, crate::model::EXIT_CODE);
                self.instances.borrow_mut()[process.place.instance].finished.insert(process.place.replica);
            }
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

    /// A standby looks by itself, and goes on doing so.
    pub(crate) fn watch(&self, process: &Process) {
        if self.now.get() - process.followed.get() >= process.lag.get() {
            self.follow(process);
        }
        if !process.dead.get() && !process.is_primary() {
            self.put_in(self.options.poll, Event::Watch(process.id));
        }
    }

    /// A standby reads what there is. Once it has all of it, it looks for a primary.
    pub(crate) fn follow(&self, process: &Process) {
        process.follow_planned.set(false);
        process.followed.set(self.now.get());
        let mut driver = process.driver.borrow_mut();
        let driver = driver.as_mut().expect("it has opened the log");
        if !driver.hands.is_reading {
            return;
        }
        if let Err(error) = self.read(process, driver).and_then(|()| {
            self.carry_out(process, driver);
            if process.dead.get() { Ok(()) } else { self.look_for_vacancy(process, driver) }
        }) {
            self.stop(process, &error);
        }
    }

    /// Standbys wait for what becomes durable; each notices in its time.
    fn wake_standbys(&self, instance: usize) {
        for process in self.living().iter().filter(|p| p.place.instance == instance && !p.is_primary()) {
            if !process.follow_planned.replace(true) {
                let (low, high) = (process.lag.get(), process.lag.get() + self.options.latency.1);
                self.put_in((low, high), Event::Follow(process.id));
            }
        }
    }

    fn read(&self, process: &Process, driver: &mut Driver) -> Result<(), LogError> {
        (driver.hands.is_reading, driver.hands.tries) = (false, 0);
        let tail = driver.hands.tail.as_mut().expect("the log was opened before it is read");
        let records = match tail.next(Duration::ZERO) {
            Ok(records) => records,
            Err(error) => return self.on_missing(process, driver, error),
        };
        for record in &records {
            self.note_durable(process, record);
        }
        driver.hands.durable = records.last().map_or(driver.hands.durable, Record::lsn);
        let (durable, published) = (driver.log.head()?.durable, driver.checkpoints.newest_published());
        driver.hands.seen_durable = durable;
        self.give(process, driver, Input::Read { records, durable, published });
        Ok(())
    }

    /// Says if nobody seems to be primary, to a standby that wants to know.
    fn look_for_vacancy(&self, process: &Process, driver: &mut Driver) -> Result<(), LogError> {
        if !driver.hands.is_watching || !driver.hands.is_reading {
            return Ok(());
        }
        if let Some(vacancy) = self.vacancy(driver)? {
            self.note(|| format!("{} sees: {vacancy}", process.id));
            let (over, is_stuck) = (vacancy.epoch(), self.is_stuck(process));
            let seen = driver.hands.vacant.filter(|(epoch, _)| *epoch == over && is_stuck);
            driver.hands.vacant = seen.or(is_stuck.then_some((over, self.now.get())));
            self.step(process, driver, Input::Vacant { over, is_stuck });
        }
        Ok(())
    }

    fn is_stuck(&self, process: &Process) -> bool {
        process.stuck_until.get() > self.now.get()
    }

    fn vacancy(&self, driver: &Driver) -> Result<Option<Vacancy>, LogError> {
        if let Some(vacancy) = driver.log.wait_for_vacancy(Duration::ZERO)? {
            return Ok(Some(vacancy));
        }
        let epoch = driver.log.head()?.epoch;
        let number = number_of(&driver.the_replica().genesis().name);
        let silent = self.living().iter().any(|p| p.place.instance == number && p.silent_for(self.now.get()) > SILENCE);
        if silent {
            return Ok(Some(Vacancy::Silent(epoch)));
        }
        let suspects = self.storm.get() && self.options.has(FaultKind::Suspicion) && self.dice().rarely(SUSPICIONS);
        if suspects {
            self.witness.borrow_mut().counts.suspicions += 1;
        }
        Ok(suspects.then_some(Vacancy::Silent(epoch)))
    }

    fn acquire(&self, process: &Process, driver: &mut Driver, over: Epoch) -> Result<(), LogError> {
        self.note(|| format!("{} takes over from epoch {over}", process.id));
        let me = EpochBody { replica: ReplicaIndex(process.place.replica), engine: ENGINE };
        let tail = driver.hands.tail.take().expect("the log was opened before");
        (driver.hands.is_reading, driver.hands.tries) = (false, driver.hands.tries + 1);
        assert!(driver.hands.tries == 1, "a candidate that was too late reads before it tries again");
        if let Some((epoch, since)) = driver.hands.vacant.take()
            && epoch == over
        {
            let waited = self.now.get() - since;
            assert!(waited >= SILENCE, "{} has an output that is stuck, and others had only {waited} ns", process.id);
        }
        if process.skew.get().unsigned_abs() > SKEW {
            process.skew.set(0); // somebody has set it
        }
        let reports = Arc::clone(&process.reports);
        let events = Box::new(move |event| {
            let mut reports = reports.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            reports.push_back(event);
        });
        process.taking_over.set(true);
        let acquired = driver.log.acquire_by_turns(over, me, self.clock(process), tail, events);
        process.taking_over.set(false);
        match acquired {
            Ok((Acquired { records, epoch, writer }, turns)) => {
                for record in &records {
                    self.note_durable(process, record);
                }
                driver.hands.durable = records.last().map_or(driver.hands.durable, Record::lsn);
                (driver.hands.writer, driver.hands.is_watching) = (Some(writer), false);
                *process.turns.borrow_mut() = Some(turns);
                self.give(process, driver, Input::Acquired { epoch, records, wall: self.clock(process) });
            }
            Err(AcquireError::Contended { .. }) => {
                self.witness.borrow_mut().counts.contended += 1;
                self.check_availability(process, over, driver.log.head()?.epoch);
                self.give(process, driver, Input::Contended);
            }
            Err(AcquireError::Log(error)) => self.on_missing(process, driver, error)?,
        }
        Ok(())
    }

    /// A candidate that fails leaves the other one its time once. When it fails a second time, that must be because
    /// somebody else has begun a reign, however long whoever stands still: or one process that is paused keeps all others
    /// from taking over.
    fn check_availability(&self, process: &Process, over: Epoch, fence: Epoch) {
        let blocked = over == fence && process.contended_at.replace(over) == over;
        assert!(!blocked, "{} failed twice to take over from epoch {over}, and nobody else has", process.id);
    }

    fn announce(&self, process: &Process, driver: &mut Driver, epoch: Epoch) {
        let lsn = driver.the_replica().applied();
        self.note(|| format!("{} ({}) became primary, epoch {epoch}, lsn {lsn}", process.id, process.place));
        process.epoch.set(epoch);
        self.witness.borrow_mut().counts.takeovers += 1;
        self.publish(process);
        self.put_in(MEND, Event::Mend(process.id, epoch));
        self.put(self.now.get() + IDLE, Event::Idle(process.id, epoch));
        self.plan_delivery(process);
    }

    fn publish(&self, process: &Process) {
        let mut instances = self.instances.borrow_mut();
        let instance = &mut instances[process.place.instance];
        let newest = instance.primary.and_then(|id| self.process(id)).map_or(0, |other| other.epoch.get().0);
        if instance.uuid == process.uuid && process.epoch.get().0 > newest {
            instance.primary_before = instance.primary.replace(process.id);
        }
    }

    /// Who runs, as far as others have heard of it.
    fn look_at_others(&self, process: &Process, driver: &mut Driver) -> Result<(), LogError> {
        let mut running = Vec::new();
        driver.hands.silent.clear();
        for other in self.living().iter().filter(|other| other.uuid == process.uuid && other.id != process.id) {
            let heartbeat_age = match may_be_silent(other) {
                true if self.dice().percent(30) => SILENT_FOR_LONG,
                true if self.dice().percent(80) => SILENT,
                _ => Duration::ZERO,
            };
            if heartbeat_age == SILENT_FOR_LONG {
                driver.hands.silent.push(other.id);
            }
            let role = if other.is_primary() { OtherRole::Primary } else { OtherRole::Standby };
            let (replica, applied) = (ReplicaIndex(other.place.replica), other.applied.get());
            running.push(Other { replica, role, applied, heartbeat_age });
        }
        let fence = driver.log.head()?.epoch;
        let is_known = !self.storm.get() || !self.dice().percent(2);
        self.give(process, driver, Input::Others { running: is_known.then_some(running), fence });
        Ok(())
    }

    /// What a primary lets out is durable.
    fn let_out(&self, process: &Process, driver: &mut Driver, output: Output) {
        let after = output.after();
        if after > Lsn(0) && process.is_primary() {
            let logs = &self.witness.borrow().logs;
            let links = driver.hands.links.as_ref().expect("it has applied the record that began its reign");
            // The checkpoint that it began with was compared with the log.
            let executed = if links.is_before(after) { logs.link(process.uuid, after) } else { links.at(after) };
            logs.on_leaving(process.uuid, after, executed);
        }
        let uuid = process.uuid;
        let mut witness = self.witness.borrow_mut();
        match output {
            Output::Print { replayed: true, .. } => assert!(!process.is_primary(), "a primary replays nothing"),
            Output::Print { bytes, .. } => {
                witness.counts.prints += 1;
                witness.prints.on_print(uuid, &bytes);
            }
            Output::Connect { peer, name } => {
                driver.hands.wanted.insert(peer, name);
                drop(witness);
                self.put_in(self.options.latency, Event::Dial(process.id, peer));
            }
            Output::Welcome { connection, received, .. } => {
                drop(witness);
                self.send_back(connection, received, Back::Welcome { uuid, received });
            }
            Output::Acknowledge { connection, seq, .. } => {
                drop(witness);
                self.send_back(connection, seq, Back::Acknowledge(seq));
            }
            Output::Send { connection, chunk } => {
                drop(witness);
                self.send(process, connection, chunk);
            }
            Output::Refuse { connection, reason } => {
                witness.counts.refusals += 1;
                drop(witness);
                self.on_refuse(process, driver, connection, reason);
            }
            Output::Accepted { request, .. } => witness.requests.on_accepted(&request),
            Output::Answered { request, answer, .. } => {
                witness.counts.answers += 1;
                witness.requests.on_answered(&request, answer);
            }
            output => unreachable!("a member keeps this to itself: {output:?}"),
        }
    }

    /// Only who was deposed, or talks to one who was, may be refused for what it has, and only an instance whose name
    /// another one has for who it is.
    fn on_refuse(&self, process: &Process, driver: &Driver, connection: ConnectionId, reason: Refusal) {
        let side = {
            let network = self.network.borrow();
            let Some(c) = network.connections.get(&connection) else { return };
            let (other, uuid) =
                if c.from.process == process.id { (c.to.process, c.to.uuid) } else { (c.from.process, c.from.uuid) };
            if reason == Refusal::NotRegistered {
                let is_registered = self.instances.borrow().iter().any(|instance| instance.uuid == uuid);
                assert!(!is_registered, "{other} is what its name says, and was refused");
                self.witness.borrow_mut().counts.earlier_lives_refused += 1;
            } else if reason.is_serious() {
                let lost = matches!(reason, Refusal::PeerLostLog { .. } | Refusal::OwnLogLost { .. });
                let stale = self.is_deposed(process, driver) || self.may_be_deposed(other);
                let gap = matches!(reason, Refusal::Gap { .. }) && c.broken;
                assert!((lost && stale) || gap, "refused for no reason: {reason}");
            }
            if c.from.process == process.id { Side::From } else { Side::To }
        };
        self.close(connection, side, false);
    }

    fn is_deposed(&self, process: &Process, driver: &Driver) -> bool {
        driver.log.head().is_ok_and(|head| head.epoch > process.epoch.get())
    }

    fn may_be_deposed(&self, id: crate::ids::ProcessId) -> bool {
        self.process(id).is_none_or(|process| match process.driver.try_borrow() {
            Ok(driver) => driver.as_ref().is_none_or(|driver| self.is_deposed(&process, driver)),
            Err(_) => true, // paused at work
        })
    }

    pub(crate) fn plan_delivery(&self, process: &Process) {
        if process.is_primary() && !process.deliver_planned.replace(true) {
            self.put_in(GATHER, Event::Deliver(process.id));
        }
    }

    /// Has the member do what is due and make a record of what has gathered.
    pub(crate) fn deliver(&self, process: &Process) {
        process.deliver_planned.set(false);
        let mut driver = process.driver.borrow_mut();
        let driver = driver.as_mut().expect("it has opened the log");
        let surroundings = Surroundings {
            wall: self.clock(process),
            log_has_room: driver.hands.writer.is_some(),
            output: if self.is_stuck(process) { Flow::Stuck } else { Flow::Room },
            may_yield: !process.has_yielded.get(),
            published: driver.checkpoints.newest_published(),
        };
        let Driver { member, hands, .. } = driver;
        let next = member.turn(self.uptime(), &surroundings, &mut SimShell { sim: self, process, hands });
        let has_commands = !driver.hands.commands.is_empty();
        self.carry_out(process, driver);
        if process.dead.get() {
            return;
        }
        match next {
            Next::After(Some(wait)) if !has_commands => {
                self.put(self.now.get() + (wait.as_nanos() as u64).max(MILLISECOND), Event::Wake(process.id));
            }
            Next::After(None) if !has_commands => {}
            Next::Again | Next::After(_) => self.plan_delivery(process),
        }
    }

    pub(crate) fn plan_write(&self, process: &Process) {
        if !process.settle_planned.get() && !process.write_planned.replace(true) {
            self.put_in(GATHER, Event::Write(process.id, process.epoch.get()));
        }
    }

    /// The log of a primary writes what is queued.
    pub(crate) fn write(&self, process: &Process) {
        process.write_planned.set(false);
        let mut turns = process.turns.borrow_mut();
        let Some(turns) = turns.as_mut().filter(|_| !process.settle_planned.get()) else { return };
        if turns.write() {
            process.settle_planned.set(true);
            let slow = self.instances.borrow()[process.place.instance].slow_until > self.now.get();
            let (low, high) = self.options.sync;
            self.put_in(
                if slow { (20 * low, 100 * high) } else { (low, high) },
                Event::Settle(process.id, process.epoch.get()),
            );
        }
        process.last_write.set(self.now.get());
        self.pass_on_reports(process);
    }

    /// The log of a primary has synced, and says what is durable.
    pub(crate) fn settle(&self, process: &Process) {
        let mut turns = process.turns.borrow_mut();
        let Some(turns) = turns.as_mut() else { return };
        turns.settle();
        process.settle_planned.set(false);
        process.last_write.set(self.now.get());
        self.pass_on_reports(process);
        if process.queued.replace(false) {
            self.plan_write(process);
        }
    }

    /// A log that has had nothing to write for a while says what is durable, and looks at the fence.
    pub(crate) fn look(&self, process: &Process) {
        let busy = process.settle_planned.get() || process.write_planned.get();
        let idle = self.now.get() - process.last_write.get() >= IDLE;
        let mut turns = process.turns.borrow_mut();
        let Some(turns) = turns.as_mut() else { return };
        if idle && !busy {
            assert!(!turns.write(), "a log with nothing queued writes nothing");
            self.pass_on_reports(process);
        }
        let next = if turns.is_marked() { FENCE_LOOK } else { IDLE };
        self.put(self.now.get() + next, Event::Idle(process.id, process.epoch.get()));
    }

    fn pass_on_reports(&self, process: &Process) {
        let reports = std::mem::take(&mut *process.reports());
        if reports.iter().any(|report| matches!(report, LogEvent::Durable(_))) {
            self.wake_standbys(process.place.instance);
        }
        for report in reports {
            self.put_in(GATHER, Event::LogSays(process.id, process.epoch.get(), report));
        }
    }

    /// What the log has to say to the driver of its reign.
    pub(crate) fn on_log(&self, process: &Process, epoch: Epoch, event: LogEvent) {
        let mut driver = process.driver.borrow_mut();
        let driver = driver.as_mut().expect("it has opened the log");
        self.note_report(process, driver, epoch, &event);
        self.step(process, driver, Input::Log { epoch, event });
        if !process.dead.get() {
            self.plan_delivery(process);
        }
    }

    /// What a log says to be durable was appended to it.
    fn note_report(&self, process: &Process, driver: &mut Driver, epoch: Epoch, event: &LogEvent) {
        let LogEvent::Durable(lsn) = event else { return };
        if epoch != process.epoch.get() {
            return;
        }
        while let Some(record) = driver.hands.appended.pop_front_if(|record| record.lsn() <= *lsn) {
            self.note_durable(process, &record);
        }
        driver.hands.durable = driver.hands.durable.max(*lsn);
    }

    /// The operator wants the process to end: a primary makes all it has durable and lets it out before, so that another
    /// one takes over at once.
    pub(crate) fn hand_over(&self, process: &Process) {
        let mut driver = process.driver.borrow_mut();
        let Some(driver) = driver.as_mut() else { return };
        self.step(process, driver, Input::Shutdown);
    }

    fn close_log(&self, process: &Process, driver: &mut Driver) {
        if let Some(writer) = driver.hands.writer.take() {
            writer.close();
        }
        {
            let mut turns = process.turns.borrow_mut();
            let turns = turns.as_mut().expect("a reign has a log");
            if process.settle_planned.replace(true) {
                turns.settle();
            }
            while turns.write() {
                turns.settle();
            }
        }
        let epoch = process.epoch.get();
        let reports = std::mem::take(&mut *process.reports());
        for event in reports {
            self.note_report(process, driver, epoch, &event);
            self.give(process, driver, Input::Log { epoch, event });
        }
        self.give(process, driver, Input::Closed);
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

    /// A primary looks whether it is connected to those that it should be.
    pub(crate) fn mend(&self, process: &Process) {
        let driver = process.driver.borrow();
        let Some(driver) = &*driver else { return };
        for (peer, name) in &driver.hands.wanted {
            let there = self.instances.borrow()[number_of(name)].primary;
            match self.network.borrow().dialled(process.id, *peer) {
                Some((_, to)) if there.is_none_or(|there| there == to) => continue,
                _ => {}
            }
            self.put_in(self.options.latency, Event::Dial(process.id, *peer));
        }
        self.put_in(MEND, Event::Mend(process.id, process.epoch.get()));
    }
}
