//! `accept-rollback`: has instances go on with a store that does not have what was durable in it, or shows which ones wait for that.

use std::{io::Write, process::ExitCode};

use ambrosia_storage::{Instances, LogId, Rollback, Store, StorePlace};
use anyhow::bail;
use serde::Serialize;

use crate::{arguments::AcceptRollback, wishing::ask};

/// What an instance has lost; its JSON is an interface for scripts.
#[derive(Serialize)]
struct Lost {
    /// Null if no instance has the log any more.
    instance: Option<String>,
    log: String,
    /// The last record that is known to have been durable.
    had_lsn: u64,
    /// The last record that is there.
    durable_lsn: u64,
    /// The machine that knows what was durable.
    found_by: String,
    reason: String,
    accepted: bool,
    #[serde(skip)]
    id: LogId,
}

pub(crate) fn accept_rollback(place: &StorePlace, verb: &AcceptRollback) -> anyhow::Result<ExitCode> {
    let store = place.open()?;
    let mut lost = lost(&*store, verb)?;
    let is_to_be_accepted = verb.all || !verb.instance.is_empty();
    if !verb.json {
        say(place, &lost)?;
    }
    if is_to_be_accepted && !lost.is_empty() {
        if !verb.yes && !ask("give that up for good?")? {
            return Ok(ExitCode::FAILURE);
        }
        for one in &mut lost {
            // `None` if somebody else was faster.
            one.accepted = store.accept_rollback(one.id)?.is_some();
            if !verb.json {
                writeln!(std::io::stdout(), "{}: accepted; it goes on behind lsn {}", name(one), one.durable_lsn)?;
            }
        }
    }
    let mut out = std::io::stdout();
    match (verb.json, is_to_be_accepted || lost.is_empty()) {
        (true, _) => writeln!(out, "{}", serde_json::to_string_pretty(&lost)?)?,
        (false, true) => {}
        (false, false) => writeln!(out, "nothing was changed: give that up with --instance NAME, or --all")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What is known to be lost of the instances that are meant; of all of them, if none is.
fn lost(store: &dyn Store, verb: &AcceptRollback) -> anyhow::Result<Vec<Lost>> {
    let mut names = Vec::new();
    for name in &verb.instance {
        names.push((store.instance(name)?.log(), name.clone()));
    }
    if names.is_empty() {
        names = store.instances()?.into_iter().map(|entry| (entry.log(), entry.name)).collect();
    }
    let mut lost = Vec::new();
    for Rollback { log, had, epoch: _, found_by, reason } in store.rollbacks()? {
        let instance = names.iter().find(|(of, _)| *of == log).map(|(_, name)| name.to_string());
        if instance.is_none() && !verb.instance.is_empty() {
            continue;
        }
        let durable = store.log(log)?.head()?.durable;
        let (had_lsn, durable_lsn) = (had.0, durable.0);
        lost.push(Lost {
            instance,
            log: log.to_string(),
            had_lsn,
            durable_lsn,
            found_by,
            reason,
            accepted: false,
            id: log,
        });
    }
    if let Some(name) =
        verb.instance.iter().find(|name| !lost.iter().any(|one| one.instance.as_deref() == Some(name.as_str())))
    {
        bail!("nobody has found that instance {name} has lost anything, so there is nothing to accept");
    }
    Ok(lost)
}

fn name(lost: &Lost) -> String {
    lost.instance.clone().unwrap_or_else(|| format!("log {}", lost.log))
}

fn say(place: &StorePlace, lost: &[Lost]) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    if lost.is_empty() {
        writeln!(out, "nobody has found that {place} has lost anything")?;
    }
    for one in lost {
        let Lost { had_lsn, durable_lsn, found_by, .. } = one;
        let what = if had_lsn > durable_lsn {
            format!("record {had_lsn} was durable, and the log ends with record {durable_lsn}")
        } else {
            format!("it has another record {had_lsn} than was durable")
        };
        writeln!(out, "{}: {what}; {found_by} knows that", name(one))?;
    }
    Ok(())
}
