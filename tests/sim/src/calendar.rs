//! The calendar, by which methods run, and the operator, who sets values.

use ambrosia_core::{Timestamp, Traffic, member::MemberInput};
use bytes::Bytes;

use crate::{
    agenda::Event,
    model::{CONFIGURED, TICK},
    options::MILLISECOND,
    process::Process,
    sim::Sim,
};

/// The method of the calendar is due this often.
const EVERY: u64 = 10 * MILLISECOND;
/// A value is changed this often.
const CHANGES: (u64, u64) = (20 * MILLISECOND, 500 * MILLISECOND);

impl Sim {
    /// The method is due. Whoever takes itself for the primary says so, sometimes of an earlier time.
    pub(crate) fn tick(&self, instance: usize) {
        if !self.storm.get() {
            return;
        }
        self.put_in((EVERY / 2, 2 * EVERY), Event::Tick(instance));
        let reigning = self.living().into_iter().filter(|process| process.place.instance == instance);
        for process in reigning {
            self.put_in(self.options.latency, Event::Due(process.id));
        }
    }

    pub(crate) fn on_due(&self, process: &Process) {
        self.at_reign(process, |driver| {
            let late = if self.dice().percent(20) { self.dice().below(3 * EVERY) } else { 0 };
            let due = Timestamp((self.now.get() - late) / EVERY * EVERY);
            self.step(process, driver, MemberInput::Traffic(Traffic::Cron { method: TICK, due }));
            self.plan_delivery(process);
        });
    }

    /// The operator sets another value, and tells everybody.
    pub(crate) fn configure(&self, instance: usize) {
        if !self.storm.get() {
            return;
        }
        self.put_in(CHANGES, Event::Configure(instance));
        self.instances.borrow_mut()[instance].configured += 1;
        for process in self.living().iter().filter(|process| process.place.instance == instance) {
            self.put_in(self.options.latency, Event::Configured(process.id));
        }
    }

    pub(crate) fn on_configured(&self, process: &Process) {
        let values = self.configuration(process);
        let mut driver = process.driver.borrow_mut();
        let Some(driver) = driver.as_mut() else { return };
        self.step(process, driver, MemberInput::Configure(values));
        if !process.dead.get() {
            self.plan_delivery(process);
        }
    }

    /// What the operator has set for the instance of that process.
    pub(crate) fn configuration(&self, process: &Process) -> std::collections::BTreeMap<String, Bytes> {
        let number = self.instances.borrow()[process.place.instance].configured;
        [(CONFIGURED.to_owned(), number.to_le_bytes().to_vec().into())].into()
    }

    /// At rest the log says what the operator has set, and until when the method has run.
    pub(crate) fn check_calendar(&self, instance: usize) {
        let configured = self.instances.borrow()[instance].configured;
        self.at_primary(instance, |_, driver| {
            let replica = driver.the_replica();
            let value = replica.configuration().values.get(CONFIGURED).map(|value| value.to_vec());
            assert_eq!(value, Some(configured.to_le_bytes().to_vec()), "what the operator has set is in the log");
            let done = replica.crons_done().get(&TICK).map_or(0, |done| done.0);
            assert_eq!(done, replica.guest().model().ticked, "a method has run until when it is said to have");
            let mut witness = self.witness.borrow_mut();
            witness.counts.ticks += u64::from(done > 0);
        });
    }
}
