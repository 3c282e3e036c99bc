//! The checkpoint that a replica takes itself, one at a time: captured, written, published, and tidied after.
//!
//! **Architecture Invariant:** nothing is published before the record that it holds is durable in the reign that made it,
//! and nothing is removed that a replica which is alive has not read.

use core::time::Duration;

use super::{CheckpointEvent, Command, Context, Notice, Other, common::Attempt};
use crate::Lsn;

/// A replica that has not been heard of for this long keeps nobody from trimming the log: when it wakes, it begins anew
/// from a checkpoint.
const IN_USE: Duration = Duration::from_secs(60);

/// The checkpoint that a replica takes itself.
pub(super) struct OwnCheckpoint {
    /// The checkpoint since which the guest counts its changes, once it is published.
    parent: Option<Lsn>,
    /// The last one published.
    published: Lsn,
    /// The record up to which captures are of no use as a parent: the guest counts its changes since a later moment.
    anew_since: Lsn,
    /// The one under way.
    work: Option<(Lsn, Step)>,
    /// The next one, captured while the one before counts already and is being tidied.
    next: Option<NextOne>,
    /// Why the guest could not be captured the last time, so that one cause is told once.
    told: Option<String>,
}

/// A checkpoint that waits for the one before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct NextOne {
    at: Lsn,
    is_captured: bool,
    is_durable: bool,
}

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Capture { is_durable: bool },
    Write { is_durable: bool },
    Durable,
    Publish,
    Compact,
    Look,
    Trim,
}

impl OwnCheckpoint {
    /// For a replica that was restored from that checkpoint, or from none.
    pub(super) fn new(from: Option<Lsn>) -> Self {
        OwnCheckpoint {
            parent: from,
            published: from.unwrap_or_default(),
            anew_since: Lsn(0),
            work: None,
            next: None,
            told: None,
        }
    }

    /// Whether none can be captured now.
    pub(super) fn is_busy(&self) -> bool {
        let is_tidying = matches!(self.work, None | Some((_, Step::Compact | Step::Look | Step::Trim)));
        !is_tidying || self.next.is_some()
    }

    /// Whether the guest must stay as it is.
    pub(super) fn is_capturing(&self) -> bool {
        let of_next = self.next.is_some_and(|next| !next.is_captured);
        of_next || matches!(self.work, Some((_, Step::Capture { .. })))
    }

    /// Whether the others are to be looked at, to remove what none of them needs.
    pub(super) fn wants_to_trim(&self) -> bool {
        matches!(self.work, Some((_, Step::Look)))
    }

    /// The checkpoint since which the guest counts its changes.
    pub(super) fn parent(&self) -> Option<Lsn> {
        self.parent
    }

    /// The last one published, or that the replica was restored from.
    pub(super) fn published(&self) -> Lsn {
        self.published
    }

    /// The guest counts its changes anew since the record just applied: no delta may rest on a capture up to there.
    pub(super) fn forget_parent(&mut self, applied: Lsn) {
        assert!(!self.is_capturing(), "a guest that is being captured stays as it is");
        self.parent = None;
        self.anew_since = applied;
    }

    /// Has the replica captured as it is now. `is_durable` says whether its last record is known to be.
    pub(super) fn capture<G>(&mut self, context: &mut Context<'_, G>, at: Lsn, is_durable: bool) {
        assert!(!self.is_busy(), "one checkpoint is taken at a time");
        // Changes are counted from here on, and there is no checkpoint here yet.
        let parent = self.parent.take();
        assert!(parent.is_none_or(|parent| parent < at), "a checkpoint holds more than the one before");
        match self.work {
            None => self.work = Some((at, Step::Capture { is_durable })),
            Some(_) => self.next = Some(NextOne { at, is_captured: false, is_durable }),
        }
        context.carry(Command::Capture { at, parent });
    }

    /// It is further. Says what the try has come to, once that is known.
    pub(super) fn on_event<G>(&mut self, context: &mut Context<'_, G>, event: CheckpointEvent) -> Option<Attempt> {
        if let Some(next) = self.next.filter(|next| !next.is_captured) {
            return self.on_next_captured(context, next, event);
        }
        let Some((at, step)) = self.work.take() else { panic!("no checkpoint is under way: {event:?}") };
        let (next, attempt) = match (step, event) {
            (Step::Capture { is_durable }, CheckpointEvent::Captured(Ok(()))) => {
                self.told = None;
                context.carry(Command::Write(at));
                (Some(Step::Write { is_durable }), None)
            }
            (Step::Capture { .. }, CheckpointEvent::Captured(Err(reason))) => {
                self.tell_once(context, at, &reason);
                (None, Some(Attempt::Failed(reason)))
            }
            (Step::Write { is_durable: true }, CheckpointEvent::Written(Ok(()))) => {
                context.carry(Command::Publish(at));
                (Some(Step::Publish), None)
            }
            (Step::Write { is_durable: false }, CheckpointEvent::Written(Ok(()))) => (Some(Step::Durable), None),
            (Step::Publish, CheckpointEvent::Published(Ok(()))) => {
                self.published = at;
                self.parent = (at > self.anew_since).then_some(at);
                context.carry(Command::Compact(at));
                (Some(Step::Compact), Some(Attempt::Published))
            }
            (Step::Write { .. }, CheckpointEvent::Written(Err(reason)))
            | (Step::Publish, CheckpointEvent::Published(Err(reason))) => {
                context.tell(Notice::NoCheckpoint { lsn: at, reason: reason.clone() });
                (None, Some(Attempt::Failed(reason)))
            }
            (Step::Compact, CheckpointEvent::Compacted(Ok(()))) => (Some(Step::Look), None),
            (Step::Compact, CheckpointEvent::Compacted(Err(reason))) => {
                // What rests on it might be lost with it.
                self.parent = None;
                context.tell(Notice::NotTidied { lsn: at, reason });
                (None, None)
            }
            (Step::Trim, CheckpointEvent::Tidied(done)) => {
                if let Err(reason) = done {
                    context.tell(Notice::NotTidied { lsn: at, reason });
                }
                (None, None)
            }
            (step, event) => panic!("a checkpoint that waits for {step:?} gets {event:?}"),
        };
        self.work = next.map(|next| (at, next));
        self.begin_next(context);
        attempt
    }

    fn on_next_captured<G>(
        &mut self,
        context: &mut Context<'_, G>,
        next: NextOne,
        event: CheckpointEvent,
    ) -> Option<Attempt> {
        let CheckpointEvent::Captured(captured) = event else { panic!("a capture is answered first, by no {event:?}") };
        match captured {
            Ok(()) => {
                self.told = None;
                self.next = Some(NextOne { is_captured: true, ..next });
                None
            }
            Err(reason) => {
                self.next = None;
                self.tell_once(context, next.at, &reason);
                Some(Attempt::Failed(reason))
            }
        }
    }

    /// Goes on with the next one when the one before is done with.
    fn begin_next<G>(&mut self, context: &mut Context<'_, G>) {
        if self.work.is_none()
            && let Some(NextOne { at, is_durable, .. }) = self.next.take()
        {
            self.work = Some((at, Step::Write { is_durable }));
            context.carry(Command::Write(at));
        }
    }

    /// Tells why the guest can't be captured, once a cause.
    fn tell_once<G>(&mut self, context: &mut Context<'_, G>, lsn: Lsn, reason: &str) {
        if self.told.as_deref() != Some(reason) {
            self.told = Some(reason.to_owned());
            context.tell(Notice::NoCheckpoint { lsn, reason: reason.to_owned() });
        }
    }

    /// Records up to this one are durable in the reign of this replica.
    pub(super) fn on_durable<G>(&mut self, context: &mut Context<'_, G>, durable: Lsn) {
        if let Some(next) = &mut self.next {
            next.is_durable |= next.at <= durable;
        }
        let Some((at, step)) = &mut self.work else { return };
        if *at > durable {
            return;
        }
        match step {
            Step::Capture { is_durable } | Step::Write { is_durable } => *is_durable = true,
            Step::Durable => {
                *step = Step::Publish;
                context.carry(Command::Publish(*at));
            }
            Step::Publish | Step::Compact | Step::Look | Step::Trim => {}
        }
    }

    /// The others were looked at: what none of them needs can go.
    pub(super) fn on_others<G>(&mut self, context: &mut Context<'_, G>, running: Option<&[Other]>, applied: Lsn) {
        let Some((at, Step::Look)) = self.work else { return };
        let Some(running) = running else {
            // Somebody may need all of it.
            self.work = None;
            context.tell(Notice::OthersUnknown);
            return self.begin_next(context);
        };
        let in_use = running.iter().filter(|other| other.heartbeat_age < IN_USE);
        let applied = in_use.map(|other| other.applied).chain([applied]).collect();
        self.work = Some((at, Step::Trim));
        context.carry(Command::Trim { keep: context.settings.keep, applied });
    }
}
