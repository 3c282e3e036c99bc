//! What a driver does for a member that follows: it reads, looks for a primary, and tries to become one.

use std::{sync::Arc, time::Duration};

use ambrosia_core::{
    Epoch, EpochBody, Record, ReplicaIndex,
    member::{Other, OtherRole},
};
use ambrosia_storage::{AcquireError, Acquired, LogError, LogStore, LogTail, Vacancy};

use crate::{
    agenda::Event,
    checkpointing::may_be_silent,
    life::Input,
    options::{FaultKind, MILLISECOND},
    process::{Driver, Process},
    sim::{Sim, number_of},
    start::SILENCE,
    storm::SKEW,
};

/// Of a million looks of a standby, so many take a primary that is well for dead.
const SUSPICIONS: u64 = 2_000;

/// One that has been silent for this long keeps nobody from trimming the log, and one for this long is not asked for
/// anything.
const SILENT_FOR_LONG: Duration = Duration::from_secs(61);
const SILENT: Duration = Duration::from_secs(1);
/// What a look at the others may take; as long as it takes to begin a replica.
const LOOK_TAKES: (u64, u64) = (0, 500 * MILLISECOND);

impl Sim {
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
            // What it has read may have let it take a vacancy that it knew of.
            let has_tried = driver.hands.tries > 0;
            if process.dead.get() || has_tried { Ok(()) } else { self.look_for_vacancy(process, driver) }
        }) {
            self.stop(process, &error);
        }
    }

    /// Standbys wait for what becomes durable; each notices in its time.
    pub(crate) fn wake_standbys(&self, instance: usize) {
        for process in self.living().iter().filter(|p| p.place.instance == instance && !p.is_primary()) {
            if !process.follow_planned.replace(true) {
                let (low, high) = (process.lag.get(), process.lag.get() + self.options.latency.1);
                self.put_in((low, high), Event::Follow(process.id));
            }
        }
    }

    pub(crate) fn read(&self, process: &Process, driver: &mut Driver) -> Result<(), LogError> {
        (driver.hands.is_reading, driver.hands.tries) = (false, 0);
        let tail = driver.hands.tail.as_mut().expect("the log was opened before it is read");
        let records = match tail.read() {
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

    pub(crate) fn is_stuck(&self, process: &Process) -> bool {
        process.stuck_until.get() > self.now.get()
    }

    fn vacancy(&self, driver: &Driver) -> Result<Option<Vacancy>, LogError> {
        if let Some(vacancy) = driver.log.look_for_vacancy()? {
            return Ok(Some(vacancy));
        }
        let epoch = driver.log.head()?.epoch;
        let number = number_of(&driver.the_replica().genesis().name);
        if self.is_silent(number, epoch) {
            return Ok(Some(Vacancy::Silent(epoch)));
        }
        let suspects = self.storm.get() && self.options.has(FaultKind::Suspicion) && self.dice().rarely(SUSPICIONS);
        if suspects {
            self.witness.borrow_mut().counts.suspicions += 1;
        }
        Ok(suspects.then_some(Vacancy::Silent(epoch)))
    }

    /// Whoever has this epoch does not beat. It may be a candidate, which does not beat before it is primary; one that was
    /// deposed long ago and does not know it says nothing of the reign in force.
    fn is_silent(&self, instance: usize, epoch: Epoch) -> bool {
        let replicas = self.living().into_iter().filter(|process| process.place.instance == instance);
        let (primary, others): (Vec<_>, Vec<_>) = replicas.partition(|process| process.epoch.get() == epoch);
        let suspects = if primary.is_empty() { others } else { primary };
        suspects.iter().any(|process| process.silent_for(self.now.get()) > SILENCE)
    }

    pub(crate) fn acquire(&self, process: &Process, driver: &mut Driver, over: Epoch) -> Result<(), LogError> {
        self.note(|| format!("{} takes over from epoch {over}", process.id));
        let me = EpochBody { replica: ReplicaIndex(process.place.replica), engine: self.engine(process.place) };
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
        let events = Box::new(move |_, event| {
            let mut reports = reports.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            reports.push_back(event);
        });
        process.taking_over.set(true);
        let acquired = tail.acquire_by_turns(over, me, self.clock(process), events);
        process.taking_over.set(false);
        match acquired {
            Ok((Acquired { records, epoch, writer }, turns)) => {
                for record in &records {
                    self.note_durable(process, record);
                }
                self.witness.borrow_mut().engines.on_acquired(process.uuid, epoch, me.engine);
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

    /// Who runs, as far as others have heard of it.
    pub(crate) fn look_at_others(&self, process: &Process, driver: &mut Driver) -> Result<(), LogError> {
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
            running.push(Other { replica, role, applied, ready: other.ready.get(), heartbeat_age });
        }
        let fence = driver.log.head()?.epoch;
        let is_known = !self.storm.get() || !self.dice().percent(2);
        let others = Input::Others { running: is_known.then_some(running), fence };
        // A store that others share may take its time.
        driver.hands.others = None;
        if self.dice().percent(50) {
            self.give(process, driver, others);
        } else {
            driver.hands.others = Some(others);
            self.put_in(LOOK_TAKES, Event::Looked(process.id));
        }
        Ok(())
    }

    /// What was seen is heard of, unless it was looked again.
    pub(crate) fn hear_of_others(&self, process: &Process) {
        {
            let mut driver = process.driver.borrow_mut();
            let driver = driver.as_mut().expect("it has asked for this");
            let Some(others) = driver.hands.others.take() else { return };
            self.step(process, driver, others);
        }
        self.plan_delivery(process);
    }
}
