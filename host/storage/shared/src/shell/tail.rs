//! Reads the records of a log in order, for a standby, and becomes its writer.
//!
//! **Architecture Invariant:** what it returns the committer has found to be durable.

use std::sync::Arc;

use ambrosia_core::{Epoch, EpochBody, Lsn, Record, Timestamp};
use ambrosia_storage::{AcquireError, Acquired, Events, LogError, LogId, LogTail, OnRead};

use super::{
    host::{EngineHost, ReignId, log_error},
    writer::{EngineWriter, Listener},
};
use crate::{engine::EngineHead, event::NotReigning, fault::LogFault, reader::Standing, takeover::Candidate};

pub(super) struct EngineTail {
    pub(super) host: Arc<EngineHost>,
    pub(super) log: LogId,
    pub(super) standing: Standing,
    /// The head row as it had been seen when the last read began.
    seen: Option<EngineHead>,
}

/// A tail whose records are on their way, and who is told of them: also if nothing comes, as when its host ends.
struct Reading(Option<(Box<EngineTail>, OnRead)>);

impl Reading {
    fn tell(mut self, read: Result<Vec<Record>, LogFault>) {
        if let Some((mut tail, done)) = self.0.take() {
            let records = tail.take(read);
            done(tail, records);
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some((tail, done)) = self.0.take() {
            done(tail, Ok(Vec::new()));
        }
    }
}

impl EngineTail {
    pub(super) fn new(host: Arc<EngineHost>, log: LogId, standing: Standing) -> EngineTail {
        EngineTail { host, log, standing, seen: None }
    }

    /// Goes on behind what was read.
    fn take(&mut self, read: Result<Vec<Record>, LogFault>) -> Result<Vec<Record>, LogError> {
        match read {
            Ok(records) => {
                if let Some(last) = records.last() {
                    self.standing = Standing::at(last);
                }
                Ok(records)
            }
            // Nothing more is known to be durable now. Whoever follows is called again, as long as there seems to be more.
            Err(LogFault::Unavailable(_)) => Ok(Vec::new()),
            Err(fault) => Err(log_error(fault)),
        }
    }
}

impl LogTail for EngineTail {
    fn read(&mut self) -> Result<Vec<Record>, LogError> {
        self.host.check_kept(self.log).map_err(log_error)?;
        self.seen = self.host.seen(self.log);
        match self.host.read_patiently(self.log, self.standing) {
            // Whoever asks in this way, and is told of no more records, takes that for the end of the log.
            Err(fault @ LogFault::Unavailable(_)) => Err(log_error(fault)),
            read => self.take(read),
        }
    }

    fn begin_read(mut self: Box<Self>, done: OnRead) {
        self.seen = self.host.seen(self.log);
        if let Err(fault) = self.host.check_kept(self.log) {
            return done(self, Err(log_error(fault)));
        }
        let (host, log, standing) = (Arc::clone(&self.host), self.log, self.standing);
        let reading = Reading(Some((self, done)));
        host.begin_read(log, standing, Box::new(move |read| reading.tell(read)));
    }

    fn may_have_more(&self) -> bool {
        // A change may be that the store went back, so another head row is news whatever it says.
        let is_all = |seen: EngineHead| self.standing.last.lsn >= seen.last.lsn;
        let has_all = self.seen.is_some_and(is_all) && self.host.seen(self.log) == self.seen;
        !has_all || self.host.check_kept(self.log).is_err()
    }

    fn position(&self) -> Lsn {
        self.standing.last.lsn.next()
    }

    fn link(&self) -> u64 {
        self.standing.last.link
    }

    fn fork(&self) -> Box<dyn LogTail> {
        Box::new(EngineTail::new(Arc::clone(&self.host), self.log, self.standing))
    }

    fn acquire(
        self: Box<Self>,
        over: Epoch,
        me: EpochBody,
        now: Timestamp,
        events: Events,
    ) -> Result<Acquired, AcquireError> {
        let EngineTail { host, log, standing, .. } = *self;
        host.check_kept(log).map_err(log_error)?;
        let listener = Listener::new(events);
        let claim = host.new_claim();
        let candidate = Candidate { log, over, claim, standing, me, time: now };
        let (task, reigning) = host.take_over(&listener, candidate);
        match reigning {
            Ok((epoch, records)) => {
                let reign = ReignId { epoch, claim };
                let writer = EngineWriter { host, log, reign, task, listener, look: None, is_over: false };
                Ok(Acquired { records, epoch, writer: Box::new(writer) })
            }
            Err(NotReigning::Contended { epoch }) => Err(AcquireError::Contended { epoch }),
            Err(NotReigning::Fault(fault)) => Err(AcquireError::Log(log_error(fault))),
        }
    }
}
