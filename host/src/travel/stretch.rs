//! A stretch of the log that a traveller goes along: a replica, and the records that come next.
//!
//! **Architecture Invariant:** it only goes forwards, record by record, as a standby does.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use ambrosia_core::{Capture, Divergence, Input, Lsn, Output, Record, RecordKind, is_void};
use ambrosia_storage::LogTail;

use super::{
    error::TravelError,
    image::{Base, Layers, Ledger},
    observed::Observed,
    snapshot::Snapshot,
};

/// The core with a guest that can be observed.
pub(super) type Replica = ambrosia_core::Replica<Observed>;

/// A snapshot is taken whenever a replay has taken so long since the last: so going anywhere afterwards takes as long at most,
/// beyond the restore.
const SNAPSHOT_INTERVAL: Duration = Duration::from_millis(10);
/// And so many times longer than a snapshot takes.
const SNAPSHOT_SHARE: u32 = 8;
/// Records between two looks at the clock.
const CLOCK_RECORDS: u32 = 8;

/// See the head of the file.
pub(super) struct Stretch {
    pub(super) replica: Replica,
    tail: Box<dyn LogTail>,
    /// Stands where the records at hand begin.
    behind: Box<dyn LogTail>,
    read: VecDeque<Record>,
    /// What the guest's changes are counted from; `None` if it has to be captured as a whole.
    layers: Option<Layers>,
    captured_at: Instant,
    /// What the last two captures of changes took: if one took long, that may have been the machine, which did something else.
    captures_took: [Duration; 2],
    records: u32,
    outputs: Vec<Output>,
    /// Set while a record is applied, and for good if that failed: then this is at no record.
    is_broken: bool,
}

impl Stretch {
    /// Begins behind the last record that `replica` has applied; `tail` stands there or a little before.
    pub(super) fn new(replica: Replica, tail: Box<dyn LogTail>, layers: Option<Layers>) -> Stretch {
        Stretch {
            replica,
            behind: tail.fork(),
            tail,
            read: VecDeque::new(),
            layers,
            captured_at: Instant::now(),
            captures_took: [Duration::ZERO; 2],
            records: 0,
            outputs: Vec::new(),
            is_broken: false,
        }
    }

    /// The next record, which stays the next one.
    fn peek(&mut self) -> Result<&Record, TravelError> {
        let next = self.replica.applied().next();
        while self.read.front().is_none_or(|record| record.lsn() < next) {
            if self.read.pop_front().is_some() {
                continue;
            }
            // A fork reads little at once: whoever goes back to a snapshot reads that once more.
            let mut tail = self.tail.fork();
            let records = tail.read()?;
            if records.is_empty() {
                return Err(TravelError::Ends(next));
            }
            self.behind = std::mem::replace(&mut self.tail, tail);
            self.read = records.into();
        }
        let record = self.read.front().expect("it was just looked at");
        assert_eq!(record.lsn(), next, "a tail reads without gaps");
        Ok(record)
    }

    /// Whether what the next record holds is delivered by a mend behind it: only records that begin reigns stand between.
    pub(super) fn is_next_void(&mut self) -> Result<bool, TravelError> {
        self.peek()?;
        let begins_reign = |record: &Record| record.header().kind == RecordKind::Epoch;
        while self.read.iter().skip(1).all(begins_reign) {
            let mut tail = self.tail.fork();
            let records = tail.read()?;
            if records.is_empty() {
                break;
            }
            let before = std::mem::replace(&mut self.tail, tail);
            if self.read.len() == 1 {
                self.behind = before; // the one that is at hand is applied before anybody goes back there
            }
            self.read.extend(records);
        }
        let next = self.read.front().expect("it was just looked at");
        Ok(is_void(next, self.read.iter().skip(1)))
    }

    /// Applies the next record, and returns it, and how the replica differs from what it says, if it does.
    pub(super) fn step(&mut self) -> Result<(Record, Option<Divergence>), TravelError> {
        let record = self.peek()?.clone();
        let lsn = record.lsn();
        record.check_body().map_err(|error| TravelError::BadRecord { lsn, error })?;
        if record.header().kind == RecordKind::Deliver && self.replica.outcome().is_some() {
            return Err(TravelError::AfterTheEnd(lsn));
        }
        let is_void = record.header().kind == RecordKind::Deliver && self.is_next_void()?;
        self.read.pop_front();
        self.outputs.clear();
        self.is_broken = true;
        let input = if is_void { Input::Void(record.clone()) } else { Input::Record(record.clone()) };
        self.replica.step(input, &mut self.outputs);
        if !keeps_the_guest(record.header().kind) {
            self.layers = None;
        }
        let mut divergence = None;
        for output in &self.outputs {
            match output {
                Output::Diverged(found) => divergence = Some(*found),
                Output::UpgradeFailed { fault, at } => {
                    return Err(TravelError::Upgrade { lsn: *at, fault: fault.clone() });
                }
                _ => {}
            }
        }
        self.is_broken = false;
        Ok((record, divergence))
    }

    /// Whether a snapshot is due, as this goes on replaying.
    pub(super) fn is_snapshot_due(&mut self) -> bool {
        self.records += 1;
        self.records.is_multiple_of(CLOCK_RECORDS)
            && self.captured_at.elapsed() >= snapshot_interval(self.captures_took)
    }

    /// Captures all that this is; `None` if the guest can't be captured here.
    pub(super) fn snapshot(&mut self, ledger: &Ledger) -> Option<Snapshot> {
        let began = Instant::now();
        // The first one copies everything, and says nothing of the next.
        let is_of_changes = self.layers.is_some();
        let snapshot = self.copied(ledger)?;
        self.captured_at = Instant::now();
        if is_of_changes {
            self.captures_took = [self.captures_took[1], began.elapsed()];
        }
        Some(snapshot)
    }

    /// The same, and the next snapshot is due when it would have been.
    pub(super) fn copied(&mut self, ledger: &Ledger) -> Option<Snapshot> {
        if !self.replica.goes_on() {
            return None; // it has ended, or what was left out is not mended yet, which no state has in it
        }
        let registers = self.capture(ledger)?;
        let layers = self.layers.clone().expect("it was captured");
        let state = self.replica.checkpoint();
        Some(Snapshot {
            lsn: self.replica.applied(),
            _held: ledger.hold(state.bytes() + registers.len() + layers.own_bytes()),
            state,
            module: self.replica.module(),
            registers,
            layers,
            tail: self.behind.fork(),
        })
    }

    /// Brings the layers up to date, and returns the registers.
    fn capture(&mut self, ledger: &Ledger) -> Option<Vec<u8>> {
        let guest = &mut self.replica.guest_mut().guest;
        if let Some(layers) = &mut self.layers
            && let Ok(capture) = guest.capture_changes()
        {
            layers.lay(&capture, ledger);
            return Some(capture.registers);
        }
        let Capture { registers, memories } = guest.capture_all().ok()?;
        self.layers = Some(Layers::new(Base::of_capture(memories, ledger)));
        Some(registers)
    }

    /// Whether the last record could not be applied, so that it can't go on from here.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Where this stands.
    pub(super) fn applied(&self) -> Lsn {
        self.replica.applied()
    }
}

/// How long a replay goes on from a snapshot to the next, if the last two took so long.
fn snapshot_interval(took: [Duration; 2]) -> Duration {
    SNAPSHOT_INTERVAL.max(took[0].min(took[1]) * SNAPSHOT_SHARE)
}

/// Whether a record of that kind leaves the guest the one whose changes were counted before it.
fn keeps_the_guest(kind: RecordKind) -> bool {
    matches!(kind, RecordKind::Epoch | RecordKind::Bind | RecordKind::Deliver | RecordKind::Digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_that_take_long_are_rare_but_one_that_did_says_nothing() {
        let ms = Duration::from_millis;
        assert_eq!(snapshot_interval([Duration::ZERO, ms(1)]), SNAPSHOT_INTERVAL);
        assert_eq!(snapshot_interval([ms(1), ms(30)]), SNAPSHOT_INTERVAL, "the machine did something else");
        assert_eq!(snapshot_interval([ms(5), ms(6)]), ms(40));
    }
}
