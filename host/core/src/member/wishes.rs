//! What an operator wants changed of an instance that runs.
//!
//! The *wish* is in the registry, the *fact* in the log. Whoever is primary claims the wish, carries it out, and says what
//! became of it, so that it is wished no more. A primary that was deposed and does not know it can't say that a wish was
//! refused which the next one fulfils: the next one claims it first, and what a claim before that has to say is not heard.

use core::time::Duration;

use super::{Command, Context};
use crate::{Epoch, Lsn, Skip, Upgrade};

/// What an operator wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wish {
    /// As it will stand in the log. Its number names the wish.
    pub change: Change,
    /// How long each primary waits for a moment without handlers that can't go on.
    pub wait: Duration,
    /// Whether impulses from outside wait meanwhile.
    pub hold: bool,
    /// Whether the operator has taken it back after a primary had claimed it.
    pub is_cancelled: bool,
}

/// What is to become of an instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// It runs another module, or has other limits. If it stands at a record that its guest can't handle, the new code is
    /// to handle that.
    Upgrade(Upgrade),
    /// It goes on behind a record that its guest can't handle, without some of its messages.
    Skip {
        /// The record.
        lsn: Lsn,
        /// Which messages.
        skip: Skip,
    },
}

impl Wish {
    /// The number that names it.
    pub fn attempt(&self) -> u64 {
        match &self.change {
            Change::Upgrade(upgrade) => upgrade.attempt,
            Change::Skip { skip, .. } => skip.attempt,
        }
    }

    /// The module that has to be at hand for it.
    fn module(&self) -> Option<[u8; 32]> {
        match &self.change {
            Change::Upgrade(upgrade) => Some(upgrade.to),
            Change::Skip { .. } => None,
        }
    }
}

/// What became of a wish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WishOutcome {
    /// The instance runs the module, since that record.
    Done(Lsn),
    /// It can't be done, and nothing was changed.
    Refused(String),
    /// Handlers waited for all the time, and nothing was changed.
    GivenUp(String),
}

/// The wish that is known, and whether its module is at hand.
#[derive(Default)]
pub(super) struct Wishes {
    wish: Option<Wish>,
    readiness: Readiness,
    /// The last wish of which this member has said what became of it, and the reign in which it did. It may not have been
    /// heard, so in another reign the wish stands again while the registry has it.
    settled: Option<(u64, Epoch)>,
}

/// Whether the module of the wish is at hand.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Readiness {
    /// It was asked for, and that is not answered yet.
    #[default]
    Asked,
    Ready,
    Failed(String),
}

impl Wishes {
    /// The wish, unless that reign has settled it.
    pub(super) fn standing(&self, epoch: Epoch) -> Option<&Wish> {
        self.wish.as_ref().filter(|wish| self.settled != Some((wish.attempt(), epoch)))
    }

    pub(super) fn readiness(&self) -> &Readiness {
        &self.readiness
    }
}

impl<G> Context<'_, G> {
    /// The registry says what is wished. One that was settled may stand there for a while.
    pub(super) fn on_wish(&mut self, wish: Option<Wish>) {
        let known = self.wishes.wish.as_ref().map(Wish::attempt);
        if wish.as_ref().map(Wish::attempt) == known {
            self.wishes.wish = wish; // it may be taken back
            return;
        }
        self.wishes.readiness = Readiness::Asked;
        if let Some(wish) = &wish {
            let attempt = wish.attempt();
            match wish.module() {
                Some(module) => self.carry(Command::Prepare { attempt, module }),
                None => self.wishes.readiness = Readiness::Ready,
            }
        }
        self.wishes.wish = wish;
    }

    /// The module of a wish is at hand, or can't be. Of another wish than the one that stands, it does not matter.
    pub(super) fn on_prepared(&mut self, attempt: u64, result: Result<(), String>) {
        if self.wishes.wish.as_ref().is_none_or(|wish| wish.attempt() != attempt) {
            return;
        }
        assert_eq!(self.wishes.readiness, Readiness::Asked, "a module is asked for once a wish");
        self.wishes.readiness = match result {
            Ok(()) => {
                self.carry(Command::Ready(attempt));
                Readiness::Ready
            }
            Err(reason) => Readiness::Failed(reason),
        };
    }

    /// Says what became of a wish that the primary of this reign has claimed. If it is not the newest primary any more,
    /// that is not heard, and the newest one says it.
    pub(super) fn settle_wish(&mut self, attempt: u64, epoch: Epoch, outcome: WishOutcome) {
        assert_ne!(self.wishes.settled, Some((attempt, epoch)), "what became of a wish is said once a reign");
        self.wishes.settled = Some((attempt, epoch));
        self.carry(Command::SettleWish { attempt, epoch, outcome });
    }
}
