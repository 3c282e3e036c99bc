//! The places that replicas of this process have, and those that it has left and that stand there as if it had them.
//!
//! A place whose host is alive is taken, whoever looks; so what a request did not do, or did too late, is done later.
//!
//! **Architecture Invariant:** what is given back is what nobody here had when it was read: whoever takes a place changes its key.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Mutex,
    time::{Duration, Instant},
};

use ambrosia_core::ReplicaIndex;
use ambrosia_storage::{IoError, LogId};

use super::{
    desk::Desk,
    members::{self, Place},
    stored,
};
use crate::{
    keys::Space,
    limits::{ANSWER_TIME, ANSWER_TIME_MAX},
    shell::host::lock,
};

/// A request that takes a place, and of which it is not known whether it was done, is not done any more after so long.
const LATE_TIME: Duration = Duration::from_millis(2 * ANSWER_TIME_MAX.as_millis() as u64);

/// Which places this process has.
#[derive(Default)]
pub(super) struct OwnPlaces {
    entered: Mutex<BTreeSet<(LogId, ReplicaIndex)>>,
    left: Mutex<VecDeque<Left>>,
}

/// A place that may stand there as one of this process.
struct Left {
    log: LogId,
    replica: ReplicaIndex,
    /// Until then it may come to stand there.
    until: Instant,
}

impl OwnPlaces {
    /// Whether nobody here had it.
    pub(super) fn enter(&self, log: LogId, replica: ReplicaIndex) -> bool {
        lock(&self.entered).insert((log, replica))
    }

    pub(super) fn leave(&self, log: LogId, replica: ReplicaIndex) {
        lock(&self.entered).remove(&(log, replica));
    }

    pub(super) fn has(&self, log: LogId, replica: ReplicaIndex) -> bool {
        lock(&self.entered).contains(&(log, replica))
    }

    pub(super) fn has_any_of(&self, log: LogId) -> bool {
        let replicas = (log, ReplicaIndex(0))..=(log, ReplicaIndex(u16::MAX));
        lock(&self.entered).range(replicas).next().is_some()
    }

    /// Of which logs it has any.
    pub(super) fn logs(&self) -> BTreeSet<LogId> {
        lock(&self.entered).iter().map(|(log, _)| *log).collect()
    }

    /// It was left, and may stand there yet.
    pub(super) fn is_left(&self, log: LogId, replica: ReplicaIndex) {
        lock(&self.left).push_back(Left { log, replica, until: Instant::now() });
    }

    /// It may have been taken, or may yet be, by a request of which nothing more is heard.
    pub(super) fn may_be_taken(&self, log: LogId, replica: ReplicaIndex) {
        lock(&self.left).push_back(Left { log, replica, until: Instant::now() + LATE_TIME });
    }

    /// Gives back what was left, as far as that can be done within [`ANSWER_TIME`]. The rest is for the next time.
    pub(super) fn give_back(&self, desk: &Desk) -> Result<(), IoError> {
        let (began, count) = (Instant::now(), lock(&self.left).len());
        for _ in 0..count {
            let Some(left) = lock(&self.left).pop_front() else { break };
            let given_back = self.give_back_one(desk, &left);
            if !matches!(given_back, Ok(true)) {
                lock(&self.left).push_back(left);
            }
            given_back?;
            if began.elapsed() >= ANSWER_TIME {
                break;
            }
        }
        Ok(())
    }

    /// Whether it does not stand there any more, and will not.
    fn give_back_one(&self, desk: &Desk, left: &Left) -> Result<bool, IoError> {
        let (key, is_last) = (members::key(left.log, left.replica), Instant::now() >= left.until);
        if self.has(left.log, left.replica) {
            return Ok(false);
        }
        let Some(entry) = desk.get_within(Space::Store, &key, ANSWER_TIME)? else { return Ok(is_last) };
        if stored::decode::<Place>(&entry.value).is_none_or(|place| place.host() != desk.me) {
            return Ok(is_last);
        }
        // Whoever has taken it since that was read has changed the key; whoever did before has it now.
        if self.has(left.log, left.replica) {
            return Ok(false);
        }
        let deleted = desk.delete_within(Space::Store, &key, entry.revision, ANSWER_TIME)?;
        Ok(deleted.is_ok() && is_last)
    }
}
