//! `wasi:cli`: no environment, no terminal, and two streams to print to.
//!
//! **Architecture Invariant:** nothing of the host process is seen here: neither its arguments nor its streams.

use ambrosia_core::PrintStream;
use wasmtime::component::Resource;

use super::io::{InputStream, OutputStream};
use crate::{offers::Offers, refusal::Refusal};

/// Resource `terminal-input`: none is ever made.
struct TerminalInput;
/// Resource `terminal-output`: none is ever made.
struct TerminalOutput;

pub(super) fn add_to(offers: &mut Offers) -> Result<(), wasmtime::Error> {
    add_environment(offers)?;
    add_streams(offers)?;
    add_terminals(offers)
}

fn add_environment(offers: &mut Offers) -> Result<(), wasmtime::Error> {
    let mut environment = offers.interface("wasi:cli/environment@0.2.0")?;
    environment.function("get-environment", |_, (): ()| Ok((Vec::<(String, String)>::new(),)))?;
    environment.function("get-arguments", |_, (): ()| Ok((Vec::<String>::new(),)))?;
    environment.function("initial-cwd", |_, (): ()| Ok((None::<String>,)))?;

    let mut exit = offers.interface("wasi:cli/exit@0.2.0")?;
    exit.function("exit", |_, (status,): (Result<(), ()>,)| -> Result<(), _> {
        Err(Refusal::Exit(u8::from(status.is_err())))
    })?;
    exit.function("exit-with-code", |_, (status,): (u8,)| -> Result<(), _> { Err(Refusal::Exit(status)) })
}

fn add_streams(offers: &mut Offers) -> Result<(), wasmtime::Error> {
    let mut stdin = offers.interface("wasi:cli/stdin@0.2.0")?;
    stdin.resource::<InputStream>("input-stream")?;
    stdin.function("get-stdin", |_, (): ()| Ok((InputStream::handle(),)))?;

    let mut stdout = offers.interface("wasi:cli/stdout@0.2.0")?;
    stdout.resource::<OutputStream>("output-stream")?;
    stdout.function("get-stdout", |_, (): ()| Ok((OutputStream::handle(PrintStream::Stdout),)))?;

    let mut stderr = offers.interface("wasi:cli/stderr@0.2.0")?;
    stderr.resource::<OutputStream>("output-stream")?;
    stderr.function("get-stderr", |_, (): ()| Ok((OutputStream::handle(PrintStream::Stderr),)))
}

fn add_terminals(offers: &mut Offers) -> Result<(), wasmtime::Error> {
    offers.interface("wasi:cli/terminal-input@0.2.0")?.resource::<TerminalInput>("terminal-input")?;
    offers.interface("wasi:cli/terminal-output@0.2.0")?.resource::<TerminalOutput>("terminal-output")?;

    let mut stdin = offers.interface("wasi:cli/terminal-stdin@0.2.0")?;
    stdin.resource::<TerminalInput>("terminal-input")?;
    stdin.function("get-terminal-stdin", |_, (): ()| Ok((None::<Resource<TerminalInput>>,)))?;

    let mut stdout = offers.interface("wasi:cli/terminal-stdout@0.2.0")?;
    stdout.resource::<TerminalOutput>("terminal-output")?;
    stdout.function("get-terminal-stdout", |_, (): ()| Ok((None::<Resource<TerminalOutput>>,)))?;

    let mut stderr = offers.interface("wasi:cli/terminal-stderr@0.2.0")?;
    stderr.resource::<TerminalOutput>("terminal-output")?;
    stderr.function("get-terminal-stderr", |_, (): ()| Ok((None::<Resource<TerminalOutput>>,)))
}
