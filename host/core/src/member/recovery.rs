//! How a member begins: at the newest checkpoint that can be used, or at the beginning of the log.
//!
//! **Architecture Invariant:** a checkpoint that can't be used is told to be so and never stops a recovery that an
//! older one, or the log, still allows.

use std::fmt::Write;

use super::{Command, Context, Ending, MemberInput, Notice, Stage, standby::Standby};
use crate::{CheckpointState, Genesis, Guest, Lsn, Record, Replica};

/// What a checkpoint is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckpointHead {
    /// The last record that it holds.
    pub lsn: Lsn,
    /// SHA-256 of the module that the guest runs.
    pub module: [u8; 32],
    /// Hash of the engine of the reign in which it was taken.
    pub engine: [u8; 32],
    /// Digest of the replicated state.
    pub state_digest: u64,
    /// Digest of the guest's memory; 0 if it can't be told.
    pub memory_digest: u64,
}

/// Why a checkpoint that could be read is of no use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unusable {
    /// Another module runs in this log.
    #[error("it is of another module")]
    Module,
    /// The file and what it holds are of two records.
    #[error("its state is of another record")]
    Lsn,
    /// Something was changed on the way.
    #[error("what was restored is not what was captured: {0} differs")]
    Digest(&'static str),
    /// It was taken of another log.
    #[error("it does not belong to this log, which has another record at its end")]
    Link,
    /// The log begins behind its end.
    #[error("the log does not go on where it ends: its first record is lsn {0}")]
    Trimmed(Lsn),
}

/// Whether a checkpoint is what it says, before its guest is made.
///
/// # Errors
/// Why it does not.
pub fn check_head(head: &CheckpointHead, state: &CheckpointState) -> Result<(), Unusable> {
    if head.lsn != state.lsn() {
        return Err(Unusable::Lsn);
    }
    if head.module != state.module() {
        return Err(Unusable::Module);
    }
    Ok(())
}

/// The replica of a checkpoint whose guest was made.
///
/// # Errors
/// If it is not what was captured.
pub fn resume<G: Guest>(head: &CheckpointHead, state: CheckpointState, guest: G) -> Result<Replica<G>, Unusable> {
    let mut replica = Replica::resume(state, guest);
    if replica.digest() != head.state_digest {
        return Err(Unusable::Digest("the replicated state"));
    }
    if replica.guest_mut().digest() != head.memory_digest {
        return Err(Unusable::Digest("the memory of the guest"));
    }
    Ok(replica)
}

/// A member that looks for where to begin.
pub(super) struct Recovery<G> {
    phase: Phase<G>,
    /// Checkpoints not tried yet; the next one is the last.
    candidates: Vec<Lsn>,
    /// The newest of those listed.
    newest: Lsn,
    /// The newest of the list that was of no use before this one.
    tried: Option<Lsn>,
    /// Why each was of no use.
    reasons: String,
    /// Whether one was removed while it was tried.
    vanished: bool,
    /// Whether the beginning of the log comes first.
    from_beginning: bool,
}

/// What is waited for.
enum Phase<G> {
    List,
    Load(Lsn),
    Restore { head: CheckpointHead, state: Box<CheckpointState> },
    OpenBehind { lsn: Lsn, engine: [u8; 32], replica: Box<Replica<G>> },
    OpenBeginning,
    ReadBeginning,
    MakeGuest { genesis: Box<Record>, records: Vec<Record> },
}

impl<G: Guest> Recovery<G> {
    pub(super) fn begin(context: &mut Context<'_, G>) -> Self {
        context.carry(Command::ListCheckpoints);
        Recovery {
            phase: Phase::List,
            candidates: Vec::new(),
            newest: Lsn(0),
            tried: None,
            reasons: String::new(),
            vanished: false,
            from_beginning: context.settings.from_beginning,
        }
    }

    pub(super) fn step(mut self: Box<Self>, context: &mut Context<'_, G>, input: MemberInput<G>) -> Stage<G> {
        let phase = std::mem::replace(&mut self.phase, Phase::List);
        match (phase, input) {
            (_, MemberInput::Shutdown) => context.end(Ending::Stopped { reigned: false }, None),
            (_, MemberInput::StoreLost) => context.end(Ending::StoreLost, None),
            (Phase::List, MemberInput::Listed { checkpoints, .. }) => self.on_listed(context, checkpoints),
            (Phase::Load(_), MemberInput::Loaded { head, state }) => match check_head(&head, &state) {
                Ok(()) => self.go_on(context, Phase::Restore { head, state }, Command::Restore),
                Err(unusable) => self.on_unusable(context, head.lsn, unusable),
            },
            (Phase::Restore { head, state }, MemberInput::Made(guest)) => match resume(&head, *state, guest) {
                Ok(replica) => {
                    let CheckpointHead { lsn, engine, .. } = head;
                    let phase = Phase::OpenBehind { lsn, engine, replica: Box::new(replica) };
                    self.go_on(context, phase, Command::Open(head.lsn.next()))
                }
                Err(unusable) => self.on_unusable(context, head.lsn, unusable),
            },
            (Phase::OpenBehind { lsn, engine, replica }, MemberInput::Opened(link)) => {
                if link != replica.link() {
                    return self.on_unusable(context, lsn, Unusable::Link);
                }
                context.tell(Notice::Restored(lsn));
                Standby::begin(context, *replica, Some((lsn, engine)), Vec::new())
            }
            (Phase::OpenBehind { lsn, .. }, MemberInput::Trimmed { first, .. }) => {
                self.on_unusable(context, lsn, Unusable::Trimmed(first))
            }
            (
                Phase::Load(lsn)
                | Phase::OpenBehind { lsn, .. }
                | Phase::Restore { head: CheckpointHead { lsn, .. }, .. },
                MemberInput::Unusable { reason, vanished },
            ) => {
                self.vanished |= vanished;
                self.on_unusable(context, lsn, reason)
            }
            (Phase::OpenBeginning, MemberInput::Opened(_)) => self.go_on(context, Phase::ReadBeginning, Command::Read),
            (Phase::OpenBeginning | Phase::ReadBeginning, MemberInput::Trimmed { first, published }) => {
                self.on_trimmed(context, first, published)
            }
            (Phase::ReadBeginning, MemberInput::Read { records, .. }) => self.on_beginning(context, records),
            (Phase::MakeGuest { genesis, records }, MemberInput::Made(guest)) => match Replica::new(&genesis, guest) {
                Ok(replica) => Standby::begin(context, replica, None, records),
                Err(error) => context.end(Ending::BadRecord { lsn: Lsn(1), error }, None),
            },
            // Of an earlier incarnation, or for a primary.
            (phase, _) => {
                self.phase = phase;
                Stage::Recovering(self)
            }
        }
    }

    fn go_on(mut self: Box<Self>, context: &mut Context<'_, G>, phase: Phase<G>, command: Command) -> Stage<G> {
        self.phase = phase;
        context.carry(command);
        Stage::Recovering(self)
    }

    fn on_listed(mut self: Box<Self>, context: &mut Context<'_, G>, checkpoints: Vec<Lsn>) -> Stage<G> {
        assert!(checkpoints.is_sorted(), "checkpoints are listed oldest first");
        self.newest = checkpoints.last().copied().unwrap_or_default();
        self.candidates = checkpoints;
        self.reasons.clear();
        self.vanished = false;
        if self.from_beginning { self.open_beginning(context) } else { self.try_next(context) }
    }

    fn open_beginning(self: Box<Self>, context: &mut Context<'_, G>) -> Stage<G> {
        self.go_on(context, Phase::OpenBeginning, Command::Open(Lsn(1)))
    }

    fn try_next(mut self: Box<Self>, context: &mut Context<'_, G>) -> Stage<G> {
        match self.candidates.pop() {
            Some(lsn) => self.go_on(context, Phase::Load(lsn), Command::Load(lsn)),
            None => self.open_beginning(context),
        }
    }

    fn on_unusable(mut self: Box<Self>, context: &mut Context<'_, G>, lsn: Lsn, reason: impl ToString) -> Stage<G> {
        let reason = reason.to_string();
        write!(self.reasons, "\n  the checkpoint at lsn {lsn}: {reason}").expect("a string takes all");
        context.tell(Notice::Unusable { lsn, reason });
        self.try_next(context)
    }

    /// The log does not go back to its beginning.
    fn on_trimmed(mut self: Box<Self>, context: &mut Context<'_, G>, first: Lsn, published: Lsn) -> Stage<G> {
        if std::mem::take(&mut self.from_beginning) {
            // As far back as it goes. Older checkpoints are there only since others rest on them.
            self.candidates.retain(|lsn| lsn.next() >= first);
            self.candidates.reverse();
            return self.try_next(context);
        }
        // Somebody may trim the log while this one looks for where to begin: then there is a newer checkpoint. A list with
        // the same end is looked at twice at most.
        let may_be_overtaken = self.tried != Some(self.newest) && (self.vanished || published > self.newest);
        if may_be_overtaken {
            self.tried = Some(self.newest);
            self.from_beginning = context.settings.from_beginning;
            return self.go_on(context, Phase::List, Command::ListCheckpoints);
        }
        let reasons = std::mem::take(&mut self.reasons);
        context.end(Ending::NothingToBeginAt { first, reasons }, None)
    }

    fn on_beginning(self: Box<Self>, context: &mut Context<'_, G>, records: Vec<Record>) -> Stage<G> {
        let mut records = records.into_iter();
        let Some(genesis) = records.next() else {
            return context.end(Ending::NoGenesis, None);
        };
        match Genesis::decode(genesis.body()) {
            Ok(body) => {
                let phase = Phase::MakeGuest { genesis: Box::new(genesis), records: records.collect() };
                self.go_on(context, phase, Command::MakeGuest(body))
            }
            Err(error) => context.end(Ending::BadRecord { lsn: Lsn(1), error }, None),
        }
    }
}
