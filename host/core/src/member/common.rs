//! What a replica has from its recovery until it stops or is deposed, as a standby and as a primary.
//!
//! **Architecture Invariant:** every record that a replica applies is counted here, whoever made it, so that the next
//! primary knows when a checkpoint is due.

use super::{
    CheckpointEvent, Command, Context, Ending, Notice,
    agreement::{Agreement, Did, Shown},
    mending::{hands_over, may_follow_a_void},
    others::Others,
    own_checkpoint::OwnCheckpoint,
    queries::Queries,
};
use crate::{
    Divergence, EpochBody, Guest, Input, Lsn, Output, Record, RecordError, RecordHeader, RecordKind, Replica,
    ReplicaIndex, Schedule,
};

/// What a replica has, whatever its role.
pub(super) struct Common<G> {
    pub(super) replica: Replica<G>,
    pub(super) schedule: Schedule,
    pub(super) own: OwnCheckpoint,
    pub(super) others: Others,
    pub(super) queries: Queries,
    pub(super) agreement: Agreement,
    /// Kept for its memory.
    pub(super) outputs: Vec<Output>,
}

/// What a try to take a checkpoint has come to.
pub(super) enum Attempt {
    Failed(String),
    Published,
}

impl<G: Guest> Common<G> {
    /// Begins with a replica that was restored from that checkpoint of a reign of that engine, or from none.
    pub(super) fn new(context: &Context<'_, G>, replica: Replica<G>, checkpoint: Option<(Lsn, [u8; 32])>) -> Self {
        let (checkpoint, engine) = checkpoint.unzip();
        assert!(checkpoint.is_none_or(|lsn| lsn == replica.applied()), "a replica begins at its checkpoint");
        let mut schedule = Schedule::new(context.settings.schedule, checkpoint.unwrap_or_default());
        schedule.set_has_checkpoints(replica.guest().cannot_capture().is_none());
        Common {
            replica,
            schedule,
            own: OwnCheckpoint::new(checkpoint),
            others: Others::default(),
            queries: Queries::default(),
            agreement: Agreement::begin(context.settings.engine, engine),
            outputs: Vec::new(),
        }
    }

    /// Applies a durable record of the log.
    ///
    /// # Errors
    /// Why the replica can't go on.
    pub(super) fn apply(&mut self, context: &mut Context<'_, G>, record: Record) -> Result<(), Ending> {
        assert!(!self.own.is_capturing(), "nothing is applied before the capture of the record before");
        let header = *record.header();
        record.check_body().map_err(|error| Ending::BadRecord { lsn: header.lsn, error })?;
        if self.replica.void().is_some() && !may_follow_a_void(header.kind) {
            return Err(Ending::BadRecord { lsn: header.lsn, error: RecordError::Shape });
        }
        if header.kind == RecordKind::Epoch {
            self.see_engine(context, &record)?;
        }
        let (mut outputs, mut is_equal) = (std::mem::take(&mut self.outputs), header.kind == RecordKind::Digest);
        let input = if context.is_void(&record) { Input::Void(record) } else { Input::Record(record) };
        self.replica.step(input, &mut outputs);
        self.count(context, &header);
        for output in outputs.drain(..) {
            match output {
                Output::Print { .. } | Output::Event { .. } | Output::Log { .. } => context.carry(Command::Out(output)),
                Output::Checkpoint { by, at } => self.on_asked(context, by, at),
                Output::Diverged(found) => {
                    is_equal = false;
                    on_diverged(context, found)?;
                }
                Output::Halted { fault, after } => return Err(Ending::Halted { fault, lsn: after }),
                Output::Upgraded { upgrade, after } => {
                    self.on_handed_over();
                    context.tell(Notice::Upgraded { upgrade, lsn: after });
                }
                Output::Mended { mend, after } => {
                    if hands_over(&mend) {
                        self.on_handed_over();
                    }
                    context.tell(Notice::Mended { mend, lsn: after });
                }
                Output::UpgradeFailed { fault, at } => return Err(Ending::UpgradeFailed { fault, lsn: at }),
                // What a peer's new life does to this replica is told by the primary, and how the guest has finished is
                // read from the state.
                Output::Rebound { .. } | Output::Finished { .. } => {}
                Output::Append(_)
                | Output::Connect { .. }
                | Output::Welcome { .. }
                | Output::Send { .. }
                | Output::Acknowledge { .. }
                | Output::Refuse { .. }
                | Output::Accepted { .. }
                | Output::Answered { .. }
                | Output::KeyReused { .. }
                | Output::SessionOpened { .. }
                | Output::SessionAnswered { .. }
                | Output::SessionRefused { .. }
                | Output::Request { .. }
                | Output::CancelRequest { .. }
                | Output::Resolved { .. }
                | Output::UpgradeWaits { .. }
                | Output::UpgradeRefused { .. } => unreachable!("a record brings about nothing to do: {output:?}"),
            }
        }
        self.outputs = outputs;
        self.compare_engines(context, &header, is_equal);
        Ok(())
    }

    /// Sees which engine the reign is of.
    fn see_engine(&mut self, context: &mut Context<'_, G>, record: &Record) -> Result<(), Ending> {
        let body = EpochBody::decode(record.body()).map_err(|error| Ending::BadRecord { lsn: record.lsn(), error })?;
        if self.agreement.on_reign(body.engine) == Some(Shown::OtherEngine) {
            context.tell(Notice::OtherEngine { epoch: record.header().epoch, lsn: record.lsn() });
        }
        Ok(())
    }

    /// Sees what a record shows of the engine of the reign; `is_equal` says that it has found this replica equal.
    fn compare_engines(&mut self, context: &mut Context<'_, G>, header: &RecordHeader, is_equal: bool) {
        let did = match header.kind {
            RecordKind::Epoch => return,
            _ if is_equal => Did::Equal,
            kind if kind.reaches_guest() => Did::Handled,
            _ => Did::Nothing,
        };
        if self.agreement.on_record(header.lsn, did) == Some(Shown::Agrees) {
            context.tell(Notice::EnginesAgree(header.lsn));
        }
    }

    /// A record was applied.
    pub(super) fn count(&mut self, context: &mut Context<'_, G>, header: &RecordHeader) {
        assert_eq!(self.replica.applied(), header.lsn, "a record is counted once it was applied");
        let work = context.shell.applied(header, &mut self.replica);
        self.schedule.on_applied(header, if header.kind.reaches_guest() { work } else { 0 });
    }

    /// The guest was handed over to another module, or that was tried.
    pub(super) fn on_handed_over(&mut self) {
        self.own.forget_parent(self.replica.applied());
        self.schedule.set_has_checkpoints(self.replica.guest().cannot_capture().is_none());
    }

    /// A standby is to take a checkpoint. What it reads is durable; what it reads late was taken by another one since.
    fn on_asked(&mut self, context: &mut Context<'_, G>, by: ReplicaIndex, at: Lsn) {
        if by != context.settings.replica || at <= self.schedule.checkpoint() {
            return;
        }
        if self.own.is_busy() {
            return; // the primary finds out by its absence
        }
        self.own.capture(context, at, true);
    }

    /// A checkpoint of this replica is further.
    pub(super) fn on_checkpoint(&mut self, context: &mut Context<'_, G>, event: CheckpointEvent) -> Option<Attempt> {
        let attempt = self.own.on_event(context, event);
        match &attempt {
            Some(Attempt::Failed(_)) => self.schedule.on_failed(),
            Some(Attempt::Published) => {
                self.schedule.on_checkpoint(self.own.published());
            }
            None => {}
        }
        if self.own.wants_to_trim() {
            // What others need is looked at last, and anew: one may have begun since.
            self.others.forget();
            self.others.ask(context);
        }
        attempt
    }

    /// The others were looked at.
    pub(super) fn on_others(&mut self, context: &mut Context<'_, G>, running: Option<Vec<super::Other>>) {
        self.own.on_others(context, running.as_deref(), self.replica.applied());
        self.others.set(context.now, running, context.settings.replica);
    }
}

fn on_diverged<G>(context: &mut Context<'_, G>, found: Divergence) -> Result<(), Ending> {
    if context.settings.allow_divergence != Some(found.lsn) {
        return Err(Ending::Diverged(found));
    }
    context.tell(Notice::DivergenceAllowed(found));
    Ok(())
}
