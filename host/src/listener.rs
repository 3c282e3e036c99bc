//! Accepts peers and clients of one replica.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ambrosia_core::{Epoch, InstanceName, InstanceUuid, RequestId, limits::ARGUMENTS_BYTES_MAX};
use ambrosia_wire::{Connection, ConnectionError, ConnectionHandle, Control, Frame, PROTOCOL_VERSIONS};
use bytes::Bytes;
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    event::{ClientRequest, Event},
    mailbox::Mailbox,
    modules::CurrentMethods,
};

/// Somebody who connects has this long to say who they are.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// What every accepted connection needs to know.
pub(crate) struct Reception {
    pub(crate) name: InstanceName,
    pub(crate) methods: Arc<CurrentMethods>,
    pub(crate) mailbox: Arc<Mailbox<Event>>,
}

/// Accepts connections for ever. An error of one connection ends that one only.
pub(crate) async fn accept_all(listener: TcpListener, reception: Arc<Reception>) {
    let mut told = None;
    loop {
        match listener.accept().await {
            Ok((socket, from)) => {
                told = None;
                tokio::spawn(receive(socket, from, Arc::clone(&reception)));
            }
            Err(error) => {
                // Out of file descriptors, most likely: others may still be served, so this is no reason to end.
                if told.replace(error.kind()) != Some(error.kind()) {
                    tracing::warn!(
                        %error,
                        "connections can't be accepted now, trying again; if too many files are open, raise the limit \
                         of this process (`ulimit -n`)"
                    );
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn receive(socket: TcpStream, from: SocketAddr, reception: Arc<Reception>) {
    let (handle, connection) = match Connection::new(socket) {
        Ok(pair) => pair,
        Err(error) => return tracing::warn!(%from, %error, "a connection could not be set up"),
    };
    let ended = greet(handle, connection, &reception).await;
    if !matches!(ended, ConnectionError::Closed) {
        tracing::warn!(%from, "connection ended: {ended}");
    }
}

async fn greet(handle: ConnectionHandle, mut connection: Connection, reception: &Reception) -> ConnectionError {
    let hello = match timeout(HANDSHAKE_TIMEOUT, connection.read_frame()).await {
        Ok(Ok(Frame::Control(hello))) => hello,
        Ok(Ok(_)) => return ConnectionError::Unexpected,
        Ok(Err(error)) => return error,
        Err(_) => return ConnectionError::HandshakeTimeout,
    };
    let (version, event) = match introduce(handle, hello, &reception.name) {
        Ok(introduced) => introduced,
        Err(reason) => {
            tracing::warn!("a connection was refused: {reason}");
            let refused = Frame::Control(Control::Refused { elsewhere: false, reason });
            return connection.write_frame(&refused).await.err().unwrap_or(ConnectionError::Closed);
        }
    };
    connection.welcome(version);
    let id = connection.id;
    reception.mailbox.push(event);
    let ended = connection
        .serve(|frame, permit| match frame {
            Frame::Messages { first_seq, count, messages } => {
                let messages = permit.tie(messages);
                reception.mailbox.push(Event::Messages { connection: id, first_seq, count, messages });
                Ok(())
            }
            Frame::Request { request, method, arguments, wait } => {
                let arguments = permit.tie(arguments);
                reception.request(id, request, method, arguments, wait);
                Ok(())
            }
            Frame::Control(Control::Checkpoint) => {
                reception.mailbox.push(Event::CheckpointWanted { connection: id });
                Ok(())
            }
            Frame::Control(Control::Peers) => {
                reception.mailbox.push(Event::PeersWanted { connection: id });
                Ok(())
            }
            _ => Err(ConnectionError::Unexpected),
        })
        .await;
    reception.mailbox.push(Event::Disconnected(id));
    ended
}

/// Who connected, and the version of the protocol that they speak, or why they are turned away.
fn introduce(handle: ConnectionHandle, hello: Control, me: &InstanceName) -> Result<(u16, Event), String> {
    let check = |version: u16, to: &str| {
        if !PROTOCOL_VERSIONS.contains(&version) {
            let (first, last) = PROTOCOL_VERSIONS.into_inner();
            return Err(format!(
                "this host speaks versions {first} to {last} of the protocol, the other side version {version}: run the \
                 same version of ambrosia-host on both sides"
            ));
        }
        if to != me.as_str() {
            return Err(format!("this host runs the instance {me}, not {to:?}"));
        }
        Ok(())
    };
    match hello {
        Control::Hello { version, from, from_uuid, epoch, to } => {
            check(version, &to)?;
            let name = InstanceName::new(from).map_err(|error| error.to_string())?;
            Ok((version, Event::PeerHello { handle, name, uuid: InstanceUuid(from_uuid), epoch: Epoch(epoch) }))
        }
        Control::ClientHello { version, to } => {
            check(version, &to)?;
            Ok((version, Event::ClientHello { handle }))
        }
        _ => Err("the first frame is no hello".to_owned()),
    }
}

impl Reception {
    fn request(
        &self,
        connection: ambrosia_core::ConnectionId,
        request: RequestId,
        method: String,
        arguments: Bytes,
        wait: bool,
    ) {
        if arguments.len() > ARGUMENTS_BYTES_MAX {
            let reason =
                format!("arguments of {} bytes exceed the limit of {ARGUMENTS_BYTES_MAX} bytes", arguments.len());
            return self.mailbox.push(Event::BadRequest { connection, request, reason });
        }
        self.mailbox.push(match self.methods.get().find(&method) {
            Ok(found) => Event::Request(ClientRequest { connection, request, method: found.id, arguments, wait }),
            Err(error) => Event::BadRequest { connection, request, reason: error.to_string() },
        });
    }
}
