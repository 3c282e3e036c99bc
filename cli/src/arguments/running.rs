//! Replicas as processes: `run`, `serve`, `kill`.

use std::time::Duration;

use ambrosia_storage::HostName;
use clap::Args;
use clap_complete::ArgValueCandidates;

use super::{
    Named,
    listening::ListenArguments,
    member::{GuestLogArguments, HttpArguments, MemberArguments},
    units::{size, time},
};
use crate::{completion::instances, serve::NamedReplica};

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host run --instance server
  ambrosia-host run --instance server --replica 1
  ambrosia-host run --instance client --stdin receive_keyboard_input

The guest's output goes to stdout, the host's own messages to stderr. SIGTERM and Ctrl-C hand over to another replica
at once. The exit code is that of the guest when it finishes the instance.")]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) instance: Named,
    /// Number of the replica
    #[arg(long, value_name = "K", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..64))]
    pub(crate) replica: u16,
    #[command(flatten)]
    pub(crate) listen: ListenArguments,
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
    /// Become primary although it is not known that this version of the engine does what that of the last primary did
    #[arg(long)]
    pub(crate) allow_engine_change: bool,
    /// Go on although this replica is not what the log says that it was at this record
    #[arg(long, value_name = "LSN")]
    pub(crate) allow_divergence: Option<u64>,
    #[command(flatten)]
    pub(crate) guest_log: GuestLogArguments,
    #[command(flatten)]
    pub(crate) member: MemberArguments,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host serve bank shop
  ambrosia-host serve bank:1 shop:1    # in another terminal: takes over when the first dies
  ambrosia-host serve --instance bank --instance shop
  ambrosia-host serve --all --replica 0
  ambrosia-host serve --listen 0.0.0.0:7400 --advertise a.example:7400    # on each machine, with TLS

Where nothing is named the hosts of the store divide the replicas of all instances among themselves: each takes the places that are
meant for it, also of instances that are registered later, takes over what a host had that has died, and gives up what is meant for a
host that has come. `ambrosia-host status` shows them, and `ambrosia-host drain` has one hand over all that it has. The process ends
by SIGTERM, with exit code 0.

Where replicas are named these alone run; `--all` is all that are registered now. A replica that ends or fails does not end the others;
the process ends with the last, and its exit code is 0 if all ended well. Each line that a guest prints has the name of its instance
in front.")]
#[command(group(clap::ArgGroup::new("which").multiple(false)))]
pub(crate) struct Serve {
    /// Names of instances, or names and numbers of replicas
    #[arg(value_name = "NAME[:K]", value_parser = NamedReplica::parse, group = "which",
          add = ArgValueCandidates::new(instances))]
    pub(crate) words: Vec<NamedReplica>,
    /// The same; may be given several times
    #[arg(long, value_name = "NAME[:K]", value_parser = NamedReplica::parse, group = "which")]
    pub(crate) instance: Vec<NamedReplica>,
    /// All instances that have such a replica
    #[arg(long, group = "which")]
    pub(crate) all: bool,
    /// Number of the replicas, where none is given
    #[arg(long, value_name = "K", default_value_t = 0, requires = "which", value_parser = clap::value_parser!(u16).range(..64))]
    pub(crate) replica: u16,
    /// What this host is called among those that divide the replicas; by default the address that it advertises. Have it stay the
    /// same: a host that is started again gets back what was meant for it
    #[arg(long, value_name = "NAME", conflicts_with = "which", value_parser = host_name)]
    pub(crate) host_name: Option<HostName>,
    /// What was meant for a host that has gone silent others take over after that time: with ms, s or min. Their standbys become primaries
    /// at once all the same. Give all hosts the same
    #[arg(long, value_name = "TIME", default_value = "10s", conflicts_with = "which", value_parser = time)]
    pub(crate) host_grace: Duration,
    /// What is meant for another host this one hands over after that time. Give all hosts the same
    #[arg(long, value_name = "TIME", default_value = "1min", conflicts_with = "which", value_parser = time)]
    pub(crate) move_after: Duration,
    /// Start none of them if their guests could need more memory than this together, such as 8GiB; a host that takes places by itself
    /// takes none for which there is no room
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) process_memory: Option<u64>,
    #[command(flatten)]
    pub(crate) listen: ListenArguments,
    #[command(flatten)]
    pub(crate) http: HttpArguments,
    /// Become primary although it is not known that this version of the engine does what that of the last primary did
    #[arg(long)]
    pub(crate) allow_engine_change: bool,
    #[command(flatten)]
    pub(crate) guest_log: GuestLogArguments,
    #[command(flatten)]
    pub(crate) member: MemberArguments,
}

/// A name of a host.
fn host_name(text: &str) -> Result<HostName, String> {
    HostName::new(text).map_err(|error| error.to_string())
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host drain --host a.example:7400
  ambrosia-host drain --host a.example:7400 --undo

The host takes no places any more, has others become primaries one after the other, and ends its replicas as others can go on without
them. It runs on without any, until it is stopped or takes part again by --undo. Ctrl-C ends the waiting, and not the drain. A host
that is started again takes part.")]
pub(crate) struct Drain {
    /// The host, as `status` calls it
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    pub(crate) host: HostName,
    /// Have it take part again
    #[arg(long)]
    pub(crate) undo: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host kill counter --primary
  ambrosia-host kill counter --replica 1

The process is killed for real, with all replicas in it. Before that it is made sure that it is the process of that replica, on this
machine.")]
#[command(group(clap::ArgGroup::new("whom").required(true).multiple(false)))]
pub(crate) struct Kill {
    #[command(flatten)]
    pub(crate) instance: Named,
    /// The replica that is primary now
    #[arg(long, group = "whom")]
    pub(crate) primary: bool,
    /// This replica
    #[arg(long, value_name = "K", group = "whom", value_parser = clap::value_parser!(u16).range(..64))]
    pub(crate) replica: Option<u16>,
}
