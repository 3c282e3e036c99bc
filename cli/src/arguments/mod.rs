//! The command line as data, a file for each group of verbs. Scripts depend on these names.

mod asking;
mod certificates;
mod changing;
mod history;
mod listening;
mod member;
mod named;
mod project;
mod registering;
mod running;
mod security;
mod shells;
mod stores;
mod tokens;
mod units;

use std::{ffi::OsString, path::PathBuf};

use ambrosia_core::HostAddress;
use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand, parser::ValueSource};

pub(crate) use asking::{Checkpoint, Events, Query, ResultOf, Send, Status};
pub(crate) use certificates::{Cert, CertVerb, InitCa, IssueCertificate};
pub(crate) use changing::{Skip, Upgrade};
pub(crate) use history::{Debug, Export, Log, Trace, Verify};
pub(crate) use member::ConfigurationArguments;
pub(crate) use named::{
    Called, Named, NamedOrAll, NamedRequest, NamedTrace, NamedWithModule, NamedWithNext, NumberedReplica,
};
pub(crate) use project::{HttpOrOff, New, Up};
pub(crate) use registering::{AddReplica, DeregisterInstance, RegisterInstance};
pub(crate) use running::{Drain, Kill, Run, Serve};
pub(crate) use security::TlsArguments;
pub(crate) use shells::{Completion, Man};
pub(crate) use stores::{AcceptRollback, CopyStore, InitStore, Store, StoreVerb};
pub(crate) use tokens::{NewToken, Token, TokenVerb};

/// Runs WebAssembly components as immortals: named instances that survive the death of any process, and handle every
/// message exactly once.
#[derive(Parser, Debug)]
#[command(name = "ambrosia-host", version, arg_required_else_help = true, after_help = EXAMPLE)]
pub(crate) struct Arguments {
    /// What holds the instances, their logs and modules: a directory of this machine, as a path or file:PATH, or a database that several
    /// machines share, as postgres://USER@HOST/DATABASE?schema=NAME or etcd://HOST1,HOST2,HOST3/PREFIX?blobs=s3://BUCKET. From a machine that
    /// reaches no database but hosts that do, as ambrosia://a.example:7400,b.example:7400, with a certificate or a token. By default .ambrosia
    /// of the project, where this directory or one above it has an ambrosia.toml, and else ./ambrosia-data
    #[arg(long, global = true, env = "AMBROSIA_STORE", hide_env_values = true, value_name = "DIR|URL")]
    pub(crate) store: Option<OsString>,

    /// File whose one line says the same: for a URL with a password, which is then neither among the arguments nor in the environment of
    /// a process. Nobody but its owner, and its group if it belongs to root, may be able to read such a file
    #[arg(long, global = true, env = "AMBROSIA_STORE_FILE", value_name = "PATH")]
    pub(crate) store_file: Option<PathBuf>,

    /// Directory in which this machine keeps what it would have to compile or download again, and what it knows to be durable, if the
    /// store is a database. By default ambrosia in the caches of the user
    #[arg(long, global = true, env = "AMBROSIA_CACHE", value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,

    /// Use the store although it lies on a file system that other machines may see, such as NFS or FUSE. Two of them
    /// that use it at once ruin it
    #[arg(long, global = true)]
    pub(crate) allow_network_file_system: bool,

    /// Say more on stderr; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Colours: `auto` is on terminals, unless the variable NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorChoice,

    #[command(flatten)]
    pub(crate) tls: TlsArguments,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

impl Arguments {
    /// Those of this process. Of `--store` and `--store-file` the one that stands on the command line counts, where the environment has the
    /// other one.
    pub(crate) fn of_command_line() -> Arguments {
        let matches = Arguments::command().get_matches();
        let mut arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let is_on_line = |name| matches.value_source(name) == Some(ValueSource::CommandLine);
        match (is_on_line("store"), is_on_line("store_file")) {
            (true, false) => arguments.store_file = None,
            (false, true) => arguments.store = None,
            _ => {}
        }
        arguments
    }
}

const EXAMPLE: &str = "Example:
  ambrosia-host register-instance --instance server --module server.wasm
  ambrosia-host add-replica --instance server --replica 1
  ambrosia-host run --instance server                 # in one terminal
  ambrosia-host run --instance server --replica 1     # in another: takes over when the first dies
  ambrosia-host status
  ambrosia-host send server receive_message '[\"hello\"]'

Where a name of an instance is needed, --instance NAME and NAME alone are the same.";

impl Verb {
    /// Whether what goes wrong with it may be due to the store that it was given.
    pub(crate) fn is_of_a_store(&self) -> bool {
        match self {
            Verb::New(_) | Verb::Up(_) | Verb::Cert(_) | Verb::CopyStore(_) | Verb::Completion(_) | Verb::Man(_) => {
                false
            }
            Verb::Send(verb) => verb.at.is_empty(),
            Verb::Query(verb) => verb.at.is_empty(),
            Verb::Result(verb) => verb.at.is_empty(),
            Verb::Events(verb) => verb.at.is_empty(),
            _ => true,
        }
    }
}

impl Verb {
    /// Has the hosts through which the store is reached asked for what is asked of a primary, unless others are named, or a replica
    /// that only the store knows.
    pub(crate) fn ask_at(&mut self, hosts: &[HostAddress]) {
        let at = match self {
            Verb::Send(verb) if verb.replica.is_none() => &mut verb.at,
            Verb::Query(verb) if verb.replica.is_none() => &mut verb.at,
            Verb::Events(verb) if verb.replica.is_none() => &mut verb.at,
            Verb::Result(verb) => &mut verb.at,
            _ => return,
        };
        if at.is_empty() {
            *at = hosts.iter().map(ToString::to_string).collect();
        }
    }
}

#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Make a project to begin with: a crate, a test, ambrosia.toml, and the SDK
    New(New),
    /// Build, register and run all that ambrosia.toml names, in this terminal
    Up(Up),
    /// Register an instance with the module that it runs
    RegisterInstance(RegisterInstance),
    /// Allow one more replica of an instance to run
    AddReplica(AddReplica),
    /// Have an instance run another module, while it runs
    Upgrade(Upgrade),
    /// Have an instance that has halted go on without some messages
    Skip(Skip),
    /// Delete an instance with its log, for ever
    DeregisterInstance(DeregisterInstance),
    /// Make, list and revoke tokens for HTTP
    Token(Token),
    /// Make a store in a database
    Store(Store),
    /// Copy instances, with all that is known of them, into another store
    CopyStore(CopyStore),
    /// Go on with a database that does not have what was durable in it, such as one restored from a backup
    AcceptRollback(AcceptRollback),
    /// Make certificates for hosts and clients, and the CA that signs them
    Cert(Cert),
    /// Run a replica of an instance
    Run(Run),
    /// Run replicas of many instances in one process: named ones, or those that are meant for this host
    Serve(Serve),
    /// Have a host hand over all that it has, and wait for it
    Drain(Drain),
    /// End the process of a replica as `kill -9` does, and show who takes over
    Kill(Kill),
    /// Show who is primary, the epoch, the lsn, and how far each replica is
    Status(Status),
    /// Send a request to an instance and print its result as JSON
    Send(Send),
    /// Ask an instance something that changes nothing, without a record, and print the answer as JSON
    Query(Query),
    /// Print the result of a request that was not waited for
    Result(ResultOf),
    /// Show what an instance emits, and go on as it comes
    Events(Events),
    /// Have a checkpoint taken now, and wait for it
    Checkpoint(Checkpoint),
    /// Show the records of an instance's log
    Log(Log),
    /// Show all that a request brought about, in every instance that it came to
    Trace(Trace),
    /// Travel through the life of an instance, forwards and backwards, and see what each record did
    Debug(Debug),
    /// Take a part of an instance's life into a store of its own, to be looked at elsewhere
    Export(Export),
    /// Replay the log of an instance, and see whether it comes to every digest that is written in it
    Verify(Verify),
    /// Have a shell complete verbs, flags and names of instances
    Completion(Completion),
    /// Write pages of the manual
    Man(Man),
}
