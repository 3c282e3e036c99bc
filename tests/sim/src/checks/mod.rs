//! What is asserted from outside, whoever shows it. A check that fails panics, and the run has failed.

mod digests;
mod logs;
mod prints;
pub(crate) mod requests;
pub(crate) mod rest;
mod streams;

pub(crate) use self::{digests::Digests, logs::Logs, prints::Prints, requests::Requests, streams::Streams};
use crate::counts::Counts;

/// Everything that was seen of a run.
#[derive(Default)]
pub(crate) struct Witness {
    pub(crate) counts: Counts,
    pub(crate) logs: Logs,
    pub(crate) streams: Streams,
    pub(crate) digests: Digests,
    pub(crate) requests: Requests,
    pub(crate) prints: Prints,
}
