//! `skip`: has an instance that has halted go on without some messages of the record that it stands at; or lists them.

use std::{fmt::Write as _, io::Write, process::ExitCode, sync::Arc, time::Duration};

use ambrosia_core::{Lsn, RecordKind};
use ambrosia_host::{
    Clock, Diagnostics, RunningCode, SystemClock, running_code, stands_at, travel::message_named, without_controls,
};
use ambrosia_storage::{
    Answered, InstanceEntry, Instances, RecordedOutcome, Store, StorePlace, WantedSkip, WishAnswer, Wished,
};
use anyhow::bail;
use serde::Serialize;

use crate::{
    arguments::Skip,
    records::{Body, Reader, ShownMessage, message_text, read_at},
    wishing::{News, ask, cancel, check_life, is_running, timeout_or},
};

/// How long the answer is waited for, unless it is said.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The record that an instance stands at. Its JSON is an interface for scripts.
#[derive(Serialize)]
struct Standing {
    lsn: u64,
    /// Why.
    reason: String,
    messages: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    position: u32,
    /// Whether it is the one that the guest failed at, as far as its fault tells.
    is_named: bool,
    /// What becomes of it if it is skipped.
    if_skipped: &'static str,
    #[serde(flatten)]
    message: ShownMessage,
}

/// What came of a skip; its JSON is an interface for scripts.
#[derive(Serialize)]
struct Told {
    skipped: Vec<u32>,
    of_lsn: u64,
    /// "done", "refused", "given up", "cancelled" or "stands".
    outcome: &'static str,
    /// The record that delivers the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    lsn: Option<u64>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<String>,
}

pub(crate) fn skip(store: &StorePlace, verb: &Skip) -> anyhow::Result<ExitCode> {
    let store = store.open()?;
    let entry = store.instance(&verb.instance)?;
    let timeout = timeout_or(verb.timeout, TIMEOUT)?;
    if verb.cancel {
        return cancel(&*store, &verb.instance, "skip", timeout);
    }
    let Some(lsn) = verb.lsn.map(Lsn) else { bail!("nothing to be done: give --lsn, or --cancel") };
    let wanted = wanted(lsn, &verb.message);
    if let Some(done_at) = done_at(&entry, &wanted) {
        return tell(verb, told(&wanted, "done", Some(done_at), None));
    }
    let reason = check_stands_at(&*store, &entry, lsn)?;
    let now = running_code(&*store.looking(), &entry)?;
    let standing = standing(&store, &entry, &now, lsn, reason)?;
    if wanted.messages.is_empty() {
        return list(verb, &standing);
    }
    check_positions(verb, &standing, &wanted)?;
    if !verb.json {
        let of_those = |listed: &&Listed| wanted.messages.contains(&listed.position);
        for listed in standing.messages.iter().filter(of_those) {
            writeln!(std::io::stdout(), "{}: {}", line(listed), listed.if_skipped)?;
        }
    }
    if !verb.yes && !ask("skip?")? {
        bail!("nothing was changed");
    }
    wish_and_wait(&*store, verb, &now, &wanted, timeout)
}

/// The positions in order, each once.
fn wanted(lsn: Lsn, given: &[u32]) -> WantedSkip {
    let mut messages = given.to_vec();
    messages.sort_unstable();
    messages.dedup();
    WantedSkip { lsn, messages }
}

/// Where the instance went on without these very messages, if that was done last.
fn done_at(entry: &InstanceEntry, wanted: &WantedSkip) -> Option<Lsn> {
    let answered = entry.upgrades.answered.as_ref().filter(|answered| answered.skip.as_ref() == Some(wanted))?;
    match answered.answer {
        WishAnswer::Done { lsn } => Some(lsn),
        _ => None,
    }
}

/// Sees that the instance stands at that record, and says why it does.
fn check_stands_at(store: &dyn Store, entry: &InstanceEntry, lsn: Lsn) -> anyhow::Result<String> {
    check_life(entry)?;
    let name = &entry.name;
    let Some(RecordedOutcome::Halted { reason, .. }) = &entry.outcome else {
        bail!(
            "instance {name} has not halted, so no message of it can be skipped; `ambrosia-host status` shows how it is"
        )
    };
    match stands_at(store, entry)? {
        Some(at) if at == lsn => Ok(reason.clone()),
        Some(at) => bail!(
            "instance {name} stands at lsn {at}, not at lsn {lsn}: messages can be skipped only of the record that it \
             stands at"
        ),
        None => bail!("instance {name} was mended by somebody already: its next `run` goes on behind the record"),
    }
}

fn standing(
    store: &Arc<dyn Store>,
    entry: &InstanceEntry,
    now: &RunningCode,
    lsn: Lsn,
    reason: String,
) -> anyhow::Result<Standing> {
    let (log, checkpoints) = (store.log(entry.log())?, store.checkpoints(entry.log())?);
    let mut reader = Reader::new(store.looking(), now.module, entry.name.to_string());
    let record = read_at(&mut reader, &*log, &*checkpoints, lsn)?;
    if record.header().kind != RecordKind::Deliver {
        bail!("record {lsn} of instance {} holds no messages", entry.name);
    }
    let Body::Deliver { messages, .. } = reader.show(&record)?.body else {
        unreachable!("a record of deliveries is shown as one")
    };
    let named = if messages.len() == 1 { Some(0) } else { message_named(&reason) };
    let listed = (0..).zip(messages).map(|(position, message)| Listed {
        position,
        is_named: named == Some(position as usize),
        if_skipped: if_skipped(&message),
        message,
    });
    Ok(Standing { lsn: lsn.0, reason, messages: listed.collect() })
}

/// What becomes of a message that is skipped, as the core does it.
fn if_skipped(message: &ShownMessage) -> &'static str {
    match message.kind.as_str() {
        "call" => "its caller gets an error",
        "impulse" if message.request.is_some() => "who has sent it gets an error",
        "reply" | "error" => "the handler that awaits it gets an error",
        _ => "it is gone",
    }
}

fn line(listed: &Listed) -> String {
    let mark = if listed.is_named { '>' } else { ' ' };
    format!("{mark} {:>3} {}", listed.position, message_text(&listed.message))
}

/// Shows the messages, and changes nothing.
fn list(verb: &Skip, standing: &Standing) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout();
    if verb.json {
        writeln!(out, "{}", serde_json::to_string_pretty(standing)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (name, lsn) = (&verb.instance, standing.lsn);
    // What follows the first line is the guest's.
    let reason = standing.reason.lines().next().unwrap_or_default();
    let mut text = format!("instance {name} stands at lsn {lsn}: {}\n", without_controls(reason));
    standing.messages.iter().try_for_each(|listed| writeln!(text, "{}", line(listed)))?;
    match standing.messages.iter().find(|listed| listed.is_named) {
        Some(Listed { position, .. }) => writeln!(
            text,
            "nothing was changed. The guest failed at message {position}: go on without it by `ambrosia-host skip --instance \
             {name} --lsn {lsn} --message {position}`"
        )?,
        None => writeln!(
            text,
            "nothing was changed. At which of them the guest failed its fault does not tell; name those that it is to go on \
             without by --message"
        )?,
    }
    out.write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn check_positions(verb: &Skip, standing: &Standing, wanted: &WantedSkip) -> anyhow::Result<()> {
    let count = standing.messages.len();
    match wanted.messages.iter().find(|position| **position as usize >= count) {
        None => Ok(()),
        Some(position) => bail!(
            "record {} of instance {} has no message {position}: its last one is {}",
            standing.lsn,
            verb.instance,
            count.saturating_sub(1)
        ),
    }
}

fn wish_and_wait(
    store: &dyn Store,
    verb: &Skip,
    now: &RunningCode,
    wanted: &WantedSkip,
    timeout: Duration,
) -> anyhow::Result<ExitCode> {
    let name = &verb.instance;
    let news = News::of(store)?;
    // A registry that was restored from a copy may be behind the log.
    store.note_module(name, now.module, now.attempt)?;
    let wished = store.wish_skip(name, wanted, SystemClock::check()?.now())?;
    let attempt = wished.wish().attempt;
    if let Wished::Same(_) = wished {
        Diagnostics::say(format_args!("ambrosia-host: the same skip is under way already, as attempt {attempt}"));
    }
    if !is_running(store, name)? {
        Diagnostics::say(format_args!(
            "ambrosia-host: no replica of instance {name} runs: its next `run` goes on without what is skipped"
        ));
    }
    match news.wait(store, name, attempt, timeout)?.map(|Answered { answer, .. }| answer) {
        None => tell(verb, told(wanted, "stands", None, None)),
        Some(WishAnswer::Done { lsn }) => tell(verb, told(wanted, "done", Some(lsn), None)),
        Some(WishAnswer::Refused { report }) => tell(verb, told(wanted, "refused", None, Some(report))),
        Some(WishAnswer::GivenUp { report }) => tell(verb, told(wanted, "given up", None, Some(report))),
        Some(WishAnswer::Cancelled) => tell(verb, told(wanted, "cancelled", None, None)),
    }
}

fn told(wanted: &WantedSkip, outcome: &'static str, lsn: Option<Lsn>, report: Option<String>) -> Told {
    Told { skipped: wanted.messages.clone(), of_lsn: wanted.lsn.0, outcome, lsn: lsn.map(|lsn| lsn.0), report }
}

/// Says how it went; only if the instance goes on it went well.
fn tell(verb: &Skip, told: Told) -> anyhow::Result<ExitCode> {
    let (name, lsn) = (&verb.instance, told.of_lsn);
    if verb.json {
        writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&told)?)?;
        return Ok(if told.outcome == "done" { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let skip = WantedSkip { lsn: Lsn(lsn), messages: told.skipped };
    let report = told.report.unwrap_or_default();
    match told.outcome {
        "done" => {
            let at = told.lsn.unwrap_or_default();
            writeln!(std::io::stdout(), "instance {name} goes on without {skip}, since lsn {at}")?;
            Ok(ExitCode::SUCCESS)
        }
        "refused" | "given up" => {
            bail!("instance {name} stands at lsn {lsn} as before, since it can't go on without {skip}: {report}")
        }
        "cancelled" => bail!("the skip of {skip} of instance {name} was taken back by somebody"),
        _ => bail!(
            "the skip of {skip} of instance {name} is not done yet. It stands, and the next `run` carries it out; take it back \
             with `ambrosia-host skip --instance {name} --cancel`"
        ),
    }
}
