//! The handshake of a client.

use std::net::SocketAddr;

use ambrosia_core::{Epoch, InstanceName};
use ambrosia_wire::{CLIENT_VERSION, Connection, ConnectionError, ConnectionHandle, Control, Frame, socket};

use crate::whereabouts::Primary;

/// What a host says to a client that connects.
pub(crate) enum Greeting {
    /// It is the host of the primary.
    Welcome { handle: ConnectionHandle, connection: Box<Connection>, epoch: Epoch },
    /// It is not, and knows who is, or not even that.
    Elsewhere(Option<Primary>),
}

/// Connects to the host at `address` and asks for the primary of `name`.
pub(crate) async fn ask_host(name: &InstanceName, address: SocketAddr) -> Result<Greeting, ConnectionError> {
    let (handle, mut connection) = Connection::new(socket::connect(address).await?)?;
    let hello = Control::ClientHello { version: CLIENT_VERSION, to: name.as_str().to_owned() };
    connection.write_frame(&Frame::Control(hello)).await?;
    match connection.read_frame().await? {
        Frame::Control(Control::ClientWelcome { epoch }) => {
            connection.welcome(CLIENT_VERSION);
            Ok(Greeting::Welcome { handle, connection: Box::new(connection), epoch: Epoch(epoch) })
        }
        Frame::Control(Control::Refused { reason, elsewhere }) => match who_is(&mut connection).await {
            Some(primary) => Ok(Greeting::Elsewhere(Some(primary))),
            None if elsewhere => Ok(Greeting::Elsewhere(None)),
            None => Err(ConnectionError::Refused(reason)),
        },
        _ => Err(ConnectionError::Unexpected),
    }
}

/// What follows a refusal. A host of an earlier version says nothing, and hangs up.
async fn who_is(connection: &mut Connection) -> Option<Primary> {
    let Ok(Frame::Control(Control::Elsewhere { epoch, address })) = connection.read_frame().await else { return None };
    Some(Primary { epoch: Epoch(epoch), address: address.parse().ok()? })
}

/// Connects to the host of a primary and says hello.
pub(crate) async fn greet(
    name: &InstanceName,
    address: SocketAddr,
) -> Result<(ConnectionHandle, Connection), ConnectionError> {
    match ask_host(name, address).await? {
        Greeting::Welcome { handle, connection, epoch: _ } => Ok((handle, *connection)),
        Greeting::Elsewhere(_) => {
            tracing::debug!(%address, "the host has another role by now");
            Err(ConnectionError::Closed)
        }
    }
}
