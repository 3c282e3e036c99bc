//! Which replicas a host runs, as it knows by itself: for whoever looks while the store can't be read.

use std::time::Duration;

use ambrosia_core::{Epoch, HostAddress};
use ambrosia_wire::{CLIENT_VERSION, Connection, ConnectionError, Control, Frame, Security};
use tokio::time::timeout;

use crate::report::Stall;

/// A replica that a host runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicaReport {
    /// Name of the instance.
    pub instance: String,
    /// Which replica of it.
    pub replica: u16,
    /// The epoch of its reign; `None` if it is a standby.
    pub epoch: Option<Epoch>,
    /// Why its log takes no records for the time being; `None` if it takes them, or has none to take.
    pub stall: Option<Stall>,
}

/// Asks the host at `address` which replicas it runs. Must be called within a tokio runtime.
///
/// # Errors
/// If it can't be reached, does not answer within `limit`, or does not let this process look. One of an earlier version ends the connection.
pub async fn ask_for_replicas(
    address: &HostAddress,
    limit: Duration,
    security: &Security,
) -> Result<Vec<ReplicaReport>, ConnectionError> {
    timeout(limit, ask(address, security)).await.unwrap_or(Err(ConnectionError::HandshakeTimeout))
}

async fn ask(address: &HostAddress, security: &Security) -> Result<Vec<ReplicaReport>, ConnectionError> {
    let (_handle, mut connection) = Connection::new(security.connect(address).await?)?;
    connection.say_first(Control::Replicas, security).await?;
    connection.welcome(CLIENT_VERSION);
    let mut replicas = Vec::new();
    loop {
        match connection.read_frame().await? {
            Frame::Control(Control::Replica { name, replica, epoch, stalled_ms, reason }) => {
                let stall = Stall::told(stalled_ms, reason);
                replicas.push(ReplicaReport { instance: name, replica, epoch: epoch.map(Epoch), stall });
            }
            Frame::Control(Control::ReplicasEnd) => return Ok(replicas),
            Frame::Control(Control::Refused { reason, .. }) => return Err(ConnectionError::Refused(reason)),
            _ => return Err(ConnectionError::Unexpected),
        }
    }
}
