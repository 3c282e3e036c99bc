//! What `status` says of methods that run by themselves.

use ambrosia_host::{ScheduleReport, without_controls};
use serde::Serialize;

/// A method that runs by itself, for a person or a script.
#[derive(Serialize)]
pub(crate) struct ShownSchedule {
    method: String,
    cron: String,
    /// The time zone; "UTC" if the method names none.
    zone: String,
    /// What becomes of times at which nobody ran the instance: "one", "all" or "none".
    missed: String,
    /// When it runs next; null if it never does.
    next: Option<String>,
    /// The last of its times for which it has run; null if it has not.
    last: Option<String>,
}

impl ShownSchedule {
    pub(crate) fn of(report: ScheduleReport) -> ShownSchedule {
        let ScheduleReport { method, cron, zone, missed, next, done } = report;
        ShownSchedule {
            method: without_controls(&method),
            cron: without_controls(&cron),
            zone: if zone.is_empty() { "UTC".to_owned() } else { without_controls(&zone) },
            missed: without_controls(&missed),
            next: next.map(time),
            last: done.map(time),
        }
    }

    pub(crate) fn as_text(&self) -> String {
        let ShownSchedule { method, cron, zone, .. } = self;
        let next = self.next.as_deref().unwrap_or("never");
        let last = self.last.as_ref().map_or_else(|| "not yet".to_owned(), |last| format!("for {last}"));
        format!("  {method} runs at {cron} {zone}: next {next}, last {last}\n")
    }
}

/// A time as people and scripts read it.
fn time(nanoseconds: u64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or(jiff::Timestamp::MAX).to_string()
}
