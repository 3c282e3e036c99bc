//! What is asserted from outside, whoever shows it. A check that fails panics, and the run has failed.

mod checkpoints;
mod digests;
pub(crate) mod engines;
mod logs;
pub(crate) mod outside;
mod prints;
mod queries;
pub(crate) mod requests;
pub(crate) mod rest;
pub(crate) mod sessions;
mod streams;

pub(crate) use self::{
    checkpoints::Replays, digests::Digests, logs::Logs, outside::Outside, prints::Prints, queries::Queries,
    requests::Requests, sessions::Sessions, streams::Streams,
};
use crate::counts::Counts;

/// Everything that was seen of a run.
#[derive(Default)]
pub(crate) struct Witness {
    pub(crate) counts: Counts,
    pub(crate) logs: Logs,
    pub(crate) replays: Replays,
    pub(crate) streams: Streams,
    pub(crate) digests: Digests,
    pub(crate) engines: engines::Engines,
    pub(crate) requests: Requests,
    pub(crate) sessions: Sessions,
    pub(crate) queries: Queries,
    pub(crate) prints: Prints,
    pub(crate) outside: Outside,
}
