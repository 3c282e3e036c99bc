//! A connection to one replica, whatever its role.

use ambrosia_core::{InstanceName, ReplicaIndex};
use ambrosia_wire::{Connection, ConnectionError, ConnectionHandle, Control, Dialogue, Frame, QUERIES_VERSION};
use tokio::time::timeout;

use crate::{
    client::{ClientError, Queried, answer_to_query},
    whereabouts::Whereabouts,
};

/// A host has this long to say something.
const GREETING_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

/// See the head of the file.
pub(crate) struct ReplicaConnection(Dialogue);

impl ReplicaConnection {
    /// # Errors
    /// Why it is not reached.
    pub(crate) async fn open(
        name: &InstanceName,
        whereabouts: &dyn Whereabouts,
        replica: ReplicaIndex,
    ) -> Result<ReplicaConnection, String> {
        let (_handle, connection) = reach_replica(name, whereabouts, replica).await?;
        Ok(ReplicaConnection(Dialogue::of(connection)))
    }

    /// `None` if the connection was lost.
    pub(crate) async fn ask(&mut self, query: &Frame, number: u64) -> Option<Result<Queried, ClientError>> {
        self.0.say(query);
        loop {
            match self.0.hear().await {
                Ok(answer @ Frame::QueryAnswer { .. }) => {
                    // What is of another number was given up.
                    if let Some(answer) = answer_to_query(number, answer) {
                        return Some(answer);
                    }
                }
                Ok(Frame::Control(told)) if !matches!(told, Control::Refused { .. }) => {}
                Ok(_) => return None,
                Err(ended) => {
                    tracing::debug!("connection ended: {ended}");
                    return None;
                }
            }
        }
    }
}

/// Connects to the host of a replica and says hello.
///
/// # Errors
/// Why it is not reached.
pub(crate) async fn reach_replica(
    name: &InstanceName,
    whereabouts: &dyn Whereabouts,
    replica: ReplicaIndex,
) -> Result<(ConnectionHandle, Connection), String> {
    let address = whereabouts.replica(replica)?;
    let reach = async {
        let (handle, mut connection) = Connection::new(whereabouts.security().connect(&address).await?)?;
        let to = name.as_str().to_owned();
        let hello = Control::ReplicaHello { version: QUERIES_VERSION, to, replica: replica.0 };
        connection.write_frame(&Frame::Control(hello)).await?;
        match connection.read_frame().await? {
            Frame::Control(Control::ReplicaWelcome { .. }) => Ok((handle, connection)),
            Frame::Control(Control::Refused { reason, elsewhere: true }) => {
                Err(ConnectionError::Refused(format!("{reason}, and has no state yet that could be asked")))
            }
            Frame::Control(Control::Refused { reason, .. }) => Err(ConnectionError::Refused(reason)),
            _ => Err(ConnectionError::Unexpected),
        }
    };
    let reached = timeout(GREETING_TIMEOUT, reach).await.unwrap_or(Err(ConnectionError::HandshakeTimeout));
    let (handle, mut connection) = reached.map_err(|error| format!("at {address}, {error}"))?;
    connection.welcome(QUERIES_VERSION);
    Ok((handle, connection))
}
