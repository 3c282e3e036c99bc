//! A client of one instance for many who ask at once: one connection carries what all of them want. If the primary runs in this
//! process, that is no socket ([`Nearby`]); all else is the same, and so is what comes of a takeover.
//!
//! Whatever is not answered is sent again on the next connection, wherever the primary is then; its id makes that harmless. So
//! whoever asks waits through a takeover, and hears nothing of it.
//!
//! **Architecture Invariant:** a request that is under way is sent once for all who ask for it, and who asks for it with another
//! method or other arguments is told so.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ambrosia_core::{InstanceName, Lsn, RequestId, RequestStatus, TraceContext, limits::ARGUMENTS_BYTES_MAX};
use ambrosia_wire::{Connection, ConnectionError, ConnectionHandle, Control, Frame, QUERIES_VERSION, TRACES_VERSION};
use bytes::Bytes;
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit, mpsc, oneshot, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    client::{
        Answered, ClientError, INQUIRY_SLICE, Queried, RETRY_PAUSE, answer_to, answer_to_query, check_size, inquiry,
        status_in,
    },
    greeting::{greet_nearby, greet_primary},
    reign,
    unreached::Unreached,
    values::without_controls,
    whereabouts::{Nearby, Primary, Whereabouts},
};

/// Bytes that may be under way at once. Who asks for more waits until others have their answers.
const UNDER_WAY_BYTES_MAX: usize = 2 * ARGUMENTS_BYTES_MAX;

/// What something under way takes in memory beside its arguments, about.
const OVERHEAD_BYTES: usize = 512;

const _: () = assert!(ARGUMENTS_BYTES_MAX + OVERHEAD_BYTES <= UNDER_WAY_BYTES_MAX);
const _: () = assert!(UNDER_WAY_BYTES_MAX <= Semaphore::MAX_PERMITS && UNDER_WAY_BYTES_MAX <= u32::MAX as usize);

/// A client that many tasks use at once. Dropped, it ends its connection.
pub struct SharedClient {
    desk: Arc<Desk>,
    keeper: JoinHandle<()>,
}

/// What those who ask share with the task that keeps the connection.
struct Desk {
    name: InstanceName,
    primaries: watch::Receiver<Option<Primary>>,
    state: Mutex<State>,
    /// Somebody asks, and there is no connection.
    asked: Notify,
    /// Has a permit for each byte that may be under way.
    room: Semaphore,
}

#[derive(Default)]
struct State {
    under_way: HashMap<RequestId, UnderWay>,
    /// Questions without an answer, by their numbers: queries, and inquiries after requests.
    questions: HashMap<u64, Question>,
    /// The connection with the primary, while there is one.
    handle: Option<ConnectionHandle>,
    /// What the last try to connect has met.
    unreached: Option<Unreached>,
    last_waiter: u64,
}

/// A request without an answer.
struct UnderWay {
    method: String,
    arguments: Bytes,
    /// The trace that whoever asked first says that it belongs to.
    trace: Option<TraceContext>,
    /// It was sent to a primary at least once.
    was_sent: bool,
    waiters: Vec<Waiter>,
}

/// A question without an answer.
struct Question {
    frame: Frame,
    was_sent: bool,
    /// Is told the frame that answers it.
    tell: oneshot::Sender<Result<Frame, ClientError>>,
}

struct Waiter {
    number: u64,
    /// False if it is content with the request being durable.
    for_answer: bool,
    tell: oneshot::Sender<Told>,
}

/// Takes a question away that was given up.
struct Asking<'a> {
    desk: &'a Desk,
    number: u64,
}

/// What a waiter is told: what became of the request, and the record that brought it about, 0 if that is not said.
type Told = Result<(Answered, Lsn), ClientError>;

/// Takes a waiter away that has given up.
struct Waiting<'a> {
    desk: &'a Desk,
    request: &'a RequestId,
    number: u64,
}

impl SharedClient {
    /// A client of the instance `name`, whose primary is where `whereabouts` say. Must be called within a tokio runtime. Nothing
    /// is connected before somebody asks.
    pub fn new(name: InstanceName, whereabouts: impl Whereabouts + 'static) -> SharedClient {
        let (primaries, state, asked) = (whereabouts.primaries(), Mutex::default(), Notify::new());
        let desk = Arc::new(Desk { name, primaries, state, asked, room: Semaphore::new(UNDER_WAY_BYTES_MAX) });
        let keeper = tokio::spawn(keep(Arc::clone(&desk), Box::new(whereabouts)));
        SharedClient { desk, keeper }
    }

    /// Sends one request and waits until it has its result, or is durable if `wait` is false. Across takeovers the
    /// request is sent again, which its id makes harmless. With the result comes the record that brought it about; 0 if that is not
    /// said. The trace is written down with the request, unless the host of the primary is of a version that does not know of traces.
    ///
    /// # Errors
    /// As [`crate::Client::send`], and [`ClientError::KeyReused`] if a request of that id is under way that wants something else.
    pub async fn send(
        &self,
        request: &RequestId,
        method: &str,
        arguments: Bytes,
        trace: Option<TraceContext>,
        wait: bool,
        limit: Duration,
    ) -> Result<(Answered, Lsn), ClientError> {
        check_size(&arguments)?;
        let began = Instant::now();
        let Some(_room) = self.desk.room_for(&arguments, limit).await else {
            return Err(self.desk.not_reached(began.elapsed()));
        };
        let (number, answer) = self.desk.ask(request, method, arguments, trace, wait)?;
        let _waiting = Waiting { desk: &self.desk, request, number };
        match timeout(limit.saturating_sub(began.elapsed()), answer).await {
            Ok(Ok(answer)) => answer,
            // The keeper tells everybody before it ends, so this is the end of the process.
            Ok(Err(_)) => Err(ClientError::Ended("the client has ended".to_owned())),
            Err(_) => Err(self.desk.late(request, limit, began.elapsed())),
        }
    }
}

impl SharedClient {
    /// Asks the primary something that changes nothing, as [`crate::Client::query`] does: whoever asks waits through a takeover.
    ///
    /// # Errors
    /// As [`crate::Client::query`].
    pub async fn query(
        &self,
        method: &str,
        arguments: Bytes,
        at_least: Lsn,
        limit: Duration,
    ) -> Result<Queried, ClientError> {
        check_size(&arguments)?;
        let began = Instant::now();
        let Some(_room) = self.desk.room_for(&arguments, limit).await else {
            return Err(self.desk.not_reached(began.elapsed()));
        };
        let wait_ms = limit.as_millis().try_into().unwrap_or(u32::MAX);
        let query = |number| Frame::Query { number, method: method.to_owned(), arguments, at_least, wait_ms };
        let (number, answer) = self.ask(query, limit).await?;
        answer_to_query(number, answer).expect("the answer to a query is of its number")
    }

    /// What has become of a request, as [`crate::Client::inquire`] asks.
    ///
    /// # Errors
    /// As that.
    pub async fn inquire(
        &self,
        request: &RequestId,
        wait: Duration,
        limit: Duration,
    ) -> Result<RequestStatus, ClientError> {
        let until = Instant::now() + wait;
        loop {
            let slice = until.saturating_duration_since(Instant::now()).min(INQUIRY_SLICE);
            let (number, answer) = self.ask(|number| inquiry(number, request, slice), slice + limit).await?;
            let status = status_in(number, answer).expect("the answer to an inquiry is of its number");
            if !matches!(status, RequestStatus::UnderWay { .. }) || Instant::now() >= until {
                return Ok(status);
            }
            // A host that has too much to hold answers at once.
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Asks a question, and waits for the frame that answers it, with the number of both.
    async fn ask(&self, question: impl FnOnce(u64) -> Frame, limit: Duration) -> Result<(u64, Frame), ClientError> {
        let began = Instant::now();
        let (number, answer) = self.desk.ask_question(question);
        let _asking = Asking { desk: &self.desk, number };
        match timeout(limit, answer).await {
            Ok(Ok(answer)) => Ok((number, answer?)),
            Ok(Err(_)) => Err(ClientError::Ended("the client has ended".to_owned())),
            Err(_) => {
                let was_sent = self.desk.lock().questions.get(&number).is_none_or(|question| question.was_sent);
                Err(if was_sent { ClientError::NoAnswer(limit) } else { self.desk.not_reached(began.elapsed()) })
            }
        }
    }
}

impl Drop for SharedClient {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.desk.lock().questions.remove(&self.number);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.desk.lock();
        let Some(under_way) = state.under_way.get_mut(self.request) else { return };
        under_way.waiters.retain(|waiter| waiter.number != self.number);
        if under_way.waiters.is_empty() {
            state.under_way.remove(self.request);
        }
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until so much more may be under way; `None` if that takes too long.
    async fn room_for(&self, arguments: &Bytes, limit: Duration) -> Option<SemaphorePermit<'_>> {
        let bytes = (arguments.len() + OVERHEAD_BYTES) as u32;
        if let Ok(room) = self.room.try_acquire_many(bytes) {
            return Some(room);
        }
        let room = timeout(limit, self.room.acquire_many(bytes)).await.ok()?;
        Some(room.expect("it is never closed"))
    }

    /// Takes a request, and sends it if there is a connection and it is not under way.
    fn ask(
        &self,
        request: &RequestId,
        method: &str,
        arguments: Bytes,
        trace: Option<TraceContext>,
        for_answer: bool,
    ) -> Result<(u64, oneshot::Receiver<Told>), ClientError> {
        let (tell, answer) = oneshot::channel();
        let mut state = self.lock();
        let State { under_way, handle, last_waiter, .. } = &mut *state;
        *last_waiter += 1;
        let waiter = Waiter { number: *last_waiter, for_answer, tell };
        if let Some(known) = under_way.get_mut(request) {
            if known.method != method || known.arguments != arguments {
                return Err(ClientError::KeyReused(id_text(request)));
            }
            // Who waits for the result may have asked only now.
            let is_asked = known.waiters.iter().any(|other| other.for_answer == for_answer);
            known.waiters.push(waiter);
            if let Some(handle) = handle.as_ref().filter(|_| !is_asked) {
                handle.send(known.frame(request, for_answer));
            }
        } else {
            let (method, waiters) = (method.to_owned(), vec![waiter]);
            let mut new = UnderWay { method, arguments, trace, was_sent: false, waiters };
            if let Some(handle) = handle {
                new.was_sent = true;
                handle.send(new.frame(request, for_answer));
            }
            under_way.insert(request.clone(), new);
        }
        let number = *last_waiter;
        let is_connected = handle.is_some();
        drop(state);
        if !is_connected {
            self.asked.notify_one();
        }
        Ok((number, answer))
    }

    /// Takes a question, and sends it if there is a connection.
    fn ask_question(
        &self,
        question: impl FnOnce(u64) -> Frame,
    ) -> (u64, oneshot::Receiver<Result<Frame, ClientError>>) {
        let (tell, answer) = oneshot::channel();
        let mut state = self.lock();
        state.last_waiter += 1;
        let number = state.last_waiter;
        let frame = question(number);
        let was_sent = state.handle.is_some();
        if let Some(handle) = &state.handle {
            handle.send(frame.clone());
        }
        state.questions.insert(number, Question { frame, was_sent, tell });
        drop(state);
        if !was_sent {
            self.asked.notify_one();
        }
        (number, answer)
    }

    /// Passes on what a question has come to, if it was not given up.
    fn take_answer(&self, number: u64, answer: Frame) -> Result<(), ConnectionError> {
        let Some(asked) = self.lock().questions.remove(&number) else { return Ok(()) };
        let fits = matches!(
            (&asked.frame, &answer),
            (Frame::Query { .. }, Frame::QueryAnswer { .. }) | (Frame::Inquiry { .. }, Frame::InquiryAnswer { .. })
        );
        if !fits {
            return Err(ConnectionError::Unexpected);
        }
        let _given_up = asked.tell.send(Ok(answer));
        Ok(())
    }

    /// Waits until somebody waits for something.
    async fn wanted(&self) {
        while self.lock().is_idle() {
            self.asked.notified().await;
        }
    }

    /// There is a connection: all that is under way goes over it.
    fn connected(&self, handle: ConnectionHandle) {
        let mut state = self.lock();
        state.unreached = None;
        for (request, under_way) in &mut state.under_way {
            under_way.was_sent = true;
            for for_answer in [false, true] {
                if under_way.waiters.iter().any(|waiter| waiter.for_answer == for_answer) {
                    handle.send(under_way.frame(request, for_answer));
                }
            }
        }
        for question in state.questions.values_mut() {
            question.was_sent = true;
            handle.send(question.frame.clone());
        }
        state.handle = Some(handle);
    }

    fn disconnected(&self) {
        // Dropped outside of the lock.
        let _handle = self.lock().handle.take();
    }

    /// Passes on what a host says.
    fn hear(&self, frame: Frame) -> Result<(), ConnectionError> {
        match frame {
            Frame::Control(Control::Refused { reason, .. }) => return Err(ConnectionError::Refused(reason)),
            Frame::QueryAnswer { number, .. } | Frame::InquiryAnswer { number, .. } => {
                return self.take_answer(number, frame);
            }
            frame @ (Frame::Control(_) | Frame::Answer { .. }) => self.take(frame),
            _ => return Err(ConnectionError::Unexpected),
        }
        Ok(())
    }

    /// Passes on what a host says of a request.
    fn take(&self, frame: Frame) {
        let request = match &frame {
            Frame::Control(
                Control::Accepted { request } | Control::AcceptedAt { request, .. } | Control::Rejected { request, .. },
            ) => match RequestId::new(request) {
                Ok(request) => request,
                Err(_) => return,
            },
            Frame::Answer { request, .. } => request.clone(),
            _ => return,
        };
        let is_accepted = matches!(frame, Frame::Control(Control::Accepted { .. } | Control::AcceptedAt { .. }));
        let mut state = self.lock();
        // Whoever asked may have given up.
        let Some(under_way) = state.under_way.get_mut(&request) else { return };
        let told: Vec<Waiter> = if is_accepted {
            under_way.waiters.extract_if(.., |waiter| !waiter.for_answer).collect()
        } else {
            std::mem::take(&mut under_way.waiters)
        };
        if under_way.waiters.is_empty() {
            state.under_way.remove(&request);
        }
        drop(state);
        for waiter in told {
            let answer = if waiter.for_answer || !matches!(frame, Frame::Answer { .. }) {
                answer_to(&request, frame.clone()).expect("the frame is of that request")
            } else {
                Ok((Answered::Accepted, Lsn(0)))
            };
            let _given_up = waiter.tell.send(answer);
        }
    }

    /// Nobody answers any more, for that reason.
    fn fail_all(&self, error: &ClientError) {
        let error = || match error {
            ClientError::Ended(reason) => ClientError::Ended(reason.clone()),
            error => ClientError::Whereabouts(error.to_string().into()),
        };
        let (under_way, questions) = {
            let mut state = self.lock();
            (std::mem::take(&mut state.under_way), std::mem::take(&mut state.questions))
        };
        for waiter in under_way.into_values().flat_map(|under_way| under_way.waiters) {
            let _given_up = waiter.tell.send(Err(error()));
        }
        for question in questions.into_values() {
            let _given_up = question.tell.send(Err(error()));
        }
    }

    /// Why there was no answer in time.
    fn late(&self, request: &RequestId, limit: Duration, waited: Duration) -> ClientError {
        let state = self.lock();
        if state.under_way.get(request).is_none_or(|under_way| under_way.was_sent) {
            return ClientError::Timeout(limit, id_text(request));
        }
        drop(state);
        self.not_reached(waited)
    }

    /// Why nobody was asked.
    fn not_reached(&self, waited: Duration) -> ClientError {
        let name = self.name.clone();
        match self.primaries.borrow().clone() {
            None => ClientError::NoPrimary { name, waited },
            Some(Primary { address, .. }) => {
                let unreached = self.lock().unreached.clone().unwrap_or(Unreached::Silent { address });
                ClientError::Unreached { name, unreached, waited }
            }
        }
    }
}

impl State {
    /// Nobody waits for anything.
    fn is_idle(&self) -> bool {
        self.under_way.is_empty() && self.questions.is_empty()
    }
}

impl UnderWay {
    fn frame(&self, request: &RequestId, wait: bool) -> Frame {
        let (method, arguments) = (self.method.clone(), self.arguments.clone());
        Frame::Request { request: request.clone(), method, arguments, wait, trace: self.trace }
    }
}

pub(crate) fn id_text(request: &RequestId) -> String {
    without_controls(&String::from_utf8_lossy(request.as_bytes()))
}

/// Keeps the connection with whoever is primary, while somebody waits for something.
async fn keep(desk: Arc<Desk>, whereabouts: Box<dyn Whereabouts>) {
    let mut primaries = desk.primaries.clone();
    loop {
        desk.wanted().await;
        match connect(&desk, &mut primaries, &*whereabouts).await {
            Ok((primary, handle, way)) => {
                desk.connected(handle);
                let ended = serve(&desk, primary, way, &*whereabouts).await;
                desk.disconnected();
                tracing::debug!(instance = %desk.name, "connection ended: {ended}");
                if matches!(ended, ConnectionError::Refused(_)) {
                    sleep(RETRY_PAUSE).await;
                }
            }
            Err(error) => {
                tracing::debug!(instance = %desk.name, %error, "no connection to the primary yet");
                whereabouts.look_again();
                let unreached = desk.lock().unreached.clone();
                reign::paused(unreached.as_ref(), &mut primaries).await;
            }
        }
        if let Err(error) = whereabouts.check_alive() {
            desk.fail_all(&error);
        }
    }
}

type Greeted = (Primary, ConnectionHandle, Way);

/// How the primary is heard.
enum Way {
    /// Over a socket.
    Socket(Box<Connection>),
    /// Its host is this process.
    Nearby(mpsc::UnboundedReceiver<Vec<Frame>>),
}

async fn connect(
    desk: &Desk,
    primaries: &mut watch::Receiver<Option<Primary>>,
    whereabouts: &dyn Whereabouts,
) -> Result<Greeted, ConnectionError> {
    let Some(primary) = primaries.borrow_and_update().clone() else { return Err(ConnectionError::Closed) };
    let greeted = reign::greeted(reach(desk, &primary, whereabouts), primaries, whereabouts).await;
    desk.lock().unreached = greeted.as_ref().err().and_then(|error| Unreached::of(&primary.address, error));
    let (handle, way) = greeted?;
    Ok((primary, handle, way))
}

async fn reach(
    desk: &Desk,
    primary: &Primary,
    whereabouts: &dyn Whereabouts,
) -> Result<(ConnectionHandle, Way), ConnectionError> {
    if let Some(nearby) = whereabouts.nearby(primary) {
        let Nearby { handle, frames } = greet_nearby(nearby).await?;
        return Ok((handle, Way::Nearby(frames)));
    }
    let greeted = match greet_primary(&desk.name, primary, TRACES_VERSION, whereabouts).await {
        // It may be of an earlier version, and takes requests without their traces.
        Err(ConnectionError::Refused(_)) => greet_primary(&desk.name, primary, QUERIES_VERSION, whereabouts).await,
        greeted => greeted,
    };
    let (handle, connection) = greeted?;
    Ok((handle, Way::Socket(Box::new(connection))))
}

/// Passes on what the primary says, as long as it is the primary.
async fn serve(desk: &Desk, primary: Primary, way: Way, whereabouts: &dyn Whereabouts) -> ConnectionError {
    let serving = async {
        match way {
            Way::Socket(connection) => connection.serve(|frame, _permit| desk.hear(frame)).await,
            Way::Nearby(frames) => hear_all(desk, frames).await,
        }
    };
    reign::served(serving, primary, desk.primaries.clone(), || desk.lock().is_idle(), whereabouts).await
}

/// Passes on what a host in this process says, for one wake all that it says at once.
async fn hear_all(desk: &Desk, mut frames: mpsc::UnboundedReceiver<Vec<Frame>>) -> ConnectionError {
    while let Some(said) = frames.recv().await {
        for frame in said {
            if let Err(error) = desk.hear(frame) {
                return error;
            }
        }
    }
    ConnectionError::Closed
}

#[cfg(test)]
mod tests;
