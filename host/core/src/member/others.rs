//! What a member knows of the other replicas of its log.

use core::time::Duration;

use super::{Command, Context};
use crate::{Lsn, ReplicaIndex};

/// What another replica does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OtherRole {
    /// It follows.
    Standby,
    /// It reigns.
    Primary,
}

/// Another replica that runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Other {
    /// Its number.
    pub replica: ReplicaIndex,
    /// What it does.
    pub role: OtherRole,
    /// The last record that it has applied.
    pub applied: Lsn,
    /// The last wish whose module it has at hand.
    pub ready: u64,
    /// How long ago it was heard of.
    pub heartbeat_age: Duration,
}

impl Other {
    /// Whether it was heard of lately enough to be taken for alive.
    pub(super) fn is_alive(&self, silence: Duration) -> bool {
        self.heartbeat_age < silence
    }
}

/// The last look at the others. Looking costs, so it is done when a decision needs it.
#[derive(Default)]
pub(super) struct Others {
    seen: Option<Seen>,
    is_asked: bool,
}

/// What was seen.
struct Seen {
    at: Duration,
    /// `None` if it could not be found out.
    running: Option<Vec<Other>>,
}

impl Others {
    /// Takes an answer to [`Command::Look`]: this replica is left out of it.
    pub(super) fn set(&mut self, now: Duration, running: Option<Vec<Other>>, me: ReplicaIndex) {
        let running = running.map(|mut running| {
            running.retain(|other| other.replica != me);
            running
        });
        (self.seen, self.is_asked) = (Some(Seen { at: now, running }), false);
    }

    /// Forgets what was seen, and what is under way, so that the next one who asks has it looked again.
    pub(super) fn forget(&mut self) {
        (self.seen, self.is_asked) = (None, false);
    }

    /// The others as they were at most `age` ago. `None` if they are to be looked at first: the answer comes as an input.
    /// The inner `None` says that it could not be found out.
    pub(super) fn within<G>(&mut self, age: Duration, context: &mut Context<'_, G>) -> Option<Option<&[Other]>> {
        let is_fresh = self.seen.as_ref().is_some_and(|seen| context.now.saturating_sub(seen.at) <= age);
        if !is_fresh {
            self.ask(context);
            return None;
        }
        self.seen.as_ref().map(|seen| seen.running.as_deref())
    }

    /// Has them looked at, unless that is under way.
    pub(super) fn ask<G>(&mut self, context: &mut Context<'_, G>) {
        if !self.is_asked {
            self.is_asked = true;
            context.carry(Command::Look);
        }
    }
}
