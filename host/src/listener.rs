//! Accepts peers and clients of the members of this process.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use ambrosia_client::Primary;
use ambrosia_core::{
    CallId, ConnectionId, Epoch, EventId, Inquiry, InstanceName, InstanceUuid, Lsn, MethodId, OpeningId, Query,
    ReplicaIndex, RequestId, Seq, SessionId, Ticket, TraceContext, limits::ARGUMENTS_BYTES_MAX,
};
use ambrosia_methods::MethodKind;
use ambrosia_storage::{InstanceError, Instances, Store};
use ambrosia_wire::{
    Caller, Connection, ConnectionError, ConnectionHandle, Control, Frame, PROTOCOL_VERSIONS, Permit, STREAMS_VERSION,
    Security, StreamTaker, Trunk,
};
use bytes::Bytes;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use crate::{
    bearer::{Bearer, NEITHER},
    connections::refusal,
    event::{ClientRequest, Event, SessionRequest},
    inventory,
    known_tokens::KnownTokens,
    mailbox::Mailbox,
    modules::CurrentMethods,
    peers::PeerDirectory,
    relaying::relay,
    stall::Stall,
    store_whereabouts::how_it_ended,
    succession::tell_next,
    vitals::Vitals,
};

/// Somebody who connects has this long to say who they are.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections at once that have not said yet whose they are.
const ARRIVING_MAX: usize = 4096;

/// The place of one of these.
type Place = OwnedSemaphorePermit;

/// It is not said more often than this that a connection was refused for want of TLS or of a certificate.
const REFUSALS_INTERVAL: Duration = Duration::from_secs(1);

/// Who lives here, by the name of the instance.
pub(crate) struct Receptions {
    store: Arc<dyn Store>,
    tokens: Arc<KnownTokens>,
    here: RwLock<BTreeMap<InstanceName, Arc<Reception>>>,
}

impl Receptions {
    pub(crate) fn new(store: Arc<dyn Store>) -> Receptions {
        let tokens = Arc::new(KnownTokens::new(Arc::clone(&store)));
        Receptions { store, tokens, here: RwLock::default() }
    }

    /// Connections to that member are taken from now on.
    pub(crate) fn add(&self, reception: Reception) {
        let mut here = self.here.write().unwrap_or_else(PoisonError::into_inner);
        here.insert(reception.name.clone(), Arc::new(reception));
    }

    /// The member with that mailbox has ended.
    pub(crate) fn remove(&self, mailbox: &Arc<Mailbox<Event>>) {
        let mut here = self.here.write().unwrap_or_else(PoisonError::into_inner);
        here.retain(|_, reception| !Arc::ptr_eq(&reception.mailbox, mailbox));
    }

    /// All members that are here.
    pub(crate) fn all(&self) -> Vec<Arc<Reception>> {
        self.here.read().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
    }

    /// The member of that instance, if there is one here.
    pub(crate) fn of(&self, name: &InstanceName) -> Option<Arc<Reception>> {
        self.here.read().unwrap_or_else(PoisonError::into_inner).get(name).map(Arc::clone)
    }

    /// The member of that instance, or why there is none here, for whoever has asked for it.
    fn find(&self, name: &str) -> Result<Arc<Reception>, String> {
        if let Some(reception) = InstanceName::new(name).ok().and_then(|name| self.of(&name)) {
            return Ok(reception);
        }
        let here = self.here.read().unwrap_or_else(PoisonError::into_inner);
        Err(match here.len() {
            1 => format!("this host runs the instance {}, not {name:?}", here.keys().next().expect("there is one")),
            count => format!("this host runs {count} instances, and {name:?} is none of them"),
        })
    }

    /// Whoever shows a token and says that.
    ///
    /// # Errors
    /// Why they are not let in.
    async fn bearer(&self, token: Option<String>, hello: &Control) -> Result<Bearer, String> {
        let to = match hello {
            Control::ClientHello { to, .. } | Control::ReplicaHello { to, .. } | Control::NextPrimary { to, .. } => to,
            _ => return Err("a host shows a certificate: give --tls-cert and --tls-key".to_owned()),
        };
        let token = token.ok_or(NEITHER)?;
        let name = InstanceName::new(to.as_str()).map_err(|error| error.to_string())?;
        let bearer = Bearer::new(Arc::clone(&self.tokens), token, name);
        bearer.look().await?;
        Ok(bearer)
    }

    /// Who is primary of an instance, or why nobody ever will be. The store is asked for it, which may take a while where it is a database.
    pub(crate) async fn who_is_primary(self: Arc<Self>, name: String) -> WhoIsPrimary {
        match tokio::task::spawn_blocking(move || self.look_who_is_primary(&name)).await {
            Ok(found) => found,
            // Whoever asks is told as much as is known, and asks again.
            Err(error) => {
                tracing::error!("it could not be looked for who runs an instance: {error}");
                WhoIsPrimary { primary: None, ended: None }
            }
        }
    }

    fn look_who_is_primary(&self, name: &str) -> WhoIsPrimary {
        let nobody = WhoIsPrimary { primary: None, ended: None };
        let Ok(name) = InstanceName::new(name) else { return nobody };
        match self.store.instance(&name) {
            Ok(entry) => {
                let info = self.store.members(entry.log()).ok().and_then(|members| members.primary_seen().ok()?);
                let primary = info.map(|info| Primary { epoch: info.epoch, address: info.address });
                let ended = entry.outcome.map(|outcome| how_it_ended(&name, outcome));
                WhoIsPrimary { primary, ended }
            }
            Err(error @ InstanceError::Unknown { .. }) => WhoIsPrimary { ended: Some(error.to_string()), ..nobody },
            Err(_) => nobody, // the client waits, as it does where it reads the store itself
        }
    }
}

/// Who is primary of an instance, as the store has it.
pub(crate) struct WhoIsPrimary {
    pub(crate) primary: Option<Primary>,
    /// Why nobody ever will be.
    pub(crate) ended: Option<String>,
}

impl WhoIsPrimary {
    /// What is said to whoever is not served here: who could, or why nobody ever will.
    pub(crate) fn refusal(self, elsewhere: bool, reason: String) -> Vec<Frame> {
        let mut refused = refusal(elsewhere, reason, self.primary);
        refused.extend(self.ended.map(|reason| Frame::Control(Control::Ended { reason })));
        refused
    }
}

/// What every accepted connection needs to know.
pub(crate) struct Reception {
    pub(crate) name: InstanceName,
    pub(crate) replica: ReplicaIndex,
    pub(crate) methods: Arc<CurrentMethods>,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) stall: Arc<Stall>,
    pub(crate) mailbox: Arc<Mailbox<Event>>,
}

/// Accepts connections for ever. An error of one connection ends that one only. Those that were not greeted yet may be strangers', who take no more
/// than so many descriptors from the others.
pub(crate) async fn accept_all(
    listener: TcpListener,
    receptions: Arc<Receptions>,
    directory: Arc<PeerDirectory>,
    security: Security,
) {
    let mut told = None;
    let refusals = Arc::new(Refusals::default());
    let arriving = Arc::new(Semaphore::new(ARRIVING_MAX));
    loop {
        let place = Arc::clone(&arriving).acquire_owned().await.expect("it is never closed");
        match listener.accept().await {
            Ok((socket, from)) => {
                told = None;
                let (receptions, directory) = (Arc::clone(&receptions), Arc::clone(&directory));
                let (security, refusals) = (security.clone(), Arc::clone(&refusals));
                tokio::spawn(receive(socket, (from, place), receptions, directory, security, refusals));
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

/// Whoever is not believed tries again and again, and may be a stranger who wants the disk full: one such line a second is enough.
#[derive(Default)]
struct Refusals(Mutex<Option<Instant>>);

impl Refusals {
    fn tell(&self, from: SocketAddr, error: &ConnectionError) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < REFUSALS_INTERVAL) {
            return tracing::debug!(%from, "a connection was refused: {error}");
        }
        *last = Some(Instant::now());
        tracing::warn!(%from, "a connection was refused: {error}");
    }
}

async fn receive(
    socket: TcpStream,
    (from, place): (SocketAddr, Place),
    receptions: Arc<Receptions>,
    directory: Arc<PeerDirectory>,
    security: Security,
    refusals: Arc<Refusals>,
) {
    let (socket, caller) = match security.accept(socket).await {
        Ok(accepted) => accepted,
        Err(error) if error.is_hang_up() => return tracing::debug!(%from, "a connection ended early: {error}"),
        Err(error) => return refusals.tell(from, &error),
    };
    let (handle, connection) = match Connection::new(socket) {
        Ok(pair) => pair,
        Err(error) => return tracing::warn!(%from, %error, "a connection could not be set up"),
    };
    match greet(handle, connection, &receptions, &directory, (caller, place)).await {
        ended if ended.is_hang_up() => tracing::debug!(%from, "connection ended: {ended}"),
        ended if caller == Caller::Stranger => refusals.tell(from, &ended),
        ended => tracing::warn!(%from, "connection ended: {ended}"),
    }
}

/// What somebody says first: a hello, and before it a token if that is all they have.
async fn hear(connection: &mut Connection) -> Result<(Option<String>, Control), ConnectionError> {
    let mut token = None;
    loop {
        match connection.read_frame().await? {
            Frame::Control(Control::Token { token: shown }) if token.is_none() => token = Some(shown),
            Frame::Control(hello) => return Ok((token, hello)),
            _ => return Err(ConnectionError::Unexpected),
        }
    }
}

async fn greet(
    handle: ConnectionHandle,
    mut connection: Connection,
    receptions: &Arc<Receptions>,
    directory: &PeerDirectory,
    (caller, place): (Caller, Place),
) -> ConnectionError {
    let (mut has_told, mut place) = (false, Some(place));
    let (bearer, hello) = loop {
        let (token, hello) = match timeout(HANDSHAKE_TIMEOUT, hear(&mut connection)).await {
            Ok(Ok(heard)) => heard,
            // Who has heard where the primary is may go there by another connection.
            _ if has_told => return ConnectionError::Closed,
            Ok(Err(error)) => return error,
            Err(_) => return ConnectionError::HandshakeTimeout,
        };
        if let Control::RelayHello { version } = hello {
            let ours = (&*receptions.store, &receptions.tokens);
            drop(place);
            return Box::pin(relay(handle, connection, version, (caller, token), ours)).await;
        }
        if hello == Control::Replicas {
            drop(place);
            let told = inventory::tell(connection, (caller, token), &receptions.tokens, receptions.all());
            return Box::pin(told).await;
        }
        let bearer = match caller {
            Caller::Neighbour | Caller::Host | Caller::Operator | Caller::Client => None,
            Caller::Stranger => match Box::pin(receptions.bearer(token, &hello)).await {
                Ok(bearer) => Some(bearer),
                Err(reason) => {
                    let refused = Frame::Control(Control::Refused { elsewhere: false, reason: reason.clone() });
                    return connection.write_frame(&refused).await.err().unwrap_or(ConnectionError::Tls(reason));
                }
            },
        };
        let Control::NextPrimary { to, behind } = hello else { break (bearer, hello) };
        if has_told {
            return ConnectionError::Unexpected;
        }
        // It has said what it wants, and may do so: of those that wait for the same there may be many, and others are to come in.
        place = None;
        if let Err(ended) = Box::pin(tell_next(&mut connection, to, behind, receptions, directory)).await {
            return ended;
        }
        has_told = true;
    };
    let is_no_host = matches!(caller, Caller::Operator | Caller::Client);
    if is_no_host && (hello.version_of_host().is_some() || matches!(hello, Control::Hello { .. })) {
        let reason = "the certificate is one of a client, and no host's: issue one with --host".to_owned();
        tracing::warn!("a connection was refused: {reason}");
        let refused = Frame::Control(Control::Refused { elsewhere: false, reason });
        return connection.write_frame(&refused).await.err().unwrap_or(ConnectionError::Closed);
    }
    if hello.version_of_host().is_some() {
        // Each stream has an end of its own that sends.
        drop((handle, place));
        // What a client's connection takes is not to be as much as that.
        let streams = async {
            match Trunk::welcome(connection).await {
                Ok(trunk) => trunk.serve(|hello, handle| take_stream(hello, handle, receptions)).await,
                Err(error) => error,
            }
        };
        return Box::pin(streams).await;
    }
    let (version, reception, event) = match introduce(handle, hello, receptions) {
        Ok(introduced) => introduced,
        Err(NotHere { reason, wanted }) => {
            match &wanted {
                // Whoever asks any host for an instance comes to some that do not run it, and is told where to go.
                Some(_) => tracing::debug!("a connection was refused: {reason}"),
                None => tracing::warn!("a connection was refused: {reason}"),
            }
            drop(place);
            let refused = match wanted {
                Some(name) => Box::pin(Arc::clone(receptions).who_is_primary(name)).await.refusal(false, reason),
                None => refusal(false, reason, None),
            };
            return connection.write_frames(&refused).await.err().unwrap_or(ConnectionError::Closed);
        }
    };
    connection.welcome(version);
    drop(place);
    let id = connection.id;
    // A standby does not know what has become of a request.
    let asks_the_primary = matches!(event, Event::ClientHello { .. });
    if !matches!(event, Event::PeerHello { .. }) {
        connection.expect_client();
    }
    reception.mailbox.push(event);
    let served = connection.serve(|frame, permit| match frame {
        Frame::Inquiry { .. } | Frame::SessionRequest { .. } if !asks_the_primary => Err(ConnectionError::Unexpected),
        frame => match bearer.as_ref().and_then(|bearer| bearer.why_not(&frame)) {
            None => reception.take(id, frame, permit),
            Some(reason) => {
                reception.deny(id, frame, permit, reason);
                Ok(())
            }
        },
    });
    let ended = match &bearer {
        None => served.await,
        // Also whoever says nothing, and is told something.
        Some(bearer) => tokio::select! {
            ended = served => ended,
            reason = Box::pin(bearer.over()) => ConnectionError::Tls(reason),
        },
    };
    reception.mailbox.push(Event::Disconnected(id));
    ended
}

/// A peer opens a stream on a connection of many.
fn take_stream(hello: Control, handle: ConnectionHandle, receptions: &Receptions) -> Option<Box<dyn StreamTaker>> {
    let id = handle.id;
    let Control::Hello { version, from, from_uuid, epoch, to } = hello else {
        unreachable!("a stream is opened by a hello")
    };
    let known = if version == STREAMS_VERSION { receptions.find(&to) } else { Err(other_version(version)) };
    let known = known.and_then(|reception| {
        let name = InstanceName::new(from).map_err(|error| error.to_string())?;
        Ok((reception, name))
    });
    match known {
        Ok((reception, name)) => {
            let mailbox = Arc::clone(&reception.mailbox);
            mailbox.push(Event::PeerHello { handle, name, uuid: InstanceUuid(from_uuid), epoch: Epoch(epoch) });
            Some(Box::new(SenderTaker { id, mailbox }))
        }
        Err(reason) => {
            tracing::warn!("a stream was refused: {reason}");
            handle.send(Frame::Control(Control::Refused { elsewhere: false, reason }));
            None
        }
    }
}

/// Takes what a peer sends on a stream.
struct SenderTaker {
    id: ConnectionId,
    mailbox: Arc<Mailbox<Event>>,
}

impl StreamTaker for SenderTaker {
    fn take(&mut self, frame: Frame, permit: Permit) {
        let Frame::Messages { first_seq, count, messages } = frame else {
            unreachable!("who sends a stream sends nothing but messages: {frame:?}")
        };
        let messages = permit.tie(messages);
        self.mailbox.push(Event::Messages { connection: self.id, first_seq, count, messages });
    }

    fn on_end(self: Box<Self>) {
        self.mailbox.push(Event::Disconnected(self.id));
    }
}

/// Why somebody is turned away.
struct NotHere {
    reason: String,
    /// The instance that nobody runs here.
    wanted: Option<String>,
}

impl From<String> for NotHere {
    fn from(reason: String) -> NotHere {
        NotHere { reason, wanted: None }
    }
}

/// Who connected to whom, and the version of the protocol that they speak, or why they are turned away.
fn introduce(
    handle: ConnectionHandle,
    hello: Control,
    receptions: &Receptions,
) -> Result<(u16, Arc<Reception>, Event), NotHere> {
    let find = |version: u16, to: &str| {
        if !PROTOCOL_VERSIONS.contains(&version) {
            return Err(NotHere::from(other_version(version)));
        }
        receptions.find(to).map_err(|reason| NotHere { reason, wanted: Some(to.to_owned()) })
    };
    match hello {
        Control::Hello { version: STREAMS_VERSION.., from, .. } => {
            Err(format!("the hello of {from:?} is one of a stream, and is said within a connection of streams").into())
        }
        Control::Hello { version, from, from_uuid, epoch, to } => {
            let reception = find(version, &to)?;
            let name = InstanceName::new(from).map_err(|error| error.to_string())?;
            let event = Event::PeerHello { handle, name, uuid: InstanceUuid(from_uuid), epoch: Epoch(epoch) };
            Ok((version, reception, event))
        }
        Control::ClientHello { version, to } => Ok((version, find(version, &to)?, Event::ClientHello { handle })),
        Control::ReplicaHello { version, to, replica } => {
            let reception = find(version, &to)?;
            if reception.replica != ReplicaIndex(replica) {
                let (here, name) = (reception.replica, &reception.name);
                return Err(format!("this host runs replica {here} of instance {name}, not replica {replica}").into());
            }
            Ok((version, reception, Event::ReplicaHello { handle }))
        }
        _ => Err("the first frame is no hello".to_owned().into()),
    }
}

/// Why somebody of that version is turned away.
fn other_version(version: u16) -> String {
    let (first, last) = PROTOCOL_VERSIONS.into_inner();
    format!(
        "this host speaks versions {first} to {last} of the protocol, the other side version {version}: run the same version of \
         ambrosia-host on both sides"
    )
}

impl Reception {
    /// Takes what somebody says on a connection of their own.
    ///
    /// # Errors
    /// If it has no meaning there.
    pub(crate) fn take(&self, id: ConnectionId, frame: Frame, mut permit: Permit) -> Result<(), ConnectionError> {
        let mut permitted = |bytes| std::mem::take(&mut permit).tie(bytes);
        self.mailbox.push(match frame {
            Frame::Messages { first_seq, count, messages } => {
                let messages = permitted(messages);
                Event::Messages { connection: id, first_seq, count, messages }
            }
            Frame::Request { request, method, arguments, wait, trace } => {
                self.request(id, request, &method, permitted(arguments), (wait, trace))
            }
            Frame::Query { number, method, arguments, at_least, wait_ms } => {
                self.query(id, number, &method, permitted(arguments), (at_least, wait_ms))
            }
            Frame::Inquiry { number, request, wait_ms } => {
                let wait = Duration::from_millis(wait_ms.into());
                Event::Inquiry(Inquiry { connection: id, number, request, wait })
            }
            Frame::SessionRequest { session, ticket, seq, confirmed, method, arguments } => {
                let (method, impossible) = (MethodId::of(&method), self.why_impossible(&method, &arguments));
                let arguments = permitted(arguments);
                let connection = id;
                Event::SessionRequest(SessionRequest {
                    connection,
                    session,
                    ticket,
                    seq,
                    confirmed,
                    method,
                    arguments,
                    impossible,
                })
            }
            Frame::Control(Control::OpenSession { session, opening }) => {
                let (session, opening) = (SessionId(session), OpeningId(opening));
                Event::OpenSession { connection: id, session, opening }
            }
            Frame::Control(Control::SessionConfirmed { session, ticket, confirmed }) => {
                let (session, ticket, confirmed) = (SessionId(session), Ticket(ticket), Seq(confirmed));
                Event::SessionConfirmed { connection: id, session, ticket, confirmed }
            }
            Frame::Control(Control::Sessions) => Event::SessionsWanted { connection: id },
            Frame::Control(Control::Stall) => Event::StallWanted { connection: id },
            Frame::Control(Control::Listen { after, until }) => {
                let after = after.map(|(lsn, index)| EventId { lsn: Lsn(lsn), index });
                Event::Listen { connection: id, after, until }
            }
            Frame::Listened { until } => Event::Listened { connection: id, until },
            Frame::Control(Control::Checkpoint) => Event::CheckpointWanted { connection: id },
            Frame::Control(Control::Resolve { promise, token, value }) => {
                let (promise, value) = (CallId(promise), permitted(value.into()));
                Event::Resolve { connection: id, promise, token, value }
            }
            Frame::Control(Control::Methods) => Event::MethodsWanted { connection: id },
            Frame::Control(Control::Outgoing) => Event::OutgoingWanted { connection: id },
            Frame::Control(Control::Remembered) => Event::RememberedWanted { connection: id },
            Frame::Control(Control::Schedules) => Event::SchedulesWanted { connection: id },
            Frame::Control(Control::Peers) => Event::PeersWanted { connection: id },
            _ => return Err(ConnectionError::Unexpected),
        });
        self.count(permit);
        Ok(())
    }

    /// Somebody may not do that.
    fn deny(&self, connection: ConnectionId, frame: Frame, permit: Permit, reason: String) {
        self.mailbox.push(match frame {
            Frame::Request { request, .. } => Event::BadRequest { connection, request, reason },
            Frame::Query { number, .. } => Event::BadQuery { connection, number, reason },
            _ => Event::Denied { connection, reason },
        });
        self.count(permit);
    }

    /// What has no bytes to which its permit could be tied counts until it was looked at, which it was when this comes.
    fn count(&self, permit: Permit) {
        if !permit.is_none() {
            self.mailbox.push(Event::Seen(permit));
        }
    }

    fn query(
        &self,
        connection: ConnectionId,
        number: u64,
        method: &str,
        arguments: Bytes,
        (at_least, wait_ms): (Lsn, u32),
    ) -> Event {
        let wait = Duration::from_millis(wait_ms.into());
        let found = match self.methods.get().find(method) {
            Err(error) => Err(error.to_string()),
            Ok(found) if found.kind != MethodKind::Query => {
                let kind = found.kind.word();
                Err(format!(
                    "method {method} is of kind {kind}, and what may change something is no query: send a request"
                ))
            }
            Ok(_) if arguments.len() > ARGUMENTS_BYTES_MAX => Err(too_large(&arguments)),
            Ok(found) => Ok(found.id),
        };
        match found {
            Ok(method) => Event::Query(Query { connection, number, method, arguments, at_least, wait }),
            Err(reason) => Event::BadQuery { connection, number, reason },
        }
    }

    /// Why a method can't be run with that; `None` if it can.
    fn why_impossible(&self, method: &str, arguments: &Bytes) -> Option<String> {
        if arguments.len() > ARGUMENTS_BYTES_MAX {
            return Some(too_large(arguments));
        }
        self.methods.get().find(method).err().map(|error| error.to_string())
    }

    fn request(
        &self,
        connection: ConnectionId,
        request: RequestId,
        method: &str,
        arguments: Bytes,
        (wait, trace): (bool, Option<TraceContext>),
    ) -> Event {
        if arguments.len() > ARGUMENTS_BYTES_MAX {
            return Event::BadRequest { connection, request, reason: too_large(&arguments) };
        }
        match self.methods.get().find(method) {
            Ok(found) => {
                Event::Request(ClientRequest { connection, request, method: found.id, arguments, wait, trace })
            }
            Err(error) => Event::BadRequest { connection, request, reason: error.to_string() },
        }
    }
}

fn too_large(arguments: &Bytes) -> String {
    format!("arguments of {} bytes exceed the limit of {ARGUMENTS_BYTES_MAX} bytes", arguments.len())
}
