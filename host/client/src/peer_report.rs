//! What the primary of an instance says of its peers, for `status`.

use std::{net::SocketAddr, time::Duration};

use ambrosia_core::InstanceName;
use ambrosia_wire::{CLIENT_VERSION, Connection, ConnectionError, Control, Frame};
use tokio::time::timeout;

use crate::{greeting::greet, unreached::Unreached};

/// One peer, as the primary sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerReport {
    /// Its name.
    pub name: String,
    /// "connected", "connecting", or why not, in a word or two.
    pub state: String,
    /// Why not, for a person; empty if it is connected.
    pub reason: String,
    /// How long it is connected, or not.
    pub since: Duration,
    /// Messages that the peer has not acknowledged.
    pub messages: u64,
    /// Bytes that are kept for them.
    pub bytes: u64,
    /// Age of the oldest of them, to the second; at least that if it is older than the replica's process.
    pub oldest: Option<Duration>,
    /// Calls that it has not answered.
    pub calls: u64,
    /// Id of the oldest of them.
    pub oldest_call: Option<u64>,
}

/// A primary has not said what it waits for.
#[derive(Debug, thiserror::Error)]
pub enum NoPeerReport {
    /// It can't be talked to.
    #[error(transparent)]
    Unreached(#[from] Unreached),
    /// It does not know the question.
    #[error("the primary ended the connection: it changes just now, or is of an earlier version")]
    Ended,
}

/// Asks the primary of `name`, whose host is at `primary`, for its peers. Must be called within a tokio runtime.
///
/// # Errors
/// If it can't be reached or does not answer within `limit`.
pub async fn ask_for_peers(
    name: &InstanceName,
    primary: SocketAddr,
    limit: Duration,
) -> Result<Vec<PeerReport>, NoPeerReport> {
    let asking = async {
        let (_handle, mut connection) = greet(name, primary, CLIENT_VERSION).await?;
        connection.write_frame(&Frame::Control(Control::Peers)).await?;
        gather(&mut connection).await
    };
    let failed = |error: &ConnectionError| match Unreached::of(primary, error) {
        Some(unreached) => NoPeerReport::Unreached(unreached),
        None => NoPeerReport::Ended,
    };
    match timeout(limit, asking).await {
        Ok(Ok(peers)) => Ok(peers),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(failed(&ConnectionError::HandshakeTimeout)),
    }
}

async fn gather(connection: &mut Connection) -> Result<Vec<PeerReport>, ConnectionError> {
    let mut peers = Vec::new();
    loop {
        match connection.read_frame().await? {
            Frame::Control(Control::Peer {
                name,
                state,
                reason,
                since_ms,
                messages,
                bytes,
                oldest_ms,
                calls,
                oldest_call,
            }) => peers.push(PeerReport {
                name,
                state,
                reason,
                since: Duration::from_millis(since_ms),
                messages,
                bytes,
                oldest: oldest_ms.map(Duration::from_millis),
                calls,
                oldest_call,
            }),
            Frame::Control(Control::PeersEnd) => return Ok(peers),
            Frame::Control(Control::Refused { reason, .. }) => return Err(ConnectionError::Refused(reason)),
            _ => return Err(ConnectionError::Unexpected),
        }
    }
}
