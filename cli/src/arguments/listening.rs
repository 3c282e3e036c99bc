//! Where a process takes connections, and how others reach it.

use std::net::SocketAddr;

use ambrosia_core::HostAddress;
use ambrosia_host::Listen;
use clap::Args;

// What members are reached by. A doc comment would take the place of what the verb says of itself.
#[derive(Args, Debug)]
pub(crate) struct ListenArguments {
    /// Loopback address for peers and clients; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// By which name or IP address others reach this host; by default the one it listens on
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertise: Option<HostAddress>,
}

impl From<ListenArguments> for Listen {
    fn from(arguments: ListenArguments) -> Listen {
        Listen { address: arguments.listen, advertise: arguments.advertise }
    }
}
