//! Where a process takes the connections of peers and clients, and by which address they reach it.

use std::net::SocketAddr;

use ambrosia_core::HostAddress;
use ambrosia_wire::Security;

use crate::run::RunError;

/// Where a process takes the connections of peers and clients.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Without TLS a loopback address; port 0 for a free one.
    pub address: SocketAddr,
    /// How others reach it, as they are told in the store; the address itself if it is `None`.
    pub advertise: Option<HostAddress>,
    /// How these connections are, and those to other hosts.
    pub security: Security,
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Listen {
        Listen { address, advertise: None, security: Security::Plain }
    }
}

impl Listen {
    /// Sees that others can reach it, and may, and will believe it.
    ///
    /// # Errors
    /// [`RunError::NotLoopback`], [`RunError::NoCertificate`], [`RunError::NotAdvertised`] or [`RunError::Disbelieved`].
    pub(crate) fn check(&self) -> Result<(), RunError> {
        if let Security::Tls(tls) = &self.security
            && !tls.has_own()
        {
            return Err(RunError::NoCertificate);
        }
        if !self.security.is_tls() && !self.address.ip().is_loopback() {
            return Err(RunError::NotLoopback(self.address));
        }
        let names_nobody = self.address.ip().is_unspecified() && self.advertise.is_none();
        if names_nobody {
            return Err(RunError::NotAdvertised(self.address));
        }
        match &self.security {
            // By whatever port it is reached.
            Security::Tls(tls) => tls.serve_as(&self.advertised(self.address)).map_err(RunError::Disbelieved),
            Security::Plain => Ok(()),
        }
    }

    /// What others are told, once it is listened at that address.
    pub(crate) fn advertised(&self, listening: SocketAddr) -> HostAddress {
        self.advertise.clone().unwrap_or_else(|| listening.into())
    }
}
