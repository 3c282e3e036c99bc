//! What a driver tells of its member to those who watch it: looked up when somebody asks, so that it costs nothing else.

use std::time::Instant;

use ambrosia_core::CallId;
use ambrosia_storage::{LogWriter, WriterStats};

use super::MemberDriver;
use crate::look::Look;

/// What a driver counts through the lives of its member.
#[derive(Default)]
pub(super) struct Counted {
    /// Reigns that have begun.
    pub(super) reigns: u64,
    /// Queries that were answered, by whether they gave a value.
    pub(super) queries: [u64; 2],
    /// Outcomes of requests to the world outside.
    pub(super) outcomes: u64,
    /// What was written in the reigns that are over.
    written: WriterStats,
    /// The oldest call without an answer when it was looked last, and since when it is known to be that.
    oldest_call: Option<(CallId, Instant)>,
}

impl Counted {
    /// A reign is over, and this was its log.
    pub(super) fn end_of(&mut self, writer: &dyn LogWriter) {
        self.written.add_all(&writer.stats());
    }
}

impl MemberDriver {
    pub(super) fn figures(&mut self) -> Look {
        let mut written = self.counted.written.clone();
        if let Some(writer) = &self.shell.writer {
            written.add_all(&writer.stats());
        }
        let replica = self.member.replica();
        let calls = replica.map_or(0, |replica| replica.open_calls().len());
        let oldest = replica.and_then(|replica| replica.open_calls().next()).map(|(call, _)| call);
        let known = self.counted.oldest_call.filter(|(call, _)| Some(*call) == oldest);
        self.counted.oldest_call = oldest.map(|call| known.unwrap_or_else(|| (call, Instant::now())));
        let waits = replica.map_or_else(Vec::new, ambrosia_core::Replica::waits);
        Look {
            written,
            reigns: self.counted.reigns,
            queries: self.counted.queries,
            outcomes: self.counted.outcomes,
            held_outputs: self.member.held_outputs(),
            outbox_messages: waits.iter().map(|waits| waits.messages).sum(),
            outbox_bytes: waits.iter().map(|waits| waits.bytes).sum(),
            calls,
            oldest_call: self.counted.oldest_call.map(|(_, since)| since.elapsed()),
            outgoing: replica.map_or(0, |replica| replica.outgoing().len()),
        }
    }
}
