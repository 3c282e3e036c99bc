//! The network between the banks and their clients: that of the machine, or one that can be broken.

use std::sync::Arc;

use super::namespace::NetworkNamespace;

/// Where instances and clients are.
pub(crate) enum Network {
    /// The loopback device of the machine.
    Plain,
}

impl Network {
    /// Does something where an instance is.
    pub(crate) fn within<T>(&self, _instance: usize, work: impl FnOnce() -> T) -> anyhow::Result<T> {
        match self {
            Network::Plain => Ok(work()),
        }
    }

    /// Where the clients are, if that is not where this thread is.
    pub(crate) fn of_clients(&self) -> Option<Arc<NetworkNamespace>> {
        match self {
            Network::Plain => None,
        }
    }

    /// The address on which a replica must listen, if that matters.
    pub(crate) fn listen(&self, _instance: usize, _replica: u16) -> Option<String> {
        match self {
            Network::Plain => None,
        }
    }
}
