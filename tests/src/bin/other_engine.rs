//! `ambrosia-host run` by another engine, as another version of the program would have one: guests are compiled otherwise, so the
//! hash is another, and do the same.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
};

use ambrosia_core::{InstanceName, ReplicaIndex};
use ambrosia_engine::Engine;
use ambrosia_host::{Diagnostics, Ending, Listen, MemberOptions, RunOptions, run_on};
use anyhow::Context;
use clap::Parser;

/// What a test of a change of the engine runs in the place of `ambrosia-host`, with the same words.
#[derive(Parser)]
struct Arguments {
    /// What `ambrosia-host` calls it
    #[arg(value_parser = ["run"])]
    verb: String,
    #[arg(long)]
    instance: InstanceName,
    #[arg(long, default_value_t = 0)]
    replica: u16,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_writer(|| Diagnostics).with_ansi(false).with_target(false).init();
    let code = match run(arguments) {
        Ok(Ending::Stopped | Ending::Finished { .. }) => ExitCode::SUCCESS,
        Err(error) => {
            Diagnostics::say(format_args!("other-engine: {error:#}"));
            ExitCode::FAILURE
        }
    };
    Diagnostics::flush_at_end();
    code
}

fn run(arguments: Arguments) -> anyhow::Result<Ending> {
    let store = PathBuf::from(std::env::var_os("AMBROSIA_STORE").context("AMBROSIA_STORE names no directory")?).into();
    let options = RunOptions {
        store,
        instance: arguments.instance,
        replica: ReplicaIndex(arguments.replica),
        listen: Listen::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        http: None,
        guest_log: None,
        stdin: None,
        ends_with_stdin: false,
        member: MemberOptions::default(),
    };
    Ok(run_on(Engine::unoptimised()?, options)?)
}
