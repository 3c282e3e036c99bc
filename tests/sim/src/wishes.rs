//! What operators wish of an instance, and what becomes of it: the registry, and whoever writes to it.

use std::{collections::BTreeMap, time::Duration};

use ambrosia_core::{
    Epoch, InstanceUuid, Limits, Lsn, Mend, Record, Remedy, Upgrade,
    member::{Change, Wish, WishOutcome},
};

use crate::{
    agenda::Event,
    ids::ProcessId,
    life::Input,
    model::{Behaviour, Code},
    options::{FaultKind, MILLISECOND},
    process::Process,
    sim::Sim,
};

/// Who looks at the registry sees what was written to it after this time.
const WATCH: (u64, u64) = (0, 20 * MILLISECOND);
/// A module is at hand after this time.
const PREPARE: (u64, u64) = (0, 60 * MILLISECOND);
/// Something is written to the registry.
const WRITE: (u64, u64) = (0, 10 * MILLISECOND);
/// How long a primary waits for handlers.
const WAIT: (u64, u64) = (100 * MILLISECOND, 3_000 * MILLISECOND);

/// What the registry has of an instance's code.
#[derive(Default)]
pub(crate) struct Wishes {
    /// The wish that stands, and the reign that sees to it.
    pub(crate) wanted: Option<(Wish, Option<Epoch>)>,
    attempts: u64,
    /// What the instance runs, as far as was said. It follows the log.
    current: Code,
    deployed: Vec<Code>,
    /// What was said of each wish.
    answers: BTreeMap<u64, WishOutcome>,
    /// The record at which the instance stands, as far as was said.
    pub(crate) halted: Option<Lsn>,
    /// The last mend that was said to be done: what is said of a halt before that is old news.
    pub(crate) mended_at: Lsn,
}

/// What a process does with a wish that takes its time.
#[derive(Clone, Debug)]
pub(crate) enum WishStep {
    /// It looks what is wished.
    Look,
    /// A module is at hand.
    Prepared(u64),
    Claim(u64, Epoch),
    /// What became of a wish is written.
    Settle,
}

impl Sim {
    /// An operator wishes something, takes a wish back, or leaves it alone.
    pub(crate) fn operate(&self) {
        if !self.storm.get() {
            return self.mend_all();
        }
        self.put_in(self.options.calm, Event::Operate);
        let number = self.dice().below(self.options.instances as u64) as usize;
        if self.instances.borrow()[number].is_finished {
            return;
        }
        let Some(wish) = self.draw_mend(number).or_else(|| self.draw_wish(number)) else { return };
        {
            let mut instances = self.instances.borrow_mut();
            let wishes = &mut instances[number].wishes;
            match &mut wishes.wanted {
                None => {
                    self.note(|| format!("an operator wishes {:?} of i{number}", wish.change));
                    wishes.wish(wish);
                    self.witness.borrow_mut().counts.wishes += 1;
                }
                Some(_) if self.dice().percent(50) => return,
                Some((wish, Some(_))) => wish.is_cancelled = true,
                Some((_, None)) => wishes.wanted = None,
            }
        }
        self.tell_all(number);
    }

    fn draw_wish(&self, number: usize) -> Option<Wish> {
        if !self.options.has(FaultKind::Upgrade) {
            return None;
        }
        let instances = self.instances.borrow();
        let Wishes { attempts, current, deployed, .. } = &instances[number].wishes;
        let attempt = attempts + 1;
        let mut dice = self.dice();
        let behaviour =
            if dice.percent(50) { Behaviour::Takes } else { dice.pick(Behaviour::ALL).expect("there are some") };
        let fresh = Code { version: attempt as u32, behaviour };
        let to = match dice.below(10) {
            0 => *current, // with other limits
            1 => dice.pick(deployed).unwrap_or(fresh),
            _ => fresh,
        };
        let from = if dice.percent(5) { fresh } else { *current };
        let upgrade = Upgrade {
            attempt,
            from: from.module(),
            to: to.module(),
            limits: Limits { fuel: 1_000_000_000 + attempt, memory_bytes: 64 << 20 },
            handover_fuel: 1_000_000_000,
            end_waiting: dice.percent(20),
        };
        let (wait, hold) = (Duration::from_nanos(dice.spread(WAIT)), dice.percent(20));
        Some(Wish { change: Change::Upgrade(upgrade), wait, hold, is_cancelled: false })
    }

    /// The registry has changed: all replicas see it, each in its time.
    pub(crate) fn tell_all(&self, number: usize) {
        for process in self.living().iter().filter(|process| process.place.instance == number) {
            self.plan_wish(process.id, WATCH, WishStep::Look);
        }
    }

    pub(crate) fn plan_wish(&self, id: ProcessId, range: (u64, u64), step: WishStep) {
        self.put_in(range, Event::Wish(id, step));
    }

    pub(crate) fn prepare(&self, process: &Process, attempt: u64) {
        self.plan_wish(process.id, PREPARE, WishStep::Prepared(attempt));
    }

    pub(crate) fn claim(&self, process: &Process, attempt: u64, epoch: Epoch) {
        self.plan_wish(process.id, WRITE, WishStep::Claim(attempt, epoch));
    }

    pub(crate) fn settle_wish(&self, process: &Process, attempt: u64, epoch: Epoch, outcome: WishOutcome) {
        process.unsaid.borrow_mut().push_back((attempt, epoch, outcome));
        self.plan_wish(process.id, WRITE, WishStep::Settle);
    }

    /// A process goes on with a wish.
    pub(crate) fn on_wish(&self, process: &Process, step: WishStep) {
        let input = match step {
            WishStep::Look => Input::Wish(self.wish_of(process)),
            WishStep::Prepared(attempt) => {
                let fails = self.storm.get() && self.dice().percent(3);
                let result = if fails { Err("the module can't be read".to_owned()) } else { Ok(()) };
                Input::Prepared { attempt, result }
            }
            WishStep::Claim(attempt, epoch) => {
                let is_claimed = self.write_claim(process, attempt, epoch);
                Input::Claimed { attempt, epoch, is_claimed }
            }
            WishStep::Settle => return self.write_next_answer(process),
        };
        let mut driver = process.driver.borrow_mut();
        let Some(driver) = driver.as_mut() else { return };
        self.step(process, driver, input);
        if !process.dead.get() {
            self.plan_delivery(process);
        }
    }

    pub(crate) fn wish_of(&self, process: &Process) -> Option<Wish> {
        let instances = self.instances.borrow();
        let instance = &instances[process.place.instance];
        let wanted = instance.wishes.wanted.as_ref().filter(|_| instance.uuid == process.uuid);
        wanted.map(|(wish, _)| wish.clone())
    }

    /// By compare and swap: of the reigns that want to see to a wish the latest does.
    fn write_claim(&self, process: &Process, attempt: u64, epoch: Epoch) -> bool {
        if self.storm.get() && self.dice().percent(2) {
            return false; // the registry can't be written
        }
        let mut instances = self.instances.borrow_mut();
        let instance = &mut instances[process.place.instance];
        if instance.uuid != process.uuid {
            return false;
        }
        let Some((wish, claimed)) = &mut instance.wishes.wanted else { return false };
        if wish.attempt() != attempt || claimed.is_some_and(|by| by > epoch) {
            return false;
        }
        *claimed = Some(epoch);
        true
    }

    /// A process that ends in good order writes before what it has to say.
    pub(crate) fn write_answers(&self, process: &Process) {
        while !process.unsaid.borrow().is_empty() {
            self.write_next_answer(process);
        }
    }

    fn write_next_answer(&self, process: &Process) {
        let said = process.unsaid.borrow_mut().pop_front();
        let (attempt, epoch, outcome) = said.expect("each answer is written once");
        self.write_answer(process, attempt, epoch, outcome);
    }

    fn write_answer(&self, process: &Process, attempt: u64, epoch: Epoch, outcome: WishOutcome) {
        {
            let mut instances = self.instances.borrow_mut();
            let instance = &mut instances[process.place.instance];
            let wishes = &mut instance.wishes;
            let standing = wishes.wanted.as_ref().filter(|_| instance.uuid == process.uuid);
            let Some((wish, _)) =
                standing.filter(|(wish, claimed)| wish.attempt() == attempt && *claimed == Some(epoch))
            else {
                self.witness.borrow_mut().counts.answers_not_heard += 1;
                return;
            };
            self.note(|| format!("{} says of wish {attempt}: {outcome:?}", process.id));
            let code = match &wish.change {
                Change::Upgrade(upgrade) => Some(Code::of(upgrade.to)),
                Change::Skip { .. } => None,
            };
            self.check_answer(process.uuid, wish, &outcome);
            if let WishOutcome::Done(lsn) = outcome {
                wishes.current = code.unwrap_or(wishes.current);
                wishes.deployed.extend(code);
                wishes.go_on(lsn);
            }
            wishes.answers.insert(attempt, outcome);
            wishes.wanted = None;
        }
        self.tell_all(process.place.instance);
    }

    /// What is said of a wish is what the log says.
    fn check_answer(&self, uuid: InstanceUuid, wish: &Wish, outcome: &WishOutcome) {
        let mut witness = self.witness.borrow_mut();
        let done = witness.logs.fulfilled(uuid).into_iter().find(|(_, remedy)| remedy.attempt() == wish.attempt());
        match outcome {
            WishOutcome::Done(lsn) => {
                witness.counts.upgrades += 1;
                assert_eq!(done, Some((*lsn, remedy(wish))), "who says that a wish was fulfilled has it in the log");
            }
            WishOutcome::Refused(reason) => {
                witness.counts.upgrades_refused += 1;
                assert_eq!(done, None, "a wish was refused although it was fulfilled: {reason}");
            }
            WishOutcome::GivenUp(_) => {
                witness.counts.upgrades_given_up += 1;
                assert_eq!(done, None, "a wish was given up although it was fulfilled");
            }
        }
    }

    /// At rest no wish stands, each was answered by what the log says, and the registry has the module of the log.
    pub(crate) fn check_wishes(&self, number: usize) {
        let instances = self.instances.borrow();
        let (uuid, wishes) = (instances[number].uuid, &instances[number].wishes);
        let fulfilled = self.witness.borrow().logs.fulfilled(uuid);
        let module = |(_, remedy): &(Lsn, Remedy)| match remedy {
            Remedy::Upgrade(upgrade) => Some(Code::of(upgrade.to)),
            Remedy::Skip(_) => None,
        };
        let code = fulfilled.iter().filter_map(module).next_back().unwrap_or_default();
        assert_eq!(wishes.current, code, "the registry follows the log");
        assert_eq!(wishes.halted, None, "nobody says that i{number} stands, which goes on");
        let mut attempts: Vec<_> = fulfilled.iter().map(|(_, remedy)| remedy.attempt()).collect();
        for attempt in &attempts {
            let answer = wishes.answers.get(attempt);
            assert!(matches!(answer, Some(WishOutcome::Done(_))), "what was done is said: {attempt} {answer:?}");
        }
        assert!(attempts.is_sorted(), "wishes are fulfilled in their order");
        attempts.dedup();
        assert_eq!(attempts.len(), fulfilled.len(), "no wish is fulfilled twice");
    }

    /// Why a wish is not settled.
    pub(crate) fn unrest_of_wish(&self, number: usize) -> Option<String> {
        let instances = self.instances.borrow();
        let (wish, claimed) = instances[number].wishes.wanted.as_ref()?;
        Some(format!("wish {} of i{number} stands, claimed by {claimed:?}", wish.attempt()))
    }

    /// Whether operators wish anything in this run.
    pub(crate) fn has_wishes(&self) -> bool {
        self.options.has(FaultKind::Upgrade) || self.options.has(FaultKind::Poison)
    }
}

impl Wishes {
    /// The number of the next wish.
    pub(crate) fn next(&self) -> u64 {
        self.attempts + 1
    }

    /// A wish stands from now on.
    pub(crate) fn wish(&mut self, wish: Wish) {
        assert!(self.wanted.is_none() && wish.attempt() == self.next(), "one wish stands at a time");
        self.attempts = wish.attempt();
        self.wanted = Some((wish, None));
    }

    /// The instance has done something at that record: it does not stand before that.
    pub(crate) fn go_on(&mut self, lsn: Lsn) {
        self.mended_at = self.mended_at.max(lsn);
        self.halted.take_if(|at| *at <= lsn);
    }
}

/// What a wish becomes in the log.
fn remedy(wish: &Wish) -> Remedy {
    match &wish.change {
        Change::Upgrade(upgrade) => Remedy::Upgrade(*upgrade),
        Change::Skip { skip, .. } => Remedy::Skip(skip.clone()),
    }
}

/// The wish that a record fulfils, if it does.
pub(crate) fn fulfilled_by(record: &Record) -> Option<(Lsn, Remedy)> {
    let upgrade = Upgrade::of(record).expect("it was checked").map(Remedy::Upgrade);
    let mend = || Mend::of(record).expect("it was checked").map(|mend| mend.remedy);
    Some((record.lsn(), upgrade.or_else(mend)?))
}
