//! A client from outside: sends requests to an instance, wherever its primary is, and each takes effect once.

use std::{
    error::Error,
    pin::Pin,
    time::{Duration, Instant},
};

use ambrosia_core::{
    CallId, InstanceName, Lsn, PromiseToken, ReplicaIndex, RequestId, RequestStatus, TraceContext,
    limits::ARGUMENTS_BYTES_MAX,
};
use ambrosia_methods::Methods;
use ambrosia_wire::{
    CLIENT_VERSION, Connection, ConnectionError, ConnectionHandle, Control, Dialogue, Frame, INQUIRIES_VERSION,
    KEY_REUSED, METHODS_BYTES_MAX, METHODS_VERSION, PROMISED_BYTES_MAX, PROMISES_VERSION, QUERIES_VERSION,
    TRACES_VERSION,
};
use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{Sleep, sleep, timeout},
};

use crate::{
    greeting::greet_primary,
    reign,
    replica::ReplicaConnection,
    shared_client::id_text,
    unreached::Unreached,
    values::{decode_value, without_controls},
    whereabouts::{Primary, Whereabouts},
};

/// Without a primary for this long, it is said what is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// A primary that has not answered for this long may be one no more: it is looked who is, and again as often.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Pause before the same primary is tried again.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Pause before a host is tried again that has refused: it says the same for a while, and tells its operator each time.
pub(crate) const REFUSED_PAUSE: Duration = Duration::from_millis(250);

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answered {
    /// It is durable; the answer was not waited for.
    Accepted,
    /// The method returned this value, as it encoded it.
    Value(Bytes),
}

/// What a query gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Queried {
    /// The value that the method returned, as it encoded it.
    pub value: Bytes,
    /// The last record of the state that was asked.
    pub lsn: Lsn,
}

/// An inquiry is answered within this, or asked anew: a host holds it no longer.
pub(crate) const INQUIRY_SLICE: Duration = Duration::from_secs(30);

/// A request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It can't be done, and was not logged.
    #[error("{0}")]
    Rejected(String),
    /// The method could not be run.
    #[error("the request failed: {0}")]
    Failed(String),
    /// Its id belongs to a request that wants something else.
    #[error("the request id {0} is that of another request: it has another method or other arguments")]
    KeyReused(String),
    /// No answer came in time. It may still take effect: repeat it with the same id.
    #[error("no answer within {0:?}; the request may still take effect, so repeat it with --request-id {1}")]
    Timeout(Duration, String),
    /// No answer to a question came in time, such as a query. It changes nothing, so nothing is lost.
    #[error(
        "no answer to the question within {0:?}: whoever was asked is busy, or stopped; see `ambrosia-host status`"
    )]
    NoAnswer(Duration),
    /// A replica that was to be asked is not reached.
    #[error("replica {replica} of instance {name} can't be asked: {reason} (waited {:.1} s)", waited.as_secs_f64())]
    NoReplica {
        /// Which.
        replica: ReplicaIndex,
        /// The instance.
        name: InstanceName,
        /// What it said last, or why nobody said anything.
        reason: String,
        /// How long.
        waited: Duration,
    },
    /// A checkpoint was begun, and not finished in time.
    #[error(
        "replica {replica} was asked for a checkpoint at lsn {lsn} and has taken none within {waited:?}; what it says on its \
         stderr tells why. The log is intact"
    )]
    NotTaken {
        /// Who was asked last.
        replica: ReplicaIndex,
        /// At which record.
        lsn: Lsn,
        /// How long it had.
        waited: Duration,
    },
    /// No checkpoint was begun in time.
    #[error("no checkpoint was begun within {0:?}: the primary is busy, or stopped; see `ambrosia-host status`")]
    NoCheckpoint(Duration),
    /// The primary has not told the methods in time.
    #[error("the methods of the instance were not told within {0:?}: the primary is busy, or stopped")]
    NoMethods(Duration),
    /// Nobody runs the instance.
    #[error(
        "instance {name} has no primary: start one with `ambrosia-host run --instance {name}` (waited {:.1} s)",
        waited.as_secs_f64()
    )]
    NoPrimary {
        /// The instance.
        name: InstanceName,
        /// How long.
        waited: Duration,
    },
    /// Somebody runs it, but is not to be reached.
    #[error("instance {name} runs, but {unreached} (waited {:.1} s)", waited.as_secs_f64())]
    Unreached {
        /// The instance.
        name: InstanceName,
        /// Why the primary was not reached.
        unreached: Unreached,
        /// How long.
        waited: Duration,
    },
    /// No host says where the primary is.
    #[error(
        "no host says where the primary of instance {name} is: {reason} (waited {:.1} s)",
        waited.as_secs_f64()
    )]
    NotFound {
        /// The instance.
        name: InstanceName,
        /// What each host said, or why it said nothing.
        reason: String,
        /// How long.
        waited: Duration,
    },
    /// The instance will not answer any more.
    #[error("{0}")]
    Ended(String),
    /// The system has no more threads.
    #[error(
        "a thread can't be started: {0}. Raise the limit of threads (`ulimit -u`, pids.max), or end something else"
    )]
    Thread(std::io::Error),
    /// It can't be found out where the primary is; the registration can't be read, for example.
    #[error(transparent)]
    Whereabouts(Box<dyn Error + Send + Sync>),
}

/// A checkpoint that was wanted, and is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckpointTaken {
    /// The newest, which is the one wanted or a later one.
    pub lsn: Lsn,
    /// The record at which it was to be taken.
    pub asked: Lsn,
    /// The replica that was asked for it.
    pub replica: ReplicaIndex,
}

/// A client of one instance. It keeps its connection for the next request.
pub struct Client {
    name: InstanceName,
    whereabouts: Box<dyn Whereabouts>,
    primaries: watch::Receiver<Option<Primary>>,
    connected: Option<Connected>,
    /// What the last try to connect to the present primary has met.
    unreached: Option<Unreached>,
    /// Version of the protocol in which it says hello.
    version: u16,
    /// The replica that was asked last, and how it is reached.
    replica: Option<(ReplicaIndex, ReplicaConnection)>,
    /// Number of the last query.
    queries: u64,
    /// What requests belong to.
    trace: Option<TraceContext>,
}

struct Connected {
    primary: Primary,
    dialogue: Dialogue,
    /// When it is looked next who is primary, if somebody waits then. It is set anew about once in that time, and not for each
    /// request.
    look: Pin<Box<Sleep>>,
}

impl Client {
    /// A client of the instance `name`, whose primary is where `whereabouts` say.
    pub fn new(name: InstanceName, whereabouts: impl Whereabouts + 'static) -> Self {
        let primaries = whereabouts.primaries();
        Client {
            name,
            whereabouts: Box::new(whereabouts),
            primaries,
            connected: None,
            unreached: None,
            version: CLIENT_VERSION,
            replica: None,
            queries: 0,
            trace: None,
        }
    }

    /// What the module of the instance describes, asked of its primary.
    ///
    /// # Errors
    /// [`ClientError::Rejected`] if it can't be told; the others if the primary is not reached, or its host is of an earlier
    /// version, which does not know the question.
    pub async fn methods(&mut self, limit: Duration) -> Result<Methods, ClientError> {
        self.speak(METHODS_VERSION);
        let late = || ClientError::NoMethods(limit);
        self.ask(Frame::Control(Control::Methods), limit, late, |answer| match answer {
            Frame::Control(Control::MethodTable { table }) => Some(read_methods(&table)),
            Frame::Control(Control::NoMethods { reason }) => Some(Err(ClientError::Rejected(reason))),
            _ => None,
        })
        .await
    }

    /// From here on requests say that they belong to that trace, or to none. It is written down with them, and `trace --otlp` shows what
    /// they bring about as a part of it. Hosts that don't know of traces are not reached once there was one.
    pub fn set_trace(&mut self, trace: Option<TraceContext>) {
        self.trace = trace;
    }

    /// From here on at least that version of the protocol is spoken, or hosts that don't know it are not reached.
    fn speak(&mut self, version: u16) {
        if self.version < version {
            (self.version, self.connected) = (version, None);
        }
    }

    /// Fulfils a promise of the instance with one MessagePack value. False if there is none of that name; true if it is
    /// fulfilled, durably, by this or before: so it can be repeated.
    ///
    /// # Errors
    /// If no primary is reached in time, or the value is too large.
    pub async fn resolve(
        &mut self,
        promise: CallId,
        token: PromiseToken,
        value: Vec<u8>,
        limit: Duration,
    ) -> Result<bool, ClientError> {
        if value.len() > PROMISED_BYTES_MAX {
            let (bytes, max) = (value.len(), PROMISED_BYTES_MAX);
            return Err(ClientError::Rejected(format!("a value of {bytes} bytes exceeds the limit of {max} bytes")));
        }
        self.speak(PROMISES_VERSION);
        let frame = Frame::Control(Control::Resolve { promise: promise.0, token, value });
        let is_answer = |answer| match answer {
            Frame::Control(Control::Resolved { promise: of, token: by, is_known }) => {
                ((of, by) == (promise.0, token)).then_some(Ok(is_known))
            }
            _ => None,
        };
        self.ask(frame, limit, || ClientError::NoAnswer(limit), is_answer).await
    }

    /// Asks something that changes nothing: runs a method of kind `query`. No record is made of it.
    ///
    /// Without a `replica` the primary answers, and what it answers is what all requests that were answered before have made
    /// of the state (it is linearizable). A replica answers from the state as far as it has it, once it has come to `at_least`,
    /// which is waited for: with the record of an earlier answer one sees what that request has done.
    ///
    /// # Errors
    /// [`ClientError::Rejected`] if it can't be asked, [`ClientError::Failed`] with the reason if the method failed.
    pub async fn query(
        &mut self,
        method: &str,
        arguments: &[u8],
        at_least: Lsn,
        replica: Option<ReplicaIndex>,
        limit: Duration,
    ) -> Result<Queried, ClientError> {
        check_size(arguments)?;
        self.queries += 1;
        let number = self.queries;
        let (method, arguments) = (method.to_owned(), Bytes::copy_from_slice(arguments));
        let wait_ms = limit.as_millis().try_into().unwrap_or(u32::MAX);
        let frame = Frame::Query { number, method, arguments, at_least, wait_ms };
        match replica {
            None => {
                self.speak(QUERIES_VERSION);
                self.ask(frame, limit, || ClientError::NoAnswer(limit), |answer| answer_to_query(number, answer)).await
            }
            Some(replica) => self.ask_replica(replica, frame, number, limit).await,
        }
    }

    /// Asks a replica, and again if the connection with it is lost.
    async fn ask_replica(
        &mut self,
        replica: ReplicaIndex,
        frame: Frame,
        number: u64,
        limit: Duration,
    ) -> Result<Queried, ClientError> {
        let began = Instant::now();
        let mut reason = None;
        let asking = async {
            loop {
                let connected = match self.replica.take() {
                    Some((known, connection)) if known == replica => Ok(connection),
                    _ => ReplicaConnection::open(&self.name, &*self.whereabouts, replica).await,
                };
                match connected {
                    Err(error) => reason = Some(error),
                    Ok(mut connection) => {
                        reason = None;
                        if let Some(answer) = connection.ask(&frame, number).await {
                            self.replica = Some((replica, connection));
                            return answer;
                        }
                    }
                }
                self.whereabouts.check_alive()?;
                sleep(REFUSED_PAUSE).await;
            }
        };
        let asked = timeout(limit, asking).await;
        asked.unwrap_or_else(|_| {
            Err(match reason {
                None => ClientError::NoAnswer(limit),
                Some(reason) => {
                    let reason = without_controls(&reason);
                    ClientError::NoReplica { replica, name: self.name.clone(), reason, waited: began.elapsed() }
                }
            })
        })
    }

    /// What has become of a request, as far as it is durable, asked of the primary: so whatever was told of it before still
    /// holds. The result is waited for as long as `wait`, and beside that the primary as long as `limit`.
    ///
    /// # Errors
    /// If no primary is reached in time.
    pub async fn inquire(
        &mut self,
        request: &RequestId,
        wait: Duration,
        limit: Duration,
    ) -> Result<RequestStatus, ClientError> {
        self.speak(INQUIRIES_VERSION);
        let until = Instant::now() + wait;
        loop {
            let slice = until.saturating_duration_since(Instant::now()).min(INQUIRY_SLICE);
            self.queries += 1;
            let number = self.queries;
            let frame = inquiry(number, request, slice);
            let late = || ClientError::NoAnswer(slice + limit);
            let status = self.ask(frame, slice + limit, late, |answer| status_in(number, answer).map(Ok)).await?;
            if !matches!(status, RequestStatus::UnderWay { .. }) || Instant::now() >= until {
                return Ok(status);
            }
            // A host that has too much to hold answers at once.
            sleep(RETRY_PAUSE).await;
        }
    }

    /// As [`Client::send`], and says which record brought the answer about: a query that asks for at least that one sees what
    /// the request has done. If the answer was not waited for it is the record that holds the request.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn send_for_lsn(
        &mut self,
        request: &RequestId,
        method: &str,
        arguments: &[u8],
        wait: bool,
        limit: Duration,
    ) -> Result<(Answered, Lsn), ClientError> {
        self.speak(QUERIES_VERSION);
        self.send_request(request, method, arguments, wait, limit).await
    }

    /// Sends one request and waits until it has its result, or is durable if `wait` is false. Across takeovers the
    /// request is sent again, which its id makes harmless.
    pub async fn send(
        &mut self,
        request: &RequestId,
        method: &str,
        arguments: &[u8],
        wait: bool,
        limit: Duration,
    ) -> Result<Answered, ClientError> {
        Ok(self.send_request(request, method, arguments, wait, limit).await?.0)
    }

    async fn send_request(
        &mut self,
        request: &RequestId,
        method: &str,
        arguments: &[u8],
        wait: bool,
        limit: Duration,
    ) -> Result<(Answered, Lsn), ClientError> {
        check_size(arguments)?;
        let arguments = Bytes::copy_from_slice(arguments);
        let trace = self.trace;
        if trace.is_some() {
            self.speak(TRACES_VERSION);
        }
        let frame = Frame::Request { request: request.clone(), method: method.to_owned(), arguments, wait, trace };
        let id = without_controls(&String::from_utf8_lossy(request.as_bytes()));
        let late = || ClientError::Timeout(limit, id);
        self.ask(frame, limit, late, |answer| answer_to(request, answer)).await
    }

    /// Has a checkpoint taken, and waits until it is there: until `published`, which tells at which record the newest is, has
    /// come so far. Whoever is primary is asked, and the next one if that is lost; if the replica that takes it dies,
    /// another one does.
    ///
    /// # Errors
    /// [`ClientError::Rejected`] if there will be none, [`ClientError::NoCheckpoint`] or [`ClientError::NotTaken`] if there
    /// is none in time.
    pub async fn checkpoint(
        &mut self,
        mut published: watch::Receiver<Lsn>,
        limit: Duration,
    ) -> Result<CheckpointTaken, ClientError> {
        let (asked, mut told) = watch::channel(None);
        let late = || ClientError::NoCheckpoint(limit);
        let mut who = asked.subscribe();
        let asking = self.ask(Frame::Control(Control::Checkpoint), limit, late, |answer| match answer {
            Frame::Control(Control::CheckpointAsked { lsn, replica }) => {
                asked.send_replace(Some((Lsn(lsn), ReplicaIndex(replica))));
                None // it is to be taken yet
            }
            Frame::Control(Control::CheckpointRefused { reason }) => Some(Err(ClientError::Rejected(reason))),
            _ => None,
        });
        let taken = async {
            loop {
                let now = *told.borrow_and_update();
                let Some((lsn, replica)): Option<(Lsn, ReplicaIndex)> = now else {
                    // It ends with the asking, which ends this one too.
                    let _changed = told.changed().await;
                    continue;
                };
                let newest = *published.borrow_and_update();
                if newest >= lsn {
                    return CheckpointTaken { lsn: newest, asked: lsn, replica };
                }
                tokio::select! {
                    changed = published.changed() => {
                        if changed.is_err() {
                            // Nobody tells of checkpoints any more, so the time runs out.
                            std::future::pending::<()>().await;
                        }
                    }
                    // Another replica is asked, at a later record.
                    _changed = told.changed() => {}
                }
            }
        };
        let refused: Result<CheckpointTaken, ClientError> = tokio::select! {
            refused = asking => refused,
            taken = taken => return Ok(taken),
        };
        match (refused, *who.borrow_and_update()) {
            (Err(ClientError::NoCheckpoint(_)), Some((lsn, replica))) => {
                Err(ClientError::NotTaken { replica, lsn, waited: limit })
            }
            (refused, _) => refused,
        }
    }

    /// Asks the primary, and the next one if that is lost, until `take` finds the answer among what comes back.
    async fn ask<T>(
        &mut self,
        frame: Frame,
        limit: Duration,
        late: impl FnOnce() -> ClientError,
        take: impl Fn(Frame) -> Option<Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        let began = Instant::now();
        let mut reached = false;
        let mut said = false;
        let asking = async {
            loop {
                if !said && !reached && began.elapsed() >= PATIENCE {
                    said = true;
                    match self.hindrance() {
                        Some(unreached) => tracing::info!(instance = %self.name, "waiting: {unreached}"),
                        None => match self.why_unknown() {
                            Some(reason) => tracing::info!(instance = %self.name, "waiting for a primary: {reason}"),
                            None => tracing::info!(instance = %self.name, "waiting for a primary"),
                        },
                    }
                }
                if let Some(answer) = self.try_to_ask(&frame, &mut reached, &take).await? {
                    return Ok(answer);
                }
                self.whereabouts.check_alive()?;
            }
        };
        match timeout(limit, asking).await {
            Ok(result) => result,
            Err(_) if reached => Err(late()),
            Err(_) => Err(self.not_reached(began.elapsed())),
        }
    }

    pub(crate) fn name(&self) -> &InstanceName {
        &self.name
    }

    pub(crate) fn whereabouts(&self) -> &dyn Whereabouts {
        &*self.whereabouts
    }

    pub(crate) fn primaries(&mut self) -> &mut watch::Receiver<Option<Primary>> {
        &mut self.primaries
    }

    /// What the last try to connect to the present primary has met.
    pub(crate) fn unreached(&self) -> Option<&Unreached> {
        self.unreached.as_ref()
    }

    pub(crate) fn not_reached(&self, waited: Duration) -> ClientError {
        let name = self.name.clone();
        match self.hindrance() {
            Some(unreached) => ClientError::Unreached { name, unreached, waited },
            None => match self.why_unknown() {
                Some(reason) => ClientError::NotFound { name, reason, waited },
                None => ClientError::NoPrimary { name, waited },
            },
        }
    }

    /// Why it is not known where the primary is, in the words of hosts that may be strangers.
    fn why_unknown(&self) -> Option<String> {
        self.whereabouts.why_unknown().map(|reason| without_controls(&reason))
    }

    /// Why the primary that there is can't be talked to; `None` if there is none.
    fn hindrance(&self) -> Option<Unreached> {
        let address = self.primaries.borrow().as_ref()?.address.clone();
        Some(self.unreached.clone().unwrap_or(Unreached::Silent { address }))
    }

    /// One try; `None` if the connection was lost and another try is due.
    async fn try_to_ask<T>(
        &mut self,
        frame: &Frame,
        reached: &mut bool,
        take: impl Fn(Frame) -> Option<Result<T, ClientError>>,
    ) -> Result<Option<T>, ClientError> {
        if let Err(error) = self.connect().await {
            tracing::debug!(%error, "no connection to the primary yet");
            self.whereabouts.look_again();
            reign::paused(self.unreached.as_ref(), &mut self.primaries).await;
            return Ok(None);
        }
        let Some(connected) = &mut self.connected else { return Ok(None) };
        *reached = true;
        connected.dialogue.say(frame);
        let mut asked = tokio::time::Instant::now();
        let Connected { primary, dialogue, look } = connected;
        let epoch = primary.epoch;
        loop {
            let moved = self.primaries.wait_for(|now| now.as_ref().is_some_and(|now| now.epoch != epoch));
            let heard = tokio::select! {
                biased;
                heard = dialogue.hear() => heard,
                _moved = moved => Err(ConnectionError::Closed),
                () = &mut *look => {
                    if asked + LOOK_INTERVAL <= look.deadline() {
                        self.whereabouts.look_again();
                        asked = look.deadline();
                    }
                    look.as_mut().reset(asked + LOOK_INTERVAL);
                    continue;
                }
            };
            let answer = match heard {
                // It goes on nowhere.
                Ok(Frame::Control(Control::Refused { reason, elsewhere: false })) => {
                    self.connected = None;
                    return Err(ClientError::Rejected(reason));
                }
                Ok(Frame::Control(Control::Refused { reason, .. })) => {
                    tracing::debug!("the host ends the connection: {reason}");
                    self.connected = None;
                    sleep(RETRY_PAUSE).await;
                    return Ok(None);
                }
                Ok(
                    frame @ (Frame::Control(_)
                    | Frame::Answer { .. }
                    | Frame::QueryAnswer { .. }
                    | Frame::InquiryAnswer { .. }),
                ) => frame,
                Ok(_) => return Ok(self.lost(&ConnectionError::Unexpected)),
                Err(error) => return Ok(self.lost(&error)),
            };
            // What is not taken belongs to something that was given up.
            if let Some(answer) = take(answer) {
                return answer.map(Some);
            }
        }
    }

    /// The connection has ended: another try is due.
    fn lost<T>(&mut self, ended: &ConnectionError) -> Option<T> {
        tracing::debug!("connection ended: {ended}");
        self.connected = None;
        None
    }

    /// A connection of its own to the present primary, in that version of the protocol.
    pub(crate) async fn greet_primary(
        &mut self,
        version: u16,
    ) -> Result<(Primary, ConnectionHandle, Connection), ConnectionError> {
        let Some(primary) = self.primaries.borrow_and_update().clone() else {
            return Err(ConnectionError::Closed);
        };
        let greeting = greet_primary(&self.name, &primary, version, &*self.whereabouts);
        let greeted = reign::greeted(greeting, &mut self.primaries, &*self.whereabouts).await;
        self.unreached = greeted.as_ref().err().and_then(|error| Unreached::of(&primary.address, error));
        let (handle, connection) = greeted?;
        Ok((primary, handle, connection))
    }

    async fn connect(&mut self) -> Result<(), ConnectionError> {
        if self.connected.is_some() {
            return Ok(());
        }
        let (primary, _handle, connection) = self.greet_primary(self.version).await?;
        let look = Box::pin(sleep(LOOK_INTERVAL));
        self.connected = Some(Connected { primary, dialogue: Dialogue::of(connection), look });
        Ok(())
    }
}

/// The methods in a table that a host has told.
fn read_methods(table: &[u8]) -> Result<Methods, ClientError> {
    let methods = if table.len() > METHODS_BYTES_MAX { None } else { Methods::decode(table) };
    let unknown = || "the host tells methods in a form that this version does not know. Use its version here, too";
    methods.ok_or_else(|| ClientError::Rejected(unknown().to_owned()))
}

/// Sees that arguments are not more than a message may have.
pub(crate) fn check_size(arguments: &[u8]) -> Result<(), ClientError> {
    let (bytes, max) = (arguments.len(), ARGUMENTS_BYTES_MAX);
    if bytes > max {
        return Err(ClientError::Rejected(format!("arguments of {bytes} bytes exceed the limit of {max} bytes")));
    }
    Ok(())
}

/// What a frame says of that request, if it is of it, and the record of that.
pub(crate) fn answer_to(request: &RequestId, answer: Frame) -> Option<Result<(Answered, Lsn), ClientError>> {
    match answer {
        Frame::Control(Control::Accepted { request: of }) if of == request.as_bytes() => {
            Some(Ok((Answered::Accepted, Lsn(0))))
        }
        Frame::Control(Control::AcceptedAt { request: of, lsn }) if of == request.as_bytes() => {
            Some(Ok((Answered::Accepted, Lsn(lsn))))
        }
        Frame::Control(Control::Rejected { request: of, reason }) if of == request.as_bytes() => {
            let is_reused = reason == KEY_REUSED;
            let error =
                if is_reused { ClientError::KeyReused(id_text(request)) } else { ClientError::Rejected(reason) };
            Some(Err(error))
        }
        Frame::Answer { request: of, success: true, value, lsn } if of == *request => {
            Some(Ok((Answered::Value(value), lsn)))
        }
        Frame::Answer { request: of, success: false, value, .. } if of == *request => {
            Some(Err(ClientError::Failed(text_of(&value))))
        }
        _ => None,
    }
}

/// The question for what has become of a request.
pub(crate) fn inquiry(number: u64, request: &RequestId, wait: Duration) -> Frame {
    let wait_ms = wait.as_millis().try_into().unwrap_or(u32::MAX);
    Frame::Inquiry { number, request: request.clone(), wait_ms }
}

/// What a frame says in answer to that inquiry, if it is of it.
pub(crate) fn status_in(number: u64, answer: Frame) -> Option<RequestStatus> {
    match answer {
        Frame::InquiryAnswer { number: of, status } if of == number => Some(status),
        _ => None,
    }
}

/// What a frame says of that query, if it is of it.
pub(crate) fn answer_to_query(number: u64, answer: Frame) -> Option<Result<Queried, ClientError>> {
    match answer {
        Frame::QueryAnswer { number: of, success, value, lsn } if of == number => Some(match (success, lsn) {
            (true, lsn) => Ok(Queried { value, lsn }),
            (false, Lsn(0)) => Err(ClientError::Rejected(text_of(&value))),
            (false, _) => Err(ClientError::Failed(text_of(&value))),
        }),
        _ => None,
    }
}

/// The text of a failure.
pub(crate) fn text_of(value: &[u8]) -> String {
    let text = decode_value(value);
    text.as_str().map_or_else(|| text.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::net::TcpListener;

    use super::*;

    /// What the frames that a host may send say of the request `asked`.
    fn says(asked: &str, of: &str) -> Vec<bool> {
        let asked = RequestId::new(asked).expect("short");
        let request = || of.as_bytes().to_vec();
        let id = || RequestId::new(of).expect("short");
        let frames = [
            Frame::Control(Control::Accepted { request: request() }),
            Frame::Control(Control::AcceptedAt { request: request(), lsn: 3 }),
            Frame::Control(Control::Rejected { request: request(), reason: "why".to_owned() }),
            Frame::Answer { request: id(), success: true, value: b"\xc0"[..].into(), lsn: Lsn(4) },
            Frame::Answer { request: id(), success: false, value: b"\xa0"[..].into(), lsn: Lsn(4) },
        ];
        frames.into_iter().map(|frame| answer_to(&asked, frame).is_some()).collect()
    }

    #[tokio::test]
    async fn a_host_of_an_earlier_version_is_not_asked_for_methods_without_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
        let address = listener.local_addr().expect("it has an address");
        let refusals = Arc::new(AtomicUsize::new(0));
        let refused = Arc::clone(&refusals);
        let host = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (_handle, mut connection) = Connection::new(socket).expect("a socket");
                let answer = match connection.read_frame().await {
                    Ok(Frame::Control(Control::ClientHello { version: 2, .. })) => Control::ClientWelcome { epoch: 1 },
                    _ => {
                        refused.fetch_add(1, Ordering::Relaxed);
                        Control::Refused { elsewhere: false, reason: "this host speaks versions 1 to 2".to_owned() }
                    }
                };
                // Whoever asks may be gone.
                let _gone = connection.write_frame(&Frame::Control(answer)).await;
            }
        });
        let name = InstanceName::new("bank").expect("a plain name");
        let mut client = Client::new(name.clone(), crate::Addresses::new(name, vec![address.into()]));
        let error =
            client.methods(Duration::from_secs(3)).await.expect_err("it does not know the question").to_string();
        assert!(error.contains("refuses the connection: this host speaks versions 1 to 2"), "{error}");
        let refusals = refusals.load(Ordering::Relaxed);
        assert!((1..=16).contains(&refusals), "{refusals} refusals in three seconds");
        host.abort();
    }

    #[test]
    fn methods_are_believed_only_as_they_are_written_down() {
        let methods = Methods::new(vec![ambrosia_methods::Method::without_types("add".to_owned(), Vec::new(), true)]);
        let mut table = methods.encode();
        assert_eq!(read_methods(&table).ok(), Some(methods));
        table[30] ^= 1;
        for table in [&table[..], &[], &vec![b' '; METHODS_BYTES_MAX + 1]] {
            assert!(matches!(read_methods(table), Err(ClientError::Rejected(_))));
        }
    }

    #[test]
    fn only_what_is_of_the_request_answers_it() {
        assert_eq!(says("a", "a"), [true; 5]);
        for of in ["b", "A", "aa"] {
            assert_eq!(says("a", of), [false; 5], "{of}");
        }
    }
}
