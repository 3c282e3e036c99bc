//! What instances wait for outside of themselves: asked of their primaries, shown by `status`.

use std::time::Duration;

use ambrosia_core::InstanceName;
use ambrosia_host::{Hindrance, PeerReport, Report, Security, Stall, ask_for_report, without_controls};
use ambrosia_storage::{PrimaryInfo, Store};
use serde::Serialize;

use crate::{
    status_outgoing::ShownOutgoing,
    status_requests::{ShownRequests, ShownSessions},
    status_schedules::ShownSchedule,
};

/// A host that is well answers long before that.
pub(crate) const ANSWER_WAIT_MAX: Duration = Duration::from_secs(1);

/// A peer, for a person or a script.
#[derive(Serialize)]
pub(crate) struct ShownPeer {
    name: String,
    /// "connected", "connecting", "not registered", "finished", "halted", "no primary", "unreadable", "unreachable",
    /// "silent" or "refused".
    state: String,
    /// Why it is not connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// How long it is connected, or not.
    since_ms: u64,
    unacknowledged: u64,
    unacknowledged_bytes: u64,
    /// Age of the oldest message that is not acknowledged.
    oldest_ms: Option<u64>,
    unanswered_calls: u64,
    /// Id of the oldest of them, as `log` of the peer shows it.
    oldest_call: Option<u64>,
}

/// What a primary says: of its peers, and of its requests to the world outside, what it remembers of those of clients and its
/// schedules, if it tells that.
pub(crate) struct Said {
    pub(crate) peers: Vec<ShownPeer>,
    pub(crate) outgoing: Option<ShownOutgoing>,
    pub(crate) requests: Option<ShownRequests>,
    pub(crate) schedules: Option<Vec<ShownSchedule>>,
    pub(crate) sessions: Option<ShownSessions>,
    pub(crate) stall: Option<ShownStall>,
}

/// Why the log of an instance takes nothing for the time being.
#[derive(Serialize)]
pub(crate) struct ShownStall {
    since_ms: u64,
    reason: String,
}

impl ShownStall {
    pub(crate) fn of(stall: Stall) -> ShownStall {
        ShownStall { since_ms: stall.since.as_millis() as u64, reason: without_controls(&stall.reason) }
    }

    pub(crate) fn as_text(&self) -> String {
        let (reason, since) = (&self.reason, time(self.since_ms));
        format!(
            "  the log takes nothing for {since}: {reason}; nothing that is not durable is seen, and it goes on by itself\n"
        )
    }
}

/// That, or why it is not known.
pub(crate) type Answer = Result<Said, String>;

/// Has all of it done at once; what comes of it is in the same order.
pub(crate) fn all_at_once<T: Send + 'static>(
    asking: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
) -> anyhow::Result<Vec<T>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let asked: Vec<_> = asking.map(tokio::spawn).collect();
        let mut answers = Vec::new();
        for answer in asked {
            answers.push(answer.await?);
        }
        Ok(answers)
    })
}

/// Asks all primaries at once; the answers are in the same order.
pub(crate) fn ask_all(
    store: &dyn Store,
    primaries: Vec<(InstanceName, PrimaryInfo)>,
    security: &Security,
) -> anyhow::Result<Vec<Answer>> {
    let ask = |(name, primary): (InstanceName, PrimaryInfo)| {
        let security = security.clone();
        async move { ask_for_report(&name, &primary.address, ANSWER_WAIT_MAX, &security).await }
    };
    let reports = all_at_once(primaries.into_iter().map(ask))?;
    let shown = reports.into_iter().map(|report| {
        let report = report.map_err(|error| without_controls(&error.to_string()));
        Ok(report.map(|Report { peers, outgoing, remembered, schedules, sessions, stall }| Said {
            peers: peers.into_iter().map(|peer| ShownPeer::of(store, peer)).collect(),
            outgoing: outgoing.map(ShownOutgoing::of),
            requests: remembered.map(ShownRequests::of),
            schedules: schedules.map(|schedules| schedules.into_iter().map(ShownSchedule::of).collect()),
            sessions: sessions.map(ShownSessions::of),
            stall: stall.map(ShownStall::of),
        }))
    });
    shown.collect()
}

impl ShownPeer {
    fn of(store: &dyn Store, peer: PeerReport) -> ShownPeer {
        let PeerReport { name, state, reason, since, messages, bytes, oldest, calls, oldest_call } = peer;
        let (state, reason) = newest_word(store, &name, state, reason);
        ShownPeer {
            name,
            state,
            reason: (!reason.is_empty()).then(|| without_controls(&reason)),
            since_ms: since.as_millis() as u64,
            unacknowledged: messages,
            unacknowledged_bytes: bytes,
            oldest_ms: oldest.map(|oldest| oldest.as_millis() as u64),
            unanswered_calls: calls,
            oldest_call,
        }
    }

    pub(crate) fn as_text(&self) -> String {
        let mut text = format!("  peer {}: {} for {}", self.name, self.state, time(self.since_ms));
        if self.unacknowledged == 0 && self.unanswered_calls == 0 {
            text += ", nothing waits";
        }
        if self.unacknowledged > 0 {
            let (count, bytes) = (counted(self.unacknowledged, "message"), self.unacknowledged_bytes);
            text += &format!(", {count} ({bytes} bytes) not acknowledged");
            if let Some(oldest_ms) = self.oldest_ms {
                text += &format!(", the oldest for {}", time(oldest_ms));
            }
        }
        if self.unanswered_calls > 0 {
            text += &format!(", {} not answered", counted(self.unanswered_calls, "call"));
        }
        if let Some(reason) = &self.reason {
            text += &format!(": {reason}");
        }
        text + "\n"
    }
}

/// Why a peer has no primary the store tells too, and newer: the primary that was asked looks now and then.
fn newest_word(store: &dyn Store, name: &str, state: String, reason: String) -> (String, String) {
    let of_store = ["not registered", "finished", "halted", "no primary", "unreadable"];
    match InstanceName::new(name) {
        Ok(name) if of_store.contains(&state.as_str()) => {
            let hindrance = Hindrance::without_primary(store, &name);
            (hindrance.state().to_owned(), hindrance.to_string())
        }
        _ => (state, reason),
    }
}

pub(crate) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A time for people.
pub(crate) fn time(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}
