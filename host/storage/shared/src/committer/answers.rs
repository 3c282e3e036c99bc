//! What answers have in common.

use std::collections::BTreeMap;

use ambrosia_storage::LogId;

use crate::{
    engine::{Answer, Answered},
    limits::REQUEST_LOGS_MAX,
};

/// As many logs as one request names, behind those of the part before; `after` is none when these were the last.
pub(super) fn next_part<T>(mut all: BTreeMap<LogId, T>, after: &mut Option<LogId>) -> Vec<(LogId, T)> {
    if let Some(after) = after.take() {
        all.retain(|log, _| *log > after);
    }
    let is_more = all.len() > REQUEST_LOGS_MAX;
    let part: Vec<_> = all.into_iter().take(REQUEST_LOGS_MAX).collect();
    *after = part.last().filter(|_| is_more).map(|(log, _)| *log);
    part
}

/// Why that is not the answer that was wanted.
pub(super) fn reason(answer: Answer) -> String {
    match answer {
        Err(fault) => fault.to_string(),
        Ok(other) => unfit(&other),
    }
}

pub(super) fn unfit(answered: &Answered) -> String {
    let kind = match answered {
        Answered::Appended(results) => return format!("the engine has answered for {} groups instead", results.len()),
        Answered::Raised(results) => return format!("the engine has answered for {} epochs instead", results.len()),
        Answered::Heads { .. } => "head rows",
        Answered::Barred => "a barrier",
        Answered::Read { .. } => "records",
        Answered::Released => "the end of a reign",
        Answered::Beats { .. } => "the lives of hosts",
        Answered::Trimmed => "trimming",
        Answered::Told => "news that were told",
        Answered::Created(_) => "a new log",
        Answered::Removed(_) => "a log that is gone",
        Answered::Logs { .. } => "logs",
        Answered::Keys(_) => "keys",
    };
    format!("the engine has answered with {kind} instead")
}
