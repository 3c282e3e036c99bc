//! The trial of an upgrade: before it is wished for, the new code takes over a copy of the instance as it was some deliveries
//! ago, and both codes get what the log has from there on.
//!
//! **Architecture Invariant:** nothing of a trial is seen by anybody: the copies live in this process alone, and what they send
//! goes nowhere.

mod beginning;
mod comparison;
mod delivery;
mod pair;
mod twins;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ambrosia_core::{Fault, Input, InstanceName, Limits, Lsn, Output, Print, Upgrade, World};
use ambrosia_engine::{HandedOver as HandoverCost, Module, ModuleSource, WaitingHandler};
use ambrosia_storage::{LogError, Store};

use self::pair::Pair;
pub use self::{
    comparison::{Brought, Change},
    delivery::TrialMessage,
    pair::message_named,
};
use super::{error::TravelError, observed::Execution, stretch::Replica, traveller::Traveller};

/// The log may be trimmed while it is read; more often than that it is not.
const TRIES_MAX: u32 = 5;

/// Differences that are kept; of the rest there is only the count.
const DIFFERENCES_MAX: usize = 20;

/// So many times the fuel of a delivery each code has to hand over in a trial: enough for a state that is large, and still an
/// end for what loops.
const HANDOVER_SHARE: u64 = 4;

/// An upgrade that is to be tried.
pub struct TrialPlan<'a> {
    /// Where the instance is.
    pub store: &'a Arc<dyn Store>,
    /// The instance.
    pub instance: &'a InstanceName,
    /// SHA-256 of the module that it runs; `None` for whichever runs where the trial begins.
    pub from: Option<[u8; 32]>,
    /// SHA-256 of the module that it is to run.
    pub to: [u8; 32],
    /// The same module, compiled.
    pub module: Module,
    /// The limits that it is to have; `None` for those that it has where the trial begins.
    pub limits: Option<Limits>,
    /// Whether handlers that wait are ended.
    pub end_waiting: bool,
    /// What both codes are to get.
    pub stretch: TrialStretch,
}

/// A part of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrialStretch {
    /// So many of the last deliveries. All differences are told, and the hand-over is tried at the end of the log too.
    Last(u64),
    /// The records from one on, up to another one or the end of the log. The first difference ends it.
    From(Lsn, Option<Lsn>),
}

/// How far a trial is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrialProgress<'a> {
    /// The old code goes to where the trial begins: the record it is at, and that one.
    Going(Lsn, Lsn),
    /// Both codes get deliveries: how many they have got, of how many.
    Delivering(u64, u64),
    /// The new code has printed that, at that record.
    Printed(Lsn, &'a [Print]),
}

/// What became of a trial.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The record behind which the new code took over.
    pub begins_at: Lsn,
    /// What the hand-over there took; or why the new code could not take over, and then nothing was compared.
    pub handover: Result<Handover, Fault>,
    /// The same at the end of the log, with the state as it is now; `None` if handlers wait there.
    pub handover_now: Option<Result<Handover, Fault>>,
    /// Deliveries that both codes got.
    pub deliveries: u64,
    /// Messages in them.
    pub messages: u64,
    /// Messages that brought about the same.
    pub same: u64,
    /// How many others brought about something else.
    pub different: u64,
    /// The first of those.
    pub differences: Vec<Difference>,
    /// What the new code could not handle, which has ended the trial.
    pub trap: Option<TrialTrap>,
    /// What the old code could not handle, and the new code could.
    pub mended: Option<TrialTrap>,
    /// Why it ended before the end of the log, at which record.
    pub ended: Option<(Lsn, String)>,
    /// Ends of timers, and answers, that the new code does not wait for, and did not get.
    pub left_out: u64,
    /// Ends of timers that only the new code has set.
    pub own_timers: u64,
    /// The handlers that wait at the end of the log, in the old code; empty if none does, or it does not say.
    pub waiting: Vec<WaitingHandler>,
    /// All of it, with the way to where it began.
    pub took: Duration,
}

/// A hand-over that worked.
#[derive(Clone, Debug)]
pub struct Handover {
    /// How long a primary would have stood still for it.
    pub took: Duration,
    /// What it took; `None` if the module stays and only its limits change.
    pub cost: Option<HandoverCost>,
    /// What the new code brought about as it took over.
    pub changes: Vec<Change>,
    /// Whether it has called others, which answer nothing in a trial.
    pub calls: bool,
}

/// A message that brought about something else.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The record.
    pub lsn: Lsn,
    /// The message; `None` for the end of a timer that only the new code has set.
    pub message: Option<TrialMessage>,
    /// What is another one.
    pub changes: Vec<Change>,
}

/// A message that a code failed at.
#[derive(Clone, Debug)]
pub struct TrialTrap {
    /// The record.
    pub lsn: Lsn,
    /// The message, if it is known.
    pub message: Option<TrialMessage>,
    /// What it did wrong.
    pub fault: Fault,
}

/// Why there can't be a trial.
#[derive(Debug, thiserror::Error)]
pub enum NoTrial {
    /// The old code can't be brought to where the trial would begin.
    #[error(transparent)]
    Travel(#[from] TravelError),
    /// No hand-over is possible at any of the records.
    #[error("handlers wait at each of the last records, so nothing could be handed over there: {0}")]
    HandlersWait(String),
    /// The instance runs something else by now.
    #[error("the instance was upgraded meanwhile")]
    Upgraded,
}

impl From<LogError> for NoTrial {
    fn from(error: LogError) -> Self {
        NoTrial::Travel(error.into())
    }
}

impl Trial {
    /// Whether the new code has failed at something.
    pub fn has_failed(&self) -> bool {
        self.handover.is_err() || matches!(self.handover_now, Some(Err(_))) || self.trap.is_some()
    }

    /// Fuel that the hand-over should have, by what it takes with the state as it is now; `None` if that is not known.
    pub fn handover_fuel(&self) -> Option<u64> {
        let cost = self.handover_now.as_ref()?.as_ref().ok()?.cost?;
        Some(cost.save_fuel.max(cost.load_fuel).saturating_mul(2).saturating_add(FUEL_BEYOND))
    }
}

/// What a hand-over may take beyond twice that of the trial.
const FUEL_BEYOND: u64 = 1_000_000_000;

/// Tries an upgrade. It belongs on a thread with a stack for guests: [`super::with_stack_for_guests`].
///
/// # Errors
/// Why there can't be a trial, which says nothing of the upgrade.
pub fn try_upgrade(plan: &TrialPlan<'_>, tell: &mut dyn FnMut(TrialProgress<'_>)) -> Result<Trial, NoTrial> {
    let mut tries = 0;
    loop {
        tries += 1;
        match attempt(plan, tell) {
            Err(NoTrial::Travel(TravelError::Log(LogError::Missing { .. }))) if tries < TRIES_MAX => {}
            tried => return tried,
        }
    }
}

fn attempt(plan: &TrialPlan<'_>, tell: &mut dyn FnMut(TrialProgress<'_>)) -> Result<Trial, NoTrial> {
    let began = Instant::now();
    let mut traveller = Traveller::new(plan.store, plan.instance)?;
    let beginning = beginning::go_to(&mut traveller, plan, tell)?;
    let mut trial = Trial {
        begins_at: traveller.lsn(),
        handover: Err(Fault::because("")),
        handover_now: None,
        deliveries: 0,
        messages: 0,
        same: 0,
        different: 0,
        differences: Vec::new(),
        trap: None,
        mended: None,
        ended: None,
        left_out: 0,
        own_timers: 0,
        waiting: Vec::new(),
        took: Duration::ZERO,
    };
    match hand_over(&mut traveller, plan)? {
        HandedOver::Refused(fault) => trial.handover = Err(fault),
        HandedOver::Waits(report) => return Err(NoTrial::HandlersWait(report)),
        HandedOver::Done(taken_over) => {
            let (mut pair, handover) = taken_over.beside(traveller);
            trial.handover = Ok(handover);
            pair.tell_prints(trial.begins_at, tell);
            tell(TrialProgress::Delivering(0, beginning.deliveries));
            while trial.ended.is_none() && pair.step(&mut trial, plan.stretch, tell)? {
                tell(TrialProgress::Delivering(trial.deliveries, beginning.deliveries));
            }
            traveller = pair.into_traveller();
        }
    }
    if let TrialStretch::Last(_) = plan.stretch {
        look_at_the_end(traveller, plan, &mut trial)?;
    }
    trial.took = began.elapsed();
    Ok(trial)
}

/// What waits at the end of the log, and whether the new code can take over there.
fn look_at_the_end(mut traveller: Traveller, plan: &TrialPlan<'_>, trial: &mut Trial) -> Result<(), NoTrial> {
    let end = traveller.range().1;
    traveller.go_along(end)?;
    let waits = traveller.replica().waiting_handlers().is_some_and(|count| count > 0);
    if waits {
        trial.waiting = traveller.waiting_handlers()?;
    }
    // An instance that has ended hands nothing over where it stands.
    if traveller.replica().outcome().is_none() {
        trial.handover_now = match hand_over(&mut traveller, plan)? {
            HandedOver::Waits(_) => None,
            HandedOver::Refused(fault) => Some(Err(fault)),
            HandedOver::Done(taken_over) => Some(Ok(taken_over.beside(traveller).1)),
        };
    }
    Ok(())
}

/// What came of a hand-over.
enum HandedOver {
    Done(Box<TakenOver>),
    Refused(Fault),
    Waits(String),
}

/// The new code, just behind the hand-over.
struct TakenOver {
    replica: Replica,
    took: Duration,
    world: World,
    execution: Execution,
}

impl TakenOver {
    /// The new code beside the old.
    fn beside(self, old: Traveller) -> (Pair, Handover) {
        let TakenOver { replica, took, world, execution } = self;
        let mut pair = Pair::new(old, replica, world);
        let (changes, calls) = pair.note_handover(execution);
        let cost = pair.cost();
        (pair, Handover { took, cost, changes, calls })
    }
}

/// Hands a copy of the replica over to the new code, as a primary would.
fn hand_over(traveller: &mut Traveller, plan: &TrialPlan<'_>) -> Result<HandedOver, NoTrial> {
    let mut replica = match traveller.twin()? {
        Some(replica) => replica,
        None => {
            let mut other = Traveller::new(plan.store, plan.instance)?;
            other.seek(traveller.lsn())?;
            other.into_replica()
        }
    };
    let source = New { hash: plan.to, module: plan.module.clone() };
    replica.guest_mut().guest.set_source(Arc::new(source));
    replica.guest_mut().is_observed = true;
    let limits = plan.limits.unwrap_or(replica.limits());
    let upgrade = Upgrade {
        attempt: replica.attempt() + 1,
        from: replica.module(),
        to: plan.to,
        limits,
        handover_fuel: limits.fuel.saturating_mul(HANDOVER_SHARE),
        end_waiting: plan.end_waiting,
    };
    let (now, mut outputs) = (replica.time(), Vec::new());
    replica.step(Input::Elected, &mut outputs);
    let began = Instant::now();
    replica.step(Input::Upgrade { upgrade, now }, &mut outputs);
    let took = began.elapsed();
    for output in outputs {
        match output {
            Output::UpgradeRefused { fault, .. } => return Ok(HandedOver::Refused(fault)),
            Output::UpgradeWaits { report, .. } => return Ok(HandedOver::Waits(report)),
            _ => {}
        }
    }
    let observed = replica.guest_mut();
    let world = observed.upgraded_world.take().expect("it was observed");
    let execution = observed.execution.take().expect("it was observed");
    Ok(HandedOver::Done(Box::new(TakenOver { replica, took, world, execution })))
}

/// The modules of a trial beside those of the store.
struct New {
    hash: [u8; 32],
    module: Module,
}

impl ModuleSource for New {
    fn module(&self, hash: [u8; 32]) -> Result<Module, String> {
        (hash == self.hash).then(|| self.module.clone()).ok_or_else(|| "only one module is tried".to_owned())
    }
}
