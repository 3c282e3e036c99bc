//! What `status` shows of upgrades, and of messages that are skipped.

use ambrosia_core::Lsn;
use ambrosia_host::without_controls;
use ambrosia_storage::{Answered, BlobHash, StandingWish, WantedSkip, WishAnswer};
use serde::Serialize;

use crate::plan::shown;

/// Messages that an instance is to go on without, or does.
#[derive(Serialize)]
struct ShownSkip {
    lsn: u64,
    messages: Vec<u32>,
}

impl ShownSkip {
    fn of(skip: &WantedSkip) -> ShownSkip {
        ShownSkip { lsn: skip.lsn.0, messages: skip.messages.clone() }
    }
}

/// What is shown of a wish: whether it is an upgrade or a skip, and what of.
fn what(skip: Option<&ShownSkip>, to: &str) -> String {
    match skip {
        None => format!("upgrade to {}", shown(to)),
        Some(ShownSkip { lsn, messages }) => {
            format!("skip of {}", WantedSkip { lsn: Lsn(*lsn), messages: messages.clone() })
        }
    }
}

/// An upgrade that is under way, or a skip.
#[derive(Serialize)]
pub(crate) struct ShownWish {
    attempt: u64,
    from: String,
    to: String,
    /// The messages that are to be skipped, if it is that; then the module stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    skip: Option<ShownSkip>,
    /// When it was wished for.
    made: String,
    /// The epoch of the primary that sees to it; null if none does yet.
    claimed_by: Option<u64>,
    /// Whether it was taken back since.
    is_cancelled: bool,
}

/// What came of an upgrade.
#[derive(Serialize)]
pub(crate) struct ShownAnswer {
    attempt: u64,
    to: String,
    /// The messages that were to be skipped, if it was that.
    #[serde(skip_serializing_if = "Option::is_none")]
    skip: Option<ShownSkip>,
    /// "done", "refused", "given up" or "cancelled".
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lsn: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<String>,
}

impl ShownWish {
    pub(crate) fn of(wish: &StandingWish) -> ShownWish {
        let StandingWish { attempt, from, to, skip, wanted: _, made, claimed_by, is_cancelled } = wish;
        // A time that can't be shown is later than the year 9999.
        let made = jiff::Timestamp::from_nanosecond(i128::from(made.0)).unwrap_or(jiff::Timestamp::MAX);
        ShownWish {
            attempt: *attempt,
            from: BlobHash(*from).to_string(),
            to: BlobHash(*to).to_string(),
            skip: skip.as_ref().map(ShownSkip::of),
            made: format!("{made:.3}"),
            claimed_by: claimed_by.map(|epoch| epoch.0),
            is_cancelled: *is_cancelled,
        }
    }

    pub(crate) fn as_text(&self) -> String {
        let ShownWish { attempt, from: _, to, skip, made, claimed_by, is_cancelled } = self;
        let by = match (is_cancelled, claimed_by) {
            (true, _) => "to be taken back".to_owned(),
            (false, Some(epoch)) => format!("the primary of epoch {epoch} sees to it"),
            (false, None) => "no primary sees to it yet".to_owned(),
        };
        format!("  {} under way since {made} (attempt {attempt}), {by}\n", what(skip.as_ref(), to))
    }
}

impl ShownAnswer {
    pub(crate) fn of(answered: &Answered) -> ShownAnswer {
        let Answered { attempt, to, answer, skip } = answered;
        let (outcome, lsn, report) = match answer {
            WishAnswer::Done { lsn } => ("done", Some(lsn.0), None),
            WishAnswer::Refused { report } => ("refused", None, Some(report.clone())),
            WishAnswer::GivenUp { report } => ("given up", None, Some(report.clone())),
            WishAnswer::Cancelled => ("cancelled", None, None),
        };
        let (attempt, skip) = (*attempt, skip.as_ref().map(ShownSkip::of));
        ShownAnswer { attempt, to: BlobHash(*to).to_string(), skip, outcome, lsn, report }
    }

    pub(crate) fn as_text(&self) -> String {
        let mut text = format!("  last {} {}", what(self.skip.as_ref(), &self.to), self.outcome);
        if let Some(lsn) = self.lsn {
            text += &format!(" at lsn {lsn}");
        }
        // What follows the first line is a backtrace.
        if let Some(reason) = self.report.as_ref().and_then(|report| report.lines().next()) {
            text += &format!(": {}", without_controls(reason));
        }
        text + "\n"
    }
}
