//! Reads the records of a log in order, for a standby, and becomes its writer.
//!
//! **Architecture Invariant:** what it returns the committer has found to be durable.

use std::sync::Arc;

use ambrosia_core::{Epoch, EpochBody, Lsn, Record, Timestamp};
use ambrosia_storage::{AcquireError, Acquired, Events, LogError, LogId, LogTail};

use super::{
    host::{EngineHost, log_error},
    writer::{EngineWriter, Listener},
};
use crate::{event::NotReigning, fault::LogFault, reader::Standing, takeover::Candidate};

pub(super) struct EngineTail {
    pub(super) host: Arc<EngineHost>,
    pub(super) log: LogId,
    pub(super) standing: Standing,
}

impl LogTail for EngineTail {
    fn read(&mut self) -> Result<Vec<Record>, LogError> {
        self.host.check_kept(self.log).map_err(log_error)?;
        match self.host.read(self.log, self.standing) {
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

    fn position(&self) -> Lsn {
        self.standing.last.lsn.next()
    }

    fn link(&self) -> u64 {
        self.standing.last.link
    }

    fn fork(&self) -> Box<dyn LogTail> {
        Box::new(EngineTail { host: Arc::clone(&self.host), log: self.log, standing: self.standing })
    }

    fn acquire(
        self: Box<Self>,
        over: Epoch,
        me: EpochBody,
        now: Timestamp,
        events: Events,
    ) -> Result<Acquired, AcquireError> {
        let EngineTail { host, log, standing } = *self;
        host.check_kept(log).map_err(log_error)?;
        let listener = Listener::new(events);
        let (task, reigning) = host.take_over(&listener, |committer| Candidate {
            log,
            over,
            claim: committer.new_claim(),
            standing,
            me,
            time: now,
        });
        match reigning {
            Ok((epoch, records)) => {
                let writer = EngineWriter { host, log, epoch, task, listener, look: None, is_over: false };
                Ok(Acquired { records, epoch, writer: Box::new(writer) })
            }
            Err(NotReigning::Contended { epoch }) => Err(AcquireError::Contended { epoch }),
            Err(NotReigning::Fault(fault)) => Err(AcquireError::Log(log_error(fault))),
        }
    }
}
