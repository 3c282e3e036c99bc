//! `wasi:cli`: no environment, no terminal, and two streams to print to.
//!
//! **Architecture Invariant:** nothing of the host process is seen here: neither its arguments nor its streams.

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sync::{
    cli::{
        environment, exit, stderr, stdin, stdout,
        terminal_input::{self, TerminalInput},
        terminal_output::{self, TerminalOutput},
        terminal_stderr, terminal_stdin, terminal_stdout,
    },
    io::streams::{InputStream, OutputStream},
};

use super::Whole;
use crate::{handles::HandleKind, offers::Offers, refusal::Refusal, state::GuestState};

pub(super) fn add_to(offers: &mut Offers) -> Result<(), wasmtime::Error> {
    let functions = &["get-environment", "get-arguments", "initial-cwd"];
    offers.wasi("cli/environment", functions, environment::add_to_linker::<_, Whole>)?;
    offers.wasi("cli/exit", &["exit", "exit-with-code"], exit::add_to_linker::<_, Whole>)?;
    offers.wasi("cli/stdin", &["get-stdin"], stdin::add_to_linker::<_, Whole>)?;
    offers.wasi("cli/stdout", &["get-stdout"], stdout::add_to_linker::<_, Whole>)?;
    offers.wasi("cli/stderr", &["get-stderr"], stderr::add_to_linker::<_, Whole>)?;
    offers.wasi("cli/terminal-input", &["terminal-input"], terminal_input::add_to_linker::<_, Whole>)?;
    offers.wasi("cli/terminal-output", &["terminal-output"], terminal_output::add_to_linker::<_, Whole>)?;
    offers.wasi("cli/terminal-stdin", &["get-terminal-stdin"], terminal_stdin::add_to_linker::<_, Whole>)?;
    offers.wasi("cli/terminal-stdout", &["get-terminal-stdout"], terminal_stdout::add_to_linker::<_, Whole>)?;
    offers.wasi("cli/terminal-stderr", &["get-terminal-stderr"], terminal_stderr::add_to_linker::<_, Whole>)
}

impl environment::Host for GuestState {
    fn get_environment(&mut self) -> Result<Vec<(String, String)>, wasmtime::Error> {
        Ok(Vec::new())
    }

    fn get_arguments(&mut self) -> Result<Vec<String>, wasmtime::Error> {
        Ok(Vec::new())
    }

    fn initial_cwd(&mut self) -> Result<Option<String>, wasmtime::Error> {
        Ok(None)
    }
}

impl exit::Host for GuestState {
    fn exit(&mut self, status: Result<(), ()>) -> Result<(), wasmtime::Error> {
        Err(Refusal::Exit(u8::from(status.is_err())).into())
    }

    fn exit_with_code(&mut self, status: u8) -> Result<(), wasmtime::Error> {
        Err(Refusal::Exit(status).into())
    }
}

impl stdin::Host for GuestState {
    fn get_stdin(&mut self) -> Result<Resource<InputStream>, wasmtime::Error> {
        Ok(self.open(HandleKind::Stdin))
    }
}

impl stdout::Host for GuestState {
    fn get_stdout(&mut self) -> Result<Resource<OutputStream>, wasmtime::Error> {
        Ok(self.open(HandleKind::Stdout))
    }
}

impl stderr::Host for GuestState {
    fn get_stderr(&mut self) -> Result<Resource<OutputStream>, wasmtime::Error> {
        Ok(self.open(HandleKind::Stderr))
    }
}

impl terminal_input::Host for GuestState {}

/// None is ever made.
impl terminal_input::HostTerminalInput for GuestState {
    fn drop(&mut self, _: Resource<TerminalInput>) -> Result<(), wasmtime::Error> {
        Ok(())
    }
}

impl terminal_output::Host for GuestState {}

/// None is ever made.
impl terminal_output::HostTerminalOutput for GuestState {
    fn drop(&mut self, _: Resource<TerminalOutput>) -> Result<(), wasmtime::Error> {
        Ok(())
    }
}

impl terminal_stdin::Host for GuestState {
    fn get_terminal_stdin(&mut self) -> Result<Option<Resource<TerminalInput>>, wasmtime::Error> {
        Ok(None)
    }
}

impl terminal_stdout::Host for GuestState {
    fn get_terminal_stdout(&mut self) -> Result<Option<Resource<TerminalOutput>>, wasmtime::Error> {
        Ok(None)
    }
}

impl terminal_stderr::Host for GuestState {
    fn get_terminal_stderr(&mut self) -> Result<Option<Resource<TerminalOutput>>, wasmtime::Error> {
        Ok(None)
    }
}
