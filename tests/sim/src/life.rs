//! What a process does once it has begun: follow the log, take over, reign. A second driver of the core, beside that of the host.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use ambrosia_core::{Epoch, EpochBody, Held, Input, Lsn, Output, Record, Refusal, ReplicaIndex, Timestamp};
use ambrosia_storage::{
    AcquireError, Acquired, AppendError, LogError, LogStore, LogTurns, StopCause, Vacancy, WriterEvent,
};

use crate::{
    agenda::Event,
    checkpointing::guest_ns,
    damage::Flip,
    network::{Back, Side},
    options::{FaultKind, MICROSECOND, MILLISECOND},
    process::{Driver, Process, Reign},
    sim::{Sim, number_of},
    start::is_overtaken,
};

/// A process that ended is started again after this time.
const RESTART: (u64, u64) = (MILLISECOND, 200 * MILLISECOND);
/// A primary makes a record this long after something came in.
const GATHER: (u64, u64) = (0, 20 * MICROSECOND);
/// A log that is idle for this long says that all of it is durable.
const IDLE: u64 = 20 * MILLISECOND;
/// A primary that has nothing to write looks this often whether it was deposed.
const FENCE_LOOK: u64 = 100 * MILLISECOND;
/// A primary is taken for dead when it has been paused so long.
const SILENCE: u64 = 600 * MILLISECOND;
/// A primary looks this often whether it is connected to whom it should be.
const MEND: (u64, u64) = (10 * MILLISECOND, 30 * MILLISECOND);
/// Of a million looks of a standby, so many take a primary that is well for dead.
const SUSPICIONS: u64 = 2_000;

/// The digest of the replicated state is compared after every so many records.
const DIGEST_RECORDS: u64 = 16;

impl Sim {
    pub(crate) fn clock(&self, process: &Process) -> Timestamp {
        Timestamp(self.now.get().saturating_add_signed(process.skew.get()))
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

    /// A record of the log.
    pub(crate) fn apply(&self, process: &Process, driver: &mut Driver, record: Record) {
        self.note_durable(process, &record);
        driver.links.push(record.header().link());
        driver.durable = record.lsn();
        driver.schedule.on_applied(record.header(), guest_ns(record.header()));
        let mut outputs = Vec::new();
        driver.replica.step(Input::Record(record), &mut outputs);
        self.note_applied(process, driver);
        for output in outputs {
            match output {
                Output::Print { replayed: true, .. } | Output::Rebound { .. } => {}
                Output::Finished { code, .. } => {
                    assert_eq!(code, crate::model::EXIT_CODE);
                    self.witness.borrow_mut().counts.exits += 1;
                }
                Output::Halted { fault, .. } => panic!("the model does not fail: {fault}"),
                Output::Checkpoint { by, at } => self.capture(process, driver, by, at),
                Output::Diverged(divergence) => panic!("{divergence}"),
                output => panic!("a record brings about nothing to do: {output:?}"),
            }
        }
    }

    pub(crate) fn note_applied(&self, process: &Process, driver: &Driver) {
        process.applied.set(driver.replica.applied());
        // The guest's is at hand; the other one takes longer the more requests there were.
        let whole = driver.replica.applied().0.is_multiple_of(DIGEST_RECORDS);
        let digest = (if whole { driver.replica.digest() } else { 0 }, driver.replica.guest().model().history);
        let (last, link) = driver.links.last();
        assert_eq!(driver.replica.applied(), last, "what is applied was appended or read");
        let mut witness = self.witness.borrow_mut();
        witness.digests.on_applied(process.uuid, link, digest);
        witness.counts.states_compared += 1;
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
        if driver.reign.is_some() {
            return;
        }
        let done = match self.read_on(process, driver) {
            Err(error) if is_overtaken(&error) => self.begin_anew(process, driver),
            done => done,
        };
        if let Err(error) = done {
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

    fn read_on(&self, process: &Process, driver: &mut Driver) -> Result<(), LogError> {
        let tail = driver.tail.as_mut().expect("it was put back after the last try");
        for record in tail.next(Duration::ZERO)? {
            self.apply(process, driver, record);
        }
        if driver.replica.applied() < driver.log.head()?.durable {
            return Ok(());
        }
        match self.vacancy(driver)? {
            Some(vacancy) => self.take_over(process, driver, vacancy),
            None => Ok(()),
        }
    }

    fn vacancy(&self, driver: &Driver) -> Result<Option<Vacancy>, LogError> {
        if let Some(vacancy) = driver.log.wait_for_vacancy(Duration::ZERO)? {
            return Ok(Some(vacancy));
        }
        let epoch = driver.log.head()?.epoch;
        let number = number_of(&driver.replica.genesis().name);
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

    fn take_over(&self, process: &Process, driver: &mut Driver, vacancy: Vacancy) -> Result<(), LogError> {
        self.note(|| format!("{} takes over: {vacancy}", process.id));
        let me = EpochBody { replica: ReplicaIndex(process.place.replica), engine: [9; 32] };
        let tail = driver.tail.take().expect("it was put back after the last try");
        let next = tail.position();
        let reports = Arc::clone(&process.reports);
        let events = Box::new(move |event| {
            let mut reports = reports.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            reports.push_back(event);
        });
        process.taking_over.set(true);
        let acquired = driver.log.acquire_by_turns(vacancy.epoch(), me, self.clock(process), tail, events);
        process.taking_over.set(false);
        match acquired {
            Ok((acquired, turns)) => self.begin_reign(process, driver, acquired, turns),
            Err(AcquireError::Contended { .. }) => {
                self.witness.borrow_mut().counts.contended += 1;
                driver.tail = Some(driver.log.tail(next)?);
                self.check_availability(process, vacancy.epoch(), driver.log.head()?.epoch);
            }
            Err(AcquireError::Log(error)) => return Err(error),
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

    fn begin_reign(&self, process: &Process, driver: &mut Driver, acquired: Acquired, turns: LogTurns) {
        let Acquired { records, epoch, writer } = acquired;
        for record in records {
            self.apply(process, driver, record);
        }
        let lsn = driver.replica.applied();
        self.note(|| format!("{} ({}) became primary, epoch {epoch}, lsn {lsn}", process.id, process.place));
        // From now on it hears itself what peers have.
        driver.exact = false;
        let (held, appended) = (Held::new(lsn), VecDeque::new());
        driver.reign = Some(Reign { writer: Some(writer), held, appended, wanted: Default::default() });
        *process.turns.borrow_mut() = Some(turns);
        process.epoch.set(epoch);
        self.witness.borrow_mut().counts.takeovers += 1;
        self.publish(process);
        self.step(process, driver, Input::Elected);
        self.put_in(MEND, Event::Mend(process.id));
        self.put(self.now.get() + IDLE, Event::Idle(process.id));
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

    /// Gives the replica of a primary an input, and lets leave what may.
    pub(crate) fn step(&self, process: &Process, driver: &mut Driver, input: Input) {
        let mut outputs = Vec::new();
        driver.replica.step(input, &mut outputs);
        for output in outputs {
            match output {
                Output::Append(record) => self.append(process, driver, record),
                Output::Checkpoint { by, at } => self.capture(process, driver, by, at),
                output if output.after() == Lsn(0) => self.carry_out(process, driver, output),
                output => reign(driver).held.push(output),
            }
        }
        self.carry_held(process, driver);
    }

    fn append(&self, process: &Process, driver: &mut Driver, record: Record) {
        driver.links.push(record.header().link());
        driver.schedule.on_applied(record.header(), guest_ns(record.header()));
        let reign = reign(driver);
        let Some(writer) = &mut reign.writer else { return };
        match writer.append(record.clone()) {
            Ok(()) => reign.appended.push_back(record),
            // The log has reported why, or is about to; nothing of this record is seen.
            Err(AppendError::Fenced { .. } | AppendError::Failed(_)) => {}
            Err(error @ AppendError::Misplaced { .. }) => panic!("the core numbers and chains records: {error}"),
        }
        process.queued.set(process.settle_planned.get());
        self.plan_write(process);
    }

    fn carry_held(&self, process: &Process, driver: &mut Driver) {
        while let Some(output) = reign(driver).held.pop() {
            self.carry_out(process, driver, output);
        }
    }

    fn carry_out(&self, process: &Process, driver: &mut Driver, output: Output) {
        let after = output.after();
        if after > Lsn(0) {
            let logs = &self.witness.borrow().logs;
            let executed = driver.links.at(after);
            // The checkpoint that it began with was compared with the log.
            let executed = if driver.links.is_before(after) { logs.link(process.uuid, after) } else { executed };
            logs.on_leaving(process.uuid, after, executed);
        }
        let uuid = process.uuid;
        let mut witness = self.witness.borrow_mut();
        match output {
            Output::Append(_) | Output::Checkpoint { .. } => unreachable!("it was done at once"),
            Output::Diverged(divergence) => panic!("{divergence}"),
            Output::Connect { peer, name } => {
                reign(driver).wanted.insert(peer, name);
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
            Output::Print { bytes, replayed, .. } => {
                assert!(!replayed, "a primary executes, and replays nothing");
                witness.counts.prints += 1;
                witness.prints.on_print(uuid, &bytes);
            }
            Output::Rebound { failed_calls, .. } => {
                witness.counts.rebounds += 1;
                witness.counts.failed_calls += failed_calls;
            }
            Output::Finished { code, .. } => {
                assert_eq!(code, crate::model::EXIT_CODE);
                witness.counts.exits += 1;
            }
            Output::Halted { fault, .. } => panic!("the model does not fail: {fault}"),
        }
    }

    /// Only who was deposed, or talks to one who was, may be refused for what it has.
    fn on_refuse(&self, process: &Process, driver: &Driver, connection: ambrosia_core::ConnectionId, reason: Refusal) {
        let side = {
            let network = self.network.borrow();
            let Some(c) = network.connections.get(&connection) else { return };
            let other = if c.from.process == process.id { c.to.process } else { c.from.process };
            let serious = !matches!(reason, Refusal::Superseded | Refusal::StaleEpoch | Refusal::Ended);
            if serious {
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

    /// Makes and executes one record of what has gathered.
    pub(crate) fn deliver(&self, process: &Process) {
        process.deliver_planned.set(false);
        let mut driver = process.driver.borrow_mut();
        let driver = driver.as_mut().expect("it has opened the log");
        let now = self.clock(process);
        let before = driver.links.last();
        self.step(process, driver, Input::Deliver { now });
        if driver.links.last() == before {
            self.digest_if_due(process, driver);
            if let Some(due) = driver.replica.wake_at() {
                let wait = due.0.saturating_sub(now.0).max(MILLISECOND);
                self.put(self.now.get() + wait, Event::Wake(process.id));
            }
            return;
        }
        self.step(process, driver, Input::Execute);
        self.note_applied(process, driver);
        self.digest_if_due(process, driver);
        self.plan_delivery(process);
    }

    fn plan_write(&self, process: &Process) {
        if !process.settle_planned.get() && !process.write_planned.replace(true) {
            self.put_in(GATHER, Event::Write(process.id));
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
            self.put_in(if slow { (20 * low, 100 * high) } else { (low, high) }, Event::Settle(process.id));
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
        self.put(self.now.get() + next, Event::Idle(process.id));
    }

    fn pass_on_reports(&self, process: &Process) {
        let reports = std::mem::take(&mut *process.reports());
        if reports.iter().any(|report| matches!(report, WriterEvent::Durable(_))) {
            self.wake_standbys(process.place.instance);
        }
        for report in reports {
            self.put_in(GATHER, Event::LogSays(process.id, report));
        }
    }

    /// What the log has to say to the driver of its reign.
    pub(crate) fn on_log(&self, process: &Process, event: WriterEvent) {
        let mut driver = process.driver.borrow_mut();
        let driver = driver.as_mut().expect("it has opened the log");
        match event {
            WriterEvent::Room => {}
            WriterEvent::Durable(lsn) => {
                self.on_durable(process, driver, lsn);
                self.plan_delivery(process);
            }
            WriterEvent::Stopped(StopCause::Fenced { by }) => {
                assert!(by > process.epoch.get() && self.is_deposed(process, driver), "fenced by nobody");
                self.note(|| format!("{} was deposed by epoch {by}", process.id));
                self.witness.borrow_mut().counts.fenced += 1;
                self.discard_checkpoint(driver);
                self.exit(process, (0, MILLISECOND));
            }
            WriterEvent::Stopped(StopCause::Failed(reason)) => {
                assert!(process.hurt.get(), "a log that nothing was done to failed: {reason}");
                self.note(|| format!("{} stops: the log failed: {reason}", process.id));
                self.witness.borrow_mut().counts.stopped_by_errors += 1;
                self.exit(process, RESTART);
            }
        }
    }

    fn on_durable(&self, process: &Process, driver: &mut Driver, lsn: Lsn) {
        while let Some(record) = reign(driver).appended.pop_front_if(|record| record.lsn() <= lsn) {
            self.note_durable(process, &record);
        }
        driver.durable = lsn;
        reign(driver).held.set_durable(lsn);
        self.step(process, driver, Input::Durable(lsn));
    }

    /// A primary makes all it has durable, lets it out, and ends, so that another one takes over at once.
    pub(crate) fn hand_over(&self, process: &Process) {
        let mut driver = process.driver.borrow_mut();
        let Some(driver) = driver.as_mut() else { return };
        if let Some(reign) = &mut driver.reign
            && let Some(writer) = reign.writer.take()
        {
            writer.close();
            let mut turns = process.turns.borrow_mut();
            let turns = turns.as_mut().expect("a reign has a log");
            if process.settle_planned.replace(true) {
                turns.settle();
            }
            while turns.write() {
                turns.settle();
            }
            let reports = std::mem::take(&mut *process.reports());
            for report in reports {
                if let WriterEvent::Durable(lsn) = report {
                    self.on_durable(process, driver, lsn);
                }
            }
        }
        self.witness.borrow_mut().counts.hand_overs += 1;
        self.exit(process, RESTART);
    }

    /// A primary looks whether it is connected to those that it should be.
    pub(crate) fn mend(&self, process: &Process) {
        let driver = process.driver.borrow();
        let Some(reign) = driver.as_ref().and_then(|driver| driver.reign.as_ref()) else { return };
        for (peer, name) in &reign.wanted {
            let there = self.instances.borrow()[number_of(name)].primary;
            match self.network.borrow().dialled(process.id, *peer) {
                Some((_, to)) if there.is_none_or(|there| there == to) => continue,
                _ => {}
            }
            self.put_in(self.options.latency, Event::Dial(process.id, *peer));
        }
        self.put_in(MEND, Event::Mend(process.id));
    }
}

fn reign(driver: &mut Driver) -> &mut Reign {
    driver.reign.as_mut().expect("only a primary is asked")
}
