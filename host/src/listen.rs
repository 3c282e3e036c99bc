//! Where a process takes the connections of peers and clients, and by which address they reach it.

use std::net::SocketAddr;

use ambrosia_core::HostAddress;

use crate::run::RunError;

/// Where a process takes the connections of peers and clients.
#[derive(Clone, Debug)]
pub struct Listen {
    /// A loopback address, port 0 for a free one.
    pub address: SocketAddr,
    /// How others reach it, as they are told in the store; the address itself if it is `None`.
    pub advertise: Option<HostAddress>,
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Listen {
        Listen { address, advertise: None }
    }
}

impl Listen {
    /// Sees that others can reach it, and may.
    ///
    /// # Errors
    /// [`RunError::NotLoopback`] or [`RunError::NotAdvertised`].
    pub(crate) fn check(&self) -> Result<(), RunError> {
        check_loopback(self.address)?;
        let names_nobody = self.address.ip().is_unspecified() && self.advertise.is_none();
        if names_nobody { Err(RunError::NotAdvertised(self.address)) } else { Ok(()) }
    }

    /// What others are told, once it is listened at that address.
    pub(crate) fn advertised(&self, listening: SocketAddr) -> HostAddress {
        self.advertise.clone().unwrap_or_else(|| listening.into())
    }
}

/// There is no encryption yet.
pub(crate) fn check_loopback(listen: SocketAddr) -> Result<(), RunError> {
    if listen.ip().is_loopback() { Ok(()) } else { Err(RunError::NotLoopback(listen)) }
}
