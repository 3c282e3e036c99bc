//! A connection to one replica, whatever its role.

use ambrosia_core::{InstanceName, ReplicaIndex};
use ambrosia_wire::{Connection, ConnectionError, ConnectionHandle, Control, Frame, QUERIES_VERSION, socket};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use crate::{
    client::{ClientError, Queried, answer_to_query},
    whereabouts::Whereabouts,
};

/// A host has this long to say something.
const GREETING_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

/// See the head of the file.
pub(crate) struct ReplicaConnection {
    handle: ConnectionHandle,
    answers: mpsc::UnboundedReceiver<Frame>,
    task: JoinHandle<()>,
}

impl Drop for ReplicaConnection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ReplicaConnection {
    /// # Errors
    /// Why it is not reached.
    pub(crate) async fn open(
        name: &InstanceName,
        whereabouts: &dyn Whereabouts,
        replica: ReplicaIndex,
    ) -> Result<ReplicaConnection, String> {
        let (handle, connection) = reach_replica(name, whereabouts, replica).await?;
        let (sender, answers) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let take = |frame, _permit| match frame {
                Frame::QueryAnswer { .. } | Frame::Control(_) => {
                    sender.send(frame).map_err(|_| ConnectionError::Closed)
                }
                _ => Err(ConnectionError::Unexpected),
            };
            let ended = connection.serve(take).await;
            tracing::debug!("connection ended: {ended}");
        });
        Ok(ReplicaConnection { handle, answers, task })
    }

    /// `None` if the connection was lost.
    pub(crate) async fn ask(&mut self, query: Frame, number: u64) -> Option<Result<Queried, ClientError>> {
        self.handle.send(query);
        loop {
            match self.answers.recv().await? {
                Frame::Control(Control::Refused { .. }) => return None,
                // What is of another number was given up.
                answer => match answer_to_query(number, answer) {
                    None => {}
                    answer => return answer,
                },
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
        let (handle, mut connection) = Connection::new(socket::connect(address).await?)?;
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
