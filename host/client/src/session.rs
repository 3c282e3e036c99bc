//! A session with an instance: a program's requests, each done once and in order, for as long as there is the session.
//!
//! Each request has a number, one behind the other. Many are under way at once, over one connection; what has no answer when that
//! is lost is sent again on the next one, in order and with the same numbers, wherever the primary is then. The instance keeps what
//! this client has not confirmed, and no more.
//!
//! **Architecture Invariant:** a number stands for one request. Whatever becomes of who has asked, a request that has its number is
//! sent until it has its answer, or the session is over.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ambrosia_core::{
    InstanceName, Lsn, OpeningId, Seq, SessionId, SessionRefusal, Ticket,
    limits::{ARGUMENTS_BYTES_MAX, SESSION_BYTES_SOFT_MAX, SESSION_UNDER_WAY_BYTES_MAX},
};
use ambrosia_wire::{Connection, ConnectionError, ConnectionHandle, Control, Frame, SESSIONS_VERSION};
use bytes::Bytes;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    client::{ClientError, RETRY_PAUSE, check_size, text_of},
    greeting::greet_primary,
    reign,
    unreached::Unreached,
    values::without_controls,
    whereabouts::{Primary, Whereabouts},
};

/// What something under way takes in memory beside its arguments, about: no less than the host counts.
const OVERHEAD_BYTES: usize = 512;

/// Results are confirmed by the next request, or once they are so many bytes: before the instance has requests wait for that.
const UNTOLD_BYTES_MAX: usize = SESSION_BYTES_SOFT_MAX / 4;

const _: () = assert!(ARGUMENTS_BYTES_MAX + OVERHEAD_BYTES <= SESSION_UNDER_WAY_BYTES_MAX);
const _: () =
    assert!(SESSION_UNDER_WAY_BYTES_MAX <= Semaphore::MAX_PERMITS && SESSION_UNDER_WAY_BYTES_MAX <= u32::MAX as usize);
const _: () = assert!(OVERHEAD_BYTES >= ambrosia_wire::INPUT_OVERHEAD_BYTES);

/// What a request of a session came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionAnswer {
    /// The value that the method returned, as it encoded it.
    pub value: Bytes,
    /// The record that brought it about: a query that asks for at least that one sees what the request has done.
    pub lsn: Lsn,
}

/// A request of a session failed, or the session did.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SessionError {
    /// The method could not be run. The request is done with that, and the session goes on.
    #[error("the request failed: {0}")]
    Failed(String),
    /// It can't be sent, so it has no number, and the session goes on.
    #[error("{0}")]
    Rejected(String),
    /// The number is that of another request, which was done. The session goes on.
    #[error("request {0} of the session was done, with another method or other arguments")]
    Reused(Seq),
    /// Its result is no more known, or it was asked for already. The session goes on.
    #[error("request {0} of the session has no result that can still be asked for")]
    Forgotten(Seq),
    /// The session is over: it was idle for too long, or was never opened. Requests without an answer may have been done.
    #[error("{0}")]
    Ended(String),
    /// Somebody else has opened the session: requests without an answer may have been done, and no more will be.
    #[error("{0}")]
    Superseded(String),
    /// The instance, or its host, does not take the session, or not any more.
    #[error("{0}")]
    Refused(String),
    /// The instance is not reached in time, or has come to its end.
    #[error("{0}")]
    Unreached(String),
}

/// A session with one instance, which many tasks use at once. Dropped, it ends its connection; [`Session::open`] with its id goes on
/// where it was.
pub struct Session {
    desk: Arc<Desk>,
    keeper: JoinHandle<()>,
}

/// A request that has its number. Dropped, it is done all the same.
#[derive(Debug)]
pub struct PendingRequest {
    seq: Seq,
    answer: oneshot::Receiver<Told>,
}

type Told = Result<SessionAnswer, SessionError>;

/// What those who ask share with the task that keeps the connection.
struct Desk {
    name: InstanceName,
    id: SessionId,
    opening: OpeningId,
    primaries: watch::Receiver<Option<Primary>>,
    state: Mutex<State>,
    /// Something is to be sent and there is no connection.
    wanted: Notify,
    /// Has a permit for each request that may be sent behind the last result that was confirmed.
    window: Semaphore,
    /// Has a permit for each byte that may be under way.
    room: Arc<Semaphore>,
    /// How far the opening has come.
    opened: watch::Sender<Option<Result<Opened, SessionError>>>,
}

/// What the instance says of a session that is open.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Opened {
    ticket: Ticket,
    accepted: Seq,
    confirmed: Seq,
}

#[derive(Default)]
struct State {
    ticket: Ticket,
    /// The last number that was given away.
    last: Seq,
    /// All results up to this one are here.
    confirmed: Seq,
    /// What the connection was told of that.
    told: Seq,
    /// Bytes of the results between the two.
    untold_bytes: usize,
    /// Without an answer.
    under_way: BTreeMap<Seq, UnderWay>,
    /// Bytes of the results behind `confirmed` that are here.
    here: BTreeMap<Seq, usize>,
    /// Of before the opening, and not asked for.
    earlier: BTreeSet<Seq>,
    /// The connection with the primary, while there is one.
    handle: Option<ConnectionHandle>,
    /// What the last try to connect has met.
    unreached: Option<Unreached>,
    /// Why nothing is done any more.
    over: Option<SessionError>,
}

/// A request without an answer.
struct UnderWay {
    method: String,
    arguments: Bytes,
    tell: oneshot::Sender<Told>,
    _room: OwnedSemaphorePermit,
}

impl Session {
    /// Opens the session `id` with the instance `name`, whose primary is where `whereabouts` say, and waits until that is durable.
    /// It is the one of that id, if there is one, and goes on behind the last request that was done ([`Session::accepted`]);
    /// openings before it are over. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If no primary is reached within `limit`, or the instance takes no more sessions.
    pub async fn open(
        name: InstanceName,
        whereabouts: impl Whereabouts + 'static,
        id: SessionId,
        limit: Duration,
    ) -> Result<Session, SessionError> {
        let began = Instant::now();
        let (opened, mut told) = watch::channel(None);
        let desk = Arc::new(Desk {
            name,
            id,
            opening: OpeningId(uuid::Uuid::new_v4().into_bytes()),
            primaries: whereabouts.primaries(),
            state: Mutex::default(),
            wanted: Notify::new(),
            window: Semaphore::new(0),
            // Who asks for more waits until others have their answers.
            room: Arc::new(Semaphore::new(SESSION_UNDER_WAY_BYTES_MAX)),
            opened,
        });
        let keeper = tokio::spawn(keep(Arc::clone(&desk), Box::new(whereabouts)));
        let session = Session { desk, keeper };
        match timeout(limit, told.wait_for(Option::is_some)).await {
            Ok(Ok(opened)) => opened.clone().expect("it was waited for")?,
            Ok(Err(_)) => unreachable!("the sender is in the desk that is held here"),
            Err(_) => return Err(session.desk.not_reached(began.elapsed())),
        };
        Ok(session)
    }

    /// A session id that nobody else has.
    pub fn new_id() -> SessionId {
        SessionId(uuid::Uuid::new_v4().into_bytes())
    }

    /// The last request that was done, or is under way, when the session was opened: the next one of its program is the one
    /// behind it.
    pub fn accepted(&self) -> Seq {
        self.desk.opened_as().accepted
    }

    /// The last request whose result was confirmed when the session was opened: those behind it, up to [`Session::accepted`], can be
    /// asked for again by [`Session::repeat`].
    pub fn confirmed(&self) -> Seq {
        self.desk.opened_as().confirmed
    }

    /// Runs a method, and waits for what it returns. Requests are done in the order in which they are given their numbers, so
    /// those that one task begins by [`Session::begin`] are done in that order.
    ///
    /// # Errors
    /// [`SessionError::Failed`] if the method could not be run.
    pub async fn call(&self, method: &str, arguments: Bytes) -> Result<SessionAnswer, SessionError> {
        self.begin(method, arguments).await?.answer().await
    }

    /// Gives a request the next number and sends it. Waits while as many are under way as may be. From here on it will be done,
    /// whether or not its answer is waited for. Results of before the opening that nobody has asked for are given up.
    ///
    /// # Errors
    /// If the session is over, or the arguments are too large.
    pub async fn begin(&self, method: &str, arguments: Bytes) -> Result<PendingRequest, SessionError> {
        check(method, &arguments)?;
        self.desk.give_up_earlier();
        let room = self.desk.room_for(&arguments).await?;
        match self.desk.window.acquire().await {
            Ok(permit) => permit.forget(),
            Err(_) => return Err(self.desk.over()),
        }
        self.desk.ask(None, method, arguments, room)
    }

    /// Asks again for the result of a request that was done before the session was opened. Method and arguments are those that it
    /// had: an instance keeps what it was asked as a hash alone.
    ///
    /// # Errors
    /// [`SessionError::Forgotten`] if it was confirmed, or asked for already, or [`Session::begin`] has given it up;
    /// [`SessionError::Reused`] if it was another request.
    pub async fn repeat(&self, seq: Seq, method: &str, arguments: Bytes) -> Result<SessionAnswer, SessionError> {
        check(method, &arguments)?;
        let room = self.desk.room_for(&arguments).await?;
        self.desk.ask(Some(seq), method, arguments, room)?.answer().await
    }

    /// Ends the connection once all that was said is written, also which results are here. What has no answer will be done if it
    /// has arrived.
    pub async fn close(self) {
        let handle = {
            let mut state = self.desk.lock();
            state.confirm(self.desk.id);
            state.handle.take()
        };
        if let Some(handle) = handle {
            handle.finish().await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl PendingRequest {
    /// Its number in the session.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// Waits for its answer. A primary is waited for as long as it takes.
    ///
    /// # Errors
    /// [`SessionError::Failed`] if the method could not be run; others if the session is over.
    pub async fn answer(self) -> Result<SessionAnswer, SessionError> {
        // The desk tells everybody before it ends, so this is the end of the session.
        let dropped = || Err(SessionError::Unreached("the session was dropped: whoever opens it goes on".to_owned()));
        self.answer.await.unwrap_or_else(|_| dropped())
    }
}

fn check(method: &str, arguments: &Bytes) -> Result<(), SessionError> {
    if method.len() > usize::from(u16::MAX) {
        return Err(SessionError::Rejected(format!("a method has no name of {} bytes", method.len())));
    }
    check_size(arguments).map_err(|error| SessionError::Rejected(error.to_string()))
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened_as(&self) -> Opened {
        let opened = self.opened.borrow().clone().and_then(Result::ok);
        opened.expect("nobody has a session before it is open")
    }

    async fn room_for(&self, arguments: &Bytes) -> Result<OwnedSemaphorePermit, SessionError> {
        let bytes = (arguments.len() + OVERHEAD_BYTES) as u32;
        Arc::clone(&self.room).acquire_many_owned(bytes).await.map_err(|_| self.over())
    }

    /// Why the session is over.
    fn over(&self) -> SessionError {
        self.lock().over.clone().expect("only a session that is over has no room for ever")
    }

    /// Gives a request its number, unless it has one, and sends it if there is a connection.
    fn ask(
        &self,
        repeated: Option<Seq>,
        method: &str,
        arguments: Bytes,
        room: OwnedSemaphorePermit,
    ) -> Result<PendingRequest, SessionError> {
        let (tell, answer) = oneshot::channel();
        let mut state = self.lock();
        if let Some(over) = &state.over {
            return Err(over.clone());
        }
        let seq = match repeated {
            Some(seq) if state.earlier.remove(&seq) => seq,
            Some(seq) => return Err(SessionError::Forgotten(seq)),
            None => {
                state.last = state.last.next();
                state.last
            }
        };
        let asked = UnderWay { method: method.to_owned(), arguments, tell, _room: room };
        let frame = state.frame(self.id, seq, &asked);
        let was_sent = state.say(frame);
        state.under_way.insert(seq, asked);
        drop(state);
        if !was_sent {
            self.wanted.notify_one();
        }
        Ok(PendingRequest { seq, answer })
    }

    /// Nobody asks any more for results of before the opening.
    fn give_up_earlier(&self) {
        let mut state = self.lock();
        let earlier = std::mem::take(&mut state.earlier);
        state.here.extend(earlier.into_iter().map(|seq| (seq, 0)));
        self.advance(state);
    }

    /// Confirms what is here without a gap, and tells that if it is much.
    fn advance(&self, mut state: MutexGuard<'_, State>) {
        let freed = state.advance();
        if state.untold_bytes >= UNTOLD_BYTES_MAX {
            state.confirm(self.id);
        }
        drop(state);
        self.window.add_permits(freed);
    }

    /// There is a connection: the session is opened on it, or all that is under way goes over it, in order.
    fn connected(&self, handle: ConnectionHandle) {
        let mut state = self.lock();
        (state.unreached, state.told, state.untold_bytes) = (None, Seq(0), 0);
        if state.ticket == Ticket(0) {
            handle.send(Frame::Control(Control::OpenSession { session: self.id.0, opening: self.opening.0 }));
        }
        let frames = state.under_way.iter().map(|(seq, asked)| state.frame(self.id, *seq, asked));
        frames.for_each(|frame| handle.send(frame));
        handle.flush();
        state.handle = Some(handle);
    }

    fn disconnected(&self) {
        // Dropped outside of the lock.
        let _handle = self.lock().handle.take();
    }

    /// Waits until something is to be sent, or to be heard.
    async fn wanted(&self) {
        while self.lock().is_idle() {
            self.wanted.notified().await;
        }
    }

    /// Takes what a host says.
    fn hear(&self, frame: Frame) -> Result<(), ConnectionError> {
        match frame {
            Frame::Control(Control::Refused { reason, .. }) => return Err(ConnectionError::Refused(reason)),
            Frame::Control(Control::SessionOpened { session, opening, ticket, accepted, confirmed, window }) => {
                if (session, opening) == (self.id.0, self.opening.0) {
                    let opened = Opened { ticket: Ticket(ticket), accepted: Seq(accepted), confirmed: Seq(confirmed) };
                    self.on_opened(opened, window as usize)?;
                }
            }
            Frame::Control(Control::SessionRefused { session, ticket, seq, refusal, reason }) => {
                if session == self.id.0 && ticket == self.lock().ticket.0 {
                    self.on_refused(Seq(seq), refusal, &reason);
                }
            }
            Frame::SessionAnswer { ticket, seq, success, value, lsn } => {
                let state = self.lock();
                if ticket == state.ticket {
                    let text = || SessionError::Failed(text_of(&value));
                    let bytes = value.len();
                    let answer = if success { Ok(SessionAnswer { value, lsn }) } else { Err(text()) };
                    self.on_answer(state, seq, bytes, answer);
                }
            }
            Frame::Control(_) => {}
            _ => return Err(ConnectionError::Unexpected),
        }
        Ok(())
    }

    /// The session is open. It may be told again, which says nothing new.
    fn on_opened(&self, opened: Opened, window: usize) -> Result<(), ConnectionError> {
        let mut state = self.lock();
        if state.ticket != Ticket(0) {
            return Ok(());
        }
        let Opened { ticket, accepted, confirmed } = opened;
        let earlier = accepted.0.checked_sub(confirmed.0).and_then(|earlier| usize::try_from(earlier).ok());
        let Some(free) = earlier.and_then(|earlier| window.checked_sub(earlier)).filter(|_| ticket > Ticket(0)) else {
            return Err(ConnectionError::Unexpected);
        };
        (state.ticket, state.last, state.confirmed, state.told) = (ticket, accepted, confirmed, confirmed);
        state.earlier = (confirmed.0 + 1..=accepted.0).map(Seq).collect();
        drop(state);
        self.window.add_permits(free.min(Semaphore::MAX_PERMITS));
        self.opened.send_replace(Some(Ok(opened)));
        Ok(())
    }

    fn on_answer(&self, mut state: MutexGuard<'_, State>, seq: Seq, bytes: usize, answer: Told) {
        // It may have been answered twice, on two connections, or be one of before that nobody has asked for.
        let Some(asked) = state.under_way.remove(&seq) else { return };
        state.here.insert(seq, bytes);
        self.advance(state);
        let _given_up = asked.tell.send(answer);
    }

    fn on_refused(&self, seq: Seq, refusal: u8, reason: &str) {
        let reason = without_controls(reason);
        let is = |other: SessionRefusal| other.number() == refusal;
        let accepted = self.opened.borrow().as_ref().and_then(|opened| Some(opened.as_ref().ok()?.accepted));
        let is_earlier = accepted.is_some_and(|accepted| seq > Seq(0) && seq <= accepted);
        if is_earlier && (is(SessionRefusal::Reused) || is(SessionRefusal::Forgotten)) {
            let error =
                if is(SessionRefusal::Reused) { SessionError::Reused(seq) } else { SessionError::Forgotten(seq) };
            let mut state = self.lock();
            let Some(asked) = state.under_way.remove(&seq) else { return };
            // Its result is still there for whoever asks for it as it was.
            state.earlier.insert(seq);
            drop(state);
            let _given_up = asked.tell.send(Err(error));
            return;
        }
        self.end(if is(SessionRefusal::Ended) {
            SessionError::Ended(reason)
        } else if is(SessionRefusal::Superseded) {
            SessionError::Superseded(reason)
        } else {
            SessionError::Refused(reason)
        });
    }

    /// The session is over, for that reason: nobody waits any longer.
    fn end(&self, error: SessionError) {
        let under_way = {
            let mut state = self.lock();
            state.over.get_or_insert_with(|| error.clone());
            std::mem::take(&mut state.under_way)
        };
        self.window.close();
        self.room.close();
        self.opened.send_if_modified(|opened| {
            let is_news = opened.is_none();
            opened.get_or_insert_with(|| Err(error.clone()));
            is_news
        });
        for asked in under_way.into_values() {
            let _given_up = asked.tell.send(Err(error.clone()));
        }
    }

    fn is_open(&self) -> bool {
        self.lock().ticket != Ticket(0)
    }

    fn is_over(&self) -> bool {
        self.lock().over.is_some()
    }

    /// Why nobody was reached.
    fn not_reached(&self, waited: Duration) -> SessionError {
        let name = self.name.clone();
        let error = match self.primaries.borrow().clone() {
            None => ClientError::NoPrimary { name, waited },
            Some(Primary { address, .. }) => {
                let unreached = self.lock().unreached.clone().unwrap_or(Unreached::Silent { address });
                ClientError::Unreached { name, unreached, waited }
            }
        };
        SessionError::Unreached(error.to_string())
    }
}

impl State {
    /// Nothing is to be sent, and nobody waits.
    fn is_idle(&self) -> bool {
        self.ticket != Ticket(0) && self.under_way.is_empty() && self.over.is_none()
    }

    fn frame(&self, session: SessionId, seq: Seq, asked: &UnderWay) -> Frame {
        let (method, arguments) = (asked.method.clone(), asked.arguments.clone());
        // What is repeated of before may be behind what is here.
        let confirmed = self.confirmed.min(Seq(seq.0 - 1));
        Frame::SessionRequest { session, ticket: self.ticket, seq, confirmed, method, arguments }
    }

    /// Sends a request if there is a connection.
    fn say(&mut self, frame: Frame) -> bool {
        let Some(handle) = &self.handle else { return false };
        if let Frame::SessionRequest { confirmed, .. } = &frame
            && *confirmed == self.confirmed
        {
            (self.told, self.untold_bytes) = (self.confirmed, 0);
        }
        handle.send(frame);
        handle.flush();
        true
    }

    /// Results without a gap are confirmed. Returns how many.
    fn advance(&mut self) -> usize {
        let mut freed = 0;
        while let Some(bytes) = self.here.remove(&self.confirmed.next()) {
            self.confirmed = self.confirmed.next();
            self.untold_bytes += bytes;
            freed += 1;
        }
        freed
    }

    /// Tells which results are here, if that is news.
    fn confirm(&mut self, session: SessionId) {
        if self.confirmed <= self.told {
            return;
        }
        let Some(handle) = &self.handle else { return };
        let (ticket, confirmed) = (self.ticket.0, self.confirmed.0);
        handle.send(Frame::Control(Control::SessionConfirmed { session: session.0, ticket, confirmed }));
        handle.flush();
        (self.told, self.untold_bytes) = (self.confirmed, 0);
    }
}

/// Keeps the connection with whoever is primary, while something is under way.
async fn keep(desk: Arc<Desk>, whereabouts: Box<dyn Whereabouts>) {
    let mut primaries = desk.primaries.clone();
    while !desk.is_over() {
        desk.wanted().await;
        match connect(&desk, &mut primaries, &*whereabouts).await {
            Ok((primary, handle, connection)) => {
                desk.connected(handle);
                let ended = serve(&desk, primary, connection, &*whereabouts).await;
                desk.disconnected();
                tracing::debug!(instance = %desk.name, "connection ended: {ended}");
                sleep(RETRY_PAUSE).await;
            }
            Err(error) => {
                tracing::debug!(instance = %desk.name, %error, "no connection to the primary yet");
                whereabouts.look_again();
                let unreached = desk.lock().unreached.clone();
                reign::paused(unreached.as_ref(), &mut primaries).await;
            }
        }
        match whereabouts.check_alive() {
            Ok(()) => {}
            // What can't be found out now may be later: requests have their numbers, and are sent then.
            Err(ClientError::Whereabouts(error)) if desk.is_open() => {
                tracing::warn!(instance = %desk.name, "it can't be found out where the primary is: {error}");
            }
            Err(error) => desk.end(SessionError::Unreached(error.to_string())),
        }
    }
}

async fn connect(
    desk: &Desk,
    primaries: &mut watch::Receiver<Option<Primary>>,
    whereabouts: &dyn Whereabouts,
) -> Result<(Primary, ConnectionHandle, Connection), ConnectionError> {
    let Some(primary) = primaries.borrow_and_update().clone() else { return Err(ConnectionError::Closed) };
    let greeting = greet_primary(&desk.name, &primary, SESSIONS_VERSION, whereabouts);
    let greeted = reign::greeted(greeting, primaries, whereabouts).await;
    desk.lock().unreached = greeted.as_ref().err().and_then(|error| Unreached::of(&primary.address, error));
    let (handle, connection) = greeted?;
    Ok((primary, handle, connection))
}

/// Takes what the primary says, as long as it is the primary.
async fn serve(
    desk: &Desk,
    primary: Primary,
    connection: Connection,
    whereabouts: &dyn Whereabouts,
) -> ConnectionError {
    let serving = connection.serve(|frame, _permit| desk.hear(frame));
    reign::served(serving, primary, desk.primaries.clone(), || desk.lock().is_idle(), whereabouts).await
}

#[cfg(test)]
mod tests;
