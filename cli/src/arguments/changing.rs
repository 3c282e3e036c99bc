//! Other code for an instance that lives: `upgrade`, `skip`.

use std::time::Duration;

use clap::Args;

use super::{Named, NamedWithNext, units::time};

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host upgrade server server2.wasm
  ambrosia-host upgrade server server2.wasm --dry-run
  ambrosia-host upgrade server 9c1d3f20 --yes      # back to a module that is in the store, see `status`
  ambrosia-host upgrade server --fuel 40000000000           # the same module with other limits
  ambrosia-host upgrade --instance server --module server2.wasm

What is going to change is shown first, and tried on the last deliveries, in a copy that nobody sees. The state goes over as a value, so the module must be built with `#[ambrosia::state]`; messages
are handled once, by the old or the new code. If the new code can't take the state the instance goes on as it was. An instance
that is down is upgraded at its next `run`. The exit code is 0 only if the instance runs the new module.")]
pub(crate) struct Upgrade {
    #[command(flatten)]
    pub(crate) of: NamedWithNext,
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
    #[arg(long, conflicts_with_all = ["MODULE", "module", "dry_run", "despite_trial", "hold", "end_waiting", "fuel", "memory_mib"])]
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
  ambrosia-host skip server --lsn 812                     # lists the messages of the record, and changes nothing
  ambrosia-host skip server --lsn 812 --message 2 --yes

The other messages of the record are delivered anew, by the same code. Calls and requests that are skipped get the error `skipped
by an operator`, a handler that awaits a skipped answer gets it in its place, forks and timers are gone. If the guest fails at
another message too, nothing is changed and the report says at which. To have other code handle all of them: upgrade.")]
pub(crate) struct Skip {
    #[command(flatten)]
    pub(crate) instance: Named,
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
