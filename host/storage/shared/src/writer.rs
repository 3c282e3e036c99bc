//! The writer of one reign: gathers records, has one group of them at a time on its way, and finds out what became of it.
//!
//! A group whose outcome is not known is *settled* before anything else is appended:
//!
//! ```text
//!                 ┌────────── nothing of it is there ◄────────────┐
//!                 ▼                                               │
//! Idle ─group─► Ready ─► Sent ─not known, or refused─► Unsettled: a look, and a barrier ─► durable, or the reign is over
//!   ▲                     │
//!   └──────durable────────┘
//! ```
//!
//! * The head row still shows what the group follows: the same bytes are sent again. Of two copies one is refused, as the head has
//!   moved. Other bytes could be appended beside a copy that is still on its way.
//! * It shows a record of the group as the last one, by its link: all up to there stands there. That it will stay, only a barrier
//!   tells: a node that has died and come back shows what it had committed by itself, and a failover loses it.
//! * Anything else, such as a later epoch: the reign is over, once a barrier says that this is not the view of a node that has lost
//!   its office.
//!
//! **Architecture Invariant:** the writer asks nothing itself and knows no time but what it is told. A record is told durable by
//! [`Writer::settled`] alone.

use core::time::Duration;
use std::collections::VecDeque;

use ambrosia_core::{Epoch, Lsn, Record};
use ambrosia_storage::{AppendError, LOG_QUEUE_BYTES_MAX, LogEvent, LogId, StopCause};
use bytes::{Bytes, BytesMut};

use crate::{
    engine::{AppendFault, Claim, EngineHead, Fault, Group, Known, Position, Session},
    event::{Event, NotReigning},
    fault::LogFault,
    limits::{GROUP_BYTES_MAX, RELEASE_TRIES, STALLED_AFTER, retry_after},
    reader::{Standing, went_back},
    sight::Sight,
    task::Want,
};

/// The writer of one reign.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) log: LogId,
    pub(crate) epoch: Epoch,
    claim: Claim,
    /// All up to here is known to be durable.
    durable: Position,
    /// The record taken last.
    last: Position,
    /// What waits for a group of its own.
    queue: VecDeque<Record>,
    /// Bytes of that, and of the group.
    queued_bytes: usize,
    is_full: bool,
    /// Bytes of a group that holds more than one record.
    group_bytes_max: usize,
    group: Option<Group>,
    /// Records in the group.
    grouped: Vec<Record>,
    /// A copy of the group may have been appended, or may yet be.
    is_unsure: bool,
    stage: Stage,
    /// Failures since something was durable.
    tries: u32,
    /// Since when the group is on its way.
    sent: Duration,
    stalled: bool,
    /// What a candidate has read, until its epoch record is durable.
    begun: Option<Vec<Record>>,
    /// What the head row is known to tell those who follow: whether the reign answers, and the newest checkpoint.
    shown: (bool, Lsn),
    end: End,
    /// Whoever has it was told that it has ended. Others may not be yet.
    pub(crate) is_closed: bool,
    /// Why the reign is over, once it is.
    stopped: Option<StopCause>,
    /// What is wrong with the log, if that ended it.
    fault: Option<LogFault>,
}

/// Where the writer stands.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Stage {
    /// Nothing is on its way.
    Idle,
    /// The group may be sent, but not before.
    Ready(Duration),
    /// It was sent.
    Sent,
    /// What became of it is to be found out by a look at the head row.
    Unsettled(Sight<Verdict>),
    /// The reign is over in order, which others are to be told, but not before.
    Releasing(Duration),
    /// They were told.
    Released,
    /// It is over.
    Over,
}

/// What the head row says.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Verdict {
    /// All up to there stands there.
    Written(Position),
    /// A later reign has begun.
    Fenced(Epoch),
    /// The log is not what it was.
    Fault(LogFault),
}

/// How the reign is to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    No,
    /// With all that was taken.
    Flushed,
    /// With what is on its way.
    Abandoned,
}

/// What a reign begins with.
pub(crate) struct Begin {
    pub(crate) log: LogId,
    pub(crate) epoch: Epoch,
    pub(crate) claim: Claim,
    /// The end of the log, durable.
    pub(crate) after: Position,
    /// What the candidate has read.
    pub(crate) records: Vec<Record>,
    pub(crate) epoch_record: Record,
    /// Bytes of a group that the engine takes.
    pub(crate) group_bytes_max: usize,
}

impl Writer {
    /// Begins a reign by its epoch record, which is the first to be appended.
    pub(crate) fn new(begin: Begin, now: Duration) -> Writer {
        let Begin { log, epoch, claim, after, records, epoch_record, group_bytes_max } = begin;
        let mut writer = Writer {
            log,
            epoch,
            claim,
            durable: after,
            last: after,
            queue: VecDeque::new(),
            queued_bytes: 0,
            is_full: false,
            group_bytes_max: group_bytes_max.min(GROUP_BYTES_MAX),
            group: None,
            grouped: Vec::new(),
            is_unsure: false,
            stage: Stage::Idle,
            tries: 0,
            sent: now,
            stalled: false,
            begun: Some(records),
            shown: (false, Lsn(0)),
            end: End::No,
            is_closed: false,
            stopped: None,
            fault: None,
        };
        writer.append(epoch_record, now).expect("an epoch record is made to follow the log");
        writer
    }

    /// What is to be done next.
    pub(crate) fn want(&self) -> Want {
        match &self.stage {
            Stage::Ready(at) => Want::Append(*at),
            Stage::Unsettled(sight) => sight.want(Want::Look),
            Stage::Releasing(at) => Want::Release(*at),
            // Whoever has it goes on to be told why.
            Stage::Over if self.stopped.is_some() && self.begun.is_none() => Want::Nothing,
            Stage::Over => Want::Ended,
            Stage::Idle | Stage::Sent | Stage::Released => Want::Nothing,
        }
    }

    /// Nothing more is to be done, not even to tell others that it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// Whether whoever has it knows that it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.is_closed || self.is_over()
    }

    pub(crate) fn claim(&self) -> Claim {
        self.claim
    }

    /// All up to there is known to be durable.
    pub(crate) fn durable(&self) -> Position {
        self.durable
    }

    pub(crate) fn fault(&self) -> Option<&LogFault> {
        self.fault.as_ref()
    }

    /// Whether it looks at the fence when it is time for it: whoever has a group on its way learns of it by that.
    pub(crate) fn is_idle(&self) -> bool {
        self.stage == Stage::Idle
    }

    /// What is known of the head row; it is told of others only.
    pub(crate) fn known(&self) -> Known {
        let (is_announced, checkpoint) = self.shown;
        let Writer { epoch, claim, durable: last, .. } = *self;
        Known { epoch, claim, is_reigned: true, is_announced, checkpoint, last }
    }

    /// What the head row tells those who follow is nothing to a writer, and so it is told once.
    pub(crate) fn on_shown(&mut self, head: &EngineHead) {
        self.shown = (head.is_announced, head.checkpoint);
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Takes a record. Whether that is something new to be done: a group that is to be sent.
    pub(crate) fn append(&mut self, record: Record, now: Duration) -> Result<bool, AppendError> {
        match &self.stopped {
            Some(StopCause::Fenced { by }) => return Err(AppendError::Fenced { by: *by }),
            Some(StopCause::Failed(reason)) => return Err(AppendError::Failed(reason.clone())),
            None => {}
        }
        self.check_follows(&record)?;
        let header = record.header();
        self.last = Position::of(header);
        self.queued_bytes += record.stored().len();
        self.is_full |= self.queued_bytes > LOG_QUEUE_BYTES_MAX;
        self.queue.push_back(record);
        Ok(self.gather(now))
    }

    fn check_follows(&self, record: &Record) -> Result<(), AppendError> {
        let header = record.header();
        let reason = if header.epoch != self.epoch {
            "its epoch is not that of the reign"
        } else if header.lsn != self.last.lsn.next() {
            "its lsn is not the next"
        } else if header.previous != self.last.link {
            "its link is not that of the record before"
        } else {
            return Ok(());
        };
        let (found, expected) = (header.lsn, self.last.lsn.next());
        Err(AppendError::Misplaced { found, epoch: header.epoch, expected, reason })
    }

    /// Makes a group of what has gathered, if none is on its way; whether there is one to be sent now.
    fn gather(&mut self, now: Duration) -> bool {
        if self.stage != Stage::Idle || self.queue.is_empty() {
            return false;
        }
        assert!(self.group.is_none() && self.grouped.is_empty(), "one group of a log is on its way at a time");
        let mut bytes = 0;
        while let Some(record) = self.queue.front() {
            bytes += record.stored().len();
            if !self.grouped.is_empty() && bytes > self.group_bytes_max {
                break;
            }
            self.grouped.extend(self.queue.pop_front());
        }
        self.group = Some(self.group_of(&self.grouped));
        (self.stage, self.sent) = (Stage::Ready(now), now);
        true
    }

    fn group_of(&self, records: &[Record]) -> Group {
        let last = Position::of(records.last().expect("a group holds a record").header());
        Group { log: self.log, epoch: self.epoch, after: self.durable, last, bytes: joined(records) }
    }

    /// The group to be sent.
    pub(crate) fn group(&self) -> &Group {
        self.group.as_ref().expect("whoever wants to append has a group")
    }

    pub(crate) fn on_sent(&mut self) {
        assert!(matches!(self.stage, Stage::Ready(_)), "a group is sent when it is ready");
        self.stage = Stage::Sent;
    }

    pub(crate) fn on_appended(&mut self, result: Result<(), AppendFault>, now: Duration, events: &mut Vec<Event>) {
        assert_eq!(self.stage, Stage::Sent, "an answer comes to what was sent");
        match result {
            Ok(()) => self.settled(self.group().last, now, events),
            // A copy that came before may have been appended: by whom the head was moved shows in it.
            Err(AppendFault::Refused(_)) => self.unsettle("the group was refused".to_owned(), now, events),
            Err(AppendFault::Failed(Fault::Unknown(reason))) => {
                self.is_unsure = true;
                self.unsettle(reason, now, events);
            }
            Err(AppendFault::Failed(Fault::Unavailable(reason) | Fault::Refused(reason))) => {
                let at = self.retry(reason, now, events);
                self.stage = if self.is_unsure { unsettled(at) } else { Stage::Ready(at) };
            }
            Err(AppendFault::TooLarge { max }) => self.on_too_large(max, now, events),
        }
    }

    /// Makes smaller groups of the same records. If a copy of the large one is on its way all the same, either that is appended or
    /// the first of the small ones, as both follow the same record; the head row shows which.
    fn on_too_large(&mut self, max: usize, now: Duration, events: &mut Vec<Event>) {
        if self.group().bytes.len() <= max {
            self.unsettle("the engine contradicts itself about its limit".to_owned(), now, events);
        } else if self.grouped.len() > 1 {
            self.group_bytes_max = max.min(self.group().bytes.len() / 2);
            self.ungroup();
            self.gather(now);
        } else {
            let bytes = self.group().bytes.len();
            let fault = LogFault::TooLarge { log: self.log, lsn: self.group().last.lsn, bytes, max };
            self.stop(Verdict::Fault(fault), events);
        }
    }

    /// Puts what is in the group back to what waits.
    fn ungroup(&mut self) {
        for record in self.grouped.drain(..).rev() {
            self.queue.push_front(record);
        }
        (self.group, self.stage) = (None, Stage::Idle);
    }

    /// What has become of the group is to be found out: at once, if nothing has failed before.
    fn unsettle(&mut self, reason: String, now: Duration, events: &mut Vec<Event>) {
        let later = self.retry(reason, now, events);
        self.stage = unsettled(if self.tries == 1 { now } else { later });
    }

    /// All up to there is durable, and it is more than before.
    fn settled(&mut self, upto: Position, now: Duration, events: &mut Vec<Event>) {
        self.ungroup();
        let mut settled = Vec::new();
        while let Some(record) = self.queue.pop_front_if(|record| record.lsn() <= upto.lsn) {
            self.queued_bytes -= record.stored().len();
            settled.push(record);
        }
        let last = settled.last().map(|record| Standing::at(record).last);
        assert_eq!(last, Some(upto), "what is durable was taken, and was not known to be");
        self.durable = upto;
        (self.is_unsure, self.tries) = (false, 0);
        self.on_going(events);
        if self.is_full && self.queued_bytes <= LOG_QUEUE_BYTES_MAX {
            self.is_full = false;
            events.push(Event::Log(self.epoch, LogEvent::Room));
        }
        match self.begun.take() {
            Some(mut records) => {
                records.extend(settled);
                events.push(Event::Reigns { epoch: self.epoch, records });
            }
            None => events.push(Event::Log(self.epoch, LogEvent::Durable(self.durable.lsn))),
        }
        self.rest(now);
    }

    /// Goes on with what has gathered, or to the end of the reign.
    fn rest(&mut self, now: Duration) {
        if !self.gather(now) && self.end != End::No {
            (self.stage, self.tries) = (Stage::Releasing(now), 0);
        }
    }

    /// Another try is due then. Tells that the writer stands, if it has for long.
    fn retry(&mut self, reason: String, now: Duration, events: &mut Vec<Event>) -> Duration {
        self.tries += 1;
        self.on_standing(reason, now.saturating_sub(self.sent), events);
        now + retry_after(self.tries)
    }

    /// It has waited for so long: if that is long, it tells so, once.
    fn on_standing(&mut self, reason: String, waited: Duration, events: &mut Vec<Event>) {
        if !self.stalled && waited >= STALLED_AFTER {
            self.stalled = true;
            events.push(match self.begun {
                Some(_) => Event::Stalled(reason),
                None => Event::Log(self.epoch, LogEvent::Stalled { reason, waited }),
            });
        }
    }

    /// It waits no more.
    fn on_going(&mut self, events: &mut Vec<Event>) {
        if std::mem::take(&mut self.stalled) {
            events.push(match self.begun {
                Some(_) => Event::Resumed,
                None => Event::Log(self.epoch, LogEvent::Resumed),
            });
        }
    }

    /// Nothing is on its way, and its head row was looked at, or could not be for so long.
    pub(crate) fn on_watched(&mut self, unseen: Option<(&str, Duration)>, events: &mut Vec<Event>) {
        match unseen {
            _ if self.stage != Stage::Idle => {}
            Some((reason, waited)) => self.on_standing(reason.to_owned(), waited, events),
            None => self.on_going(events),
        }
    }

    pub(crate) fn on_looking(&mut self) {
        self.sight().on_asking();
    }

    /// What is found out, from being wanted to being believed.
    fn sight(&mut self) -> &mut Sight<Verdict> {
        match &mut self.stage {
            Stage::Unsettled(sight) => sight,
            _ => panic!("whoever looks does not know"),
        }
    }

    /// The head row as it was asked for; `None` if there is no such log.
    pub(crate) fn on_head(&mut self, session: Session, head: Option<EngineHead>, now: Duration) {
        let is_sent = self.group.is_some();
        let verdict = match head {
            None => Verdict::Fault(LogFault::Gone { log: self.log }),
            Some(head) if head.epoch > self.epoch => Verdict::Fenced(head.epoch),
            Some(head) if head.epoch < self.epoch || head.last.lsn < self.durable.lsn => {
                Verdict::Fault(went_back(self.durable.lsn, self.epoch, head))
            }
            // Nothing is claimed by that, so it need not be believed.
            Some(head) if head.last == self.durable => return self.on_unchanged(now),
            Some(head) if is_sent && self.has_taken(head.last) => Verdict::Written(head.last),
            // Nobody else writes with this epoch.
            Some(head) => Verdict::Fault(LogFault::Rewritten { log: self.log, lsn: head.last.lsn }),
        };
        self.sight().see(session, verdict);
    }

    /// The head row shows what was known of it: what was sent is sent again.
    fn on_unchanged(&mut self, now: Duration) {
        assert_eq!(self.stage, Stage::Unsettled(Sight::Asked), "an answer comes to whoever has asked");
        if self.group.is_some() {
            self.stage = Stage::Ready(now);
        } else {
            self.stage = Stage::Idle;
            self.rest(now);
        }
    }

    /// Whether that is a record of this reign which is not known to be durable.
    fn has_taken(&self, position: Position) -> bool {
        let mut taken = self.grouped.iter().chain(&self.queue);
        taken.any(|record| Standing::at(record).last == position)
    }

    pub(crate) fn on_look_failed(&mut self, reason: String, now: Duration, events: &mut Vec<Event>) {
        self.stage = unsettled(self.retry(reason, now, events));
    }

    /// It was looked at while nothing was on its way, and something has changed.
    pub(crate) fn on_doubt(&mut self, now: Duration) {
        if self.stage == Stage::Idle {
            self.stage = unsettled(now);
        }
    }

    pub(crate) fn on_barring(&mut self) {
        self.sight().on_barring();
    }

    pub(crate) fn on_barred(&mut self, result: Result<(), String>, now: Duration, events: &mut Vec<Event>) {
        match self.sight().on_barred(result) {
            Ok(Verdict::Written(upto)) => self.settled(upto, now, events),
            Ok(verdict) => self.stop(verdict, events),
            Err(reason) => self.stage = unsettled(self.retry(reason, now, events)),
        }
    }

    fn stop(&mut self, verdict: Verdict, events: &mut Vec<Event>) {
        self.stage = Stage::Over;
        self.queue.clear();
        self.queued_bytes = 0;
        let is_begun = self.begun.is_none();
        let cause = match &verdict {
            Verdict::Fenced(by) => StopCause::Fenced { by: *by },
            Verdict::Fault(fault) => StopCause::Failed(fault.to_string()),
            Verdict::Written(_) => unreachable!("what is written ends no reign"),
        };
        if let Verdict::Fault(fault) = &verdict {
            self.fault = Some(fault.clone());
        }
        self.stopped = Some(cause.clone());
        events.push(match verdict {
            _ if is_begun => Event::Log(self.epoch, LogEvent::Stopped(cause)),
            Verdict::Fault(fault) => Event::NotReigning(NotReigning::Fault(fault)),
            Verdict::Fenced(epoch) => Event::NotReigning(NotReigning::Contended { epoch }),
            Verdict::Written(_) => unreachable!("what is written ends no reign"),
        });
    }

    /// Ends the reign once all that was taken is durable. Whether something is to be done now.
    pub(crate) fn close(&mut self, now: Duration) -> bool {
        self.end = End::Flushed;
        let is_idle = self.stage == Stage::Idle;
        if is_idle {
            self.rest(now);
        }
        is_idle
    }

    /// Ends the reign with what is on its way; what waits is dropped. Whether something is to be done now.
    pub(crate) fn abandon(&mut self, now: Duration) -> bool {
        let dropped: usize = self.queue.drain(..).map(|record| record.stored().len()).sum();
        self.queued_bytes -= dropped;
        let has_to = self.close(now);
        self.end = End::Abandoned;
        has_to
    }

    /// The epoch and the claim of the reign that has ended.
    pub(crate) fn on_releasing(&mut self) -> (Epoch, Claim) {
        self.stage = Stage::Released;
        (self.epoch, self.claim)
    }

    pub(crate) fn on_released(&mut self, result: Result<(), String>, now: Duration, events: &mut Vec<Event>) {
        self.tries += 1;
        // Until others are told they see the reign of a host that is alive, which is never vacant.
        self.stage = if result.is_ok() { Stage::Over } else { Stage::Releasing(now + retry_after(self.tries)) };
        if (result.is_ok() || self.tries >= RELEASE_TRIES) && !std::mem::replace(&mut self.is_closed, true) {
            events.push(Event::Closed);
        }
    }
}

/// What became of a group is to be found out, but not before.
fn unsettled(at: Duration) -> Stage {
    Stage::Unsettled(Sight::Wanted(at))
}

/// The records one behind the other. A single one is not copied.
fn joined(records: &[Record]) -> Bytes {
    if let [record] = records {
        return record.stored().clone();
    }
    let mut bytes = BytesMut::with_capacity(records.iter().map(|record| record.stored().len()).sum());
    records.iter().for_each(|record| bytes.extend_from_slice(record.stored()));
    bytes.freeze()
}
