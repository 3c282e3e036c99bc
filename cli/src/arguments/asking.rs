//! What those that run are asked and told: `status`, `send`, `query`, `result`, `events`, `checkpoint`.

use ambrosia_core::{EventId, TraceContext};
use clap::Args;

use super::{Called, Named, NamedOrAll, NamedRequest};

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host status
  ambrosia-host status server --json
  ambrosia-host status --watch
  ambrosia-host status --store ambrosia://a.example:7400,b.example:7400    # from where hosts are reached, and no database

With --watch it goes on until Ctrl-C, and draws over what has changed; where stdout is no terminal it writes each state below the
last, and with --json one object a line. Time that passes is no change there.

While a database does not answer, hosts are asked which replicas they run, and since when and why a log stands: those that name the
store, or with --watch those that were alive before. That is shown then, and the exit code is 1.")]
#[derive(Clone)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) instance: NamedOrAll,
    /// Show it as it changes, until Ctrl-C
    #[arg(long)]
    pub(crate) watch: bool,
    /// Show what the methods take and give, and what the source says of them
    #[arg(long)]
    pub(crate) methods: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host send server receive_message '[\"hello\"]'
  ambrosia-host send bank deposit '[\"anna\", 20]' --request-id order-4711
  ambrosia-host send bank load @accounts.json
  ambrosia-host send --instance bank --method deposit --args '[\"anna\", 20]'

  ambrosia-host send bank balance '[\"anna\"]' --at 127.0.0.1:7001,127.0.0.1:7002
  ambrosia-host send bank balance '[\"anna\"]' --replica 1

A method of kind query is asked, of the primary or by --replica of any replica, and no record is made of it; --logged runs it as
an update all the same.

The same request id a second time returns the first result and does nothing again, across takeovers too.")]
pub(crate) struct Send {
    #[command(flatten)]
    pub(crate) what: Called,
    /// Addresses of hosts to ask in place of a store, which is not opened then; those of a store ambrosia://HOST,… need not be given. Any host of the instance knows where the primary is
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',')]
    pub(crate) at: Vec<String>,
    /// Run a method of kind query as an update, with a record and a request id
    #[arg(long, conflicts_with_all = ["replica", "at_least"])]
    pub(crate) logged: bool,
    /// Ask that replica a query, whatever its role: it answers from the state as far as it has it
    #[arg(long, value_name = "N", conflicts_with = "at")]
    pub(crate) replica: Option<u16>,
    /// Have a query wait until the state that is asked has come to that record
    #[arg(long, value_name = "LSN", default_value_t = 0)]
    pub(crate) at_least: u64,
    /// Return as soon as the request is durable, without its result
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// The same, and print the request id, for `result`
    #[arg(long = "async", conflicts_with = "no_wait")]
    pub(crate) is_async: bool,
    /// Names the request, so that it can be repeated and is done once; by default a fresh one
    #[arg(long, value_name = "ID")]
    pub(crate) request_id: Option<String>,
    /// The trace that the request belongs to, as the W3C's Trace Context has it; `trace --otlp` shows it as a part of that
    #[arg(long, value_name = "00-TRACE-SPAN-FLAGS")]
    pub(crate) traceparent: Option<TraceContext>,
    /// Seconds to wait
    #[arg(long, value_name = "S", default_value_t = 30.0)]
    pub(crate) timeout: f64,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host query counter total
  ambrosia-host query bank balance '[\"anna\"]' --replica 1
  ambrosia-host query bank balance '{\"account\": \"anna\"}' --at-least 812
  ambrosia-host query bank balance '[\"anna\"]' --at 127.0.0.1:7001,127.0.0.1:7002

The primary's answer has seen all that was answered before, across takeovers too; that of a replica is of the state as far as it
has it. No record is made, and nothing is waited for on a disk. A method that may change something is refused: `send` runs it.")]
pub(crate) struct Query {
    #[command(flatten)]
    pub(crate) what: Called,
    /// Addresses of hosts to ask in place of a store, which is not opened then; those of a store ambrosia://HOST,… need not be given. Any host of the instance knows where the primary is
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',')]
    pub(crate) at: Vec<String>,
    /// Ask that replica, whatever its role, in place of the primary
    #[arg(long, value_name = "N", conflicts_with = "at")]
    pub(crate) replica: Option<u16>,
    /// Wait until the state that is asked has come to that record
    #[arg(long, value_name = "LSN", default_value_t = 0)]
    pub(crate) at_least: u64,
    /// Seconds to wait
    #[arg(long, value_name = "S", default_value_t = 30.0)]
    pub(crate) timeout: f64,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ID=$(ambrosia-host send bank audit --async)
  ambrosia-host result bank \"$ID\"
  ambrosia-host result bank \"$ID\" --wait 60

Prints the result as JSON once it is durable. The exit code is 0 then, 3 while the request is durable and has no result, and 1 if it
failed, or nothing is known of it: it was never asked, or its result is forgotten by now.")]
pub(crate) struct ResultOf {
    #[command(flatten)]
    pub(crate) of: NamedRequest,
    /// Addresses of hosts to ask in place of a store, which is not opened then
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',')]
    pub(crate) at: Vec<String>,
    /// Method that was run; it is needed only if it gives raw bytes and others of the instance do not
    #[arg(long, value_name = "METHOD")]
    pub(crate) method: Option<String>,
    /// Seconds to wait for the result
    #[arg(long, value_name = "S", default_value_t = 0.0)]
    pub(crate) wait: f64,
    /// Seconds to wait for the primary
    #[arg(long, value_name = "S", default_value_t = 30.0)]
    pub(crate) timeout: f64,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host events shop                                  # all that are kept
  ambrosia-host events shop --follow --topic order-paid
  ambrosia-host events shop --follow --after 812.0 --json    # goes on where it was cut

An event is shown once it is durable, with its id, LSN.INDEX, which is the same on every replica. An instance keeps the newest 4096
events, of 4 MiB together; if those behind --after are kept no more it is said which, on stderr, or with --json as a line
{\"lost\": {\"after\": …, \"through\": …}}. --follow goes on through takeovers and missed primaries, until Ctrl-C or the end of the instance.")]
pub(crate) struct Events {
    #[command(flatten)]
    pub(crate) instance: Named,
    /// Show those behind this one: its id, or the number of a record, behind all of whose events it begins
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<EventId>,
    /// Go on as they come
    #[arg(long)]
    pub(crate) follow: bool,
    /// Show those of this topic only; may be given several times
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Vec<String>,
    /// Listen to that replica, whatever its role, in place of the primary
    #[arg(long, value_name = "K", conflicts_with = "at")]
    pub(crate) replica: Option<u16>,
    /// Addresses of hosts to ask in place of a store, which is not opened then; those of a store ambrosia://HOST,… need not be given. Any host of the instance knows where the primary is
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',')]
    pub(crate) at: Vec<String>,
    /// One JSON object an event
    #[arg(long)]
    pub(crate) json: bool,
    /// Seconds to wait until somebody answers
    #[arg(long, value_name = "S", default_value_t = 30.0)]
    pub(crate) timeout: f64,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:
  ambrosia-host checkpoint server

Checkpoints are taken by themselves, see `run --checkpoint-every` and `--recovery-target`.")]
pub(crate) struct Checkpoint {
    #[command(flatten)]
    pub(crate) instance: Named,
    /// Seconds to wait
    #[arg(long, value_name = "S", default_value_t = 30.0)]
    pub(crate) timeout: f64,
}
