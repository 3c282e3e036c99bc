//! A whole project: `new`, `up`.

use std::{net::SocketAddr, path::PathBuf};

use ambrosia_host::GuestLogPlace;
use clap::Args;

use super::member::guest_log_place;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host new counter && cd counter && ambrosia-host up --watch
  ambrosia-host new counter --lang js
  ambrosia-host new shop --lang python --directory ~/shop

The SDK is put into the project, under vendor/ or ambrosia/. Nothing has to be installed but Rust, or Node.js 20 with npm, or Python 3.10
with venv and pip; the first build fetches what it takes from the language's registry.")]
pub(crate) struct New {
    /// Name of the project and of its instance: small letters, digits, '-' and '_'
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Directory to make it in, which must not be there; by default one of its name
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// Language that it is written in
    #[arg(long, value_name = "LANG", default_value = "rust", value_parser = ["rust", "js", "python"])]
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
