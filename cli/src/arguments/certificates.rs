//! Certificates without a public key infrastructure: `cert`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Certificates of hosts and clients
#[derive(Args, Debug)]
pub(crate) struct Cert {
    #[command(subcommand)]
    pub(crate) verb: CertVerb,
}

#[derive(Subcommand, Debug)]
pub(crate) enum CertVerb {
    /// Make a CA of your own, that signs the certificates of hosts and clients
    Init(InitCa),
    /// Make a key and a certificate for a host, a client or an operator, signed by that CA
    Issue(IssueCertificate),
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host cert init
  ambrosia-host cert init --dir /secure/ambrosia-ca --days 1825

The key of the CA never leaves this directory, is readable by its owner alone, and is not replaced by a second `init`. Whoever has it can
be any host.")]
pub(crate) struct InitCa {
    /// Directory for ca.crt and ca.key
    #[arg(long, value_name = "DIR", default_value = "ambrosia-ca")]
    pub(crate) dir: PathBuf,
    /// For how many days the CA is believed
    #[arg(long, value_name = "N", default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub(crate) days: u32,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host cert issue --host a.example
  ambrosia-host cert issue --host a.example --host 10.0.0.1 --host localhost --host 127.0.0.1
  ambrosia-host cert issue --host a.example --host localhost --renew      # with all names that it had
  ambrosia-host cert issue --client laptop
  ambrosia-host cert issue --operator anna

A host is asked for by the name or IP address that it advertises, so that has to be among those of its certificate. A client has a name that
is shown to nobody but in the certificate; it can send requests and queries to all instances, does not see the store, and can't be a host. An
operator is a client that can see and change the store, too: register, upgrade, deregister, drain, through a host (--store ambrosia://HOST).")]
#[command(group(clap::ArgGroup::new("whose").required(true).multiple(false)))]
pub(crate) struct IssueCertificate {
    /// Name or IP address by which the host is reached; may be given several times
    #[arg(long, value_name = "NAME", group = "whose", num_args = 1)]
    pub(crate) host: Vec<String>,
    /// Name of a client
    #[arg(long, value_name = "NAME", group = "whose")]
    pub(crate) client: Option<String>,
    /// Name of an operator: a client that may see and change the store through a host
    #[arg(long, value_name = "NAME", group = "whose")]
    pub(crate) operator: Option<String>,
    /// Directory of the CA
    #[arg(long, value_name = "DIR", default_value = "ambrosia-ca")]
    pub(crate) dir: PathBuf,
    /// Directory for the key and the certificate; by default that of the CA
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// For how many days it is believed
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub(crate) days: u32,
    /// Take the place of a key and a certificate that are there; what those had as names is not looked at
    #[arg(long)]
    pub(crate) renew: bool,
}
