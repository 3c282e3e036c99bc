//! The command line as data. Scripts depend on these names.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use ambrosia_core::{Configuration, EventId, InstanceName, Retention, Timestamp, limits::RETENTION_COUNT_MAX};
use ambrosia_host::{Grant, Grants, GuestLogPlace, HttpAddress, MemberOptions, Secret, encode_value};
use ambrosia_storage::Deed;
use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use crate::{argument_source::ArgumentSource, result::ResultOf, serve::NamedReplica};

/// Runs WebAssembly components as immortals: named instances that survive the death of any process, and handle every
/// message exactly once.
#[derive(Parser, Debug)]
#[command(name = "ambrosia-host", version, arg_required_else_help = true, after_help = EXAMPLE)]
pub(crate) struct Arguments {
    /// Directory that holds the instances, their logs and modules: a path, or file:PATH. By default .ambrosia of the project, where
    /// this directory or one above it has an ambrosia.toml, and else ./ambrosia-data
    #[arg(long, global = true, env = "AMBROSIA_STORE", hide_env_values = true, value_name = "DIR")]
    pub(crate) store: Option<OsString>,

    /// Use the store although it lies on a file system that other machines may see, such as NFS or FUSE. Two of them
    /// that use it at once ruin it
    #[arg(long, global = true)]
    pub(crate) allow_network_file_system: bool,

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
    /// Run a replica of an instance
    Run(Run),
    /// Run replicas of many instances in one process
    Serve(Serve),
    /// End the process of a replica as `kill -9` does, and show who takes over
    Kill(Kill),
    /// Show who is primary, the epoch, the lsn, and how far each replica is
    Status(Status),
    /// Send a request to an instance and print its result as JSON
    Send(Send),
    /// Print the result of a request that was not waited for
    Result(ResultOf),
    /// Show what an instance emits, and go on as it comes
    Events(Events),
    /// Have a checkpoint taken now, and wait for it
    Checkpoint(Checkpoint),
    /// Show the records of an instance's log
    Log(Log),
    /// Travel through the life of an instance, forwards and backwards, and see what each record did
    Debug(Debug),
    /// Take a part of an instance's life into a store of its own, to be looked at elsewhere
    Export(Export),
    /// Replay the log of an instance, and see whether it comes to every digest that is written in it
    Verify(Verify),
}

#[derive(Args, Debug)]
#[command(after_help = "Example:
  ambrosia-host new counter && cd counter && ambrosia-host up --watch

Nothing has to be installed but Rust: the SDK is put into the project, under vendor/.")]
pub(crate) struct New {
    /// Name of the project, of its crate and of its instance: small letters, digits, '-' and '_'
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Directory to make it in, which must not be there; by default one of its name
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// Language that it is written in
    #[arg(long, value_name = "LANG", default_value = "rust", value_parser = ["rust"])]
    pub(crate) lang: String,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host up                     # in a directory with an ambrosia.toml, or below it
  ambrosia-host up --watch             # builds anew when a source changes, and swaps the code of what runs
  ambrosia-host up --project shop --http off

Each replica is a process of its own. One that dies is started again. Each line has its instance and replica in front. A module that
has changed since the last time is tried on the last messages of the log, and swapped if that goes well; if not, the old one
runs on. Ctrl-C ends all of them in order, a second Ctrl-C at once. The exit code is 0 then, and also if all instances have
finished with 0. ambrosia.toml:

  [instances.counter]
  build = \"cargo build --release --target wasm32-wasip2\"      # none if the module is there already
  module = \"target/wasm32-wasip2/release/counter.wasm\"
  replicas = 2

  [http]
  address = \"127.0.0.1:8080\"                                # or \"off\"")]
pub(crate) struct Up {
    /// Directory of the project; by default this one, or the next above it that has an ambrosia.toml
    #[arg(long, value_name = "DIR")]
    pub(crate) project: Option<PathBuf>,
    /// Build anew whenever a source of the project changes, and swap the code of what runs
    #[arg(long)]
    pub(crate) watch: bool,
    /// Loopback address for HTTP in place of that of ambrosia.toml, or off
    #[arg(long, value_name = "ADDR|off", value_parser = http_or_off)]
    pub(crate) http: Option<HttpOrOff>,
    /// Write what guests log (`ambrosia::log`) to that file, a JSON object a line, in place of this terminal
    #[arg(long, value_name = "PATH|-", default_value = "-", value_parser = guest_log_place)]
    pub(crate) guest_log: GuestLogPlace,
}

/// Where HTTP comes in, if it does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HttpOrOff(pub(crate) Option<SocketAddr>);

fn http_or_off(text: &str) -> Result<HttpOrOff, String> {
    if text == "off" {
        return Ok(HttpOrOff(None));
    }
    let address = text.parse().map_err(|_| "use an address such as 127.0.0.1:8080, or off".to_owned())?;
    Ok(HttpOrOff(Some(address)))
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host kill --instance counter --primary
  ambrosia-host kill --instance counter --replica 1

The process is killed for real, with all replicas in it. Before that it is made sure that it is the process of that replica, on this
machine.")]
#[command(group(clap::ArgGroup::new("whom").required(true).multiple(false)))]
pub(crate) struct Kill {
    /// Name of the instance
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: InstanceName,
    /// The replica that is primary now
    #[arg(long, group = "whom")]
    pub(crate) primary: bool,
    /// This replica
    #[arg(long, value_name = "K", group = "whom", value_parser = clap::value_parser!(u16).range(..64))]
    pub(crate) replica: Option<u16>,
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
    /// Refuse a module that imports what is denied to it when it asks: files and sockets
    #[arg(long)]
    pub(crate) strict_imports: bool,
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
#[command(after_help = "Examples:
  ambrosia-host upgrade --instance server --module server2.wasm
  ambrosia-host upgrade --instance server --module server2.wasm --dry-run
  ambrosia-host upgrade --instance server --module 9c1d3f20 --yes      # back to a module that is in the store, see `status`
  ambrosia-host upgrade --instance server --fuel 40000000000           # the same module with other limits

What is going to change is shown first, and tried on the last deliveries, in a copy that nobody sees. The state goes over as a value, so the module must be built with `#[ambrosia::state]`; messages
are handled once, by the old or the new code. If the new code can't take the state the instance goes on as it was. An instance
that is down is upgraded at its next `run`. The exit code is 0 only if the instance runs the new module.")]
pub(crate) struct Upgrade {
    /// Name of the instance
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: InstanceName,
    /// The component to run from now on: a file, or the hash of a module in the store, or the beginning of one
    #[arg(long, value_name = "FILE|HASH")]
    pub(crate) module: Option<String>,
    /// Do it without asking; needed where there is no terminal
    #[arg(long)]
    pub(crate) yes: bool,
    /// Show what would change and try it, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Try it on so many of the last deliveries first: both codes get them, and what they bring about is compared; 0 for no trial
    #[arg(long, value_name = "M", default_value_t = 1000)]
    pub(crate) last: u64,
    /// Do it although the trial found that the new code fails
    #[arg(long)]
    pub(crate) despite_trial: bool,
    /// Wait so long for a moment in which no handler waits that can't go on in the new module: with ms, s or min
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub(crate) wait: Duration,
    /// Have requests and lines of stdin wait meanwhile, so that they begin no further handlers
    #[arg(long)]
    pub(crate) hold: bool,
    /// End handlers that wait with an error to their callers
    #[arg(long)]
    pub(crate) end_waiting: bool,
    /// Fuel that the guest may use for one delivery from then on
    #[arg(long, value_name = "UNITS", value_parser = clap::value_parser!(u64).range(1_000_000..))]
    pub(crate) fuel: Option<u64>,
    /// Memory that the guest may use from then on
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub(crate) memory_mib: Option<u64>,
    /// Take back the upgrade that is under way
    #[arg(long, conflicts_with_all = ["module", "dry_run", "despite_trial", "hold", "end_waiting", "fuel", "memory_mib"])]
    pub(crate) cancel: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Seconds to wait for the answer; by default 30 more than --wait. Afterwards the upgrade still stands
    #[arg(long, value_name = "S")]
    pub(crate) timeout: Option<f64>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host skip --instance server --lsn 812                     # lists the messages of the record, and changes nothing
  ambrosia-host skip --instance server --lsn 812 --message 2 --yes

The other messages of the record are delivered anew, by the same code. Calls and requests that are skipped get the error `skipped
by an operator`, a handler that awaits a skipped answer gets it in its place, forks and timers are gone. If the guest fails at
another message too, nothing is changed and the report says at which. To have other code handle all of them: upgrade.")]
pub(crate) struct Skip {
    /// Name of the instance, which has halted
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: InstanceName,
    /// The record that it stands at
    #[arg(long, value_name = "LSN", required_unless_present = "cancel")]
    pub(crate) lsn: Option<u64>,
    /// Go on without this message, by its position in the list; may be given more than once
    #[arg(long, value_name = "I", requires = "lsn")]
    pub(crate) message: Vec<u32>,
    /// Do it without asking; needed where there is no terminal
    #[arg(long)]
    pub(crate) yes: bool,
    /// Take back the skip that is under way
    #[arg(long, conflicts_with_all = ["lsn", "message"])]
    pub(crate) cancel: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Seconds to wait for the answer, by default 60. Afterwards the skip still stands
    #[arg(long, value_name = "S")]
    pub(crate) timeout: Option<f64>,
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
    #[command(flatten)]
    pub(crate) http: HttpArguments,
    /// Make each line of stdin an impulse to this method, while this replica is primary
    #[arg(long, value_name = "METHOD")]
    pub(crate) stdin: Option<String>,
    /// End in order when stdin does: then this process does not outlive the one that holds the other end of it
    #[arg(long, conflicts_with = "stdin")]
    pub(crate) end_with_stdin: bool,
    /// Show what the guest prints during replay too
    #[arg(long)]
    pub(crate) print_replay: bool,
    /// Replay the log from its beginning, as far as it goes back, and not from a checkpoint
    #[arg(long)]
    pub(crate) ignore_checkpoints: bool,
    /// Go on although the log was written by another version of the engine
    #[arg(long)]
    pub(crate) allow_engine_change: bool,
    /// Go on although this replica is not what the log says that it was at this record
    #[arg(long, value_name = "LSN")]
    pub(crate) allow_divergence: Option<u64>,
    #[command(flatten)]
    pub(crate) guest_log: GuestLogArguments,
    #[command(flatten)]
    pub(crate) outgoing: OutgoingArguments,
    #[command(flatten)]
    pub(crate) configuration: ConfigurationArguments,
    #[command(flatten)]
    pub(crate) checkpoints: CheckpointArguments,
}

// Where requests to the world outside may go. A doc comment would take the place of what the verb says of itself.
#[derive(Args, Debug)]
pub(crate) struct OutgoingArguments {
    /// Let the guest send HTTP requests there, such as 'https://api.example.com/*', or with the secrets that may go along
    /// 'https://api.example.com/* secrets=KEY'; may be given several times. Without it nothing goes out
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) grant_http: Vec<Grant>,
    /// Where a secret of that name is, which is put into requests on their way out: env:VARIABLE or file:PATH; may be given several
    /// times
    #[arg(long, value_name = "NAME=PLACE")]
    pub(crate) secret: Vec<Secret>,
}

impl OutgoingArguments {
    /// The same for a member that lives as `options` say.
    pub(crate) fn add_to(self, options: MemberOptions) -> MemberOptions {
        let (grants, secrets) = (Grants(self.grant_http), self.secret.into_iter().collect());
        MemberOptions { grants, secrets, ..options }
    }
}

// What is set for the guest. A doc comment would take the place of what the verb says of itself.
#[derive(Args, Debug)]
pub(crate) struct ConfigurationArguments {
    /// A value that the guest finds under that name (`ambrosia::config`), as JSON, such as limit=5; may be given several times.
    /// What is not given any more is gone at the next reign. Give all replicas the same
    #[arg(long, value_name = "NAME=JSON", value_parser = configured)]
    pub(crate) config: Vec<(String, Vec<u8>)>,
    /// How the host is reached from outside, such as https://shop.example.com: what URLs of promises begin with
    #[arg(long, value_name = "URL", value_parser = public_url)]
    pub(crate) public_url: Option<String>,
    #[command(flatten)]
    pub(crate) retention: RetentionArguments,
}

// How long results are remembered. A doc comment would take the place of what the verb says of itself.
#[derive(Args, Debug)]
pub(crate) struct RetentionArguments {
    /// How long results of requests are remembered, so that one that is repeated is done once: with s, min, h or d, from 1s to 366d [by
    /// default 1h]. This and the next two are written into the log by whoever is primary: give all replicas the same
    #[arg(long, value_name = "TIME", value_parser = age)]
    pub(crate) result_retention: Option<u64>,
    /// How many results are remembered at most, up to 10000000 [by default 100000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=RETENTION_COUNT_MAX))]
    pub(crate) result_retention_count: Option<u64>,
    /// How large remembered results are together at most, up to 1GiB, which each replica has in memory [by default 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) result_retention_size: Option<u64>,
}

impl RetentionArguments {
    /// `None` if nothing is said of it.
    fn retention(&self) -> anyhow::Result<Option<Retention>> {
        let RetentionArguments { result_retention, result_retention_count, result_retention_size } = *self;
        if result_retention.is_none() && result_retention_count.is_none() && result_retention_size.is_none() {
            return Ok(None);
        }
        let default = Retention::default();
        let retention = Retention {
            count: result_retention_count.unwrap_or(default.count),
            bytes: result_retention_size.unwrap_or(default.bytes),
            age_s: result_retention.unwrap_or(default.age_s),
        };
        retention.check().context("--result-retention can't be that")?;
        Ok(Some(retention))
    }
}

/// Seconds from a number with a unit.
fn age(text: &str) -> Result<u64, String> {
    let units = [("min", 60), ("s", 1), ("h", 3600), ("d", 86_400)];
    let seconds = with_unit(text, &units).filter(|seconds| *seconds >= 1.0);
    seconds.map(|seconds| seconds as u64).ok_or_else(|| "use a number with s, min, h or d, such as 7d".to_owned())
}

impl ConfigurationArguments {
    /// The same for a member that lives as `options` say.
    pub(crate) fn add_to(self, options: MemberOptions) -> anyhow::Result<MemberOptions> {
        let mut configuration = Configuration::default();
        for (name, value) in self.config {
            let before = configuration.values.insert(name.clone(), value.into());
            anyhow::ensure!(before.is_none(), "--config sets {name} twice");
        }
        if let Some(url) = self.public_url {
            configuration.values.insert(PUBLIC_URL.to_owned(), encode_value(&url.into())?.into());
        }
        if let Some(retention) = self.retention.retention()? {
            configuration.values.insert(Retention::NAME.to_owned(), retention.value());
        }
        configuration.check().context("--config can't be taken")?;
        Ok(MemberOptions { configuration, ..options })
    }
}

/// The name of the value that URLs of promises begin with.
const PUBLIC_URL: &str = "ambrosia.public-url";

/// A name and the MessagePack of a value.
fn configured(text: &str) -> Result<(String, Vec<u8>), String> {
    let (name, json) = text.split_once('=').ok_or("write NAME=JSON, such as limit=5 or 'city=\"Berlin\"'")?;
    if name.starts_with("ambrosia.") {
        return Err("names that begin with `ambrosia.` are the host's own".to_owned());
    }
    let value = serde_json::from_str(json).map_err(|error| format!("the value is not JSON: {error}"))?;
    Ok((name.to_owned(), encode_value(&value).map_err(|error| error.to_string())?))
}

fn public_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_origin = rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['/', '?', '#', ' ']));
    if is_origin {
        Ok(text.to_owned())
    } else {
        Err("write scheme, host and port, such as https://shop.example.com".to_owned())
    }
}

// Where HTTP comes in. A doc comment would take the place of what the verb says of itself.
#[derive(Args, Debug)]
pub(crate) struct HttpArguments {
    /// Address for HTTP to all instances of the store, such as 127.0.0.1:8080
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<SocketAddr>,
    /// Take HTTP from other machines, too: something in front has to encrypt, and a token is needed
    #[arg(long, requires = "http")]
    pub(crate) http_any: bool,
}

impl HttpArguments {
    pub(crate) fn address(&self) -> Option<HttpAddress> {
        Some(HttpAddress { address: self.http?, is_for_others: self.http_any })
    }
}

/// Tokens for HTTP
#[derive(Args, Debug)]
pub(crate) struct Token {
    #[command(subcommand)]
    pub(crate) verb: TokenVerb,
}

#[derive(Subcommand, Debug)]
pub(crate) enum TokenVerb {
    /// Make a token, and show it: nobody can show it again
    New(NewToken),
    /// List tokens
    List,
    /// Make a token useless
    Revoke {
        /// Name of the token
        #[arg(long, value_name = "NAME")]
        name: InstanceName,
    },
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host token new --name shop --deed send --deed read --instance orders
  ambrosia-host token new --name admin --until 2027-01-01
  curl -H 'Authorization: Bearer ambrosia_…' …

While a store has a token, HTTP is answered for nobody without one. The store has its SHA-256 only.")]
pub(crate) struct NewToken {
    /// What it is called, to be revoked by
    #[arg(long, value_name = "NAME")]
    pub(crate) name: InstanceName,
    /// What it allows: send (run methods), query (those that change nothing), read (see what there is); may be given several times. All by
    /// default
    #[arg(long, value_name = "DEED", value_parser = deed)]
    pub(crate) deed: Vec<Deed>,
    /// Name of an instance that it is for; may be given several times. All by default, also those to come
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: Vec<InstanceName>,
    /// When it ends: a day such as 2027-01-01, which is not in it any more, or a time such as 2027-01-01T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = end_of_token)]
    pub(crate) until: Option<Timestamp>,
}

fn deed(text: &str) -> Result<Deed, String> {
    Deed::of_word(text).ok_or_else(|| "a deed is send, query or read".to_owned())
}

fn end_of_token(text: &str) -> Result<Timestamp, String> {
    let time = text.parse::<jiff::Timestamp>().or_else(|_| {
        let day = text.parse::<jiff::civil::Date>()?;
        Ok(day.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp())
    });
    let time =
        time.map_err(|error: jiff::Error| format!("a day such as 2027-01-01 or a time with its zone: {error}"))?;
    let nanoseconds =
        u64::try_from(time.as_nanosecond()).map_err(|_| "that is no time from 1970 to 2554".to_owned())?;
    Ok(Timestamp(nanoseconds))
}

// Where what guests log goes. A doc comment would take the place of what the verb says of itself.
#[derive(Args, Debug)]
pub(crate) struct GuestLogArguments {
    /// Write what guests log (`ambrosia::log`) to that file, a JSON object a line, or with - to stderr. Several processes may write into one
    /// file; whoever moves it away gets a new one. Without it nobody sees that
    #[arg(long, value_name = "PATH|-", value_parser = guest_log_place)]
    pub(crate) guest_log: Option<GuestLogPlace>,
}

/// A file, or stderr.
pub(crate) fn guest_log_place(text: &str) -> Result<GuestLogPlace, String> {
    match text {
        "" => Err("write the path of a file, or - for stderr".to_owned()),
        "-" => Ok(GuestLogPlace::Stderr),
        path => Ok(GuestLogPlace::File(path.into())),
    }
}

// When checkpoints are taken, and what is kept. A doc comment would take the place of what the verb says of itself.
#[derive(Args, Debug)]
pub(crate) struct CheckpointArguments {
    /// Take a checkpoint when the log has grown by so much: a number of bytes, or with KiB, MiB or GiB
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    pub(crate) checkpoint_every: u64,
    /// Take a checkpoint before a replay would take longer than this: with ms, s or min
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    pub(crate) recovery_target: Duration,
    /// Checkpoints kept; the log behind the oldest of them is removed
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) keep_checkpoints: u16,
    /// Keep the whole log
    #[arg(long)]
    pub(crate) keep_log: bool,
    /// Keep so much of the log beyond that, with the checkpoints in it, for `debug`; 0 for nothing
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = size_or_nothing)]
    pub(crate) history: u64,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host serve --instance bank --instance shop
  ambrosia-host serve --instance bank:1 --instance shop:1    # in another terminal: takes over when the first dies
  ambrosia-host serve --all --replica 0

Each line that a guest prints has the name of its instance in front. An instance that is registered later is not served. A replica
that ends or fails does not end the others; the process ends with the last, and its exit code is 0 if all ended well.")]
#[command(group(clap::ArgGroup::new("which").required(true).multiple(false)))]
pub(crate) struct Serve {
    /// Name of an instance, or name and number of the replica; may be given several times
    #[arg(long, value_name = "NAME[:K]", value_parser = NamedReplica::parse, group = "which")]
    pub(crate) instance: Vec<NamedReplica>,
    /// All instances that have such a replica
    #[arg(long, group = "which")]
    pub(crate) all: bool,
    /// Number of the replicas, where none is given
    #[arg(long, value_name = "K", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..64))]
    pub(crate) replica: u16,
    /// Start none of them if their guests could need more memory than this together, such as 8GiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) process_memory: Option<u64>,
    /// Loopback address for peers and clients of all of them; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) http: HttpArguments,
    /// Go on although a log was written by another version of the engine
    #[arg(long)]
    pub(crate) allow_engine_change: bool,
    #[command(flatten)]
    pub(crate) guest_log: GuestLogArguments,
    #[command(flatten)]
    pub(crate) outgoing: OutgoingArguments,
    #[command(flatten)]
    pub(crate) configuration: ConfigurationArguments,
    #[command(flatten)]
    pub(crate) checkpoints: CheckpointArguments,
}

impl CheckpointArguments {
    /// The same for a member, and all else as it is by default.
    pub(crate) fn options(&self) -> MemberOptions {
        MemberOptions {
            checkpoint_every_bytes: self.checkpoint_every,
            recovery_target: self.recovery_target,
            keep_checkpoints: usize::from(self.keep_checkpoints),
            keep_log: self.keep_log,
            history_bytes: self.history,
            ..MemberOptions::default()
        }
    }
}

/// Bytes from a number with an optional unit.
fn size(text: &str) -> Result<u64, String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];
    let bytes = with_unit(text, &units).filter(|bytes| *bytes >= 1.0);
    bytes.map(|bytes| bytes as u64).ok_or_else(|| "use a number with KiB, MiB or GiB, such as 64MiB".to_owned())
}

/// The same, or none.
fn size_or_nothing(text: &str) -> Result<u64, String> {
    if text == "0" { Ok(0) } else { size(text) }
}

/// A time from a number with a unit.
fn time(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1_000_000), ("min", 60_000_000_000), ("s", 1_000_000_000)];
    let ns = with_unit(text, &units).filter(|ns| *ns >= 1e6);
    ns.map(|ns| Duration::from_nanos(ns as u64))
        .ok_or_else(|| "use a number with ms, s or min, such as 500ms".to_owned())
}

/// The number in front of the first unit that fits, times that unit.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<f64> {
    let (number, unit) = units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
    let number: f64 = number.trim().parse().ok()?;
    // Below this everything is exact, and nothing needs more.
    (number.is_finite() && number > 0.0 && number * (unit as f64) < 2_f64.powi(53)).then_some(number * unit as f64)
}

#[derive(Args, Debug)]
#[command(after_help = "Example:
  ambrosia-host checkpoint --instance server

Checkpoints are taken by themselves, see `run --checkpoint-every` and `--recovery-target`.")]
pub(crate) struct Checkpoint {
    /// Name of the instance
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: InstanceName,
    /// Seconds to wait
    #[arg(long, value_name = "S", default_value_t = 30.0)]
    pub(crate) timeout: f64,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  ambrosia-host status\n  ambrosia-host status --instance server --json")]
pub(crate) struct Status {
    /// Only this instance
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: Option<InstanceName>,
    /// Show what the methods take and give, and what the source says of them
    #[arg(long)]
    pub(crate) methods: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host send --instance server --method receive_message --args '[\"hello\"]'
  ambrosia-host send --instance bank --method deposit --args '[\"anna\", 20]' --request-id order-4711
  ambrosia-host send --instance bank --method load --args @accounts.json

  ambrosia-host send --at 127.0.0.1:7001,127.0.0.1:7002 --instance bank --method balance --args '[\"anna\"]'
  ambrosia-host send --instance bank --method balance --args '[\"anna\"]' --replica 1

A method of kind query is asked, of the primary or by --replica of any replica, and no record is made of it; --logged runs it as
an update all the same.

The same request id a second time returns the first result and does nothing again, across takeovers too.")]
pub(crate) struct Send {
    /// Name of the instance
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: InstanceName,
    /// Addresses of hosts to ask in place of a store, which is not opened then. Any host of the instance knows where the primary is
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',')]
    pub(crate) at: Vec<String>,
    /// Method to run
    #[arg(long, value_name = "METHOD")]
    pub(crate) method: String,
    /// Its arguments as a JSON array; '@FILE' takes them from a file, '-' from stdin
    #[arg(long, value_name = "JSON-ARRAY", default_value = "[]", value_parser = ArgumentSource::parse)]
    pub(crate) args: ArgumentSource,
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
    /// Seconds to wait
    #[arg(long, value_name = "S", default_value_t = 30.0)]
    pub(crate) timeout: f64,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host events --instance shop                                  # all that are kept
  ambrosia-host events --instance shop --follow --topic order-paid
  ambrosia-host events --instance shop --follow --after 812.0 --json    # goes on where it was cut

An event is shown once it is durable, with its id, LSN.INDEX, which is the same on every replica. An instance keeps the newest 4096
events, of 4 MiB together; if those behind --after are kept no more it is said which, on stderr, or with --json as a line
{\"lost\": {\"after\": …, \"through\": …}}. --follow goes on through takeovers and missed primaries, until Ctrl-C or the end of the instance.")]
pub(crate) struct Events {
    /// Name of the instance
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: InstanceName,
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
    /// Addresses of hosts to ask in place of a store, which is not opened then. Any host of the instance knows where the primary is
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
#[command(after_help = "Examples:\n  ambrosia-host log --instance server\n  \
                        ambrosia-host log --instance server --from 10 --to 20 --json")]
pub(crate) struct Log {
    /// Name of the instance
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: InstanceName,
    /// First record to show; by default the first that the log still has
    #[arg(long, value_name = "LSN")]
    pub(crate) from: Option<u64>,
    /// Last record to show; by default the last durable one
    #[arg(long, value_name = "LSN")]
    pub(crate) to: Option<u64>,
    /// One JSON object a record
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host debug --instance server                 # asks for commands; `help` lists them
  ambrosia-host debug --instance server --at halted
  ambrosia-host debug --instance server --at 14:03:05 --script look.txt --plain
  ambrosia-host debug --instance server --at 800 --module fixed.wasm      # the same messages to another build
  ambrosia-host debug --instance server --at halted --native               # says how to follow that record with gdb

Nothing is changed: replicas may run meanwhile, and the store may be a copy. Commands come from --script, or from stdin, a
line each; where that is no terminal, the first that fails ends it with exit code 1.")]
pub(crate) struct Debug {
    /// Name of the instance
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: InstanceName,
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
  ambrosia-host verify --instance server

Nothing is changed, and replicas may run meanwhile. The exit code is 0 if this program comes to every digest.")]
pub(crate) struct Verify {
    /// Name of the instance
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: InstanceName,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:
  ambrosia-host export --instance server --from 800 --to 812 --output report
  ambrosia-host --store report debug --instance server --at 812

The new store has the records, what a journey along them begins at, and the modules. It holds what clients and peers have sent.
Nothing is changed in the store that it is taken from, and replicas may run meanwhile.")]
pub(crate) struct Export {
    /// Name of the instance
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: InstanceName,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_units() {
        assert_eq!((size("64MiB"), size("1.5KiB"), size("100")), (Ok(64 << 20), Ok(1536), Ok(100)));
        assert_eq!((size_or_nothing("0"), size_or_nothing("1GiB")), (Ok(0), Ok(1 << 30)));
        assert_eq!((time("500ms"), time("2min")), (Ok(Duration::from_millis(500)), Ok(Duration::from_secs(120))));
        for bad in ["", "MiB", "-1MiB", "0", "1e300GiB", "nan", "5 parsecs"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert_eq!((age("7d"), age("90min"), age("1.5h"), age("1s")), (Ok(604_800), Ok(5400), Ok(5400), Ok(1)));
        for bad in ["", "5", "0s", "0.5s", "500ms", "d"] {
            assert!(age(bad).is_err(), "{bad}");
        }
        for bad in ["", "5", "0s", "-1s", "inf s", "1us"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
