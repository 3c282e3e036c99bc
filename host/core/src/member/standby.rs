//! A member that follows: it applies records as they become durable, and is ready to take over.

use core::time::Duration;
use std::collections::VecDeque;

use super::{
    Command, Context, Ending, MemberInput, Notice, Other, OtherRole, Stage,
    common::{Attempt, Common},
    mending::Void,
    primary::Primary,
    recovery::Recovery,
};
use crate::{Epoch, Guest, Lsn, Outcome, Record, Replica, Timestamp};

/// A member that follows.
pub(super) struct Standby<G> {
    pub(super) common: Common<G>,
    /// Records read and not applied yet.
    read: VecDeque<Record>,
    /// Whether it has had all that was durable, and is told of vacancies since.
    is_caught_up: bool,
    /// What it waits for.
    phase: Phase,
    /// A vacancy to be taken once it is known that the instance has not ended for good.
    vacancy: Option<Epoch>,
    /// A vacancy that is left to others first, and since when.
    left: Option<(Epoch, Duration)>,
    /// A vacancy that this replica may not take, since it is not known whether its engine does what that of the reign did.
    withheld: Option<Epoch>,
    /// What is durable, as far as is known; `None` before it has read once.
    durable: Option<Lsn>,
    /// The record that the guest could not handle.
    void: Option<Void>,
}

/// What a standby waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// For records.
    Read,
    /// Whether it becomes primary in place of the one of that reign.
    Acquire(Epoch),
    /// It is, and has records to apply before it reigns.
    Acquired(Epoch, Timestamp),
    /// It is, and may not be: what it found in the log shows that it can't know whether it does what was done. For the reign
    /// to end.
    GivingUp,
    /// Another one was faster: it reads on from where it was.
    Open,
    /// The log could not be reached: it reads on from where it was, from that time on.
    Away(Duration),
    /// Its guest could not handle a record: whether that is mended, or to be.
    Mending,
}

/// A log that can't be reached is opened again after so long.
const OPEN_AGAIN_AFTER: Duration = Duration::from_secs(1);

impl<G: Guest> Standby<G> {
    /// Begins to follow behind a replica that was built, of a checkpoint and the engine of its reign or of none; `records`
    /// come next in the log.
    pub(super) fn begin(
        context: &mut Context<'_, G>,
        replica: Replica<G>,
        checkpoint: Option<(Lsn, [u8; 32])>,
        records: Vec<Record>,
    ) -> Stage<G> {
        let common = Common::new(context, replica, checkpoint);
        let standby = Standby {
            common,
            read: records.into(),
            is_caught_up: false,
            phase: Phase::Read,
            vacancy: None,
            left: None,
            withheld: None,
            durable: None,
            void: None,
        };
        Box::new(standby).apply_read(context)
    }

    /// How long to wait for records before this member wants to be asked again.
    pub(super) fn wake_after(&self, context: &Context<'_, G>) -> Option<Duration> {
        if !self.is_caught_up {
            return Some(Duration::ZERO);
        }
        let until_left =
            self.left.map(|(_, since)| context.settings.silence.saturating_sub(context.now.saturating_sub(since)));
        let until_asked = self.doubt(context).and_then(|_| self.common.agreement.wake_after(context.now));
        let until_opened = if let Phase::Away(at) = self.phase { Some(at.saturating_sub(context.now)) } else { None };
        [until_left, until_asked, until_opened, self.common.queries.wake_after(context.now)].into_iter().flatten().min()
    }

    /// Has a log opened that could not be reached, once it is time.
    pub(super) fn open_again(&mut self, context: &mut Context<'_, G>) {
        if matches!(self.phase, Phase::Away(at) if at <= context.now) {
            self.open(context);
        }
    }

    fn open(&mut self, context: &mut Context<'_, G>) {
        self.phase = Phase::Open;
        context.carry(Command::Open(self.common.replica.applied().next()));
    }

    /// Answers queries that have waited for long enough.
    pub(super) fn answer_queries(&mut self, context: &mut Context<'_, G>) {
        self.common.queries.go_on(context.now, &mut self.common.replica, self.is_caught_up);
        self.common.queries.let_out(context);
    }

    /// Asks for a comparison, if whether this replica may take over depends on one.
    pub(super) fn ask_for_comparison(&mut self, context: &mut Context<'_, G>) {
        if self.is_caught_up && self.doubt(context).is_some() && self.common.agreement.asks(context.now) {
            context.carry(Command::AskForCheckpoint);
        }
    }

    /// The first record of which it is not known whether it has done here what was seen, if the operator minds.
    fn doubt(&self, context: &Context<'_, G>) -> Option<Lsn> {
        self.common.agreement.doubt().filter(|_| !context.settings.allow_engine_change)
    }

    pub(super) fn step(mut self: Box<Self>, context: &mut Context<'_, G>, input: MemberInput<G>) -> Stage<G> {
        match input {
            MemberInput::Read { records, durable, published } => {
                assert_eq!(self.phase, Phase::Read, "records are read while none of a reign are");
                self.common.schedule.on_checkpoint(published);
                if !self.is_caught_up {
                    // It may not have been seen, and counts as far away then, until it is.
                    self.durable = Some(durable);
                }
                self.read.extend(records);
                return self.apply_read(context);
            }
            MemberInput::Closed if self.phase == Phase::GivingUp => {
                context.carry(Command::Abandon);
                return Stage::Recovering(Box::new(Recovery::begin(context)));
            }
            MemberInput::Trimmed { first, published } => return self.on_trimmed(context, first, published),
            MemberInput::Vacant { over, is_stuck } => self.on_vacant(context, over, is_stuck),
            MemberInput::Mending { is_mended, wish } => return self.on_mending(context, is_mended, wish),
            MemberInput::Outcome { is_written_down } => return self.on_outcome(context, is_written_down),
            MemberInput::Acquired { epoch, records, wall } => {
                assert!(matches!(self.phase, Phase::Acquire(over) if over < epoch), "a reign follows the one it ends");
                self.phase = Phase::Acquired(epoch, wall);
                self.read.extend(records);
                return self.apply_read(context);
            }
            MemberInput::Contended => {
                assert!(matches!(self.phase, Phase::Acquire(_)), "only a candidate can be too late");
                self.open(context);
            }
            MemberInput::Away => {
                assert!(matches!(self.phase, Phase::Acquire(_) | Phase::Open), "nothing else needs the log at once");
                self.phase = Phase::Away(context.now + OPEN_AGAIN_AFTER);
            }
            MemberInput::Opened(_) => {
                assert_eq!(self.phase, Phase::Open, "the log is opened anew after a try to become primary");
                self.phase = Phase::Read;
                context.carry(Command::WatchOn);
                context.carry(Command::Read);
            }
            MemberInput::Others { running, fence } => self.on_others(context, running, fence),
            MemberInput::Checkpoint(event) => {
                let was_capturing = self.common.own.is_capturing();
                let _: Option<Attempt> = self.common.on_checkpoint(context, event);
                if was_capturing {
                    return self.apply_read(context);
                }
            }
            MemberInput::Query(query) => {
                self.common.queries.ask(context.now, &mut self.common.replica, self.is_caught_up, query);
                self.common.queries.let_out(context);
            }
            MemberInput::Shutdown => return self.end(context, Ending::Stopped { reigned: false }),
            MemberInput::StoreLost => return self.end(context, Ending::StoreLost),
            // Of an earlier reign, or of an earlier incarnation.
            MemberInput::Log { .. }
            | MemberInput::Fenced { .. }
            | MemberInput::Traffic(_)
            | MemberInput::Inquiry(_)
            | MemberInput::PeerLookedUp { .. }
            | MemberInput::CheckpointWanted(_)
            | MemberInput::Claimed { .. }
            | MemberInput::Closed => {}
            MemberInput::Listed { .. }
            | MemberInput::Loaded { .. }
            | MemberInput::Unusable { .. }
            | MemberInput::Made(_)
            | MemberInput::Wish(_)
            | MemberInput::Configure(_)
            | MemberInput::Prepared { .. } => panic!("a standby has begun, and did not ask for this"),
        }
        Stage::Following(self)
    }

    /// Applies what was read, up to a record that is to be captured, and goes on with what is due then.
    fn apply_read(mut self: Box<Self>, context: &mut Context<'_, G>) -> Stage<G> {
        while !self.common.own.is_capturing() {
            let Some(record) = self.read.pop_front() else { break };
            match self.common.apply(context, record) {
                Ok(()) => {}
                Err(Ending::Halted { fault, lsn }) => return self.on_halted(context, fault, lsn),
                Err(ending) => return self.end(context, ending),
            }
        }
        if self.common.own.is_capturing() {
            return Stage::Following(self); // its answer goes on
        }
        match self.phase {
            Phase::Acquired(epoch, wall) => match self.doubt(context) {
                None => return Primary::begin(context, self.common, epoch, wall),
                Some(since) => {
                    self.phase = Phase::GivingUp;
                    context.tell(Notice::EngineInDoubt { over: epoch, since });
                    context.carry(Command::Close);
                    return Stage::Following(self);
                }
            },
            Phase::Read => {}
            Phase::Acquire(_) | Phase::GivingUp | Phase::Open | Phase::Away(_) | Phase::Mending => {
                return Stage::Following(self);
            }
        }
        self.watch_when_caught_up(context);
        self.answer_queries(context);
        self.see_to_withheld(context);
        if self.phase != Phase::Read {
            return Stage::Following(self);
        }
        self.ask_for_comparison(context);
        // Whether the primary has seen to the last messages, and nothing is left to be done.
        if matches!(self.common.replica.outcome(), Some(Outcome::Finished { .. })) {
            context.carry(Command::LookAtOutcome);
        }
        if self.left.is_some() {
            self.common.others.ask(context);
        }
        context.carry(Command::Read);
        Stage::Following(self)
    }

    /// Only a replica that has all durable records may become primary: a takeover must not wait for a long replay.
    fn watch_when_caught_up(&mut self, context: &mut Context<'_, G>) {
        let applied = self.common.replica.applied();
        if !self.is_caught_up && self.durable.is_some_and(|durable| applied >= durable) {
            self.is_caught_up = true;
            context.tell(Notice::CaughtUp(applied));
            context.carry(Command::Watch);
        }
    }

    /// The log was trimmed beyond what this replica has: it had stopped for so long that nobody waited for it any more.
    fn on_trimmed(self, context: &mut Context<'_, G>, first: Lsn, published: Lsn) -> Stage<G> {
        let asked = self.common.replica.applied().next();
        if published < asked {
            return self.end(context, Ending::Overtaken { asked, first });
        }
        context.tell(Notice::BeginsAnew(asked));
        context.carry(Command::Abandon);
        Stage::Recovering(Box::new(Recovery::begin(context)))
    }

    fn on_vacant(&mut self, context: &mut Context<'_, G>, over: Epoch, is_stuck: bool) {
        assert!(self.is_caught_up, "only who has all that is durable is told of vacancies");
        if self.phase != Phase::Read || self.leave_to_others(context, over, is_stuck) {
            return;
        }
        self.take(context, over);
    }

    fn take(&mut self, context: &mut Context<'_, G>, over: Epoch) {
        if let Some(since) = self.doubt(context) {
            if self.withheld.replace(over) != Some(over) {
                context.tell(Notice::EngineInDoubt { over, since });
            }
            return;
        }
        if matches!(self.common.replica.outcome(), Some(Outcome::Finished { .. })) {
            self.vacancy = Some(over);
            return context.carry(Command::LookAtOutcome);
        }
        self.acquire(context, over);
    }

    /// What becomes of a vacancy that this replica might not take: records that were durable before it have shown that it may,
    /// or another one has it.
    fn see_to_withheld(&mut self, context: &mut Context<'_, G>) {
        let Some(over) = self.withheld else { return };
        if self.common.replica.epoch() > over {
            self.withheld = None;
            context.carry(Command::WatchOn);
        } else if self.doubt(context).is_none() {
            self.withheld = None;
            self.take(context, over);
        }
    }

    fn acquire(&mut self, context: &mut Context<'_, G>, over: Epoch) {
        assert_eq!(self.phase, Phase::Read, "one try is made at a time");
        self.phase = Phase::Acquire(over);
        context.carry(Command::Acquire(over));
    }

    /// Whether the vacancy is for others to take: this replica has an output that takes nothing. If nobody takes it,
    /// [`Standby::on_others`] brings it back.
    fn leave_to_others(&mut self, context: &mut Context<'_, G>, over: Epoch, is_stuck: bool) -> bool {
        if !is_stuck {
            self.left = None;
            return false;
        }
        if self.left.is_none_or(|(left, _)| left != over) {
            self.left = Some((over, context.now));
        }
        self.common.others.ask(context);
        true
    }

    /// What becomes of a vacancy that was left to others: they have had it, or their time, or wait for it still.
    fn on_others(&mut self, context: &mut Context<'_, G>, running: Option<Vec<Other>>, fence: Epoch) {
        let silence = context.settings.silence;
        let reigns = |other: &Other| other.role == OtherRole::Primary && other.is_alive(silence);
        let is_taken = running.iter().flatten().any(reigns);
        self.common.on_others(context, running);
        let Some((over, since)) = self.left else { return };
        if fence > over || is_taken {
            self.left = None;
            context.carry(Command::WatchOn);
        } else if context.now.saturating_sub(since) >= silence && self.phase == Phase::Read {
            self.left = None;
            context.tell(Notice::TakesWhatWasLeft);
            self.take(context, over);
        }
    }

    /// Once the guest has exited and the primary has seen to it that all its messages were delivered, nothing is left to
    /// be done. If the primary died before, this replica takes over to do the same.
    fn on_outcome(mut self: Box<Self>, context: &mut Context<'_, G>, is_written_down: bool) -> Stage<G> {
        let Some(Outcome::Finished { code, lsn }) = self.common.replica.outcome() else {
            panic!("it was looked how an instance ended that goes on")
        };
        let (code, lsn) = (*code, *lsn);
        if is_written_down {
            return self.end(context, Ending::Finished { code, lsn });
        }
        if let Some(over) = self.vacancy.take_if(|_| self.phase == Phase::Read) {
            self.acquire(context, over);
        }
        Stage::Following(self)
    }

    /// The guest could not handle that record, so this replica goes no further.
    pub(super) fn stands_at(&mut self, void: Void) {
        (self.phase, self.void) = (Phase::Mending, Some(void));
    }

    /// The record that the guest could not handle.
    pub(super) fn take_void(&mut self) -> Void {
        assert_eq!(self.phase, Phase::Mending, "it was asked whether a record is mended");
        self.void.take().expect("the guest has failed at a record")
    }

    pub(super) fn end(self, context: &mut Context<'_, G>, ending: Ending) -> Stage<G> {
        // Where another engine reigns, this one's guest may fail alone.
        if let Ending::Halted { fault, lsn } = &ending
            && !self.common.agreement.is_foreign()
        {
            context.carry(Command::WriteDown(Outcome::Halted { fault: fault.clone(), lsn: *lsn }));
        }
        context.end(ending, Some(Box::new(self.common)))
    }
}
