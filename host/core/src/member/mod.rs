//! One replica of one log, through its whole life: recovery, following, taking over, reigning, its checkpoints, stepping
//! down, and the end.
//!
//! A [`Member`] decides; its driver does. What happens comes in as a [`MemberInput`], what is to be done goes out to a
//! [`Shell`], as a [`Command`] or, where the log works while the guest does, as a call. The product, the simulator and the
//! tests drive the same member.
//!
//! **Architecture Invariant:** a member never blocks, has no thread, and reads no clock. Whatever it asks for is answered
//! by an input, at once or later; what was asked by an earlier incarnation (before a [`Command::Abandon`]), or of an earlier reign, is never taken for an answer.

mod agreement;
mod clock;
mod command;
mod common;
mod ending;
mod fulfilment;
mod input;
mod inquiries;
mod mending;
mod notice;
mod others;
mod own_checkpoint;
mod primary;
mod queries;
mod recovery;
mod settings;
mod shell;
mod standby;
mod wishes;

use core::time::Duration;
use std::collections::BTreeMap;

use bytes::Bytes;

pub use command::{Command, Verdict};
pub use ending::Ending;
pub use input::{CheckpointEvent, Flow, LogEvent, MemberInput, StopCause, Surroundings};
pub use notice::Notice;
pub use others::{Other, OtherRole};
pub use recovery::{CheckpointHead, Unusable, check_head, resume};
pub use settings::{Keep, MemberSettings};
pub use shell::{FenceLook, Shell};
pub use wishes::{Change, Wish, WishOutcome};

use crate::{Epoch, Guest, Replica};
use common::Common;
use mending::Void;
use primary::Primary;
use recovery::Recovery;
use standby::Standby;
use wishes::Wishes;

/// One replica of one log.
///
/// Its driver calls [`Member::begin`] once, carries out each [`Command`] in order, and answers it by
/// [`Member::step`] where the command says so. Whenever it has nothing else in hand it calls [`Member::turn`], and does so
/// again when that says. Between a [`Command::Capture`] and its answer nothing else may come in.
pub struct Member<G> {
    settings: MemberSettings,
    /// They outlast the incarnations of the replica.
    wishes: Wishes,
    /// Records that the guest can't handle, and that a replica leaves out: the mends of them are in the log, or to be made.
    voids: Vec<Void>,
    /// What the operator has set for the guest.
    configuration: BTreeMap<String, Bytes>,
    stage: Stage<G>,
}

/// Where a member is in its life.
enum Stage<G> {
    Recovering(Box<Recovery<G>>),
    Following(Box<Standby<G>>),
    Reigning(Box<Primary<G>>),
    /// With the replica, if there was one.
    Ended(Option<Box<Common<G>>>),
}

/// How old a look at the others may be. That often it is looked whether a standby is still there that was asked for
/// something.
const LOOK_AGE_MAX: Duration = Duration::from_millis(250);

/// When a driver is to call [`Member::turn`] again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// There is more to be done just now.
    Again,
    /// Nothing happens by itself before that time has passed; `None` if nothing ever does.
    After(Option<Duration>),
}

/// What every decision is made with.
struct Context<'a, G> {
    settings: &'a MemberSettings,
    /// Time that has passed since some moment, also while the machine was suspended.
    now: Duration,
    wishes: &'a mut Wishes,
    voids: &'a mut Vec<Void>,
    configuration: &'a BTreeMap<String, Bytes>,
    shell: &'a mut dyn Shell<G>,
}

impl<G> Context<'_, G> {
    fn carry(&mut self, command: Command) {
        self.shell.carry(command);
    }

    fn tell(&mut self, notice: Notice) {
        self.shell.carry(Command::Tell(notice));
    }

    fn end(&mut self, ending: Ending, common: Option<Box<Common<G>>>) -> Stage<G> {
        self.shell.carry(Command::End(ending));
        Stage::Ended(common)
    }
}

impl<G: Guest> Member<G> {
    /// A member that has not begun.
    pub fn new(settings: MemberSettings) -> Self {
        assert!(settings.keep.checkpoints > 0, "the newest checkpoint is always kept");
        let configuration = settings.configuration.clone();
        Member { settings, wishes: Wishes::default(), voids: Vec::new(), configuration, stage: Stage::Ended(None) }
    }

    /// Begins its life.
    ///
    /// # Panics
    /// If it has one.
    pub fn begin(&mut self, now: Duration, shell: &mut dyn Shell<G>) {
        assert!(matches!(self.stage, Stage::Ended(None)), "a member begins once");
        let (mut context, stage) = self.at_work(now, shell);
        *stage = Stage::Recovering(Box::new(Recovery::begin(&mut context)));
    }

    /// Takes one input. `now` is the time that has passed since some moment, the same for all calls.
    ///
    /// # Panics
    /// If the driver answers what was not asked.
    pub fn step(&mut self, now: Duration, input: MemberInput<G>, shell: &mut dyn Shell<G>) {
        if self.has_ended() {
            return;
        }
        let input = match input {
            MemberInput::Configure(values) => return self.on_configure(now, values, shell),
            input => input,
        };
        let (mut context, stage) = self.at_work(now, shell);
        let input = match input {
            MemberInput::Wish(wish) => return context.on_wish(wish),
            MemberInput::Prepared { attempt, result } => return context.on_prepared(attempt, result),
            input => input,
        };
        *stage = match std::mem::replace(stage, Stage::Ended(None)) {
            Stage::Recovering(recovery) => recovery.step(&mut context, input),
            Stage::Following(standby) => standby.step(&mut context, input),
            Stage::Reigning(primary) => primary.step(&mut context, input),
            Stage::Ended(_) => unreachable!("nothing comes in after the end"),
        };
    }

    /// The operator has set something else. It is written down by whoever reigns.
    fn on_configure(&mut self, now: Duration, values: BTreeMap<String, Bytes>, shell: &mut dyn Shell<G>) {
        self.configuration = values;
        let (mut context, stage) = self.at_work(now, shell);
        *stage = match std::mem::replace(stage, Stage::Ended(None)) {
            Stage::Reigning(primary) => primary.reconfigure(&mut context),
            stage => stage,
        };
    }

    /// Does what is due, and what has gathered. Says when to be called again if nothing comes in.
    pub fn turn(&mut self, now: Duration, surroundings: &Surroundings, shell: &mut dyn Shell<G>) -> Next {
        let (mut context, stage) = self.at_work(now, shell);
        let (next_stage, next) = match std::mem::replace(stage, Stage::Ended(None)) {
            Stage::Following(mut standby) => {
                standby.answer_queries(&mut context);
                standby.ask_for_comparison(&mut context);
                standby.open_again(&mut context);
                let next = standby.wake_after(&context);
                (Stage::Following(standby), Next::After(next))
            }
            Stage::Reigning(primary) => primary.turn(&mut context, surroundings),
            stage @ (Stage::Recovering(_) | Stage::Ended(_)) => (stage, Next::After(None)),
        };
        *stage = next_stage;
        next
    }

    /// What decisions are made with, and where the member is in its life, to be changed by them.
    fn at_work<'a>(&'a mut self, now: Duration, shell: &'a mut dyn Shell<G>) -> (Context<'a, G>, &'a mut Stage<G>) {
        let Member { settings, wishes, voids, configuration, stage } = self;
        (Context { settings, now, wishes, voids, configuration, shell }, stage)
    }

    /// The replica, once it was built.
    pub fn replica(&self) -> Option<&Replica<G>> {
        self.common().map(|common| &common.replica)
    }

    /// The same, to capture its guest.
    pub fn replica_mut(&mut self) -> Option<&mut Replica<G>> {
        match &mut self.stage {
            Stage::Recovering(_) => None,
            Stage::Following(standby) => Some(&mut standby.common.replica),
            Stage::Reigning(primary) => Some(&mut primary.common.replica),
            Stage::Ended(common) => common.as_mut().map(|common| &mut common.replica),
        }
    }

    /// What a replay of all since the newest checkpoint would have to do.
    pub fn replay(&self) -> Option<crate::Replay> {
        self.common().map(|common| common.schedule.replay())
    }

    /// The epoch of its reign, while it reigns.
    pub fn reign(&self) -> Option<Epoch> {
        match &self.stage {
            Stage::Reigning(primary) => Some(primary.epoch()),
            _ => None,
        }
    }

    /// Hash of the engine that the reign of the log is of, as far as the replica has come; its own before the first.
    pub fn engine_of_reign(&self) -> Option<[u8; 32]> {
        self.common().map(|common| common.agreement.reign())
    }

    /// How many outputs wait for their record to be durable: those of its reign.
    pub fn held_outputs(&self) -> usize {
        match &self.stage {
            Stage::Reigning(primary) => primary.held(),
            _ => 0,
        }
    }

    /// The time of its reign, for whoever tells how old something is.
    pub fn reign_time(&self, now: Duration) -> Option<crate::Timestamp> {
        match &self.stage {
            Stage::Reigning(primary) => Some(primary.time(now)),
            _ => None,
        }
    }

    /// Whether its life is over.
    pub fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended(_))
    }

    fn common(&self) -> Option<&Common<G>> {
        match &self.stage {
            Stage::Recovering(_) => None,
            Stage::Following(standby) => Some(&standby.common),
            Stage::Reigning(primary) => Some(&primary.common),
            Stage::Ended(common) => common.as_deref(),
        }
    }
}
