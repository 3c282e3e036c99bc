//! Stores that are not made by the way: `store`.

use clap::{Args, Subcommand};

/// Make a store in a database
#[derive(Args, Debug)]
pub(crate) struct Store {
    #[command(subcommand)]
    pub(crate) verb: StoreVerb,
}

#[derive(Subcommand, Debug)]
pub(crate) enum StoreVerb {
    /// Make the schema and the tables, where they are not there
    Init(InitStore),
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  export AMBROSIA_STORE='postgres://ambrosia@127.0.0.1/app?schema=shop'
  ambrosia-host store init             # with a user that may make a schema
  ambrosia-host store init --print     # the SQL, for whoever may

It may be done again without harm. A directory needs none of it: it is made when an instance is registered.")]
pub(crate) struct InitStore {
    /// Print the SQL that makes it, and do nothing
    #[arg(long)]
    pub(crate) print: bool,
}
