//! Keeps one outgoing connection to a peer, wherever its primary is.

use std::{sync::Arc, time::Duration, time::Instant as Moment};

use ambrosia_client::{Primary, Unreached};
use ambrosia_core::{Epoch, InstanceName, InstanceUuid, PeerIndex, Seq};
use ambrosia_storage::Store;
use ambrosia_wire::{Connection, ConnectionError, ConnectionHandle, Control, Frame, socket};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::{
    contact::{Contact, HINDRANCE_PATIENCE, Hindrance},
    event::Event,
    mailbox::Mailbox,
};

/// The version of the protocol that brought streams as they are: hosts of that version understand this one.
const STREAM_VERSION: u16 = 1;

/// The peer's host has this long to answer.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// First pause before the same primary is tried again; it doubles up to the longest.
const BACKOFF_MIN: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// After a connection that held this long, the first pause is the shortest again.
const HELD_MIN: Duration = Duration::from_secs(1);

/// Who connects to whom.
pub(crate) struct Dialer {
    pub(crate) from: InstanceName,
    pub(crate) from_uuid: InstanceUuid,
    pub(crate) epoch: Epoch,
    pub(crate) peer: PeerIndex,
    pub(crate) to: InstanceName,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) contact: Contact,
    pub(crate) primaries: watch::Receiver<Option<Primary>>,
    pub(crate) mailbox: Arc<Mailbox<Event>>,
}

impl Dialer {
    /// Connects, and connects again, until the task is aborted.
    pub(crate) async fn keep(mut self) {
        let mut backoff = BACKOFF_MIN;
        loop {
            let primary = *self.primaries.borrow_and_update();
            let Some(primary) = primary else {
                self.hindered(Hindrance::without_primary(&*self.store, &self.to));
                match timeout(HINDRANCE_PATIENCE, self.primaries.changed()).await {
                    Ok(Err(_)) => {
                        return tracing::error!(to = %self.to, "the primary of a peer is not followed any more");
                    }
                    Ok(Ok(())) | Err(_) => continue, // another primary, or time to look again why there is none
                }
            };
            let began = Instant::now();
            let ended = self.connect(&primary).await;
            tracing::debug!(to = %self.to, address = %primary.address, "connection ended: {ended}");
            match Unreached::of(primary.address, &ended) {
                Some(unreached) => self.hindered(unreached.into()),
                None => self.contact.connecting(Moment::now()),
            }
            backoff = if began.elapsed() >= HELD_MIN { BACKOFF_MIN } else { (backoff * 2).min(BACKOFF_MAX) };
            tokio::select! {
                _changed = self.primaries.changed() => backoff = BACKOFF_MIN,
                () = sleep(backoff) => {}
            }
        }
    }

    /// Notes why the peer is not reached, and has the driver look when that has lasted.
    fn hindered(&self, hindrance: Hindrance) {
        if self.contact.hindered(hindrance, Moment::now()) {
            self.mailbox.push(Event::PeerHindered(self.peer));
        }
    }

    async fn connect(&mut self, primary: &Primary) -> ConnectionError {
        let socket = match timeout(HANDSHAKE_TIMEOUT, socket::connect(primary.address)).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return error.into(),
            Err(_) => return ConnectionError::HandshakeTimeout,
        };
        let (handle, mut connection) = match Connection::new(socket) {
            Ok(pair) => pair,
            Err(error) => return error.into(),
        };
        let welcome = tokio::select! {
            welcome = timeout(HANDSHAKE_TIMEOUT, self.greet(&mut connection)) => welcome,
            () = self.moved(primary) => return ConnectionError::Closed,
        };
        match welcome {
            Ok(Ok((uuid, received))) => self.serve(handle, connection, uuid, received, primary).await,
            Ok(Err(error)) => error,
            Err(_) => ConnectionError::HandshakeTimeout,
        }
    }

    async fn greet(&self, connection: &mut Connection) -> Result<(InstanceUuid, Seq), ConnectionError> {
        let hello = Control::Hello {
            version: STREAM_VERSION,
            from: self.from.as_str().to_owned(),
            from_uuid: self.from_uuid.0,
            epoch: self.epoch.0,
            to: self.to.as_str().to_owned(),
        };
        connection.write_frame(&Frame::Control(hello)).await?;
        match connection.read_frame().await? {
            Frame::Control(Control::Welcome { uuid, received }) => Ok((InstanceUuid(uuid), Seq(received))),
            Frame::Control(Control::Refused { elsewhere: false, reason }) => Err(ConnectionError::Refused(reason)),
            Frame::Control(Control::Refused { elsewhere: true, .. }) => Err(ConnectionError::Closed),
            _ => Err(ConnectionError::Unexpected),
        }
    }

    async fn serve(
        &mut self,
        handle: ConnectionHandle,
        mut connection: Connection,
        uuid: InstanceUuid,
        received: Seq,
        primary: &Primary,
    ) -> ConnectionError {
        connection.welcome(STREAM_VERSION);
        let (id, mailbox) = (connection.id, Arc::clone(&self.mailbox));
        self.contact.connected(Moment::now());
        mailbox.push(Event::PeerReached { handle, peer: self.peer, uuid, received });
        let serving = connection.serve(|frame, _permit| match frame {
            Frame::Acknowledge(seq) => {
                mailbox.push(Event::Acknowledged { connection: id, seq });
                Ok(())
            }
            Frame::Control(Control::Refused { elsewhere: _, reason }) => {
                tracing::warn!("the peer ends the connection: {reason}");
                Err(ConnectionError::Closed)
            }
            _ => Err(ConnectionError::Unexpected),
        });
        let ended = tokio::select! {
            ended = serving => ended,
            () = self.moved(primary) => ConnectionError::Closed,
        };
        mailbox.push(Event::Disconnected(id));
        ended
    }

    /// Waits until another replica of the peer is primary. A stopped primary keeps its sockets, so their end can't be
    /// waited for.
    async fn moved(&self, from: &Primary) {
        let mut primaries = self.primaries.clone();
        let elsewhere = |primary: &Option<Primary>| primary.as_ref().is_some_and(|to| to.epoch != from.epoch);
        if primaries.wait_for(elsewhere).await.is_err() {
            std::future::pending().await
        }
    }
}
