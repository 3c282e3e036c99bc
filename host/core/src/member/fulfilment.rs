//! How a primary carries out a wish.
//!
//! **Architecture Invariant:** an upgrade is tried between two deliveries and judged in memory. What becomes of the wish is
//! said once the record of the upgrade is durable, or once it is known that there will be none.

use core::time::Duration;

use super::{
    Change, Command, Context, Flow, Notice, OtherRole, Surroundings, Wish, WishOutcome, primary::Primary,
    wishes::Readiness,
};
use crate::{Epoch, Fault, Guest, Input, Lsn, Remedy, ReplicaIndex};

/// Standbys have this long to get the module; one that has not is told of, and loads it when it meets the record.
const READY_TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is tried again when the guest does not say how many handlers wait.
const TRY_INTERVAL: Duration = Duration::from_secs(1);

/// How far the primary of one reign is with a wish.
#[derive(Default)]
pub(super) struct Fulfilment {
    /// The wish at hand.
    attempt: u64,
    /// Since when.
    since: Duration,
    claim: Claim,
    /// Standbys that have had their time to get the module, and have not.
    late: Vec<ReplicaIndex>,
    /// The last try, and how many handlers waited then.
    tried: Option<(Duration, Option<u64>)>,
    /// Why the last try was put off.
    report: String,
    /// Whether the upgrade is in the log, and not known to be durable.
    is_appended: bool,
    /// Whether the reign has begun and nothing was delivered in it: then a wish comes first.
    is_first: bool,
}

/// Whether this reign sees to the wish, as the registry has it.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Claim {
    #[default]
    None,
    Asked,
    Held,
    /// Another reign does, or the registry could not be written, as was said then: it may be tried again.
    Refused(Duration),
}

/// What is to be done with a wish now.
enum Step {
    /// Nothing, before something comes in or that time has passed.
    Wait(Option<Duration>),
    Try,
    Settle(WishOutcome),
}

impl Fulfilment {
    /// For a reign that begins.
    pub(super) fn begin() -> Self {
        Fulfilment { is_first: true, ..Fulfilment::default() }
    }
}

impl<G: Guest> Primary<G> {
    /// Whether nothing is to be delivered before the wish was tried.
    pub(super) fn wish_comes_first(&self, context: &Context<'_, G>) -> bool {
        self.fulfilment.is_first && context.wishes.standing(self.epoch()).is_some()
    }

    /// Does with the wish what can be done now. True if something was.
    pub(super) fn fulfil(&mut self, context: &mut Context<'_, G>, surroundings: &Surroundings) -> bool {
        let Some(wish) = context.wishes.standing(self.epoch()).cloned() else {
            self.fulfilment.is_first = false;
            self.common.replica.hold_impulses(false);
            self.stand_still(context);
            return false;
        };
        if self.fulfilment.attempt != wish.attempt() {
            let is_first = self.fulfilment.is_first;
            self.fulfilment =
                Fulfilment { attempt: wish.attempt(), since: context.now, is_first, ..Fulfilment::default() };
        }
        self.common.replica.hold_impulses(wish.hold && self.fulfilment.tried.is_some());
        let step = self.next_step(context, surroundings, &wish);
        if matches!(step, Step::Wait(_)) || !self.has_claimed(context, wish.attempt()) {
            return false;
        }
        match step {
            Step::Wait(_) => unreachable!("seen above"),
            Step::Settle(outcome) => {
                self.fulfilment.is_first = false;
                self.common.replica.hold_impulses(false);
                context.settle_wish(wish.attempt(), self.epoch(), outcome);
            }
            Step::Try => self.try_wish(context, &wish),
        }
        true
    }

    /// How long nothing happens to the wish by itself.
    pub(super) fn until_wish(&mut self, context: &mut Context<'_, G>, surroundings: &Surroundings) -> Option<Duration> {
        let wish = context.wishes.standing(self.epoch())?;
        let wish = Some(wish).filter(|wish| wish.attempt() == self.fulfilment.attempt)?.clone();
        match self.next_step(context, surroundings, &wish) {
            Step::Wait(time) => time,
            Step::Try | Step::Settle(_) if self.fulfilment.claim == Claim::Held => Some(Duration::ZERO),
            Step::Try | Step::Settle(_) => self.until_claim(context.now),
        }
    }

    /// Whether this reign sees to the wish. If it may, and has not asked for that, it does.
    fn has_claimed(&mut self, context: &mut Context<'_, G>, attempt: u64) -> bool {
        if self.until_claim(context.now) == Some(Duration::ZERO) {
            self.fulfilment.claim = Claim::Asked;
            context.carry(Command::ClaimWish { attempt, epoch: self.epoch() });
        }
        self.fulfilment.claim == Claim::Held
    }

    /// How long before the wish may be claimed, anew if that was refused. `None` if it was, or the answer is still to come.
    fn until_claim(&self, now: Duration) -> Option<Duration> {
        match self.fulfilment.claim {
            Claim::None => Some(Duration::ZERO),
            Claim::Asked | Claim::Held => None,
            Claim::Refused(at) => Some(TRY_INTERVAL.saturating_sub(now.saturating_sub(at))),
        }
    }

    /// Whether this reign sees to the wish.
    pub(super) fn on_claimed(&mut self, context: &mut Context<'_, G>, attempt: u64, epoch: Epoch, is_claimed: bool) {
        if attempt != self.fulfilment.attempt || epoch != self.epoch() {
            return; // of another wish, or of an earlier reign
        }
        self.fulfilment.claim = if is_claimed { Claim::Held } else { Claim::Refused(context.now) };
        // A wish that can't be seen to keeps nobody from working.
        self.fulfilment.is_first &= is_claimed;
    }

    fn next_step(&mut self, context: &mut Context<'_, G>, surroundings: &Surroundings, wish: &Wish) -> Step {
        let replica = &self.common.replica;
        if self.fulfilment.is_appended {
            return Step::Wait(None); // for it to be durable
        }
        if replica.attempt() == wish.attempt() {
            // An earlier primary has done it, and could not say so.
            return Step::Settle(WishOutcome::Done(replica.upgraded_at()));
        }
        if let Some(refusal) = self.refusal(wish) {
            return Step::Settle(WishOutcome::Refused(refusal));
        }
        if wish.is_cancelled {
            return Step::Settle(WishOutcome::GivenUp("it was taken back".to_owned()));
        }
        match context.wishes.readiness() {
            Readiness::Asked => return Step::Wait(None),
            Readiness::Failed(reason) => return Step::Settle(WishOutcome::Refused(reason.clone())),
            Readiness::Ready => {}
        }
        if !surroundings.log_has_room || surroundings.output != Flow::Room || self.is_copying_ahead() {
            return Step::Wait(None); // each says when it is over
        }
        let waited = context.now.saturating_sub(self.fulfilment.since);
        let Some((at, waiting)) = self.fulfilment.tried else {
            return if self.standbys_are_ready(context, wish, waited) {
                Step::Try
            } else {
                Step::Wait(Some(super::LOOK_AGE_MAX))
            };
        };
        if waited >= wish.wait {
            return Step::Settle(WishOutcome::GivenUp(self.fulfilment.report.clone()));
        }
        let now_waiting = self.common.replica.waiting_handlers();
        let (pause, rest) = (context.now.saturating_sub(at), wish.wait - waited);
        let has_ended = now_waiting == Some(0) && waiting != Some(0);
        let may_have_ended = pause >= TRY_INTERVAL && (now_waiting.is_none() || now_waiting != waiting);
        if has_ended || may_have_ended {
            return Step::Try;
        }
        Step::Wait(Some(rest.min(TRY_INTERVAL.saturating_sub(pause).max(Duration::from_millis(1)))))
    }

    fn refusal(&self, wish: &Wish) -> Option<String> {
        let replica = &self.common.replica;
        if replica.outcome().is_some() {
            return Some("the instance has ended".to_owned());
        }
        if replica.attempt() > wish.attempt() {
            return Some("a later upgrade was done already".to_owned());
        }
        match (&wish.change, replica.void()) {
            (Change::Upgrade(upgrade), _) => (replica.module() != upgrade.from)
                .then(|| "the instance runs another module than the one that was to be replaced".to_owned()),
            (Change::Skip { lsn, .. }, Some(void)) if *lsn == void => None,
            (Change::Skip { lsn, .. }, Some(void)) => {
                Some(format!("the instance stands at lsn {void}, and messages of lsn {lsn} were to be skipped"))
            }
            (Change::Skip { lsn, .. }, None) => Some(format!("the instance does not stand at lsn {lsn}: it goes on")),
        }
    }

    /// Whether all standbys that are alive have the module, or have had their time. At the beginning of a reign there is
    /// no waiting for them: an instance that was down is to deliver nothing to the old code.
    fn standbys_are_ready(&mut self, context: &mut Context<'_, G>, wish: &Wish, waited: Duration) -> bool {
        if self.fulfilment.is_first || self.common.replica.void().is_some() {
            return true;
        }
        let silence = context.settings.silence;
        // What can't be found out keeps nobody waiting.
        let Some(others) = self.common.others.within(super::LOOK_AGE_MAX, context) else { return false };
        let late = |other: &&super::Other| {
            other.role == OtherRole::Standby && other.is_alive(silence) && other.ready != wish.attempt()
        };
        self.fulfilment.late = others.unwrap_or_default().iter().filter(late).map(|other| other.replica).collect();
        self.fulfilment.late.is_empty() || waited >= READY_TIMEOUT
    }

    fn try_wish(&mut self, context: &mut Context<'_, G>, wish: &Wish) {
        let waiting = self.common.replica.waiting_handlers();
        let is_first_try = self.fulfilment.tried.is_none();
        self.fulfilment.tried = Some((context.now, waiting));
        self.fulfilment.is_first = false;
        if !self.fulfilment.late.is_empty() {
            context.tell(Notice::NotReady(std::mem::take(&mut self.fulfilment.late)));
        }
        let now = self.time(context.now);
        let is_void = self.common.replica.void().is_some();
        let input = match wish.change.clone() {
            Change::Upgrade(upgrade) if is_void => Input::Mend { remedy: Remedy::Upgrade(upgrade), now },
            Change::Upgrade(upgrade) => Input::Upgrade { upgrade, now },
            Change::Skip { skip, .. } => Input::Mend { remedy: Remedy::Skip(skip), now },
        };
        self.input(context, input);
        // Whatever came of it, the guest was captured for it.
        self.on_handed_over();
        if self.common.replica.attempt() == wish.attempt() {
            self.fulfilment.is_appended = true;
            self.common.replica.hold_impulses(false);
            self.seal_upgrade(context);
            // It was not written while the instance stood, and other code may be the first that makes promises.
            self.configure(context);
        } else if is_first_try && !self.fulfilment.report.is_empty() {
            context.tell(Notice::UpgradeWaits { attempt: wish.attempt(), report: self.fulfilment.report.clone() });
        }
    }

    /// The upgrade is durable.
    pub(super) fn on_upgraded(&mut self, context: &mut Context<'_, G>, upgrade: crate::Upgrade, lsn: Lsn) {
        context.tell(Notice::Upgraded { upgrade, lsn });
        context.settle_wish(upgrade.attempt, self.epoch(), WishOutcome::Done(lsn));
    }

    /// Handlers wait that can't go on in the new code.
    pub(super) fn on_upgrade_waits(&mut self, report: String) {
        self.fulfilment.report = report;
    }

    /// The upgrade can't be done.
    pub(super) fn on_upgrade_refused(&mut self, context: &mut Context<'_, G>, attempt: u64, fault: Fault) {
        self.common.replica.hold_impulses(false);
        let report = report_of(&fault);
        context.tell(Notice::UpgradeRefused { attempt, fault });
        context.settle_wish(attempt, self.epoch(), WishOutcome::Refused(report));
    }
}

/// All of a fault as one text.
fn report_of(fault: &Fault) -> String {
    let Fault { reason, backtrace, stderr } = fault;
    let parts = [reason.as_str(), stderr.as_str(), backtrace.as_str()];
    parts.into_iter().map(str::trim_end).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}
