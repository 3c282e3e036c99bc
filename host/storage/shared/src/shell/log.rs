//! A log on an engine, as the rest of the program sees any log.
//!
//! **Architecture Invariant:** it has no state of its own: what is known of a log the committer of its host knows.

use std::{io, sync::Arc};

use ambrosia_core::{Epoch, Lsn};
use ambrosia_storage::{Callback, Head, IoError, LogError, LogId, LogStore, LogTail, OnVacancy, Subscription};

use super::{
    host::{EngineHost, io_error, log_error},
    tail::EngineTail,
};

/// A log on an engine.
#[derive(Clone)]
pub struct EngineLog {
    host: Arc<EngineHost>,
    log: LogId,
}

impl EngineLog {
    /// A log of the engine of that host.
    pub fn new(host: Arc<EngineHost>, log: LogId) -> EngineLog {
        EngineLog { host, log }
    }
}

impl LogStore for EngineLog {
    fn tail(&self, from: Lsn) -> Result<Box<dyn LogTail>, LogError> {
        self.host.check_kept(self.log).map_err(log_error)?;
        let standing = self.host.find(self.log, from).map_err(log_error)?;
        Ok(Box::new(EngineTail::new(Arc::clone(&self.host), self.log, standing)))
    }

    fn head(&self) -> Result<Head, LogError> {
        let head = self.host.head(self.log).map_err(log_error)?;
        Ok(Head { epoch: head.epoch, durable: head.last.lsn })
    }

    /// The committer looks at the heads of all idle writers together, and tells those that were deposed.
    fn later_reign(&self, _than: Epoch) -> Result<Option<Epoch>, LogError> {
        Ok(None)
    }

    fn first(&self) -> Result<Lsn, LogError> {
        Ok(self.host.head(self.log).map_err(log_error)?.first)
    }

    fn stored_bytes(&self) -> Result<u64, IoError> {
        self.host.head(self.log).map(|head| head.bytes).map_err(|fault| io_error(&fault))
    }

    fn is_at_rest(&self) -> bool {
        false
    }

    fn subscribe(&self, call: Callback) -> io::Result<Subscription> {
        Ok(self.host.follow(self.log, call))
    }

    fn watch(&self, call: OnVacancy) -> io::Result<Subscription> {
        Ok(self.host.watch(self.log, call))
    }
}
