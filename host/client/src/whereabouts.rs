//! Where the primary of an instance is, as far as somebody knows.

use std::net::SocketAddr;

use ambrosia_core::{Epoch, ReplicaIndex};
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

/// Knows where the primary of one instance is: a store, or hosts that can be asked.
pub trait Whereabouts: Send + Sync {
    /// Changes of the primary; `None` while there is none, or none is known.
    fn primaries(&self) -> watch::Receiver<Option<Primary>>;

    /// The primary that was told does not answer: whoever does not see changes by itself looks again. Called often.
    fn look_again(&self) {}

    /// Why it is not known where the primary is; `None` if all that is known is that there is none.
    fn why_unknown(&self) -> Option<String> {
        None
    }

    /// Where a replica takes connections, whatever its role.
    ///
    /// # Errors
    /// Why that is not known, for a person to read.
    fn replica(&self, replica: ReplicaIndex) -> Result<SocketAddr, String> {
        let _ = replica;
        Err("only the store knows where replicas are that are not primary, and only hosts are asked here".to_owned())
    }

    /// Whether the instance may still answer.
    ///
    /// # Errors
    /// [`ClientError::Ended`] if it has come to its end and never will, [`ClientError::Whereabouts`] if that can't be
    /// found out.
    fn check_alive(&self) -> Result<(), ClientError>;
}
