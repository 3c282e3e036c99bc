//! An engine in this process: its rows behind a lock, durable as long as the process lives.
//!
//! **Architecture Invariant:** what a request does is what [`Rows`] says.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ambrosia_core::{InstanceUuid, Record};
use ambrosia_storage::LogId;

use crate::{
    engine::{Answering, Engine, EngineFacts, Lane, Request, Session},
    limits::GROUP_BYTES_MAX,
    rows::Rows,
};

/// An engine in memory. Clones are the same.
#[derive(Clone, Default)]
pub struct MemoryEngine(Arc<Mutex<Rows>>);

impl MemoryEngine {
    /// Makes a log that begins with `genesis`, if there is none; its name.
    pub fn create(&self, uuid: InstanceUuid, genesis: &Record) -> LogId {
        self.rows().create(LogId(uuid), genesis);
        LogId(uuid)
    }

    /// What it keeps.
    pub fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for MemoryEngine {
    fn ask(&self, _: Lane, request: Request, answer: Answering) {
        let answered = self.rows().execute(&request, Session(0));
        answer(Ok(answered));
    }

    fn facts(&self) -> EngineFacts {
        EngineFacts {
            group_bytes_max: GROUP_BYTES_MAX,
            lanes: 2,
            place: "the engine in memory".to_owned(),
            caution: None,
        }
    }
}
