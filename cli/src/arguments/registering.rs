//! What the registry has: `register-instance`, `add-replica`, `deregister-instance`.

use clap::Args;

use super::{Named, NamedWithModule, NumberedReplica};

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  ambrosia-host register-instance server server.wasm\n  ambrosia-host register-instance --instance server --module server.wasm\n  ambrosia-host register-instance server server.wasm --replicas 3    # on three hosts, or fewer"
)]
pub(crate) struct RegisterInstance {
    #[command(flatten)]
    pub(crate) of: NamedWithModule,
    /// How many replicas may run, with the numbers 0 to N - 1. `add-replica` adds more later
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(ambrosia_storage::REPLICAS_MAX)))]
    pub(crate) replicas: u16,
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
#[command(
    after_help = "Examples:\n  ambrosia-host add-replica server 1\n  ambrosia-host add-replica --instance server --replica 1"
)]
pub(crate) struct AddReplica {
    #[command(flatten)]
    pub(crate) of: NumberedReplica,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  ambrosia-host deregister-instance server --yes\n  ambrosia-host deregister-instance server --undo"
)]
pub(crate) struct DeregisterInstance {
    #[command(flatten)]
    pub(crate) instance: Named,
    /// Really delete it
    #[arg(long)]
    pub(crate) yes: bool,
    /// Delete nothing: have hosts serve it again, if this verb was killed while it waited for them
    #[arg(long, conflicts_with = "yes")]
    pub(crate) undo: bool,
}
