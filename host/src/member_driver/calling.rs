//! Methods that run by themselves: what the calendar says while this replica reigns.
//!
//! The times are those of the reign, as of timers: a wall clock that jumps moves none of them before the next reign. Which of them a method
//! has run for is in the log, so no reign repeats what another one has done.

use std::{collections::BTreeMap, time::Duration};

use ambrosia_calendar::{Calendar, ScheduleError, Told};
use ambrosia_core::{Lsn, MethodId, Record, Remedy, Timestamp, Traffic, Upgrade, member::MemberInput};
use ambrosia_methods::{Method, Methods};
use ambrosia_storage::{LogError, LogStore, time_since_boot};
use ambrosia_wire::Control;

use super::MemberDriver;
use crate::{
    driver::{Driver, Replica},
    run::RunError,
    running_code::change_by,
};

/// The first record behind genesis: it begins the first reign.
const FIRST_REIGN: Lsn = Lsn(2);

/// A log that is trimmed meanwhile is looked at again so often.
const TRIES_MAX: u32 = 5;

impl MemberDriver {
    /// The schedules of the module that runs hold from here on, of a reign that has just begun.
    pub(super) fn begin_calendar(&mut self) -> Result<(), RunError> {
        let methods = self.driver.methods.get();
        self.calendar = Calendar::default();
        if methods.iter().all(|method| method.schedule.is_none()) {
            return Ok(());
        }
        let (driver, replica) = (self.driver.clone(), self.member.replica().expect("a primary has a replica"));
        let Some(now) = self.member.reign_time(time_since_boot()) else { return Ok(()) };
        let mut since = None;
        let done = replica.crons_done();
        let mut failed = None;
        let (calendar, errors) = Calendar::new(&methods, |method, timetable| {
            match done.get(&method) {
                // The usual case, which looks at no log: nothing has come since.
                Some(ran) if timetable.next_after(*ran).is_none_or(|next| next > now) => *ran,
                ran => {
                    let since = since.get_or_insert_with(|| Since::read(&driver, replica));
                    match since {
                        Ok(since) => since.of(&methods, method, ran.copied()),
                        Err(_) => now,
                    }
                }
            }
        });
        if let Some(Err(error)) = since {
            failed = Some(error);
        }
        self.calendar = calendar;
        tell(&errors);
        failed.map_or(Ok(()), Err)
    }

    /// Another module runs from here on.
    pub(super) fn follow_calendar(&mut self, methods: &Methods) {
        if let Some(now) = self.member.reign_time(time_since_boot()) {
            tell(&self.calendar.follow(methods, now));
        }
    }

    /// Tells the member which methods are due.
    pub(super) fn call_what_is_due(&mut self) {
        let member = &self.member;
        if !self.calendar.is_due(|| member.reign_time(time_since_boot())) {
            return;
        }
        let Some(replica) = member.replica().filter(|replica| replica.goes_on()) else { return };
        let Some(now) = member.reign_time(time_since_boot()) else { return };
        for Told { method, name, due } in self.calendar.take_due(now, replica.crons_done()) {
            if due.leaves_out {
                let runs = due.times.len();
                tracing::warn!(
                    method = name,
                    runs,
                    "times at which the method was to run were missed, more than it runs for now"
                );
            }
            for due in due.times {
                self.step(MemberInput::Traffic(Traffic::Cron { method, due }));
            }
        }
    }

    /// How long nothing is due.
    pub(super) fn until_due(&self) -> Option<Duration> {
        let replica = self.member.replica().filter(|replica| replica.goes_on())?;
        let now = self.member.reign_time(time_since_boot())?;
        self.calendar.wake_after(now, replica.crons_done())
    }

    /// What a connection is told that asks for the schedules.
    pub(super) fn schedules_told(&self) -> Vec<Control> {
        let none = BTreeMap::new();
        let done = self.member.replica().map_or(&none, |replica| replica.crons_done());
        let told = self.calendar.upcoming().map(|upcoming| Control::Schedule {
            method: upcoming.name.to_owned(),
            cron: upcoming.schedule.cron.clone(),
            zone: upcoming.schedule.zone.clone(),
            missed: upcoming.schedule.missed.word().to_owned(),
            next: upcoming.next.map(|next| next.0),
            done: done.get(&upcoming.method).map(|done| done.0),
        });
        told.chain([Control::SchedulesEnd]).collect()
    }
}

fn tell(errors: &[ScheduleError]) {
    for error in errors {
        tracing::error!("{error}. It does not run by itself here");
    }
}

/// Since when schedules hold, as the log tells.
struct Since {
    /// Since the first reign, or since the first record that is there if the log was trimmed.
    first: Timestamp,
    /// The last upgrade: when it was done, and the methods before it.
    upgrade: Option<(Timestamp, Methods)>,
}

impl Since {
    fn read(driver: &Driver, replica: &Replica) -> Result<Since, RunError> {
        let first = record_from(&*driver.log, FIRST_REIGN)?.header().time;
        Ok(Since { first, upgrade: last_upgrade(driver, replica.upgraded_at())? })
    }

    /// Until when the times of a method are not to be looked at, that has run for `ran`: what it had to do otherwise in the module
    /// before is no business of this one.
    fn of(&self, methods: &Methods, method: MethodId, ran: Option<Timestamp>) -> Timestamp {
        let schedule = |methods: &Methods| methods.by_id(method).and_then(|method: &Method| method.schedule.clone());
        let since = match (&self.upgrade, ran) {
            (Some((_, before)), Some(_)) if schedule(before) == schedule(methods) => Timestamp(0),
            (None, Some(_)) => Timestamp(0),
            (Some((at, _)), _) => *at,
            (None, None) => self.first,
        };
        since.max(ran.unwrap_or_default())
    }
}

/// When the upgrade of that record was done, and the methods before it. `None` if it is of no upgrade, or trimmed.
fn last_upgrade(driver: &Driver, lsn: Lsn) -> Result<Option<(Timestamp, Methods)>, RunError> {
    if lsn == Lsn(0) {
        return Ok(None);
    }
    let record = record_from(&*driver.log, lsn)?;
    if record.lsn() != lsn {
        return Ok(None);
    }
    let change = change_by(&record).map_err(|error| RunError::Record { lsn, error })?;
    let Some(Remedy::Upgrade(Upgrade { from, .. })) = change else { return Ok(None) };
    Ok(Some((record.header().time, driver.modules.methods(from)?)))
}

/// That record, or the first one that is there if that was trimmed.
fn record_from(log: &dyn LogStore, lsn: Lsn) -> Result<Record, RunError> {
    let (mut from, mut tries) = (lsn, 0);
    loop {
        tries += 1;
        match log.tail(from).and_then(|mut tail| tail.read()) {
            Ok(records) => return records.into_iter().next().ok_or(RunError::NoGenesis),
            Err(LogError::Missing { first, .. }) if tries < TRIES_MAX => from = first,
            Err(error) => return Err(error.into()),
        }
    }
}
