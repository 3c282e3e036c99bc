//! Goes to any record of a log, and back.
//!
//! **Architecture Invariant:** whatever way a traveller took to a record, it is the same there: each way is a replay from
//! what was the same before, and digests in the log are compared on each.

use std::{collections::BTreeMap, fmt::Write, sync::Arc, thread};

use ambrosia_core::{CheckpointState, Divergence, Genesis, InstanceName, Lsn, Outcome, Record, RecordKind, Timestamp};
use ambrosia_engine::{Captures, Module, SavedState, THREAD_STACK_BYTES_MIN, WaitingHandler, WasmGuest};
use ambrosia_storage::{BlobHash, Checkpoints, Instances, LogStore, LogTail, Store};

use super::{
    error::TravelError,
    image::{Base, Layers},
    observed::{Execution, Observed},
    snapshot::Snapshot,
    snapshots::Snapshots,
    state::{FUEL_TIMES, NoState},
    stretch::{Replica, Stretch},
};
use crate::{modules::Modules, run::RunError};

/// What happened at the record where a traveller stands.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The record. `None` at the beginning of a journey that begins at a checkpoint, whose record the log may not have.
    pub record: Option<Record>,
    /// What the guest did with it, if it was delivered to the guest.
    pub execution: Option<Execution>,
}

/// A replica that can go to any record of its log. It belongs on a thread with [`THREAD_STACK_BYTES_MIN`] of stack:
/// [`with_stack_for_guests`].
pub struct Traveller {
    log: Arc<dyn LogStore>,
    checkpoints: Arc<dyn Checkpoints>,
    modules: Arc<Modules>,
    /// Checkpoints that the log goes on behind, oldest first, but those that turned out to be of no use.
    beginnings: Vec<Lsn>,
    /// Why others are of no use.
    unusable: String,
    first: Lsn,
    last: Lsn,
    stretch: Stretch,
    moment: Moment,
    snapshots: Snapshots,
    /// Of each digest that was met, how this replica differed, if it did.
    compared: BTreeMap<Lsn, Option<Divergence>>,
}

impl Traveller {
    /// Begins at the first place that the log can be travelled from. Of the store nothing is changed.
    ///
    /// # Errors
    /// If there is no such instance, or neither its log nor a checkpoint gives a beginning.
    pub fn new(store: &Arc<dyn Store>, instance: &InstanceName) -> Result<Traveller, TravelError> {
        let store = store.looking();
        let id = store.log_of(instance)?;
        let (log, checkpoints) = (store.log(id)?, store.checkpoints(id)?);
        let modules = Arc::new(Modules::looking(store));
        let (first, last) = (log.first()?, log.head()?.durable);
        let beginnings = checkpoints.list()?.into_iter().map(|info| info.lsn);
        let beginnings = beginnings.filter(|lsn| lsn.next() >= first && *lsn <= last).collect();
        let mut beginning = Beginning { log, checkpoints, modules, beginnings, unusable: String::new() };
        let snapshots = Snapshots::default();
        let (stretch, moment) = if first == Lsn(1) {
            beginning.at_genesis()?
        } else {
            (beginning.at_oldest_checkpoint(first, &snapshots)?, Moment { record: None, execution: None })
        };
        let Beginning { log, checkpoints, modules, beginnings, unusable } = beginning;
        let first = stretch.applied();
        let compared = BTreeMap::new();
        Ok(Traveller {
            log,
            checkpoints,
            modules,
            beginnings,
            unusable,
            first,
            last,
            stretch,
            moment,
            snapshots,
            compared,
        })
    }

    /// The first place, and the last record that is durable.
    pub fn range(&self) -> (Lsn, Lsn) {
        (self.first, self.last)
    }

    /// Looks how far the log goes by now, and returns that.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn look_further(&mut self) -> Result<Lsn, TravelError> {
        self.last = self.last.max(self.log.head()?.durable);
        Ok(self.last)
    }

    /// Where this stands: the record that was applied last.
    pub fn lsn(&self) -> Lsn {
        self.stretch.applied()
    }

    /// What happened there.
    pub fn moment(&self) -> &Moment {
        &self.moment
    }

    /// The replica as it is there, to look at. Its clock is that of the record.
    pub fn replica(&self) -> &ambrosia_core::Replica<impl ambrosia_core::Guest + use<>> {
        &self.stretch.replica
    }

    /// Bytes of memory that the guest has there.
    pub fn memory_bytes(&self) -> u64 {
        self.stretch.replica.guest().guest.memory_bytes()
    }

    /// Hashes of the pages of each memory that the guest has there; empty if they can't be told.
    pub fn page_hashes(&mut self) -> Vec<Vec<u64>> {
        self.stretch.replica.guest_mut().guest.page_hashes()
    }

    /// The first record from `from` on that is as wanted, up to `to`. Nothing is executed.
    ///
    /// # Errors
    /// If the log can't be read.
    pub fn find(
        &self,
        from: Lsn,
        to: Lsn,
        mut is_wanted: impl FnMut(&Record) -> bool,
    ) -> Result<Option<Lsn>, TravelError> {
        if from > to {
            return Ok(None);
        }
        let mut tail = self.log.tail(from)?;
        loop {
            let records = tail.read()?;
            if records.is_empty() {
                return Ok(None);
            }
            for record in &records {
                if record.lsn() > to {
                    return Ok(None);
                }
                if is_wanted(record) {
                    return Ok(Some(record.lsn()));
                }
            }
        }
    }

    /// The modules of the store, for what they describe.
    pub fn modules(&self) -> &Arc<Modules> {
        &self.modules
    }

    /// Of each digest record that was met: how this replica differed from it, if it did.
    pub fn compared(&self) -> &BTreeMap<Lsn, Option<Divergence>> {
        &self.compared
    }

    /// Why checkpoints are of no use, a line each.
    pub fn unusable(&self) -> &str {
        &self.unusable
    }

    /// Digests of the replicated state and of the guest's memory as they are there; the latter is 0 if it can't be told.
    pub fn digests(&mut self) -> (u64, u64) {
        let replica = &mut self.stretch.replica;
        (replica.digest(), ambrosia_core::Guest::digest(replica.guest_mut()))
    }

    /// Memory that snapshots take.
    pub fn snapshot_bytes(&self) -> u64 {
        self.snapshots.ledger.bytes()
    }

    /// Goes to a record: it is the last one applied then, and [`Traveller::moment`] is of it.
    ///
    /// # Errors
    /// If it is outside the range, or something can't be read. Then this stands wherever it got to.
    pub fn seek(&mut self, lsn: Lsn) -> Result<(), TravelError> {
        if lsn < self.first || lsn > self.last {
            return Err(TravelError::Outside { asked: lsn, first: self.first, last: self.last });
        }
        if lsn == self.lsn() && !self.stretch.is_broken() {
            return Ok(());
        }
        if lsn == self.first {
            let (stretch, moment) = self.at_first()?;
            (self.stretch, self.moment) = (stretch, moment);
            return Ok(());
        }
        self.come_near(Lsn(lsn.0 - 1))?;
        self.go_along(lsn)
    }

    /// Goes to a record further on, by all that lie in between: no snapshot or checkpoint is a short cut.
    ///
    /// # Errors
    /// As [`Traveller::seek`].
    pub fn go_along(&mut self, lsn: Lsn) -> Result<(), TravelError> {
        if lsn < self.lsn() || lsn > self.last {
            return Err(TravelError::Outside { asked: lsn, first: self.lsn(), last: self.last });
        }
        while self.lsn().next() < lsn {
            self.advance()?;
            if self.stretch.is_snapshot_due() {
                self.take_snapshot();
            }
        }
        if self.lsn() < lsn { self.step_observed() } else { Ok(()) }
    }

    /// Goes to the next record. False if there is none.
    ///
    /// # Errors
    /// As [`Traveller::seek`].
    pub fn step(&mut self) -> Result<bool, TravelError> {
        if self.lsn() >= self.last {
            return Ok(false);
        }
        if self.stretch.is_snapshot_due() {
            self.take_snapshot();
        }
        self.step_observed()?;
        Ok(true)
    }

    /// Goes to the record before. False if that is none.
    ///
    /// # Errors
    /// As [`Traveller::seek`].
    pub fn back(&mut self) -> Result<bool, TravelError> {
        if self.lsn() <= self.first {
            return Ok(false);
        }
        self.seek(Lsn(self.lsn().0 - 1))?;
        Ok(true)
    }

    /// The last record that was made by then; the first place if none was.
    ///
    /// # Errors
    /// If the log can't be read.
    pub fn lsn_at(&self, time: Timestamp) -> Result<Lsn, TravelError> {
        // Below `low` all are by then, and from `high` on none is.
        let (mut low, mut high) = (self.first.0 + 1, self.last.0 + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let record = self.log.tail(Lsn(middle))?.fork().read()?.into_iter().next();
            let record = record.ok_or(TravelError::Ends(Lsn(middle)))?;
            if record.header().time <= time { low = middle + 1 } else { high = middle }
        }
        Ok(Lsn(low - 1))
    }

    /// Begins a stretch no later than at `lsn`, and as near to it as is known.
    fn come_near(&mut self, lsn: Lsn) -> Result<(), TravelError> {
        loop {
            let here = Some(self.lsn()).filter(|here| *here <= lsn && !self.stretch.is_broken());
            let snapshot = self.snapshots.at_or_before(lsn).map(|snapshot| snapshot.lsn);
            let checkpoint = self.beginnings.iter().copied().rfind(|beginning| *beginning <= lsn);
            if here >= snapshot && here >= checkpoint && here.is_some() {
                return Ok(());
            }
            if let Some(at) = snapshot.filter(|_| snapshot >= checkpoint) {
                match self.at_snapshot(at) {
                    Ok(stretch) => self.stretch = stretch,
                    // The log was trimmed meanwhile, or the means are short: there are other ways.
                    Err(error) => {
                        tracing::debug!(%error, lsn = at.0, "a snapshot is of no use any more");
                        self.snapshots.remove(at);
                        continue;
                    }
                }
                return Ok(());
            }
            let Some(at) = checkpoint else {
                self.stretch = self.at_first()?.0;
                return Ok(());
            };
            match self.beginning().at_checkpoint(at, &self.snapshots) {
                Ok(stretch) => {
                    self.stretch = stretch;
                    self.take_snapshot();
                    return Ok(());
                }
                Err(reason) => {
                    note_unusable(&mut self.unusable, at, &reason);
                    self.beginnings.retain(|beginning| *beginning != at);
                }
            }
        }
    }

    fn beginning(&self) -> Beginning {
        Beginning {
            log: Arc::clone(&self.log),
            checkpoints: Arc::clone(&self.checkpoints),
            modules: Arc::clone(&self.modules),
            beginnings: self.beginnings.clone(),
            unusable: String::new(),
        }
    }

    fn at_first(&mut self) -> Result<(Stretch, Moment), TravelError> {
        let beginning = self.beginning();
        if self.first == Lsn(1) {
            return beginning.at_genesis();
        }
        let reason = match beginning.at_checkpoint(self.first, &self.snapshots) {
            Ok(stretch) => return Ok((stretch, Moment { record: None, execution: None })),
            Err(reason) => format!("\n  the checkpoint at lsn {}: {reason}", self.first),
        };
        Err(TravelError::NothingToBeginAt { first: self.first, reasons: reason })
    }

    /// A stretch that begins at a snapshot.
    fn at_snapshot(&self, lsn: Lsn) -> Result<Stretch, TravelError> {
        let snapshot = self.snapshots.at_or_before(lsn).expect("it was found there");
        self.stretch_of(snapshot, &self.modules.module(snapshot.module)?)
    }

    /// A stretch that begins where a snapshot was taken, with a guest by `module`.
    fn stretch_of(&self, snapshot: &Snapshot, module: &Module) -> Result<Stretch, TravelError> {
        let (state, guest) = self.guest_of(snapshot, module)?;
        let replica = Replica::resume(state, Observed::new(guest));
        Ok(Stretch::new(replica, snapshot.tail.fork(), Some(snapshot.layers.clone())))
    }

    /// What a replica is made of that is where a snapshot was taken.
    fn guest_of(&self, snapshot: &Snapshot, module: &Module) -> Result<(CheckpointState, WasmGuest), TravelError> {
        let lsn = snapshot.lsn;
        let not_restored = |reason: String| TravelError::NothingToBeginAt {
            first: lsn,
            reasons: format!("\n  the snapshot at lsn {lsn}: {reason}"),
        };
        let state = snapshot.state.to_vec().into();
        let state = CheckpointState::decode(&state).map_err(|error| not_restored(error.to_string()))?;
        let image = snapshot.layers.image(snapshot.registers.clone());
        let image = image.map_err(|error| not_restored(error.to_string()))?;
        let guest = module.restore(&whose(&state), image).map_err(|error| not_restored(error.to_string()))?;
        let guest = guest.with_source(Arc::clone(&self.modules) as _);
        Ok((state, guest))
    }

    /// Whether what the next record holds is delivered by a mend behind it, and not there.
    ///
    /// # Errors
    /// If the log can't be read.
    pub(super) fn is_next_void(&mut self) -> Result<bool, TravelError> {
        self.stretch.is_next_void()
    }

    /// Another replica that is where this one is; `None` if the guest can't be captured here.
    ///
    /// # Errors
    /// If it can't be restored.
    pub(super) fn twin(&mut self) -> Result<Option<Replica>, TravelError> {
        let module = self.modules.module(self.stretch.replica.module())?;
        Ok(self.twin_by(&module)?.map(|stretch| stretch.replica))
    }

    /// The same with the records that come next, and its guest by `module`: what the guest here runs, compiled in another way.
    ///
    /// # Errors
    /// As [`Traveller::twin`].
    pub(super) fn twin_by(&mut self, module: &Module) -> Result<Option<Stretch>, TravelError> {
        if !self.has_memory_captured() {
            return Ok(None);
        }
        let snapshot = self.stretch.snapshot(&self.snapshots.ledger);
        snapshot.map(|snapshot| self.stretch_of(&snapshot, module)).transpose()
    }

    /// The handlers that wait here, as the guest says; empty if it does not, or if it can't be captured.
    ///
    /// # Errors
    /// If it can't be restored.
    pub(super) fn waiting_handlers(&mut self) -> Result<Vec<WaitingHandler>, TravelError> {
        if !self.has_memory_captured() {
            return Ok(Vec::new());
        }
        let Some(snapshot) = self.stretch.snapshot(&self.snapshots.ledger) else { return Ok(Vec::new()) };
        let (state, guest) = self.guest_of(&snapshot, &self.modules.module(snapshot.module)?)?;
        // Only what a guest says that can say it.
        let saved = guest.into_state(state.world(), state.limits().fuel);
        Ok(saved.ok().flatten().map_or_else(Vec::new, |saved| saved.waiting))
    }

    /// The state of the application here, as its own code gives it in a copy of the guest.
    ///
    /// # Errors
    /// [`NoState`] if there is none here, or no copy can be made.
    pub fn state(&mut self) -> Result<SavedState, NoState> {
        match self.stretch.replica.outcome() {
            Some(Outcome::Finished { lsn, .. }) => return Err(NoState::Finished(*lsn)),
            Some(Outcome::Halted { lsn, .. }) => return Err(NoState::Halted(*lsn)),
            None => {}
        }
        let (lsn, module) = (self.lsn(), BlobHash(self.stretch.replica.module()));
        if !self.has_memory_captured() {
            return Err(NoState::NotCopied(module));
        }
        let copied = self.stretch.copied(&self.snapshots.ledger).ok_or(NoState::NotHere(lsn))?;
        let compiled = self.modules.module(copied.module).map_err(TravelError::from)?;
        let (state, guest) = self.guest_of(&copied, &compiled)?;
        let fuel = state.limits().fuel.saturating_mul(FUEL_TIMES);
        let saved = guest.into_state(state.world(), fuel).map_err(|fault| NoState::Fails { lsn, fault })?;
        saved.ok_or(NoState::NoInterface(module))
    }

    /// The replica itself, which goes nowhere any more.
    pub(super) fn into_replica(self) -> Replica {
        self.stretch.replica
    }

    /// Where a journey can begin without the records before: behind its first record, and each checkpoint.
    pub(super) fn beginnings(&self) -> impl DoubleEndedIterator<Item = Lsn> {
        std::iter::once(self.first).chain(self.beginnings.iter().copied().filter(|lsn| *lsn > self.first))
    }

    /// Whether the guest is captured by its memory.
    fn has_memory_captured(&self) -> bool {
        let module = self.modules.module(self.stretch.replica.module());
        module.is_ok_and(|module| matches!(module.capture_means(), Captures::Memory))
    }

    /// Of a guest that gives its state itself none is taken: it might notice.
    fn take_snapshot(&mut self) {
        if self.has_memory_captured()
            && !self.snapshots.has(self.lsn())
            && let Some(snapshot) = self.stretch.snapshot(&self.snapshots.ledger)
        {
            self.snapshots.keep(snapshot);
        }
    }

    /// Applies the next record.
    fn advance(&mut self) -> Result<Record, TravelError> {
        let (record, divergence) = self.stretch.step()?;
        if record.header().kind == RecordKind::Digest {
            self.compared.insert(record.lsn(), divergence);
        }
        Ok(record)
    }

    fn step_observed(&mut self) -> Result<(), TravelError> {
        let guest = self.stretch.replica.guest_mut();
        (guest.is_observed, guest.execution) = (true, None);
        let record = self.advance()?;
        let guest = self.stretch.replica.guest_mut();
        guest.is_observed = false;
        self.moment = Moment { execution: guest.execution.take(), record: Some(record) };
        Ok(())
    }
}

/// What a beginning is made of.
struct Beginning {
    log: Arc<dyn LogStore>,
    checkpoints: Arc<dyn Checkpoints>,
    modules: Arc<Modules>,
    beginnings: Vec<Lsn>,
    unusable: String,
}

impl Beginning {
    fn at_genesis(&self) -> Result<(Stretch, Moment), TravelError> {
        let mut tail = self.log.tail(Lsn(1))?.fork();
        let genesis = tail.read()?.into_iter().next().ok_or(RunError::NoGenesis)?;
        let bad = |error| TravelError::BadRecord { lsn: Lsn(1), error };
        let body = Genesis::decode(genesis.body()).map_err(bad)?;
        let guest = self.modules.module(body.module)?.instantiate(&body).map_err(RunError::from)?;
        let guest = guest.with_source(Arc::clone(&self.modules) as _);
        let replica = Replica::new(&genesis, Observed::new(guest)).map_err(bad)?;
        let moment = Moment { record: Some(genesis), execution: None };
        Ok((Stretch::new(replica, self.log.tail(Lsn(2))?, None), moment))
    }

    /// A stretch behind the oldest checkpoint that is of use.
    fn at_oldest_checkpoint(&mut self, first: Lsn, snapshots: &Snapshots) -> Result<Stretch, TravelError> {
        for lsn in self.beginnings.clone() {
            match self.at_checkpoint(lsn, snapshots) {
                Ok(stretch) => return Ok(stretch),
                Err(reason) => {
                    note_unusable(&mut self.unusable, lsn, &reason);
                    self.beginnings.retain(|beginning| *beginning != lsn);
                }
            }
        }
        Err(TravelError::NothingToBeginAt { first, reasons: std::mem::take(&mut self.unusable) })
    }

    /// A stretch behind a checkpoint, or why that is of no use.
    fn at_checkpoint(&self, lsn: Lsn, snapshots: &Snapshots) -> Result<Stretch, String> {
        fn said(error: impl ToString) -> String {
            error.to_string()
        }
        let loaded = self.checkpoints.load(lsn).map_err(said)?;
        let state = CheckpointState::decode(&loaded.state).map_err(said)?;
        if state.lsn() != lsn || state.module() != loaded.head.module {
            return Err("it is not what its head says".to_owned());
        }
        let module = self.modules.module(state.module()).map_err(said)?;
        // One that was saved by the guest itself has no memories, and no snapshots.
        let layers = Layers::new(Base::of_checkpoint(loaded.memories, &snapshots.ledger));
        let image = layers.image(loaded.registers).map_err(said)?;
        let guest = module.restore(&whose(&state), image).map_err(said)?;
        let guest = guest.with_source(Arc::clone(&self.modules) as _);
        let mut replica = Replica::resume(state, Observed::new(guest));
        if replica.digest() != loaded.head.state_digest {
            return Err("the replicated state is not the one that was captured".to_owned());
        }
        if ambrosia_core::Guest::digest(replica.guest_mut()) != loaded.head.memory_digest {
            return Err("the memory of the guest is not the one that was captured".to_owned());
        }
        let tail: Box<dyn LogTail> = self.log.tail(lsn.next()).map_err(said)?;
        if tail.link() != replica.link() {
            return Err("it does not belong to this log, which has another record at its end".to_owned());
        }
        let layers = matches!(module.capture_means(), Captures::Memory).then_some(layers);
        Ok(Stretch::new(replica, tail, layers))
    }
}

/// Whose guest it is, with the limits that it has by then.
fn whose(state: &CheckpointState) -> Genesis {
    Genesis { limits: state.limits(), ..state.genesis().clone() }
}

fn note_unusable(reasons: &mut String, lsn: Lsn, reason: &str) {
    write!(reasons, "\n  the checkpoint at lsn {lsn}: {reason}").expect("a string takes all");
}

/// Does something on a thread that guests can run on.
///
/// # Errors
/// If the system gives no thread.
pub fn with_stack_for_guests<R: Send>(work: impl FnOnce() -> R + Send) -> Result<R, TravelError> {
    with_stack(THREAD_STACK_BYTES_MIN, work)
}

/// Does something on a thread with so much stack.
///
/// # Errors
/// If the system gives no thread.
pub fn with_stack<R: Send>(bytes: usize, work: impl FnOnce() -> R + Send) -> Result<R, TravelError> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("traveller".to_owned()).stack_size(bytes);
        let running = builder.spawn_scoped(scope, work).map_err(TravelError::Thread)?;
        running.join().map_err(|panic| std::panic::resume_unwind(panic))
    })
}
