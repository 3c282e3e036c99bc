//! `trace`: all that a message brought about, in every instance that it came to, read off their logs.
//!
//! **Architecture Invariant:** it only looks: handlers run in a copy, and nothing is written but the answer, and spans into the file
//! that is named.

mod index;
mod life;
mod otlp;
mod span;
mod tree;
mod walk;

use std::{
    io::{BufWriter, Write},
    path::Path,
    process::ExitCode,
};

use ambrosia_host::{Diagnostics, travel::with_stack_for_guests, without_controls};
use ambrosia_storage::{Instances, StorePlace};
use anyhow::{Context, bail};

use self::walk::Walk;
use crate::{arguments::Trace, style::Style};

pub(crate) fn trace(store: &StorePlace, verb: &Trace, style: Style) -> anyhow::Result<ExitCode> {
    with_stack_for_guests(|| tell(store, verb, style))?
}

fn tell(store: &StorePlace, verb: &Trace, style: Style) -> anyhow::Result<ExitCode> {
    let store = store.open()?;
    let instance = &verb.of.instance;
    store.instance(instance)?;
    let mut walk = Walk::new(store, verb.limit as usize);
    let begin = match (&verb.of.request, verb.message) {
        (Some(request), None) => walk.request(instance, request)?,
        (None, Some(message)) => walk.message(instance, message.lsn, message.index)?,
        (Some(_), Some(_)) => bail!("a trace begins at a request or at a message: leave out the id or --message"),
        (None, None) => bail!("say where the trace begins: the id of a request, or --message LSN.INDEX"),
    };
    walk.follow(begin)?;
    let left_out = walk.left_out();
    let spans = walk.into_spans();
    let mut out = BufWriter::new(std::io::stdout());
    match &verb.otlp {
        Some(file) if file == Path::new("-") => writeln!(out, "{}", otlp::lines(&spans))?,
        Some(file) => {
            std::fs::write(file, format!("{}\n", otlp::lines(&spans)))
                .with_context(|| format!("the spans can't be written into {}", file.display()))?;
            tree::print(&mut out, &spans, style)?;
        }
        None if verb.json => spans
            .iter()
            .try_for_each(|span| anyhow::Ok(writeln!(out, "{}", without_controls(&serde_json::to_string(span)?))?))?,
        None => tree::print(&mut out, &spans, style)?,
    }
    out.flush()?;
    if left_out > 0 {
        let limit = verb.limit;
        Diagnostics::say(format_args!(
            "ambrosia-host: the first {limit} messages are shown, and at least {left_out} more follow from them: --limit shows more"
        ));
    }
    Ok(ExitCode::SUCCESS)
}
