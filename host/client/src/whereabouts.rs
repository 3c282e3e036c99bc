//! Where the primary of an instance is, as far as somebody knows.

use std::net::SocketAddr;

use ambrosia_core::Epoch;
use tokio::sync::watch;

use crate::ClientError;

/// A primary, and where it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Primary {
    /// The epoch of its reign.
    pub epoch: Epoch,
    /// Where its host takes connections.
    pub address: SocketAddr,
}

/// Knows where the primary of one instance is: a store, for example.
pub trait Whereabouts: Send + Sync {
    /// Changes of the primary; `None` while there is none, or none is known.
    fn primaries(&self) -> watch::Receiver<Option<Primary>>;

    /// Whether the instance may still answer.
    ///
    /// # Errors
    /// [`ClientError::Ended`] if it has come to its end and never will, [`ClientError::Whereabouts`] if that can't be
    /// found out.
    fn check_alive(&self) -> Result<(), ClientError>;
}
