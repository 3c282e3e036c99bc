//! Becoming the writer of a log: raise the epoch of the head row, read to the end, append an epoch record.
//!
//! The order is the fence. Once the epoch is raised nothing of an earlier reign is appended any more, so the end that the head
//! row shows with it is the end, and what is read up to there is all of it. The epoch record is the first group of the new
//! reign, appended and settled like any other; its answer makes the reign. Whoever dies in between leaves an epoch that no
//! record has, which readers allow. Whoever lives on and gives up says that the reign has ended, as a writer does.
//!
//! **Architecture Invariant:** a takeover asks nothing itself and knows no time but what it is told.

use core::time::Duration;

use ambrosia_core::{Epoch, EpochBody, Record, RecordHeader, RecordKind, Timestamp};
use ambrosia_storage::LogId;

use crate::{
    engine::{Claim, EngineHead, Fault, LogRead, Position, Raise, RaiseFault, ReadFrom, Session},
    event::{Event, NotReigning},
    fault::LogFault,
    limits::{STALLED_AFTER, TAKEOVER_TIME, retry_after},
    reader::{Found, Reader, Standing, went_back},
    sight::Sight,
    task::Want,
    writer::{Begin, Writer},
};

/// What a candidate wants, and where it stands.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The log.
    pub log: LogId,
    /// The reign that was found vacant.
    pub over: Epoch,
    /// Another one for each try.
    pub claim: Claim,
    /// The last record that it has read.
    pub standing: Standing,
    /// What its epoch record says.
    pub me: EpochBody,
    /// Time of the epoch record, if that is not before the record ahead of it.
    pub time: Timestamp,
}

/// A candidate at work.
#[derive(Debug)]
pub(crate) struct Takeover {
    candidate: Candidate,
    reader: Reader,
    /// What it has read.
    records: Vec<Record>,
    /// The head row as its epoch was raised.
    raised: Option<EngineHead>,
    /// The head row may show its reign, or may yet.
    may_reign: bool,
    stage: Stage,
    began: Duration,
    tries: u32,
    stalled: bool,
    group_bytes_max: usize,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Stage {
    /// The epoch may be raised, but not before.
    Raise(Duration),
    Raising,
    /// There is more to be read.
    Reading(Sight<Result<Vec<Record>, LogFault>>),
    /// All is read.
    Done,
    /// It was given up, which others are to be told, but not before.
    Releasing(Duration),
    /// They were told.
    Released,
    Over,
}

impl Takeover {
    pub(crate) fn new(candidate: Candidate, group_bytes_max: usize, now: Duration) -> Takeover {
        let reader = Reader { log: candidate.log, standing: candidate.standing };
        Takeover {
            candidate,
            reader,
            records: Vec::new(),
            raised: None,
            may_reign: false,
            stage: Stage::Raise(now),
            began: now,
            tries: 0,
            stalled: false,
            group_bytes_max,
        }
    }

    pub(crate) fn want(&self) -> Want {
        match &self.stage {
            Stage::Raise(at) => Want::Raise(*at),
            Stage::Reading(sight) => sight.want(Want::Read),
            Stage::Done => Want::Reign,
            Stage::Releasing(at) => Want::Release(*at),
            Stage::Over => Want::Ended,
            Stage::Raising | Stage::Released => Want::Nothing,
        }
    }

    /// Whether whoever has it knows that it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Releasing(_) | Stage::Released | Stage::Over)
    }

    pub(crate) fn log(&self) -> LogId {
        self.candidate.log
    }

    pub(crate) fn raise(&self) -> Raise {
        let Candidate { log, over, claim, me, .. } = &self.candidate;
        Raise { log: *log, over: *over, claim: *claim, replica: me.replica }
    }

    pub(crate) fn on_raising(&mut self) {
        assert!(matches!(self.stage, Stage::Raise(_)), "an epoch is raised first");
        self.stage = Stage::Raising;
    }

    /// What came of raising the epoch. What is not known is asked again, which changes nothing if it was done.
    pub(crate) fn on_raised(
        &mut self,
        result: Result<Result<EngineHead, RaiseFault>, Fault>,
        now: Duration,
        events: &mut Vec<Event>,
    ) {
        match result {
            Ok(Ok(head)) => {
                assert!(head.epoch > self.candidate.over, "a reign is named by a number that none before it had");
                self.may_reign = true;
                let at = self.reader.standing;
                if at.epoch >= head.epoch {
                    // What was durable before is of a reign that the head row had not seen.
                    return self.end(NotReigning::Fault(went_back(at.last.lsn, at.epoch, head)), now, events);
                }
                self.raised = Some(head);
                self.go_on(now, events);
            }
            Ok(Err(RaiseFault::Contended(head))) => {
                self.end(NotReigning::Contended { epoch: head.epoch }, now, events);
            }
            Ok(Err(RaiseFault::Gone)) => {
                self.end(NotReigning::Fault(LogFault::Gone { log: self.candidate.log }), now, events);
            }
            Err(fault) => {
                self.may_reign |= matches!(fault, Fault::Unknown(_));
                self.retry(fault.to_string(), Stage::Raise, now, events);
            }
        }
    }

    /// Reads on, or is done.
    fn go_on(&mut self, now: Duration, events: &mut Vec<Event>) {
        let head = self.raised.expect("nothing is read before the epoch is raised");
        let at = self.reader.standing;
        if at.epoch >= head.epoch {
            // Others were faster, and have written already.
            return self.end(NotReigning::Contended { epoch: at.epoch }, now, events);
        }
        if at.last.lsn < head.last.lsn {
            self.stage = read_from(now);
        } else if at.last == head.last {
            self.stage = Stage::Done;
        } else if at.last.lsn > head.last.lsn {
            self.end(NotReigning::Fault(went_back(at.last.lsn, at.epoch, head)), now, events);
        } else {
            let fault = LogFault::Rewritten { log: self.candidate.log, lsn: at.last.lsn };
            self.end(NotReigning::Fault(fault), now, events);
        }
    }

    /// What is read, from being wanted to being believed.
    fn sight(&mut self) -> &mut Sight<Result<Vec<Record>, LogFault>> {
        match &mut self.stage {
            Stage::Reading(sight) => sight,
            _ => panic!("only who reads has anything to see"),
        }
    }

    pub(crate) fn on_reading(&mut self) -> ReadFrom {
        self.sight().on_asking();
        self.reader.wanted()
    }

    pub(crate) fn on_not_read(&mut self) {
        self.sight().on_left_out();
    }

    pub(crate) fn on_read(&mut self, read: Result<(Session, LogRead), String>, now: Duration, events: &mut Vec<Event>) {
        let (session, read) = match read {
            Ok(read) => read,
            Err(reason) => return self.retry(reason, read_from, now, events),
        };
        match self.reader.judge(session, &read) {
            Found::Seen(session, result) => self.sight().see(session, result),
            // A node that lags: what was raised stands behind it.
            Found::Nothing => self.retry("the node that was read lags behind".to_owned(), read_from, now, events),
        }
    }

    pub(crate) fn on_barring(&mut self) {
        self.sight().on_barring();
    }

    pub(crate) fn on_barred(&mut self, result: Result<(), String>, now: Duration, events: &mut Vec<Event>) {
        match self.sight().on_barred(result) {
            Ok(Ok(records)) => {
                self.reader.take(&records);
                self.records.extend(records);
                self.go_on(now, events);
            }
            Ok(Err(fault)) => self.end(NotReigning::Fault(fault), now, events),
            Err(reason) => self.retry(reason, read_from, now, events),
        }
    }

    /// Begins the reign: an epoch record is to be appended behind all that was read.
    pub(crate) fn reign(&mut self, now: Duration) -> Writer {
        assert_eq!(self.stage, Stage::Done, "a reign begins behind the last record");
        let head = self.raised.expect("the epoch was raised before anything was read");
        let Candidate { log, claim, me, time, .. } = &self.candidate;
        let after = self.reader.standing;
        let begin = Begin {
            log: *log,
            epoch: head.epoch,
            claim: *claim,
            after: after.last,
            records: std::mem::take(&mut self.records),
            epoch_record: epoch_record(me, head.epoch, *time, after),
            group_bytes_max: self.group_bytes_max,
        };
        Writer::new(begin, now)
    }

    fn retry(&mut self, reason: String, stage: impl FnOnce(Duration) -> Stage, now: Duration, events: &mut Vec<Event>) {
        let waited = now.saturating_sub(self.began);
        if waited >= TAKEOVER_TIME {
            return self.end(NotReigning::Fault(LogFault::Unavailable(reason)), now, events);
        }
        if !self.stalled && waited >= STALLED_AFTER {
            self.stalled = true;
            events.push(Event::Stalled(reason));
        }
        self.tries += 1;
        self.stage = stage(now + retry_after(self.tries));
    }

    /// Whoever has it is told at once. Until others are, they see the reign of a host that is alive, which is never vacant.
    fn end(&mut self, why: NotReigning, now: Duration, events: &mut Vec<Event>) {
        self.stage = if self.may_reign { Stage::Releasing(now) } else { Stage::Over };
        (self.records, self.tries) = (Vec::new(), 0);
        events.push(Event::NotReigning(why));
    }

    /// The epoch and the claim of the reign that has ended, or has never begun.
    pub(crate) fn on_releasing(&mut self) -> (Epoch, Claim) {
        self.stage = Stage::Released;
        (Epoch(self.candidate.over.0 + 1), self.candidate.claim)
    }

    pub(crate) fn on_released(&mut self, result: &Result<(), String>, now: Duration) {
        self.tries += 1;
        self.stage = if result.is_ok() { Stage::Over } else { Stage::Releasing(now + retry_after(self.tries)) };
    }
}

/// There is more to be read, but not before.
fn read_from(at: Duration) -> Stage {
    Stage::Reading(Sight::Wanted(at))
}

/// The first record of a reign.
fn epoch_record(me: &EpochBody, epoch: Epoch, time: Timestamp, after: Standing) -> Record {
    let mut body = Vec::new();
    me.encode(&mut body);
    let Position { lsn, link } = after.last;
    let mut header = RecordHeader::new(RecordKind::Epoch, epoch, lsn.next(), time.max(after.time));
    (header.durable, header.previous) = (lsn, link);
    Record::seal(header, &body)
}
