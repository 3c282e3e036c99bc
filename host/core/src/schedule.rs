//! When replicas are to be compared, and when a checkpoint is to be taken.
//!
//! The primary decides, by what a replay of all since the newest checkpoint would have to do: so many bytes to read, so
//! much work of the guest. Every replica counts, so that the next primary knows.
//!
//! **Architecture Invariant:** it takes times and sizes as arguments and decides; it takes no checkpoint itself.

use std::collections::VecDeque;

use crate::{Lsn, RecordHeader, RecordKind, Timestamp, limits::DIGEST_LOG_BYTES};

/// Whoever was asked for a checkpoint has this long, in nanoseconds, before another one is asked. Each try that comes to
/// nothing doubles it.
const ASK_AGAIN_NS: u64 = 10_000_000_000;

/// Doublings of it at most: 320 s.
const DOUBLINGS_MAX: u32 = 5;

/// Digest records since the newest checkpoint that are kept in mind. With more, the oldest are forgotten: a checkpoint
/// at one of them then counts as one that is older than it is.
const MARKS_MAX: usize = 1024;

/// What an operator chose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScheduleOptions {
    /// Bytes of the log between two checkpoints, at most.
    pub checkpoint_every_bytes: u64,
    /// How long the guest may need for a replay, in nanoseconds, before there is another checkpoint.
    pub recovery_target_ns: u64,
}

/// What is due on a primary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// A digest record.
    Digest,
    /// A digest record with a checkpoint.
    Checkpoint,
}

/// What a replay has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Replay {
    /// Bytes of the log.
    pub bytes: u64,
    /// Work of the guest, in nanoseconds, as it was measured when it did it.
    pub guest_ns: u64,
}

impl Replay {
    fn since(self, earlier: Replay) -> Replay {
        assert!(self.bytes >= earlier.bytes, "a log only grows");
        assert!(self.guest_ns >= earlier.guest_ns, "work that was done stays done");
        Replay { bytes: self.bytes - earlier.bytes, guest_ns: self.guest_ns - earlier.guest_ns }
    }
}

/// Counts what has been done since the newest checkpoint.
#[derive(Clone, Debug)]
pub struct Schedule {
    options: ScheduleOptions,
    /// Whether the guest can be captured.
    has_checkpoints: bool,
    /// Since this replica was built.
    total: Replay,
    /// What it was at the newest checkpoint.
    at_checkpoint: Replay,
    checkpoint: Lsn,
    /// Bytes at the last digest record.
    digest_bytes: u64,
    /// What it was at each digest record since.
    marks: VecDeque<(Lsn, Replay)>,
    asked: Option<Ask>,
    /// Tries in a row that came to nothing.
    failures: u32,
    wanted: bool,
}

/// Somebody was asked for a checkpoint.
#[derive(Clone, Copy, Debug)]
struct Ask {
    lsn: Lsn,
    at: Timestamp,
    /// What had been done by then, the digest record of the checkpoint included.
    total: Replay,
    /// Whether it is known to have come to nothing.
    failed: bool,
    /// Whether an operator waits for it.
    wanted: bool,
}

impl Schedule {
    /// Begins to count at the checkpoint that the replica was restored from; `Lsn(0)` if it was from none.
    pub fn new(options: ScheduleOptions, checkpoint: Lsn) -> Self {
        Schedule {
            options,
            has_checkpoints: true,
            total: Replay::default(),
            at_checkpoint: Replay::default(),
            checkpoint,
            digest_bytes: 0,
            marks: VecDeque::new(),
            asked: None,
            failures: 0,
            wanted: false,
        }
    }

    /// Whether the guest can be captured, which another module may change.
    pub fn set_has_checkpoints(&mut self, has: bool) {
        self.has_checkpoints = has;
    }

    /// The record was applied, for which the guest has worked that long.
    pub fn on_applied(&mut self, header: &RecordHeader, guest_ns: u64) {
        self.total.bytes += header.stored_bytes() as u64;
        self.total.guest_ns += guest_ns;
        if header.kind == RecordKind::Digest {
            let rises = self.marks.back().is_none_or(|(mark, _)| *mark < header.lsn);
            assert!(rises, "digest records are applied in the order of the log");
            self.digest_bytes = self.total.bytes;
            if self.marks.len() == MARKS_MAX {
                self.marks.pop_front();
            }
            self.marks.push_back((header.lsn, self.total));
        }
    }

    /// There is a checkpoint at that record, which somebody has taken.
    pub fn on_checkpoint(&mut self, lsn: Lsn) {
        if lsn <= self.checkpoint {
            return;
        }
        self.checkpoint = lsn;
        while let Some((mark, replay)) = self.marks.front().copied()
            && mark <= lsn
        {
            self.at_checkpoint = replay;
            self.marks.pop_front();
        }
        assert!(self.at_checkpoint.bytes <= self.total.bytes, "a checkpoint holds nothing that was not applied");
        debug_assert!(self.marks.front().is_none_or(|(mark, _)| *mark > lsn), "records before it count no more");
        self.asked.take_if(|ask| ask.lsn <= lsn);
        self.failures = 0;
    }

    /// Somebody was asked for a checkpoint at that record.
    pub fn on_asked(&mut self, lsn: Lsn, now: Timestamp) {
        // A try that was never heard of again has failed too.
        self.failures += u32::from(self.asked.is_some_and(|ask| !ask.failed));
        let wanted = self.is_wanted();
        self.asked = Some(Ask { lsn, at: now, total: self.total, failed: false, wanted });
        self.wanted = false;
    }

    /// Whoever was asked is gone: another one is asked at once.
    pub fn on_gone(&mut self) {
        self.wanted |= self.asked.take().is_some_and(|ask| ask.wanted);
    }

    /// The try failed. The next one would most likely fail too, and each makes the log longer, so it waits: for its time, and
    /// until something has happened.
    pub fn on_failed(&mut self) {
        if let Some(ask) = &mut self.asked
            && !ask.failed
        {
            ask.failed = true;
            self.failures += 1;
        }
    }

    /// Whether somebody was asked, and has neither done it nor said that it can't.
    pub fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// An operator wants a checkpoint now.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// Whether an operator waits for one, which may have been asked of somebody who was not heard of again. How a try
    /// has failed an operator is told, and may want another one.
    fn is_wanted(&self) -> bool {
        let waits = self.asked.is_some_and(|ask| ask.wanted && !ask.failed);
        self.wanted || (waits && self.failures < DOUBLINGS_MAX)
    }

    /// What is due now.
    pub fn due(&self, now: Timestamp) -> Option<Due> {
        let due = self.is_wanted() || (self.is_checkpoint_due() && self.may_try_again());
        if self.has_checkpoints && due && self.may_ask(now) {
            return Some(Due::Checkpoint);
        }
        (self.total.bytes - self.digest_bytes >= DIGEST_LOG_BYTES).then_some(Due::Digest)
    }

    /// Whether something was applied behind the last digest record.
    pub fn has_news(&self) -> bool {
        self.total.bytes > self.digest_bytes
    }

    /// When a checkpoint will be due that is not yet, if that is a matter of time alone.
    pub fn wake_at(&self, now: Timestamp) -> Option<Timestamp> {
        let ask = self.asked?;
        let due = self.is_wanted() || (self.is_checkpoint_due() && self.may_try_again());
        let at = Timestamp(ask.at.0.saturating_add(self.pause()));
        (self.has_checkpoints && due && at > now).then_some(at)
    }

    /// Nanoseconds that whoever was asked has.
    fn pause(&self) -> u64 {
        ASK_AGAIN_NS << self.failures.min(DOUBLINGS_MAX)
    }

    /// Whether no replica takes a checkpoint just now, as far as is known. An operator need not wait after a try that has failed.
    fn may_ask(&self, now: Timestamp) -> bool {
        let Some(ask) = self.asked else { return true };
        (ask.failed && self.wanted) || now.0.saturating_sub(ask.at.0) >= self.pause()
    }

    /// Nothing is written when nothing has happened, but for one try more after one that was not heard of again.
    fn may_try_again(&self) -> bool {
        self.asked.is_none_or(|ask| ask.total != self.total || (!ask.failed && self.failures == 0))
    }

    fn is_checkpoint_due(&self) -> bool {
        let replay = self.replay();
        replay.bytes >= self.options.checkpoint_every_bytes || replay.guest_ns >= self.options.recovery_target_ns
    }

    /// What a replay from the newest checkpoint would have to do.
    pub fn replay(&self) -> Replay {
        self.total.since(self.at_checkpoint)
    }

    /// The newest checkpoint known.
    pub fn checkpoint(&self) -> Lsn {
        self.checkpoint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Epoch;

    const OPTIONS: ScheduleOptions = ScheduleOptions { checkpoint_every_bytes: 1000, recovery_target_ns: 500 };

    fn header(kind: RecordKind, lsn: u64) -> RecordHeader {
        RecordHeader::new(kind, Epoch(1), Lsn(lsn), Timestamp(0))
    }

    /// Applies deliveries of 64 bytes each.
    fn deliver(schedule: &mut Schedule, lsns: std::ops::Range<u64>, guest_ns: u64) {
        for lsn in lsns {
            schedule.on_applied(&header(RecordKind::Deliver, lsn), guest_ns);
        }
    }

    #[test]
    fn a_checkpoint_is_due_by_bytes_or_by_work() {
        let mut by_bytes = Schedule::new(OPTIONS, Lsn(0));
        deliver(&mut by_bytes, 2..17, 0);
        assert_eq!(by_bytes.due(Timestamp(0)), None);
        deliver(&mut by_bytes, 17..18, 0);
        assert_eq!(by_bytes.due(Timestamp(0)), Some(Due::Checkpoint));
        let mut by_work = Schedule::new(OPTIONS, Lsn(0));
        deliver(&mut by_work, 2..3, 500);
        assert_eq!(by_work.due(Timestamp(0)), Some(Due::Checkpoint));
    }

    #[test]
    fn who_was_asked_gets_time_and_then_another_one_is_asked() {
        let mut schedule = Schedule::new(OPTIONS, Lsn(0));
        deliver(&mut schedule, 2..3, 500);
        schedule.on_asked(Lsn(3), Timestamp(7));
        assert_eq!(schedule.due(Timestamp(8)), None);
        assert_eq!(schedule.due(Timestamp(7 + ASK_AGAIN_NS)), Some(Due::Checkpoint));
        schedule.on_gone();
        assert_eq!(schedule.due(Timestamp(8)), Some(Due::Checkpoint));
    }

    #[test]
    fn a_try_that_failed_is_repeated_later_and_later_and_only_if_something_has_happened() {
        let mut schedule = Schedule::new(OPTIONS, Lsn(0));
        deliver(&mut schedule, 2..3, 500);
        let mut now = 0;
        let mut lsn = 3;
        for failures in 1..20 {
            schedule.on_asked(Lsn(lsn), Timestamp(now));
            schedule.on_failed();
            let pause = ASK_AGAIN_NS << failures.min(DOUBLINGS_MAX);
            assert_eq!(schedule.due(Timestamp(now + 1000 * pause)), None, "nothing has happened");
            deliver(&mut schedule, lsn + 1..lsn + 2, 1);
            assert_eq!(schedule.due(Timestamp(now + pause - 1)), None, "it is too early");
            now += pause;
            assert_eq!(schedule.due(Timestamp(now)), Some(Due::Checkpoint));
            lsn += 2;
        }
        schedule.on_asked(Lsn(lsn), Timestamp(now));
        schedule.on_checkpoint(Lsn(lsn));
        deliver(&mut schedule, lsn + 1..lsn + 2, 500);
        assert_eq!(schedule.due(Timestamp(now)), Some(Due::Checkpoint), "all is forgotten");
    }

    #[test]
    fn after_silence_one_more_is_asked_and_no_third_one_if_nothing_happens() {
        let mut schedule = Schedule::new(OPTIONS, Lsn(0));
        deliver(&mut schedule, 2..3, 500);
        schedule.on_asked(Lsn(3), Timestamp(0));
        assert_eq!(schedule.due(Timestamp(ASK_AGAIN_NS)), Some(Due::Checkpoint));
        schedule.on_asked(Lsn(4), Timestamp(ASK_AGAIN_NS));
        assert_eq!(schedule.due(Timestamp(u64::MAX)), None);
    }

    #[test]
    fn an_operator_need_not_wait_after_a_try_that_failed() {
        let mut schedule = Schedule::new(OPTIONS, Lsn(0));
        schedule.on_asked(Lsn(3), Timestamp(0));
        schedule.want();
        assert_eq!(schedule.due(Timestamp(1)), None, "a replica takes one");
        schedule.on_failed();
        assert_eq!(schedule.due(Timestamp(1)), Some(Due::Checkpoint));
    }

    /// On an instance in which nothing happens, for which none is due by itself.
    #[test]
    fn what_an_operator_wants_of_one_that_is_gone_is_asked_of_another() {
        let mut schedule = Schedule::new(OPTIONS, Lsn(0));
        schedule.want();
        schedule.on_asked(Lsn(3), Timestamp(0));
        assert_eq!(schedule.due(Timestamp(1)), None);
        schedule.on_gone();
        assert_eq!(schedule.due(Timestamp(1)), Some(Due::Checkpoint));
        schedule.on_asked(Lsn(4), Timestamp(1));
        schedule.on_checkpoint(Lsn(4));
        schedule.on_gone();
        assert_eq!(schedule.due(Timestamp(1)), None, "it is there");
    }

    #[test]
    fn what_an_operator_wants_of_one_that_is_silent_is_asked_of_others_in_their_time_and_not_for_ever() {
        let mut schedule = Schedule::new(OPTIONS, Lsn(0));
        schedule.want();
        let (mut now, mut lsn, mut asked) = (Timestamp(0), 3, 0);
        while schedule.due(now) == Some(Due::Checkpoint) {
            schedule.on_asked(Lsn(lsn), now);
            asked += 1;
            assert_eq!(schedule.due(now), None, "it has its time");
            let Some(at) = schedule.wake_at(now) else { break };
            assert_eq!(schedule.due(Timestamp(at.0 - 1)), None, "all of it");
            (now, lsn) = (at, lsn + 1);
        }
        assert_eq!(asked, DOUBLINGS_MAX + 1);
        assert_eq!(schedule.wake_at(now), None);
    }

    #[test]
    fn what_came_after_the_checkpoint_still_counts() {
        let mut schedule = Schedule::new(OPTIONS, Lsn(0));
        deliver(&mut schedule, 2..10, 10);
        schedule.on_applied(&header(RecordKind::Digest, 10), 0);
        schedule.on_asked(Lsn(10), Timestamp(0));
        deliver(&mut schedule, 11..13, 10);
        schedule.on_checkpoint(Lsn(10));
        assert_eq!(schedule.replay(), Replay { bytes: 2 * 64, guest_ns: 20 });
        assert_eq!(schedule.checkpoint(), Lsn(10));
        schedule.on_checkpoint(Lsn(3));
        assert_eq!(schedule.checkpoint(), Lsn(10), "an older one changes nothing");
    }

    #[test]
    fn an_operator_gets_one_at_once_unless_the_guest_cannot_be_captured() {
        let mut schedule = Schedule::new(OPTIONS, Lsn(0));
        schedule.want();
        assert_eq!(schedule.due(Timestamp(0)), Some(Due::Checkpoint));
        let mut never = Schedule::new(OPTIONS, Lsn(0));
        never.set_has_checkpoints(false);
        never.want();
        deliver(&mut never, 2..100, 500);
        assert_eq!(never.due(Timestamp(0)), None);
        deliver(&mut never, 100..100 + DIGEST_LOG_BYTES / 64, 0);
        assert_eq!(never.due(Timestamp(0)), Some(Due::Digest), "replicas are compared all the same");
    }
}
