//! `debug --module`: the deliveries of the log once more, to the code that had them and to another build beside it, up to the
//! first message that brings about something else.
//!
//! **Architecture Invariant:** the other build is nowhere but in this process.

use std::{io::Write, process::ExitCode, sync::Arc};

use ambrosia_core::{Lsn, PrintStream};
use ambrosia_host::{
    travel::{TrialPlan, TrialProgress, TrialStretch},
    without_controls,
};
use ambrosia_storage::{Instances, Store};
use anyhow::{Context, bail};
use serde::Serialize;

use crate::{
    arguments::Debug,
    checked_module::CheckedModule,
    trial::{ShownTrial, tried},
    upgrade::module_named,
};

/// What the other build came to. The JSON is an interface for scripts.
#[derive(Serialize)]
struct Told {
    trial: ShownTrial,
    /// What the other build printed.
    prints: Vec<Printed>,
}

#[derive(Serialize)]
struct Printed {
    lsn: u64,
    stream: &'static str,
    text: String,
}

/// Gives both codes what the log has from record `from` on. The exit code is 0 if they bring about the same.
pub(super) fn compare(store: &Arc<dyn Store>, verb: &Debug, given: &str, from: Lsn) -> anyhow::Result<ExitCode> {
    let entry = store.instance(&verb.instance)?;
    let checked = CheckedModule::check(module_named(&**store, &entry, given)?, Some(&**store));
    let module = checked.with_context(|| format!("{given} can't be run"))?;
    let to = module.hash().0;
    let plan = TrialPlan {
        store,
        instance: &verb.instance,
        from: None,
        to,
        module: module.compiled,
        limits: None,
        end_waiting: false,
        stretch: TrialStretch::From(from, verb.to.map(Lsn)),
    };
    let mut prints = Vec::new();
    let trial = tried(&plan, &mut |progress| {
        let TrialProgress::Printed(lsn, printed) = progress else { return };
        prints.extend(printed.iter().map(|print| Printed {
            lsn: lsn.0,
            stream: if print.stream == PrintStream::Stdout { "stdout" } else { "stderr" },
            text: String::from_utf8_lossy(&print.bytes).into_owned(),
        }));
    })?;
    if let ShownTrial::None { not_made } = &trial {
        bail!("the two can't be compared from there: {not_made}");
    }
    let is_same = trial.is_same();
    let (mut out, told) = (std::io::stdout(), Told { trial, prints });
    if verb.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&told)?)?;
    } else {
        told.print(&mut out)?;
    }
    Ok(if is_same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Told {
    fn print(&self, out: &mut dyn Write) -> std::io::Result<()> {
        for Printed { lsn, stream, text } in &self.prints {
            text.lines().try_for_each(|line| writeln!(out, "lsn {lsn} {stream}: {}", without_controls(line)))?;
        }
        out.write_all(self.trial.as_text().as_bytes())
    }
}
