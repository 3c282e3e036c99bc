//! How members live, for all verbs that run some.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use ambrosia_core::InstanceName;
use ambrosia_core::{Configuration, Retention, limits::RETENTION_COUNT_MAX};
use ambrosia_host::{Grant, Grants, GuestLogPlace, HttpAddress, MemberOptions, Mount, Mounts, Secret, encode_value};
use anyhow::Context;
use clap::Args;

use super::units::{age, size, size_or_nothing, time};

// How a member lives. A doc comment would take the place of what the verb says of itself.
#[derive(Args, Debug)]
pub(crate) struct MemberArguments {
    #[command(flatten)]
    outgoing: OutgoingArguments,
    #[command(flatten)]
    configuration: ConfigurationArguments,
    #[command(flatten)]
    checkpoints: CheckpointArguments,
}

impl MemberArguments {
    /// The same for a member, and all else as it is by default.
    pub(crate) fn options(self) -> anyhow::Result<MemberOptions> {
        self.configuration.add_to(self.outgoing.add_to(self.checkpoints.options()))
    }
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
    fn add_to(self, options: MemberOptions) -> MemberOptions {
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

impl ConfigurationArguments {
    /// The same for a member that lives as `options` say.
    fn add_to(self, options: MemberOptions) -> anyhow::Result<MemberOptions> {
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

    /// Whether a member will take values that are not flags yet.
    pub(crate) fn check(values: &BTreeMap<String, serde_json::Value>) -> anyhow::Result<()> {
        let mut configuration = Configuration::default();
        for (name, value) in values {
            configuration.values.insert(name.clone(), encode_value(value)?.into());
        }
        Ok(configuration.check()?)
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
    if ambrosia_project::is_public_url(text) {
        Ok(text.to_owned())
    } else {
        Err("write scheme, host and port, such as https://shop.example.com".to_owned())
    }
}

// Where HTTP comes in. A doc comment would take the place of what the verb says of itself.
#[derive(Args, Debug)]
pub(crate) struct HttpArguments {
    /// Address for HTTP to all instances of the store, such as 127.0.0.1:8080; for other machines it takes TLS and a token
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<SocketAddr>,
    /// Have the routes of an instance below a path of your choice, such as /api=shop, beside that of its name; may be given several times
    #[arg(long, value_name = "PATH=NAME", value_parser = mount, requires = "http")]
    pub(crate) route: Vec<Mount>,
}

impl HttpArguments {
    pub(crate) fn address(self) -> anyhow::Result<Option<HttpAddress>> {
        let mounts = Mounts::new(self.route).context("--route can't be taken")?;
        Ok(self.http.map(|address| HttpAddress { address, mounts }))
    }
}

fn mount(text: &str) -> Result<Mount, String> {
    let (prefix, name) = text.split_once('=').ok_or("write PATH=NAME, such as /api=shop")?;
    let prefix = prefix.parse().map_err(|error| format!("{prefix} can't be the path: {error}"))?;
    Ok(Mount { prefix, instance: InstanceName::new(name).map_err(|error| error.to_string())? })
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

impl CheckpointArguments {
    /// The same for a member, and all else as it is by default.
    fn options(&self) -> MemberOptions {
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
