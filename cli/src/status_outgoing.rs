//! What `status` says of the requests of an instance to the world outside.

use ambrosia_host::{OutgoingReport, OutgoingRequest, without_controls};
use serde::Serialize;

use crate::status_peers::{counted, time};

/// The requests that have no outcome yet.
#[derive(Serialize)]
pub(crate) struct ShownOutgoing {
    /// How many there are.
    pending: u64,
    /// The first hundred of them.
    requests: Vec<ShownRequest>,
}

#[derive(Serialize)]
struct ShownRequest {
    id: u64,
    request: String,
    tries: u32,
    age_ms: u64,
    next_try_ms: Option<u64>,
    last_error: Option<String>,
}

impl ShownOutgoing {
    pub(crate) fn of(report: OutgoingReport) -> ShownOutgoing {
        let shown = |request: OutgoingRequest| {
            let OutgoingRequest { id, what, tries, age, next_try, error } = request;
            ShownRequest {
                id,
                request: without_controls(&what),
                tries,
                age_ms: age.as_millis() as u64,
                next_try_ms: next_try.map(|next_try| next_try.as_millis() as u64),
                last_error: (!error.is_empty()).then(|| without_controls(&error)),
            }
        };
        ShownOutgoing { pending: report.count, requests: report.first.into_iter().map(shown).collect() }
    }

    pub(crate) fn as_text(&self) -> String {
        let mut text: String = self.requests.iter().map(ShownRequest::as_text).collect();
        let more = self.pending.saturating_sub(self.requests.len() as u64);
        if more > 0 {
            text += &format!("  and {} more to the world outside\n", counted(more, "request"));
        }
        text
    }
}

impl ShownRequest {
    fn as_text(&self) -> String {
        let ShownRequest { id, request, tries, age_ms, .. } = self;
        let tried = counted(u64::from(*tries), "attempt");
        let mut text = format!("  request {id}: {request}, {tried} in {}", time(*age_ms));
        match self.next_try_ms {
            Some(next_try_ms) => text += &format!(", the next in {}", time(next_try_ms)),
            None if *tries == 0 => text += ", waits for its turn",
            None => text += ", under way",
        }
        if let Some(error) = &self.last_error {
            text += &format!(": {error}");
        }
        text + "\n"
    }
}
