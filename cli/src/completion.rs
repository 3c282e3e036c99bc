//! `completion`: what a shell has to read so that it completes commands. From then on it asks this program, which knows the
//! instances of the store.

use std::{ffi::OsString, io::Write, process::ExitCode};

use ambrosia_storage::Instances;
use anyhow::Context;
use clap::CommandFactory;
use clap_complete::{
    CompletionCandidate,
    env::{CompleteEnv, Shells},
};

use crate::{
    arguments::{Arguments, Completion, TlsArguments},
    place,
};

/// The variable by which a shell asks.
const VARIABLE: &str = "AMBROSIA_COMPLETE";
const PROGRAM: &str = "ambrosia-host";

pub(crate) fn completion(verb: &Completion) -> anyhow::Result<ExitCode> {
    let shell = verb.shell.name();
    let shells = Shells::builtins();
    let completer = shells.completer(shell).with_context(|| format!("{shell} can't be completed for"))?;
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script)?;
    std::io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Answers a shell that asks, and ends the process then.
pub(crate) fn answer_shell() {
    CompleteEnv::with_factory(Arguments::command).var(VARIABLE).complete();
}

/// Names of the instances in the store that the line is about; none if it can't be read.
pub(crate) fn instances() -> Vec<CompletionCandidate> {
    let line: Vec<_> = std::env::args_os().collect();
    let names = names(&line).unwrap_or_default();
    names.into_iter().map(CompletionCandidate::new).collect()
}

fn names(line: &[OsString]) -> anyhow::Result<Vec<String>> {
    let given = |flag: &str| line.iter().position(|word| word == flag).and_then(|at| line.get(at + 1)).cloned();
    let is_on_line = given("--store").is_some() || given("--store-file").is_some();
    let set = |variable: &str| std::env::var_os(variable).filter(|_| !is_on_line);
    let or_set = |flag: &str, variable: &str| given(flag).or_else(|| set(variable));
    let tls = TlsArguments::of(|flag, variable| given(flag).or_else(|| std::env::var_os(variable)));
    let here = place::Here { cache: None, tls: &tls };
    let store = match (or_set("--store", "AMBROSIA_STORE"), or_set("--store-file", "AMBROSIA_STORE_FILE")) {
        (Some(store), _) => place::named(&store, here)?,
        (None, Some(file)) => place::in_file(file.as_ref(), here)?,
        (None, None) => place::store(None)?.into(),
    };
    Ok(store.open()?.survey()?.into_iter().map(|found| found.name.to_string()).collect())
}
