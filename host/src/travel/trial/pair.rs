//! The old code and the new one beside each other, record by record.
//!
//! **Architecture Invariant:** the old code gets what the log has, and does what it did when that was written. The new code gets
//! the same, and is never told of what only the old code brought about.

use std::collections::BTreeSet;

use ambrosia_core::{
    Bind, CallId, Delivered, Fault, Guest, InstanceName, Lsn, MessageKind, Outcome, PeerIndex, RecordKind, Timestamp,
    World,
};
use ambrosia_engine::HandedOver;

use super::{
    DIFFERENCES_MAX, Difference, NoTrial, Trial, TrialProgress, TrialStretch, TrialTrap,
    comparison::{Brought, Change, Sent, compare, read, why_it_ends},
    delivery::{Delivery, TrialMessage, count, message_at, timers, translated},
    twins::Twins,
};
use crate::travel::{
    observed::Execution,
    stretch::Replica,
    traveller::{Moment, Traveller},
};

/// Who a guest of the SDK says the message is by, when it panics.
const NAMES_MESSAGE: &str = "in message ";

/// See the head of the file.
pub(super) struct Pair {
    old: Traveller,
    /// Its guest is the new code; what else it has is that of the hand-over.
    new: Replica,
    /// That of the new code.
    world: World,
    me: InstanceName,
    twins: Twins,
    /// Timers that only the new code has set.
    own_timers: BTreeSet<(Timestamp, CallId)>,
    delivered: Delivered,
    has_told_of_one: bool,
}

/// What the two codes made of a delivery.
struct Both<'a> {
    lsn: Lsn,
    execution: &'a Execution,
    delivery: &'a Delivery,
    /// What the new code brought about.
    effects: &'a [u8],
}

impl Pair {
    /// What the old code waits for at the hand-over the new code waits for under the same ids.
    pub(super) fn new(old: Traveller, new: Replica, world: World) -> Pair {
        let mut twins = Twins::default();
        let replica = old.replica();
        replica.open_calls().for_each(|(id, _)| twins.pair(id, id));
        replica.timers().for_each(|(_, id)| twins.pair(id, id));
        let me = replica.genesis().name.clone();
        Pair {
            old,
            new,
            world,
            me,
            twins,
            own_timers: BTreeSet::new(),
            delivered: Delivered::default(),
            has_told_of_one: false,
        }
    }

    /// What it took to make the new code of the old.
    pub(super) fn cost(&self) -> Option<HandedOver> {
        self.new.guest().guest.handed_over()
    }

    /// The old code, where it got to.
    pub(super) fn into_traveller(self) -> Traveller {
        self.old
    }

    /// Takes in what the new code brought about as it took over. Returns that, and whether it has called anybody.
    pub(super) fn note_handover(&mut self, execution: Execution) -> (Vec<Change>, bool) {
        let Execution { effects, prints, .. } = execution;
        self.delivered.prints = prints;
        let peers = &self.world.peers;
        let sent = read(&effects, |peer| peers.name(peer)).expect("the core has taken them");
        let changes = compare(&[], &sent, &self.me, &mut self.twins);
        for change in &changes {
            if let Change::New(brought) = change
                && brought.kind == MessageKind::CancelTimer
            {
                self.twins.forget_new(brought.call_id);
            }
        }
        self.note_timers(&changes);
        let calls = |change: &Change| matches!(change, Change::New(brought) if brought.kind == MessageKind::Call);
        let calls = changes.iter().any(calls);
        // That timers of the old code end is no news for anybody.
        let is_seen = |change: &Change| !matches!(change, Change::New(Brought { kind: MessageKind::CancelTimer, .. }));
        (changes.into_iter().filter(is_seen).collect(), calls)
    }

    /// Tells what the new code has printed at that record.
    pub(super) fn tell_prints(&mut self, lsn: Lsn, tell: &mut dyn FnMut(TrialProgress<'_>)) {
        let prints = std::mem::take(&mut self.delivered.prints);
        if !prints.is_empty() {
            tell(TrialProgress::Printed(lsn, &prints));
        }
    }

    /// Gives both the next record. False at the end of the trial.
    pub(super) fn step(
        &mut self,
        trial: &mut Trial,
        stretch: TrialStretch,
        tell: &mut dyn FnMut(TrialProgress<'_>),
    ) -> Result<bool, NoTrial> {
        let is_over = match stretch {
            TrialStretch::Last(_) => false,
            TrialStretch::From(_, to) => trial.different > 0 || to.is_some_and(|to| self.old.lsn() >= to),
        };
        if is_over || !self.old.step()? {
            return Ok(false);
        }
        let stepped = self.follow(trial);
        self.tell_prints(self.old.lsn(), tell);
        stepped
    }

    /// Gives the new code the record at which the old one stands.
    fn follow(&mut self, trial: &mut Trial) -> Result<bool, NoTrial> {
        let Moment { record: Some(record), execution } = self.old.moment().clone() else { return Ok(true) };
        if record.header().kind == RecordKind::Bind {
            let bind = Bind::decode(record.body()).expect("the record was checked when it was read");
            self.world.peers.attach(&bind.name);
        }
        if matches!(record.header().kind, RecordKind::Upgrade | RecordKind::Mend) {
            trial.ended = Some((record.lsn(), "the instance itself was upgraded or mended there".to_owned()));
            return Ok(false);
        }
        let Some(execution) = execution.filter(|execution| !execution.runs.is_empty()) else { return Ok(true) };
        let lsn = record.lsn();
        self.world.time = record.header().time;
        if !self.deliver_own_timers(lsn, trial) {
            return Ok(false);
        }
        trial.deliveries += 1;
        trial.messages += u64::from(count(&execution.runs));
        let replica = self.old.replica();
        let name = |peer| replica.peer_name(peer);
        let delivery = translated(&execution.runs, &self.me, name, &mut self.world.peers, &mut self.twins);
        let Some(delivery) = delivery else {
            trial.ended = Some((lsn, "the new code knows too many peers".to_owned()));
            return Ok(false);
        };
        if let Err(fault) = self.deliver(&delivery.runs) {
            trial.trap = Some(self.trap(lsn, &execution.runs, &delivery.numbers, fault));
            return Ok(false);
        }
        if let Some(Outcome::Halted { fault, lsn: at }) = self.old.replica().outcome()
            && *at == lsn
        {
            let numbers: Vec<_> = (0..count(&execution.runs)).collect();
            trial.mended = Some(self.trap(lsn, &execution.runs, &numbers, fault.clone()));
            return Ok(false);
        }
        let effects = std::mem::take(&mut self.delivered.effects);
        Ok(self.compare(&Both { lsn, execution: &execution, delivery: &delivery, effects: &effects }, trial))
    }

    /// What the new code does with some runs; what it brings about is in `delivered`, behind what it printed before.
    fn deliver(&mut self, runs: &[u8]) -> Result<(), Fault> {
        self.delivered.effects.clear();
        if runs.is_empty() {
            return Ok(());
        }
        self.new.guest_mut().guest.deliver(runs, &mut self.world, &mut self.delivered)?;
        let peers = &self.world.peers;
        let sound = read(&self.delivered.effects, |peer| peers.name(peer));
        sound.map(|_| ()).map_err(|error| Fault::because(format!("the guest returned bad effects: {error}")))
    }

    fn trap(&self, lsn: Lsn, runs: &[u8], numbers: &[u32], fault: Fault) -> TrialTrap {
        let number = match numbers {
            [only] => Some(*only),
            _ => message_named(&fault.reason).and_then(|at| numbers.get(at).copied()),
        };
        let message = number.and_then(|number| self.message(runs, number));
        TrialTrap { lsn, message, fault }
    }

    fn message(&self, runs: &[u8], number: u32) -> Option<TrialMessage> {
        let replica = self.old.replica();
        message_at(runs, number, |peer| replica.peer_name(peer))
    }

    /// Compares message by message. False if the log can't be followed behind that.
    fn compare(&mut self, both: &Both<'_>, trial: &mut Trial) -> bool {
        let Both { lsn, execution, delivery, effects } = both;
        let replica = self.old.replica();
        let before = read(&execution.effects, |peer| replica.peer_name(peer));
        let before = before.expect("the core has taken them");
        let peers = &self.world.peers;
        let mut after = read(effects, |peer: PeerIndex| peers.name(peer)).expect("they were read before");
        // By the numbers of the record.
        let last = delivery.numbers.last().copied().unwrap_or_default();
        after
            .iter_mut()
            .for_each(|sent| sent.cause = delivery.numbers.get(sent.cause as usize).copied().unwrap_or(last));
        let (mut found, mut twins) = (Vec::new(), std::mem::take(&mut self.twins));
        for (number, before, after) in by_message(&before, &after) {
            let mut changes = compare(before, after, &self.me, &mut twins);
            let is_left_out = delivery.numbers.binary_search(&number).is_err();
            if is_left_out {
                changes.retain(|change| !is_of_timers(change));
            }
            if !changes.is_empty() {
                found.push((number, is_left_out, changes));
            }
        }
        self.twins = twins;
        let different = found.iter().filter(|(_, is_left_out, _)| !is_left_out).count();
        trial.same += (delivery.numbers.len() - different) as u64;
        trial.left_out += u64::from(count(&execution.runs)) - delivery.numbers.len() as u64;
        for (number, is_left_out, changes) in found {
            let message = self.message(&execution.runs, number);
            self.note(Difference { lsn: *lsn, message, changes }, is_left_out, trial);
        }
        trial.ended.is_none()
    }

    /// Of what comes of messages that only one of the codes gets, as of the ticks of a clock, one difference is told.
    fn note(&mut self, difference: Difference, is_of_one: bool, trial: &mut Trial) {
        self.note_timers(&difference.changes);
        if let (None, Some(why)) = (&trial.ended, why_it_ends(&difference.changes, &self.me)) {
            trial.ended = Some((difference.lsn, why));
        }
        trial.different += 1;
        let is_told = trial.differences.len() < DIFFERENCES_MAX && !(is_of_one && self.has_told_of_one);
        self.has_told_of_one |= is_of_one;
        if is_told {
            trial.differences.push(difference);
        }
    }

    /// Timers that only the new code sets end when they are due, beside what the log has.
    fn note_timers(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::New(brought) if brought.kind == MessageKind::SetTimer => {
                    self.own_timers.retain(|(_, id)| *id != brought.call_id);
                    if let Ok(due) = brought.arguments.as_slice().try_into().map(u64::from_le_bytes) {
                        self.own_timers.insert((Timestamp(due), brought.call_id));
                    }
                }
                Change::New(brought) if brought.kind == MessageKind::CancelTimer => {
                    self.own_timers.retain(|(_, id)| *id != brought.call_id);
                }
                _ => {}
            }
        }
    }

    /// Those that are due. False if the trial ends by what comes of them.
    fn deliver_own_timers(&mut self, lsn: Lsn, trial: &mut Trial) -> bool {
        let now = self.world.time;
        let due: Vec<_> = self.own_timers.iter().take_while(|(due, _)| *due <= now).map(|(_, id)| *id).collect();
        if due.is_empty() {
            return true;
        }
        self.own_timers.retain(|(due, _)| *due > now);
        trial.own_timers += due.len() as u64;
        if let Err(fault) = self.deliver(&timers(&due).runs) {
            trial.trap = Some(TrialTrap { lsn, message: None, fault });
            return false;
        }
        let effects = std::mem::take(&mut self.delivered.effects);
        let peers = &self.world.peers;
        let sent = read(&effects, |peer| peers.name(peer)).expect("they were read before");
        let changes = compare(&[], &sent, &self.me, &mut self.twins);
        if changes.iter().any(|change| !is_of_timers(change)) {
            self.note(Difference { lsn, message: None, changes }, true, trial);
        } else {
            self.note_timers(&changes);
        }
        trial.ended.is_none()
    }
}

/// Whether only one of the codes sets a timer, or ends one.
fn is_of_timers(change: &Change) -> bool {
    let (Change::Gone(brought) | Change::New(brought)) = change else { return false };
    matches!(brought.kind, MessageKind::SetTimer | MessageKind::CancelTimer)
}

/// The effects of both by their message.
fn by_message<'a, 'b>(
    mut before: &'b [Sent<'a>],
    mut after: &'b [Sent<'a>],
) -> impl Iterator<Item = (u32, &'b [Sent<'a>], &'b [Sent<'a>])> {
    std::iter::from_fn(move || {
        let cause = before.first().into_iter().chain(after.first()).map(|sent| sent.cause).min()?;
        let of_old = before.partition_point(|sent| sent.cause == cause);
        let of_new = after.partition_point(|sent| sent.cause == cause);
        let (old, new) = (&before[..of_old], &after[..of_new]);
        (before, after) = (&before[of_old..], &after[of_new..]);
        Some((cause, old, new))
    })
}

/// The number of the message in the delivery, if the reason of a fault says it: a panic does.
pub fn message_named(reason: &str) -> Option<usize> {
    let (_, rest) = reason.split_once(NAMES_MESSAGE)?;
    rest.split(' ').next()?.parse().ok()
}
