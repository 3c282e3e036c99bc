//! The handshake of a client.

use std::time::Duration;

use ambrosia_core::{Epoch, HostAddress, InstanceName};
use ambrosia_wire::{Connection, ConnectionError, ConnectionHandle, Control, Frame, Security};
use tokio::time::{Instant, timeout};

use crate::whereabouts::{Nearby, Primary, Whereabouts};

/// A host that has just told of a primary waits for a hello a little longer than that.
const GOES_ON_WITHIN: Duration = Duration::from_secs(3);

/// A host that is well answers long before that.
pub(crate) const ANSWER_WAIT_MAX: Duration = Duration::from_secs(1);

/// What a host says to a client that connects.
pub(crate) enum Greeting {
    /// It is the host of the primary.
    Welcome(Epoch),
    /// It is not, or waits for another hello, and knows who is, or not even that.
    Elsewhere(Option<Primary>),
    /// It knows why nobody ever answers for the instance.
    Ended(String),
}

/// A connection with a host that has said who is primary, and nothing else so far.
pub struct Opened {
    handle: ConnectionHandle,
    connection: Box<Connection>,
    /// The version of the hello to which the host has said welcome; `None` if it waits for a hello.
    welcomed: Option<u16>,
    heard: Instant,
}

impl Opened {
    async fn with(address: &HostAddress, security: &Security) -> Result<Opened, ConnectionError> {
        let (handle, connection) = Connection::new(security.connect(address).await?)?;
        Ok(Opened { handle, connection: Box::new(connection), welcomed: None, heard: Instant::now() })
    }

    async fn say(&mut self, hello: Control, security: &Security) -> Result<Greeting, ConnectionError> {
        let connection = &mut self.connection;
        connection.say_first(hello, security).await?;
        let said = connection.read_frame().await?;
        self.heard = Instant::now();
        match said {
            Frame::Control(Control::ClientWelcome { epoch }) => Ok(Greeting::Welcome(Epoch(epoch))),
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

    async fn say_client_hello(
        &mut self,
        name: &InstanceName,
        version: u16,
        security: &Security,
    ) -> Result<Greeting, ConnectionError> {
        let hello = Control::ClientHello { version, to: name.as_str().to_owned() };
        let greeting = self.say(hello, security).await?;
        if matches!(greeting, Greeting::Welcome(_)) {
            self.connection.welcome(version);
            self.welcomed = Some(version);
        }
        Ok(greeting)
    }

    /// Whether something may still be said on it to a host that has told of that primary.
    pub(crate) fn is_fresh(&self) -> bool {
        self.heard.elapsed() < GOES_ON_WITHIN
    }

    /// The connection, on which a client was welcomed in that version.
    async fn greeted(
        mut self,
        name: &InstanceName,
        version: u16,
        security: &Security,
    ) -> Result<(ConnectionHandle, Connection), ConnectionError> {
        if self.welcomed.is_none() {
            self.say_client_hello(name, version, security).await?;
        }
        if self.welcomed == Some(version) {
            return Ok((self.handle, *self.connection));
        }
        tracing::debug!("the host has another role by now, or speaks another version here");
        Err(ConnectionError::Closed)
    }
}

/// Connects to the host at `address` and asks for the primary of `name`, in that version of the protocol.
pub(crate) async fn ask_host(
    name: &InstanceName,
    address: &HostAddress,
    version: u16,
    security: &Security,
) -> Result<(Greeting, Opened), ConnectionError> {
    let mut opened = Opened::with(address, security).await?;
    let greeting = opened.say_client_hello(name, version, security).await?;
    Ok((greeting, opened))
}

/// Connects to the host at `address` and waits until it knows of a primary of `name` behind that epoch, or does not want to wait any longer.
pub(crate) async fn next_primary(
    name: &InstanceName,
    address: &HostAddress,
    behind: Epoch,
    security: &Security,
) -> Result<(Greeting, Opened), ConnectionError> {
    let hello = Control::NextPrimary { to: name.as_str().to_owned(), behind: behind.0 };
    let mut opened = Opened::with(address, security).await?;
    let greeting = opened.say(hello, security).await?;
    Ok((greeting, opened))
}

/// Connects to the host of a primary and says hello.
pub(crate) async fn greet(
    name: &InstanceName,
    address: &HostAddress,
    version: u16,
    security: &Security,
) -> Result<(ConnectionHandle, Connection), ConnectionError> {
    Opened::with(address, security).await?.greeted(name, version, security).await
}

/// The same, by the connection on which the host has told of that primary, if there is one: to set up another one by TLS costs more than all else.
pub(crate) async fn greet_primary(
    name: &InstanceName,
    primary: &Primary,
    version: u16,
    whereabouts: &dyn Whereabouts,
) -> Result<(ConnectionHandle, Connection), ConnectionError> {
    let security = whereabouts.security();
    if let Some(opened) = whereabouts.opened(primary) {
        match timeout(ANSWER_WAIT_MAX, opened.greeted(name, version, &security)).await {
            Ok(Ok(greeted)) => return Ok(greeted),
            // Also one of an earlier version, which hangs up behind its answer.
            Ok(Err(error)) => tracing::debug!("a host does not go on with a connection: {error}"),
            Err(_) => tracing::debug!("a host does not answer on a connection on which it did"),
        }
    }
    greet(name, &primary.address, version, &security).await
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
