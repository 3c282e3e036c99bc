//! What has been: `log`, `trace`, `debug`, `verify`, `export`.

use std::{net::SocketAddr, path::PathBuf};

use ambrosia_core::EventId;
use clap::Args;

use super::{Named, NamedTrace};

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  ambrosia-host log server\n  \
                        ambrosia-host log server --from 10 --to 20 --json
  ambrosia-host log server --follow

With --follow it goes on with what becomes durable, until Ctrl-C or the end of the instance.")]
pub(crate) struct Log {
    #[command(flatten)]
    pub(crate) instance: Named,
    /// First record to show; by default the first that the log still has
    #[arg(long, value_name = "LSN")]
    pub(crate) from: Option<u64>,
    /// Last record to show; by default the last durable one
    #[arg(long, value_name = "LSN")]
    pub(crate) to: Option<u64>,
    /// Go on with records as they become durable
    #[arg(long, conflicts_with = "to")]
    pub(crate) follow: bool,
    /// One JSON object a record
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host trace shop order-17
  ambrosia-host trace shop --message 812.0
  ambrosia-host trace shop order-17 --otlp trace.json

Each line is a message: when it was delivered, counted from the first, which record of which instance that is, and what was answered. Below it is
what it brought about: calls, forks and their answers, timers, requests to the world outside and what came of them. The logs say it, as
far back as they go, so nothing has to be switched on before; handlers are run again in a copy, which nobody sees. Instances of other
stores are not followed.

--otlp writes the same as spans in the JSON of the OpenTelemetry protocol, a line, as the otlpjsonfile receiver of its collector reads it, and
an HTTP endpoint for traces takes it: curl -H 'content-type: application/json' --data @trace.json http://localhost:4318/v1/traces")]
pub(crate) struct Trace {
    #[command(flatten)]
    pub(crate) of: NamedTrace,
    /// Begin at a message in place of a request: its record, and which of the messages there it is, from 0
    #[arg(long, value_name = "LSN.INDEX")]
    pub(crate) message: Option<EventId>,
    /// Follow that many messages at most
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) limit: u32,
    /// Write spans of OpenTelemetry into a file as well, - for stdout in place of the lines
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) otlp: Option<PathBuf>,
    /// One JSON object a message
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host debug server                 # asks for commands; `help` lists them
  ambrosia-host debug server --at halted
  ambrosia-host debug server --at 14:03:05 --script look.txt --plain
  ambrosia-host debug server --at 800 --module fixed.wasm      # the same messages to another build
  ambrosia-host debug server --at halted --native               # says how to follow that record with gdb

Nothing is changed: replicas may run meanwhile, and the store may be a copy. Commands come from --script, or from stdin, a
line each; where that is no terminal, the first that fails ends it with exit code 1.")]
pub(crate) struct Debug {
    #[command(flatten)]
    pub(crate) instance: Named,
    /// Where to begin: the number of a record, a time (14:03:05, or with a date), start, end or halted
    #[arg(long, value_name = "PLACE", default_value = "end")]
    pub(crate) at: String,
    /// Go no further than to this record
    #[arg(long, value_name = "LSN")]
    pub(crate) to: Option<u64>,
    /// Give the deliveries from there on to this build too, a file or the hash of a module in the store, show what it prints, and end
    /// at the first message that brings about something else, with exit code 1
    #[arg(long, value_name = "FILE|HASH", conflicts_with = "script")]
    pub(crate) module: Option<String>,
    /// Take the commands from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) script: Option<PathBuf>,
    /// Write the state of the application at that place into a file, as `Harness::load` of the SDK reads it, and end
    #[arg(long, value_name = "FILE", conflicts_with = "script")]
    pub(crate) save_state: Option<PathBuf>,
    /// One JSON object a command
    #[arg(long)]
    pub(crate) json: bool,
    /// Without colours and prompts
    #[arg(long)]
    pub(crate) plain: bool,
    /// Hand the delivery at that place to a guest that gdb can follow, line by line; without gdb around it, say what to type
    #[arg(long, conflicts_with_all = ["to", "script", "json", "module"])]
    pub(crate) native: bool,
    /// Show the journey as a page on this machine, at an address of the loopback; Ctrl-C ends it
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "127.0.0.1:0",
        conflicts_with_all = ["script", "json", "plain", "module", "native"])]
    pub(crate) serve: Option<SocketAddr>,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:
  ambrosia-host verify server

Nothing is changed, and replicas may run meanwhile. The exit code is 0 if this program comes to every digest.")]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) instance: Named,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:
  ambrosia-host export server --from 800 --to 812 --output report
  ambrosia-host --store report debug server --at 812

The new store has the records, what a journey along them begins at, and the modules. It holds what clients and peers have sent.
Nothing is changed in the store that it is taken from, and replicas may run meanwhile.")]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) instance: Named,
    /// First record that can be travelled to; by default the first that the log still has
    #[arg(long, value_name = "LSN")]
    pub(crate) from: Option<u64>,
    /// Last record; by default the last durable one
    #[arg(long, value_name = "LSN")]
    pub(crate) to: Option<u64>,
    /// Directory of the new store, which must not be there
    #[arg(long, value_name = "DIR")]
    pub(crate) output: PathBuf,
}
