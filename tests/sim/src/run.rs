//! One run: a storm, then calm, in which everything must come right.

use std::{fmt, rc::Rc};

use crate::{
    agenda::Event,
    counts::Counts,
    machine,
    options::{MILLISECOND, Options},
    panics::caught,
    sim::{MakeGuest, OnStage, Sim},
};

/// What a run that held all its promises has seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// How often what happened.
    pub counts: Counts,
    /// Simulated nanoseconds.
    pub simulated: u64,
    /// Two runs that did the same have the same.
    pub fingerprint: u64,
    /// Events.
    pub events: u64,
    /// The last lines of what happened, if they were asked for.
    pub trace: Vec<String>,
}

/// A promise that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The promise, and how it was broken.
    pub what: String,
    /// Where that was found, as a place in the source.
    pub place: String,
    /// Simulated nanoseconds until then.
    pub simulated: u64,
    /// The last lines of what happened, if they were asked for.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (after {} ms, {})", self.what, self.simulated / MILLISECOND, self.place)
    }
}

/// Runs one seed from beginning to end.
pub fn run(seed: u64, options: &Options, make_guest: Rc<MakeGuest>, traced: bool) -> Result<Report, Failure> {
    let sim = Rc::new(Sim::new(seed, options.clone(), make_guest, traced));
    machine::set_stage(Some(Rc::new(OnStage(Rc::clone(&sim)))));
    let result = match caught(|| weather(&sim)) {
        Ok(()) => Ok(Report {
            counts: sim.witness.borrow().counts,
            simulated: sim.simulated(),
            fingerprint: sim.fingerprint(),
            events: sim.agenda.borrow().count(),
            trace: sim.trace(),
        }),
        Err((what, place)) => Err(Failure { what, place, simulated: sim.simulated(), trace: sim.trace() }),
    };
    sim.end();
    machine::set_stage(None);
    result
}

fn weather(sim: &Sim) {
    sim.begin();
    sim.put_in(sim.options.calm, Event::Fault);
    if sim.has_wishes() {
        sim.put_in(sim.options.calm, Event::Operate);
    }
    sim.run_until(sim.now.get() + sim.options.storm);
    sim.calm_down();
    sim.come_to_rest();
    sim.check_rest();
    sim.restart_all();
    sim.come_to_rest();
    sim.check_rest();
    sim.check_trimming();
    sim.count_work();
    sim.check_answers_last();
    if sim.dice().percent(30) {
        sim.check_exit();
    }
}
