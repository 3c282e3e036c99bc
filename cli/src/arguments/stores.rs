//! Whole stores: `store`, `copy-store`, `accept-rollback`.

use std::ffi::OsString;

use ambrosia_core::InstanceName;
use clap::{Args, Subcommand};

/// Make a store in a database
#[derive(Args, Debug)]
pub(crate) struct Store {
    #[command(subcommand)]
    pub(crate) verb: StoreVerb,
}

#[derive(Subcommand, Debug)]
pub(crate) enum StoreVerb {
    /// Make the schema and the tables, or the keys and the place for blobs, where they are not there
    Init(InitStore),
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  export AMBROSIA_STORE='postgres://ambrosia@127.0.0.1/app?schema=shop'
  ambrosia-host store init             # with a user that may make a schema
  ambrosia-host store init --print     # the SQL, for whoever may
  AMBROSIA_STORE='etcd://127.0.0.1/shop?blobs=file:/mnt/shared/blobs' ambrosia-host store init
  AMBROSIA_STORE='etcd://127.0.0.1/shop?blobs=s3://bucket/prefix' ambrosia-host store init   # credentials in AWS_ACCESS_KEY_ID ...

It may be done again without harm. A directory needs none of it: it is made when an instance is registered.")]
pub(crate) struct InitStore {
    /// Print the SQL that makes it, and do nothing; etcd needs none
    #[arg(long)]
    pub(crate) print: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host copy-store --from ./ambrosia-data --to 'postgres://ambrosia@db.example/app?schema=shop&sslrootcert=ca.crt'
  ambrosia-host copy-store --from ./ambrosia-data --to @/etc/ambrosia/store --instance server
  AMBROSIA_STORE_FILE=/etc/ambrosia/store ambrosia-host copy-store --to ./copy

Nothing of what is copied may run; the copy is read back and compared, and registered last. Records, and with them epochs and remembered
requests, are the same, so whoever repeats a request is answered as before. Ctrl-C ends it, and the same command goes on: instances
that were copied are compared, and one that was not is begun anew. From then on run one of the two alone: both have the
same messages to send, and whoever gets them takes the second for a fault.")]
pub(crate) struct CopyStore {
    /// Store to copy from: a directory, the URL of a database, or @FILE whose one line says that; by default that of --store
    #[arg(long, value_name = "PLACE", required_unless_present = "to")]
    pub(crate) from: Option<OsString>,
    /// Store to copy into, which has none of the instances; by default that of --store. A database is made one by `store init`
    #[arg(long, value_name = "PLACE")]
    pub(crate) to: Option<OsString>,
    /// Copy this instance alone, and no tokens; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: Vec<InstanceName>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host accept-rollback                            # shows what is known to be lost, and changes nothing
  ambrosia-host accept-rollback --instance server --yes
  ambrosia-host accept-rollback --all --yes

A database that was restored from a backup, or that failed over to a server which did not have all, lacks records that were durable:
their results were told to clients, and what they print is printed. A host that finds this runs none of those instances, and no other
host does, until the newer state of the database is brought back, or what it lacks is given up for good by this verb. Then they go on
by themselves with the records that the database has. Clients that have an answer of what was given up keep it; a request that
is repeated with its id is done anew.")]
pub(crate) struct AcceptRollback {
    /// Give up what this instance has lost; may be repeated
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    pub(crate) instance: Vec<InstanceName>,
    /// Give up what all of them have lost
    #[arg(long)]
    pub(crate) all: bool,
    /// Do it without asking; needed where there is no terminal
    #[arg(long)]
    pub(crate) yes: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}
