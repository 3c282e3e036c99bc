//! What `status` says of the requests that an instance remembers.

use ambrosia_core::{Remembered, Retention, SessionCounts};
use serde::Serialize;

use crate::{
    status::size,
    status_peers::{counted, time},
};

/// How much is remembered of requests of clients, and how much may be.
#[derive(Serialize)]
pub(crate) struct ShownRequests {
    /// Without a result; these are never forgotten.
    under_way: u64,
    /// Results that are remembered.
    results: u64,
    /// Bytes of them.
    result_bytes: u64,
    /// The oldest are forgotten beyond so many,
    results_max: u64,
    /// so many bytes,
    result_bytes_max: u64,
    /// or when they are older than this.
    result_age_s_max: u64,
}

impl ShownRequests {
    pub(crate) fn of(remembered: Remembered) -> ShownRequests {
        let Remembered { results, bytes, under_way, retention: Retention { count, bytes: bytes_max, age_s } } =
            remembered;
        ShownRequests {
            under_way,
            results,
            result_bytes: bytes,
            results_max: count,
            result_bytes_max: bytes_max,
            result_age_s_max: age_s,
        }
    }

    /// Nothing if there is nothing, and nothing is set.
    pub(crate) fn as_text(&self) -> String {
        let mut text = String::new();
        let kept = Retention { count: self.results_max, bytes: self.result_bytes_max, age_s: self.result_age_s_max };
        if self.under_way == 0 && self.results == 0 && kept == Retention::default() {
            return text;
        }
        if self.under_way > 0 {
            text += &format!("  {} under way\n", counted(self.under_way, "request"));
        }
        let (results, bytes) = (counted(self.results, "result"), size(self.result_bytes));
        let (bytes_max, age) = (size(self.result_bytes_max), time(self.result_age_s_max.saturating_mul(1000)));
        text + &format!(
            "  {results} of requests remembered, {bytes}; at most {}, {bytes_max}, for {age}\n",
            self.results_max
        )
    }
}

/// What an instance has of sessions of programs.
#[derive(Serialize)]
pub(crate) struct ShownSessions {
    sessions: u64,
    /// Requests without a result.
    under_way: u64,
    /// Results that their clients have not confirmed.
    results: u64,
    /// Bytes of them.
    result_bytes: u64,
}

impl ShownSessions {
    pub(crate) fn of(counts: SessionCounts) -> ShownSessions {
        let SessionCounts { sessions, under_way, results, bytes: result_bytes } = counts;
        ShownSessions { sessions, under_way, results, result_bytes }
    }

    /// Nothing if there is none.
    pub(crate) fn as_text(&self) -> String {
        if self.sessions == 0 {
            return String::new();
        }
        let (sessions, requests) = (counted(self.sessions, "session"), counted(self.under_way, "request"));
        let (results, bytes) = (counted(self.results, "result"), size(self.result_bytes));
        format!("  {sessions}, {requests} of them under way, {results} not confirmed, {bytes}\n")
    }
}
