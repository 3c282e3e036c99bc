//! The command line as data. Scripts depend on these names.

use std::{net::SocketAddr, path::PathBuf};

use ambrosia_core::InstanceName;
use clap::{Args, Parser, Subcommand};

/// Runs WebAssembly components as immortals: named instances that survive the death of any process, and handle every
/// message exactly once.
#[derive(Parser, Debug)]
#[command(name = "ambrosia-host", version, arg_required_else_help = true, after_help = EXAMPLE)]
pub(crate) struct Arguments {
    /// Directory that holds the instances, their logs and modules
    #[arg(long, global = true, env = "AMBROSIA_STORE", default_value = "./ambrosia-data", value_name = "DIR")]
    pub(crate) store: PathBuf,

    /// Say more on stderr; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const EXAMPLE: &str = "Example:
  ambrosia-host register-instance --instance server --module server.wasm
  ambrosia-host add-replica --instance server --replica 1
  ambrosia-host run --instance server                 # in one terminal
  ambrosia-host run --instance server --replica 1     # in another: takes over when the first dies
  ambrosia-host status";

#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Register an instance with the module that it runs
    RegisterInstance(RegisterInstance),
    /// Allow one more replica of an instance to run
    AddReplica(AddReplica),
    /// Delete an instance with its log, for ever
    DeregisterInstance(DeregisterInstance),
    /// Run a replica of an instance
    Run(Run),
    /// Show who is primary, the epoch, the lsn, and how far each replica is
    Status(Status),
    /// Send a request to an instance and print its result as JSON
    Send(Send),
    /// Show the records of an instance's log
    Log(Log),
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  ambrosia-host register-instance --instance server --module server.wasm")]
pub(crate) struct RegisterInstance {
    /// Name of the instance: letters, digits, '.', '_' and '-'
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: InstanceName,
    /// The component to run, built for wasm32-wasip2
    #[arg(long, value_name = "FILE")]
    pub(crate) module: PathBuf,
    /// Memory that the guest may use
    #[arg(long, value_name = "MIB", default_value_t = ambrosia_core::limits::MEMORY_BYTES_DEFAULT >> 20,
          value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub(crate) memory_mib: u64,
    /// Fuel that the guest may use for one delivery, about one unit an instruction
    #[arg(long, value_name = "UNITS", default_value_t = ambrosia_core::limits::FUEL_DEFAULT,
          value_parser = clap::value_parser!(u64).range(1_000_000..))]
    pub(crate) fuel: u64,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  ambrosia-host add-replica --instance server --replica 1")]
pub(crate) struct AddReplica {
    /// Name of the instance
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: InstanceName,
    /// Number of the replica, 0 to 63; replica 0 is there from the start
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(..64))]
    pub(crate) replica: u16,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  ambrosia-host deregister-instance --instance server --yes")]
pub(crate) struct DeregisterInstance {
    /// Name of the instance
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: InstanceName,
    /// Really delete it
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host run --instance server
  ambrosia-host run --instance server --replica 1
  ambrosia-host run --instance client --stdin receive_keyboard_input

The guest's output goes to stdout, the host's own messages to stderr. SIGTERM and Ctrl-C hand over to another replica
at once. The exit code is that of the guest when it finishes the instance.")]
pub(crate) struct Run {
    /// Name of the instance
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: InstanceName,
    /// Number of the replica
    #[arg(long, value_name = "K", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..64))]
    pub(crate) replica: u16,
    /// Loopback address for peers and clients; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Make each line of stdin an impulse to this method, while this replica is primary
    #[arg(long, value_name = "METHOD")]
    pub(crate) stdin: Option<String>,
    /// Show what the guest prints during replay too
    #[arg(long)]
    pub(crate) print_replay: bool,
    /// Go on although the log was written by another version of the engine
    #[arg(long)]
    pub(crate) allow_engine_change: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  ambrosia-host status\n  ambrosia-host status --instance server --json")]
pub(crate) struct Status {
    /// Only this instance
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: Option<InstanceName>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host send --instance server --method receive_message --args '[\"hello\"]'
  ambrosia-host send --instance bank --method deposit --args '[\"anna\", 20]' --request-id order-4711

The same request id a second time returns the first result and does nothing again, across takeovers too.")]
pub(crate) struct Send {
    /// Name of the instance
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: InstanceName,
    /// Method to run
    #[arg(long, value_name = "METHOD")]
    pub(crate) method: String,
    /// Its arguments as a JSON array
    #[arg(long, value_name = "JSON-ARRAY", default_value = "[]")]
    pub(crate) args: String,
    /// Return as soon as the request is durable, without its result
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Names the request, so that it can be repeated and is done once; by default a fresh one
    #[arg(long, value_name = "ID")]
    pub(crate) request_id: Option<String>,
    /// Seconds to wait
    #[arg(long, value_name = "S", default_value_t = 30.0)]
    pub(crate) timeout: f64,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  ambrosia-host log --instance server\n  \
                        ambrosia-host log --instance server --from 10 --to 20 --json")]
pub(crate) struct Log {
    /// Name of the instance
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: InstanceName,
    /// First record to show
    #[arg(long, value_name = "LSN", default_value_t = 1)]
    pub(crate) from: u64,
    /// Last record to show; by default the last durable one
    #[arg(long, value_name = "LSN")]
    pub(crate) to: Option<u64>,
    /// One JSON object a record
    #[arg(long)]
    pub(crate) json: bool,
}
