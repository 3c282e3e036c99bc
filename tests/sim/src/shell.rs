//! What a member calls while it steps.

use ambrosia_core::{
    Epoch, Outcome, Record, RecordHeader, RecordKind, Replica,
    member::{Command, FenceLook, LogEvent, Shell, StopCause},
};
use ambrosia_storage::AppendError;

use crate::{
    agenda::Event,
    guest::SimGuest,
    options::MILLISECOND,
    process::{Hands, Links, Process},
    sim::Sim,
};

/// The digest of the replicated state is compared after every so many records.
const DIGEST_RECORDS: u64 = 16;

/// A look at the fence takes so long where it takes time, and so many of a hundred much longer.
const LOOK: (u64, u64) = (0, 5 * MILLISECOND);
const LONG_LOOKS_PERCENT: u64 = 50;
const LONG_LOOK: (u64, u64) = (0, 4_000 * MILLISECOND);

/// What surrounds a member while it steps.
pub(crate) struct SimShell<'a> {
    pub(crate) sim: &'a Sim,
    pub(crate) process: &'a Process,
    pub(crate) hands: &'a mut Hands,
}

/// When nothing happens, one digest record is made, another one when whoever was asked for a checkpoint is not heard of
/// again, and more only for an operator who waits.
const DIGESTS_IN_A_ROW_MAX: u32 = 10;

impl SimShell<'_> {
    /// The time of a reign is what passes, whatever the clock of its machine does.
    fn check_time(&mut self, header: &RecordHeader) {
        let now = self.sim.now.get();
        let (began, time) = *self.hands.reign_began.get_or_insert((now, header.time));
        assert_eq!(header.time.0 - time.0, now - began, "in a reign, time is what passes");
    }
}

/// How long the guest has worked for a record: made up, and the same everywhere.
fn guest_ns(header: &RecordHeader) -> u64 {
    u64::from(header.messages) * 1000
}

impl Shell<Box<dyn SimGuest>> for SimShell<'_> {
    fn append(&mut self, record: Record) -> Result<(), StopCause> {
        let writer = self.hands.writer.as_mut().expect("a member that reigns has a log to write");
        let appended = writer.append(record.clone());
        let header = *record.header();
        self.check_time(&header);
        let is_digest = header.kind == RecordKind::Digest;
        self.sim.witness.borrow_mut().counts.digests += u64::from(is_digest);
        self.hands.digests_in_a_row = if is_digest { self.hands.digests_in_a_row + 1 } else { 0 };
        let in_a_row = self.hands.digests_in_a_row;
        assert!(in_a_row <= DIGESTS_IN_A_ROW_MAX, "{in_a_row} digest records were made while nothing happened");
        if appended.is_ok() {
            self.hands.appended.push_back(record);
        }
        self.process.queued.set(self.process.settle_planned.get());
        // What is appended in the step that begins a reign is written once that is known.
        if self.process.is_primary() {
            self.sim.plan_write(self.process);
        }
        match appended {
            Ok(()) => Ok(()),
            Err(AppendError::Fenced { by }) => Err(StopCause::Fenced { by }),
            Err(AppendError::Failed(reason)) => Err(StopCause::Failed(reason)),
            Err(error @ AppendError::Misplaced { .. }) => panic!("the core numbers and chains records: {error}"),
        }
    }

    /// A log beyond this machine takes time for it: what it has seen is told later.
    fn look_at_fence(&mut self, number: u64) -> Result<FenceLook, Epoch> {
        let writer = self.hands.writer.as_mut().expect("a member that reigns has a log to write");
        let looked = writer.look_at_fence(number);
        if !self.sim.options.slow_looks {
            return looked;
        }
        let newest = looked.map(|_| ());
        let takes = if self.sim.dice().percent(LONG_LOOKS_PERCENT) { LONG_LOOK } else { LOOK };
        self.sim.witness.borrow_mut().counts.slow_looks += 1;
        let event = LogEvent::Looked { number, newest };
        self.sim.put_in(takes, Event::LogSays(self.process.id, self.process.epoch.get(), event));
        Ok(FenceLook::Begun)
    }

    fn applied(&mut self, header: &RecordHeader, replica: &mut Replica<Box<dyn SimGuest>>) -> u64 {
        let before = || Links::new(ambrosia_core::Lsn(header.lsn.0 - 1), header.previous);
        let links = self.hands.links.get_or_insert_with(before);
        links.push(header.link());
        assert_eq!(links.last(), (replica.applied(), replica.link()), "what is applied follows what was before");
        self.process.applied.set(replica.applied());
        // The guest's is at hand; the other one takes longer the more requests there were.
        let whole = replica.applied().0.is_multiple_of(DIGEST_RECORDS);
        let digest = (if whole { replica.digest() } else { 0 }, replica.guest().model().history);
        let code = replica.guest().model().code.module();
        assert_eq!(code, replica.module(), "each record is executed by the module that the log says");
        let mut witness = self.sim.witness.borrow_mut();
        let engine = witness.engines.of(self.process.uuid, header.epoch);
        self.hands.compared.on_applied(header, engine, self.sim.engine(self.process.place));
        // One that has failed at a record is not what one is that has left it out.
        if replica.void().is_none() && !matches!(replica.outcome(), Some(Outcome::Halted { .. })) {
            witness.digests.on_applied(self.process.uuid, header.link(), digest);
        }
        witness.counts.states_compared += 1;
        guest_ns(header)
    }

    fn carry(&mut self, command: Command) {
        self.hands.commands.push_back(command);
    }
}
