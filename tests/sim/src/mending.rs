//! Instances that stand at a record which their code can't handle, and what operators do about it.

use ambrosia_core::{
    DeliverBody, Fault, Lsn, Skip,
    member::{Change, MemberInput, Wish},
};
use ambrosia_storage::{LogError, is_mended_in_log};

use crate::{
    agenda::Event,
    model::{POISONED, poison},
    options::{FaultKind, MILLISECOND},
    process::{Driver, Process},
    sim::{Instance, Sim},
};

/// Once the storm is over operators look this often who stands.
const LOOK: (u64, u64) = (20 * MILLISECOND, 100 * MILLISECOND);

impl Sim {
    /// A guest could not handle that record: whether the log behind it has a mend, and what is wished.
    pub(crate) fn look_for_mend(
        &self,
        process: &Process,
        driver: &mut Driver,
        lsn: Lsn,
        link: u64,
    ) -> Result<(), LogError> {
        let is_mended = is_mended_in_log(&driver.log, lsn, Some(link))?;
        if is_mended {
            process.knows_mended.set(lsn);
            self.witness.borrow_mut().counts.mends_found += 1;
        }
        let wish = self.wish_of(process);
        self.note(|| format!("{} has failed at {lsn}, which is mended: {is_mended}, wished: {wish:?}", process.id));
        self.give(process, driver, MemberInput::Mending { is_mended, wish });
        Ok(())
    }

    /// A replica says that the instance stands.
    pub(crate) fn note_halt(&self, process: &Process, fault: &Fault, lsn: Lsn) {
        assert_eq!(fault.reason, POISONED, "the model does not fail, and did at lsn {lsn}");
        assert_ne!(process.knows_mended.get(), lsn, "who knows that a record is mended does not stand there");
        let mut instances = self.instances.borrow_mut();
        let instance = &mut instances[process.place.instance];
        if instance.uuid == process.uuid && lsn > instance.wishes.mended_at {
            instance.wishes.halted = Some(lsn);
        }
    }

    /// A primary is spoken to: whatever was said of a halt before that is old news.
    pub(crate) fn note_reign(&self, process: &Process, applied: Lsn) {
        let mut instances = self.instances.borrow_mut();
        let instance = &mut instances[process.place.instance];
        if instance.uuid == process.uuid {
            instance.wishes.halted.take_if(|at| *at < applied);
        }
    }

    /// Whether no process may be started, since the instance stands and nobody wants to mend that.
    pub(crate) fn is_refused(&self, instance: &Instance) -> bool {
        let is_mended = |lsn| self.witness.borrow().logs.is_mended(instance.uuid, lsn);
        instance.wishes.wanted.is_none() && instance.wishes.halted.is_some_and(|lsn| !is_mended(lsn))
    }

    /// Once the storm is over operators see to it that nobody stands for long.
    pub(crate) fn mend_all(&self) {
        self.put_in(LOOK, Event::Operate);
        for number in 0..self.options.instances {
            if let Some((lsn, messages)) = self.poison_of(number) {
                let mut instances = self.instances.borrow_mut();
                let wishes = &mut instances[number].wishes;
                if wishes.wanted.is_some() {
                    continue;
                }
                let skip = Skip { attempt: wishes.next(), messages };
                self.note(|| format!("an operator skips messages {:?} of {lsn} of i{number}", skip.messages));
                wishes.wish(wish(lsn, skip));
                self.witness.borrow_mut().counts.wishes += 1;
                drop(instances);
                self.tell_all(number);
            }
        }
    }

    /// An operator wants messages skipped, mostly those that have to be.
    pub(crate) fn draw_mend(&self, number: usize) -> Option<Wish> {
        if !self.options.has(FaultKind::Poison) {
            return None;
        }
        let (mut lsn, mut messages) = self.poison_of(number)?;
        let attempt = self.instances.borrow()[number].wishes.next();
        let mut dice = self.dice();
        match dice.below(10) {
            // An upgrade is to mend it.
            0..=4 if self.options.has(FaultKind::Upgrade) => return None,
            5 => lsn = Lsn(lsn.0 + 1),
            6 => messages.push(u32::from(u16::MAX)),
            7 if messages.len() > 1 => {
                messages.pop();
            }
            _ => {}
        }
        Some(wish(lsn, Skip { attempt, messages }))
    }

    /// Where an instance stands, as far as was said, and which messages there are poison.
    fn poison_of(&self, number: usize) -> Option<(Lsn, Vec<u32>)> {
        let instances = self.instances.borrow();
        let Instance { uuid, wishes, .. } = &instances[number];
        let lsn = wishes.halted?;
        let witness = self.witness.borrow();
        if witness.logs.is_mended(*uuid, lsn) {
            return None;
        }
        let record = &witness.logs.records(*uuid)[lsn.0 as usize - 1];
        let body = DeliverBody::decode(record.body()).expect("it was checked");
        Some((lsn, poison(body.runs)))
    }
}

fn wish(lsn: Lsn, skip: Skip) -> Wish {
    Wish { change: Change::Skip { lsn, skip }, wait: std::time::Duration::ZERO, hold: false, is_cancelled: false }
}
