//! Where a process takes connections, and how others reach it.

use std::net::SocketAddr;

use ambrosia_core::HostAddress;
use ambrosia_host::{Listen, Security};
use clap::Args;

// What members are reached by. A doc comment would take the place of what the verb says of itself.
#[derive(Args, Debug)]
pub(crate) struct ListenArguments {
    /// Address for peers and clients, without TLS one of the loopback; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// By which name or IP address others reach this host; by default the one it listens on
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertise: Option<HostAddress>,
}

impl ListenArguments {
    pub(crate) fn listen(self, security: Security) -> Listen {
        Listen { address: self.listen, advertise: self.advertise, security }
    }
}
