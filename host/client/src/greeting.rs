//! The handshake of a client.

use ambrosia_core::{Epoch, HostAddress, InstanceName};
use ambrosia_wire::{Connection, ConnectionError, ConnectionHandle, Control, Frame, Security};

use crate::whereabouts::{Nearby, Primary};

/// What a host says to a client that connects.
pub(crate) enum Greeting {
    /// It is the host of the primary.
    Welcome { handle: ConnectionHandle, connection: Box<Connection>, epoch: Epoch },
    /// It is not, and knows who is, or not even that.
    Elsewhere(Option<Primary>),
    /// It knows why nobody ever answers for the instance.
    Ended(String),
}

/// Connects to the host at `address` and asks for the primary of `name`, in that version of the protocol.
pub(crate) async fn ask_host(
    name: &InstanceName,
    address: &HostAddress,
    version: u16,
    security: &Security,
) -> Result<Greeting, ConnectionError> {
    let hello = Control::ClientHello { version, to: name.as_str().to_owned() };
    let mut greeting = say_hello(address, hello, security).await?;
    if let Greeting::Welcome { connection, .. } = &mut greeting {
        connection.welcome(version);
    }
    Ok(greeting)
}

/// Connects to the host at `address` and waits until it knows of a primary of `name` behind that epoch, or does not want to wait any longer.
pub(crate) async fn next_primary(
    name: &InstanceName,
    address: &HostAddress,
    behind: Epoch,
    security: &Security,
) -> Result<Greeting, ConnectionError> {
    let hello = Control::NextPrimary { to: name.as_str().to_owned(), behind: behind.0 };
    say_hello(address, hello, security).await
}

async fn say_hello(address: &HostAddress, hello: Control, security: &Security) -> Result<Greeting, ConnectionError> {
    let (handle, mut connection) = Connection::new(security.connect(address).await?)?;
    // Before it the certificates of the host were seen.
    let token = security.token().map(|token| Frame::Control(Control::Token { token: token.as_ref().to_owned() }));
    connection.write_frames(&token.into_iter().chain([Frame::Control(hello)]).collect::<Vec<_>>()).await?;
    match connection.read_frame().await? {
        Frame::Control(Control::ClientWelcome { epoch }) => {
            Ok(Greeting::Welcome { handle, connection: Box::new(connection), epoch: Epoch(epoch) })
        }
        Frame::Control(Control::Refused { reason, elsewhere }) => match connection.read_frame().await {
            Ok(Frame::Control(Control::Elsewhere { epoch, address })) => {
                let address = address.parse().map_err(|_| ConnectionError::Unexpected)?;
                Ok(Greeting::Elsewhere(Some(Primary { epoch: Epoch(epoch), address })))
            }
            Ok(Frame::Control(Control::Ended { reason })) => Ok(Greeting::Ended(reason)),
            // A host that knows no more says nothing, as one of an earlier version does, and hangs up.
            _ if elsewhere => Ok(Greeting::Elsewhere(None)),
            _ => Err(ConnectionError::Refused(reason)),
        },
        _ => Err(ConnectionError::Unexpected),
    }
}

/// Connects to the host of a primary and says hello.
pub(crate) async fn greet(
    name: &InstanceName,
    address: &HostAddress,
    version: u16,
    security: &Security,
) -> Result<(ConnectionHandle, Connection), ConnectionError> {
    match ask_host(name, address, version, security).await? {
        Greeting::Welcome { handle, connection, epoch: _ } => Ok((handle, *connection)),
        Greeting::Elsewhere(_) | Greeting::Ended(_) => {
            tracing::debug!(%address, "the host has another role by now");
            Err(ConnectionError::Closed)
        }
    }
}

/// Waits for what a host says to the hello that was said to it, if it is this process.
pub(crate) async fn greet_nearby(mut nearby: Nearby) -> Result<Nearby, ConnectionError> {
    let said = nearby.frames.recv().await.ok_or(ConnectionError::Closed)?;
    match said.first() {
        Some(Frame::Control(Control::ClientWelcome { .. })) if said.len() == 1 => Ok(nearby),
        Some(Frame::Control(Control::Refused { .. })) => {
            tracing::debug!("the member of this process has another role by now");
            Err(ConnectionError::Closed)
        }
        _ => Err(ConnectionError::Unexpected),
    }
}
