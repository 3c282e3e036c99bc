//! Keeps one outgoing stream to a peer, wherever its primary is.

use std::{sync::Arc, time::Instant as Moment};

use ambrosia_client::{Primary, Unreached};
use ambrosia_core::{Epoch, HostAddress, InstanceName, InstanceUuid, PeerIndex, Seq};
use ambrosia_storage::Store;
use ambrosia_wire::{
    Connection, ConnectionError, ConnectionHandle, Control, Frame, Permit, SINGLE_STREAM_VERSION, STREAMS_VERSION,
    StreamTaker, TrunkHandle,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};

use crate::{
    contact::{Contact, HINDRANCE_PATIENCE, Hindrance},
    event::Event,
    mailbox::Mailbox,
    trunks::{BACKOFF_MAX, BACKOFF_MIN, HANDSHAKE_TIMEOUT, HELD_MIN, Lease, Trunks, Way},
};

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
    pub(crate) trunks: Arc<Trunks>,
}

/// How a stream has ended.
enum Ended {
    /// The host is not reached; it is tried again by whoever keeps the connection with it.
    Unreached(Arc<ConnectionError>),
    /// The stream alone; it is tried again after a pause.
    Stream(ConnectionError),
}

impl Dialer {
    /// Connects, and connects again, until the task is aborted.
    pub(crate) async fn keep(mut self) {
        let mut backoff = BACKOFF_MIN;
        let mut lease: Option<(HostAddress, Lease)> = None;
        loop {
            let primary = self.primaries.borrow_and_update().clone();
            let Some(primary) = primary else {
                lease = None;
                // A store that others share may take its time, and this thread has all other connections.
                let (store, to) = (Arc::clone(&self.store), self.to.clone());
                match tokio::task::spawn_blocking(move || Hindrance::without_primary(&*store, &to)).await {
                    Ok(hindrance) => self.hindered(hindrance),
                    Err(error) => {
                        tracing::error!(to = %self.to, "it could not be looked why a peer has no primary: {error}")
                    }
                }
                match timeout(HINDRANCE_PATIENCE, self.primaries.changed()).await {
                    Ok(Err(_)) => {
                        return tracing::error!(to = %self.to, "the primary of a peer is not followed any more");
                    }
                    Ok(Ok(())) | Err(_) => continue, // another primary, or time to look again why there is none
                }
            };
            if lease.as_ref().is_none_or(|(address, _)| *address != primary.address) {
                lease = Some((primary.address.clone(), self.trunks.lease(&primary.address)));
            }
            let (_, lease) = lease.as_mut().expect("it was taken above");
            let began = Instant::now();
            let ended = match self.connect(lease, &primary).await {
                Ended::Unreached(ended) => {
                    self.note(&primary, &ended);
                    continue; // it is waited for the next try to reach the host
                }
                Ended::Stream(ended) => ended,
            };
            self.note(&primary, &ended);
            backoff = if began.elapsed() >= HELD_MIN { BACKOFF_MIN } else { (backoff * 2).min(BACKOFF_MAX) };
            tokio::select! {
                _changed = self.primaries.changed() => backoff = BACKOFF_MIN,
                () = sleep(backoff) => {}
            }
        }
    }

    /// Notes how a connection ended.
    fn note(&self, primary: &Primary, ended: &ConnectionError) {
        tracing::debug!(to = %self.to, address = %primary.address, "connection ended: {ended}");
        match Unreached::of(&primary.address, ended) {
            Some(unreached) => self.hindered(unreached.into()),
            None => self.contact.connecting(Moment::now()),
        }
    }

    /// Notes why the peer is not reached, and has the driver look when that has lasted.
    fn hindered(&self, hindrance: Hindrance) {
        if self.contact.hindered(hindrance, Moment::now()) {
            self.mailbox.push(Event::PeerHindered(self.peer));
        }
    }

    async fn connect(&mut self, lease: &mut Lease, primary: &Primary) -> Ended {
        let way = tokio::select! {
            way = lease.way() => way,
            () = self.moved(primary) => return Ended::Stream(ConnectionError::Closed),
        };
        Ended::Stream(match way {
            Way::Failed(error) => return Ended::Unreached(error),
            Way::Trunk(trunk) => self.talk(&trunk, primary).await,
            Way::Alone => {
                let ended = self.connect_alone(primary).await;
                lease.look_again();
                ended
            }
        })
    }

    fn hello(&self, version: u16) -> Control {
        Control::Hello {
            version,
            from: self.from.as_str().to_owned(),
            from_uuid: self.from_uuid.0,
            epoch: self.epoch.0,
            to: self.to.as_str().to_owned(),
        }
    }

    /// Has a stream within the connection between the two hosts, until it ends.
    async fn talk(&self, trunk: &TrunkHandle, primary: &Primary) -> ConnectionError {
        let (tell, mut told) = mpsc::unbounded_channel();
        let mut id = None;
        let opened = trunk.open(self.hello(STREAMS_VERSION), |handle| {
            let (peer, mailbox, contact) = (self.peer, Arc::clone(&self.mailbox), self.contact.clone());
            let taker = PeerTaker { id: handle.id, handle: Some(handle), peer, mailbox, contact, tell };
            id = Some(taker.id);
            Box::new(taker)
        });
        let stream = match opened {
            Ok(stream) => stream,
            Err(error) => return error,
        };
        let welcome = tokio::select! {
            welcome = timeout(HANDSHAKE_TIMEOUT, told.recv()) => welcome,
            () = self.moved(primary) => return ConnectionError::Closed,
        };
        match welcome {
            Ok(Some(Told::Welcome)) => {}
            Ok(Some(Told::Ended(error))) => return error,
            Ok(None) => return ConnectionError::Closed,
            Err(_) => return ConnectionError::HandshakeTimeout,
        }
        let ended = tokio::select! {
            ended = told.recv() => ended,
            () = self.moved(primary) => None,
        };
        // Nothing comes of it any more, so this is the last that the driver hears of it.
        drop(stream);
        self.mailbox.push(Event::Disconnected(id.expect("a stream that was opened has a number")));
        match ended {
            Some(Told::Ended(error)) => error,
            Some(Told::Welcome) | None => ConnectionError::Closed,
        }
    }

    /// Has a connection for the stream alone, as hosts of earlier versions do.
    async fn connect_alone(&mut self, primary: &Primary) -> ConnectionError {
        let socket = match timeout(HANDSHAKE_TIMEOUT, self.trunks.security().connect(&primary.address)).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return error,
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
        connection.write_frame(&Frame::Control(self.hello(SINGLE_STREAM_VERSION))).await?;
        match connection.read_frame().await? {
            Frame::Control(Control::Welcome { uuid, received }) => Ok((InstanceUuid(uuid), Seq(received))),
            Frame::Control(Control::Refused { elsewhere, reason }) => Err(refused(elsewhere, reason)),
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
        connection.welcome(SINGLE_STREAM_VERSION);
        let (id, mailbox) = (connection.id, Arc::clone(&self.mailbox));
        self.contact.connected(Moment::now());
        mailbox.push(Event::PeerReached { handle, peer: self.peer, uuid, received });
        let serving = connection.serve(|frame, _permit| match frame {
            Frame::Acknowledge(seq) => {
                mailbox.push(Event::Acknowledged { connection: id, seq });
                Ok(())
            }
            Frame::Control(Control::Refused { elsewhere: _, reason }) => Err(ended_by_peer(&reason)),
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

/// The peer has said no to the hello.
fn refused(elsewhere: bool, reason: String) -> ConnectionError {
    if elsewhere { ConnectionError::Closed } else { ConnectionError::Refused(reason) }
}

/// The peer ends a stream that it had welcomed.
fn ended_by_peer(reason: &str) -> ConnectionError {
    tracing::warn!("the peer ends the connection: {reason}");
    ConnectionError::Closed
}

/// What the dialer is told of its stream.
enum Told {
    Welcome,
    Ended(ConnectionError),
}

/// Takes what the peer says on a stream.
struct PeerTaker {
    id: ambrosia_core::ConnectionId,
    /// Until the peer has welcomed the stream; then it is the driver's.
    handle: Option<ConnectionHandle>,
    peer: PeerIndex,
    mailbox: Arc<Mailbox<Event>>,
    contact: Contact,
    tell: mpsc::UnboundedSender<Told>,
}

impl PeerTaker {
    fn tell(&self, told: Told) {
        // Who does not listen any more has closed the stream.
        let _closed = self.tell.send(told);
    }
}

impl StreamTaker for PeerTaker {
    fn take(&mut self, frame: Frame, _permit: Permit) {
        match (frame, self.handle.take()) {
            (Frame::Control(Control::Welcome { uuid, received }), Some(handle)) => {
                self.contact.connected(Moment::now());
                let (peer, uuid, received) = (self.peer, InstanceUuid(uuid), Seq(received));
                self.mailbox.push(Event::PeerReached { handle, peer, uuid, received });
                self.tell(Told::Welcome);
            }
            (Frame::Control(Control::Refused { elsewhere, reason }), Some(_)) => {
                self.tell(Told::Ended(refused(elsewhere, reason)));
            }
            (Frame::Control(Control::Refused { reason, .. }), None) => self.tell(Told::Ended(ended_by_peer(&reason))),
            (Frame::Acknowledge(seq), handle) => {
                self.handle = handle;
                self.mailbox.push(Event::Acknowledged { connection: self.id, seq });
            }
            (_, handle) => self.handle = handle, // who is primary is known from the store
        }
    }

    fn on_end(self: Box<Self>) {
        self.tell(Told::Ended(ConnectionError::Closed));
    }
}
