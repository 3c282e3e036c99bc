//! Where the primary of an instance is, as far as somebody knows.

use ambrosia_core::{Epoch, HostAddress, ReplicaIndex};
use ambrosia_wire::{ConnectionHandle, Frame, Security};
use tokio::sync::{mpsc, watch};

use crate::{ClientError, Opened};

/// A primary, and where it answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Primary {
    /// The epoch of its reign.
    pub epoch: Epoch,
    /// Where its host takes connections.
    pub address: HostAddress,
}

/// A connection with a host that is this process: there is no socket, and no frame becomes bytes.
pub struct Nearby {
    /// Takes what is said to the host.
    pub handle: ConnectionHandle,
    /// What the host says, as much at a time as it says at once. It ends when the host ends the connection.
    pub frames: mpsc::UnboundedReceiver<Vec<Frame>>,
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

    /// A connection with that primary, on which a client has said hello, if its host is this process. Does not wait for anything.
    fn nearby(&self, primary: &Primary) -> Option<Nearby> {
        let _ = primary;
        None
    }

    /// The connection on which the host of that primary has told of it, if it was kept; given away once. Does not wait for anything.
    fn opened(&self, primary: &Primary) -> Option<Opened> {
        let _ = primary;
        None
    }

    /// Where a replica takes connections, whatever its role.
    ///
    /// # Errors
    /// Why that is not known, for a person to read.
    fn replica(&self, replica: ReplicaIndex) -> Result<HostAddress, String> {
        let _ = replica;
        Err("only the store knows where replicas are that are not primary, and only hosts are asked here".to_owned())
    }

    /// How its hosts are connected to.
    fn security(&self) -> Security {
        Security::Plain
    }

    /// Whether the instance may still answer.
    ///
    /// # Errors
    /// [`ClientError::Ended`] if it has come to its end and never will, [`ClientError::Whereabouts`] if that can't be
    /// found out.
    fn check_alive(&self) -> Result<(), ClientError>;
}
