//! `ambrosia-host`: registers instances, runs replicas of them, and lets a person look and ask.
//!
//! **Architecture Invariant:** verbs parse, call the libraries, and print; no verb opens a file of a store, or a socket,
//! itself.

mod accept_rollback;
mod add_replica;
mod argument_source;
mod arguments;
mod calling;
mod cert;
mod checked_module;
mod checkpoint;
mod completion;
mod copy_store;
mod debug;
mod deregister_instance;
mod drain;
mod events;
mod export;
mod interrupts;
mod kill;
mod log;
mod man;
mod new;
mod place;
mod plan;
mod query;
mod reach;
mod records;
mod register_instance;
mod result;
mod run;
mod said;
mod send;
mod serve;
mod shortened;
mod skip;
mod status;
mod status_by_hosts;
mod status_hosts;
mod status_methods;
mod status_outgoing;
mod status_peers;
mod status_requests;
mod status_schedules;
mod status_upgrades;
mod status_watch;
mod store_verbs;
mod style;
mod token;
mod trace;
mod trial;
mod up;
mod upgrade;
mod verify;
mod wishing;

use std::{path::PathBuf, process::ExitCode};

use ambrosia_host::Diagnostics;
use ambrosia_storage::StorePlace;
use anyhow::{Context, bail};
use arguments::{Arguments, Verb};
use style::{Colours, Style};

fn main() -> ExitCode {
    completion::answer_shell();
    let arguments = Arguments::of_command_line();
    start_tracing(arguments.verbose, Colours(arguments.color));
    let code = carry_out(arguments);
    Diagnostics::flush_at_end();
    code
}

/// Carries out the verb on its store, of which an error says which one it is.
fn carry_out_verb(mut arguments: Arguments) -> anyhow::Result<ExitCode> {
    let project = match &arguments.verb {
        Verb::Up(verb) => place::project(verb.project.as_deref())?,
        _ => None,
    };
    let cache = arguments.cache.clone();
    let tls = arguments.tls.clone();
    let here = place::Here { cache: cache.as_deref(), tls: &tls };
    let store = match (&arguments.store, &arguments.store_file) {
        (Some(_), Some(_)) => bail!(
            "--store and --store-file (or the variables AMBROSIA_STORE and AMBROSIA_STORE_FILE) both say where the store is: give one of the two"
        ),
        (Some(store), None) => place::named(store, here).context("--store")?,
        (None, Some(file)) => place::in_file(file, here).context("--store-file")?,
        (None, None) => place::store(project.as_deref())?.into(),
    };
    let allow = arguments.allow_network_file_system;
    let store = store.allowing_network_file_system(allow);
    arguments.verb.ask_at(store.hosts());
    let named = arguments.verb.is_of_a_store().then(|| store.to_string());
    let colours = Colours(arguments.color);
    carry_out_on(store, project, arguments.verb, colours, here, allow).map_err(|error| match named {
        Some(store) => said::within(error, &store),
        None => error,
    })
}

fn carry_out_on(
    store: StorePlace,
    project: Option<PathBuf>,
    verb: Verb,
    colours: Colours,
    here: place::Here<'_>,
    allow: bool,
) -> anyhow::Result<ExitCode> {
    let tls = here.tls;
    match verb {
        Verb::Up(verb) => up::up(store, project.context(place::NO_PROJECT)?, &verb, colours, tls.security()?),
        Verb::New(verb) => new::new(&verb),
        Verb::RegisterInstance(verb) => register_instance::register_instance(&store, &verb),
        Verb::AddReplica(verb) => add_replica::add_replica(&store, &verb),
        Verb::DeregisterInstance(verb) => deregister_instance::deregister_instance(&store, &verb),
        Verb::Cert(verb) => cert::cert(&verb.verb),
        Verb::Token(verb) => token::token(&store, verb.verb),
        Verb::Store(verb) => store_verbs::store(&store, &verb.verb, here),
        Verb::CopyStore(verb) => copy_store::copy_store(&store, &verb, here, allow),
        Verb::AcceptRollback(verb) => accept_rollback::accept_rollback(&store, &verb),
        Verb::Run(verb) => run::run(store, verb, tls.security()?),
        Verb::Serve(verb) => serve::serve(store, verb, tls.security()?),
        Verb::Drain(verb) => drain::drain(&store, &verb),
        Verb::Kill(verb) => kill::kill(&store, &verb),
        Verb::Status(verb) => status::status(&store, &verb, Style::of_stdout(colours), &tls.security()?),
        Verb::Upgrade(verb) => upgrade::upgrade(&store, &verb),
        Verb::Skip(verb) => skip::skip(&store, &verb),
        Verb::Send(verb) => send::send(store, &verb, tls.security()?),
        Verb::Query(verb) => query::query(store, &verb, tls.security()?),
        Verb::Result(verb) => result::result(store, &verb, tls.security()?),
        Verb::Events(verb) => events::events(store, &verb, tls.security()?),
        Verb::Checkpoint(verb) => checkpoint::checkpoint(&store, &verb, tls.security()?),
        Verb::Log(verb) => log::log(&store, &verb, Style::of_stdout(colours)),
        Verb::Trace(verb) => trace::trace(&store, &verb, Style::of_stdout(colours)),
        Verb::Debug(verb) => debug::debug(&store, &verb, colours),
        Verb::Verify(verb) => verify::verify(&store, &verb),
        Verb::Export(verb) => export::run(&store, &verb),
        Verb::Completion(verb) => completion::completion(&verb),
        Verb::Man(verb) => man::man(&verb),
    }
}

fn carry_out(arguments: Arguments) -> ExitCode {
    match carry_out_verb(arguments) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS, // the reader of our output has seen enough
        Err(error) => {
            Diagnostics::say(format_args!("ambrosia-host: {}", said::said(&error)));
            ExitCode::FAILURE
        }
    }
}

/// The host's own messages go to stderr, as far as that takes them; stdout belongs to the guest and to what was asked
/// for.
fn start_tracing(verbose: u8, colours: Colours) {
    let default = match verbose {
        // Of each try the client of object stores would tell; what has become of them is told once.
        0 => "info,object_store=warn",
        // The compiler of guests would say hundreds of thousands of lines.
        1 => "info,ambrosia=debug",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("AMBROSIA_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Diagnostics)
        .log_internal_errors(false)
        .with_ansi(colours.are_for(&std::io::stderr()))
        .with_target(false)
        .init();
    Diagnostics::take_panics();
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}
