//! Sends the requests of one instance, each until it has an outcome.

use std::{
    error::Error,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, body::Incoming, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::capture_connection},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{
    sync::OnceCell,
    time::{sleep, timeout},
};

use crate::{
    connector::{ConnectError, Connector},
    grant::Grants,
    limits::{ANSWER_BODY_BYTES_MAX, HEADER_BYTES_MAX, HEADERS_MAX, LARGE_ANSWER_BYTES},
    outcome::{Answer, FailureKind, Outcome},
    outside::{NoRoots, Outside, Turn, no_tls},
    pending::{Board, Pending},
    policy::{self, Ended, Next},
    prepared::{Prepared, Refused},
    request::Request,
    secret::{FillError, Secrets, Sent},
    target::Scheme,
};

/// A connection that nothing is sent by is kept so long.
const IDLE_TIME_MAX: Duration = Duration::from_secs(60);

/// Idle connections that are kept for each host.
const IDLE_CONNECTIONS_MAX: usize = 4;

type HttpClient = Client<HttpsConnector<Connector>, Full<Bytes>>;

/// Who sends.
#[derive(Clone, Debug)]
pub struct SenderOptions {
    /// The name of the instance.
    pub instance: String,
    /// Its identity: the first part of all keys.
    pub uuid: String,
    /// Where its requests may go.
    pub grants: Grants,
    /// The secrets that it may have put into them.
    pub secrets: Secrets,
}

/// The way out of one instance. Its connections are its own.
pub struct Sender {
    options: SenderOptions,
    outside: Arc<Outside>,
    /// By scheme, and by whether near addresses may be connected to.
    clients: [OnceCell<HttpClient>; 4],
    board: Board,
}

impl fmt::Debug for Sender {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Sender").field("options", &self.options).finish_non_exhaustive()
    }
}

/// An outcome, and the right to have it in memory.
#[derive(Debug)]
pub struct Performed {
    /// What has come of the request.
    pub outcome: Outcome,
    /// Kept until the outcome is at its place.
    pub turn: Option<Turn>,
}

/// How one attempt went.
enum Attempt {
    Answered(Answer, Option<Duration>),
    Failed { ended: Ended, error: String, took_too_long: bool },
    Refused(String),
}

impl Attempt {
    fn failed(ended: Ended, error: impl Into<String>) -> Attempt {
        Attempt::Failed { ended, error: error.into(), took_too_long: false }
    }
}

impl Sender {
    /// The way out of one instance.
    pub fn new(options: SenderOptions, outside: Arc<Outside>) -> Sender {
        Sender { options, outside, clients: Default::default(), board: Board::default() }
    }

    /// What has no outcome yet, by the guest's numbers.
    pub fn pending(&self) -> Vec<Pending> {
        self.board.all()
    }

    /// Sends a request of the guest, and sends it again, until it has an outcome. Dropped, it ends at once, and whether it was done nobody
    /// knows. `is_resumed` says that an earlier primary may have sent it.
    pub async fn perform(&self, id: u64, request: &[u8], is_resumed: bool) -> Performed {
        let at_once = |outcome| Performed { outcome, turn: None };
        let request = match Request::decode(request) {
            Ok(request) => request,
            Err(error) => return at_once(Outcome::refused(error.to_string())),
        };
        if is_resumed && request.once {
            let error =
                "another replica became primary while the request was under way, so it may have been done".to_owned();
            return at_once(Outcome::failure(FailureKind::Unknown, 0, error));
        }
        let key = format!("{}-{id}", self.options.uuid);
        match Prepared::of(request, &key, &self.options.grants) {
            Ok(prepared) => self.try_until_done(id, &prepared, is_resumed).await,
            Err(error) => at_once(refusal(0, is_resumed, error.to_string())),
        }
    }

    async fn try_until_done(&self, id: u64, prepared: &Prepared, is_resumed: bool) -> Performed {
        let place = self.board.enter(id, prepared.shown());
        let mut may_have_been_sent = is_resumed;
        for tries in 1.. {
            let mut turn = self.outside.turn(&prepared.target.host).await;
            place.on_try(tries);
            let attempt = self.attempt(prepared, &mut turn).await;
            let (ended, error) = match &attempt {
                Attempt::Refused(error) => {
                    let outcome = refusal(tries, may_have_been_sent, error.clone());
                    return Performed { outcome, turn: None };
                }
                Attempt::Answered(answer, retry_after) => {
                    let ended = Ended::Answered { status: answer.status, retry_after: *retry_after };
                    (ended, format!("the server answered with status {}", answer.status))
                }
                Attempt::Failed { ended, error, .. } => (ended.clone(), error.clone()),
            };
            may_have_been_sent |= ended != Ended::NotSent;
            match policy::next(&prepared.request, tries, &ended, (self.outside.surroundings.random)()) {
                Next::Again(pause) => {
                    drop(turn);
                    tracing::debug!(id, tries, ?pause, "{}: {error}", prepared.shown());
                    place.on_pause(pause, &error);
                    sleep(pause).await;
                }
                Next::Done => return Performed { outcome: last(prepared, tries, attempt), turn: Some(turn) },
                Next::Unknown => {
                    let error = format!("{}: {error}; it may have been done, and is not repeated", prepared.shown());
                    return Performed { outcome: Outcome::failure(FailureKind::Unknown, tries, error), turn: None };
                }
            }
        }
        unreachable!("there are no more attempts than were asked for")
    }

    /// One attempt. Whatever it comes to, it takes no longer than the guest allows.
    async fn attempt(&self, prepared: &Prepared, turn: &mut Turn) -> Attempt {
        let (mut request, sent) = match prepared.fill(&self.options.instance, &self.options.secrets) {
            Ok(filled) => filled,
            // It may be that the file is being replaced.
            Err(Refused::Secret(error @ FillError::Unreadable { .. })) => {
                return Attempt::failed(Ended::NotSent, error.to_string());
            }
            Err(error) => return Attempt::Refused(error.to_string()),
        };
        let client = match self.client(prepared.target.scheme, prepared.granted.is_named).await {
            Ok(client) => client,
            Err(error) => return Attempt::failed(Ended::NotSent, error.to_string()),
        };
        let connection = capture_connection(&mut request);
        let answer = async {
            let answer = client.request(request).await.map_err(|error| of_error(&error))?;
            self.read(answer, turn, &sent).await
        };
        match timeout(prepared.request.timeout, answer).await {
            Ok(Ok(answered) | Err(answered)) => answered,
            Err(_) => {
                let was_connected = connection.connection_metadata().is_some();
                let ended = if was_connected { Ended::Broken } else { Ended::NotSent };
                let what = if was_connected { "there was no answer" } else { "there was no connection" };
                let error = format!("{what} within {:?}", prepared.request.timeout);
                Attempt::Failed { ended, error, took_too_long: true }
            }
        }
    }

    async fn client(&self, scheme: Scheme, allows_near: bool) -> Result<&HttpClient, NoRoots> {
        let index = match scheme {
            Scheme::Http => 0,
            Scheme::Https => 2,
        };
        let make = || async {
            let tls = match scheme {
                Scheme::Http => no_tls(),
                Scheme::Https => self.outside.tls().await?,
            };
            let connector = Connector { allows_near, lookups: Arc::clone(&self.outside.lookups) };
            let builder = HttpsConnectorBuilder::new().with_tls_config((*tls).clone());
            let connector = builder.https_or_http().enable_http1().wrap_connector(connector);
            let mut builder = Client::builder(TokioExecutor::new());
            builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIME_MAX);
            builder.pool_max_idle_per_host(IDLE_CONNECTIONS_MAX);
            builder.http1_max_headers(HEADERS_MAX).http1_max_buf_size(2 * HEADER_BYTES_MAX);
            Ok(builder.build(connector))
        };
        self.clients[index + usize::from(allows_near)].get_or_try_init(make).await
    }

    /// Reads an answer, and takes out of it what must not come into the log.
    async fn read(&self, answer: hyper::Response<Incoming>, turn: &mut Turn, sent: &Sent) -> Result<Attempt, Attempt> {
        let (head, mut incoming) = answer.into_parts();
        let mut body = BytesMut::new();
        while let Some(frame) = incoming.frame().await {
            let broken = |error| Attempt::failed(Ended::Broken, format!("the answer broke off: {}", chain(&error)));
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            if body.len() + data.len() > ANSWER_BODY_BYTES_MAX {
                let error = format!(
                    "the server answered with status {} and more than {} MiB",
                    head.status.as_u16(),
                    ANSWER_BODY_BYTES_MAX >> 20
                );
                return Err(Attempt::failed(Ended::TooLarge, error));
            }
            if body.len() + data.len() > LARGE_ANSWER_BYTES {
                self.outside.large(turn).await;
            }
            body.extend_from_slice(&data);
        }
        let body = body.freeze();
        let answer = Answer {
            status: head.status.as_u16(),
            headers: texts(&head.headers, sent),
            body: sent.take_out(&body).map_or(body, Bytes::from),
        };
        Ok(Attempt::Answered(answer, retry_after(&head.headers, self.outside.surroundings.now)))
    }
}

/// It was not sent now, and never was, or nobody knows.
fn refusal(tries: u32, may_have_been_sent: bool, error: String) -> Outcome {
    match may_have_been_sent {
        true => Outcome::failure(FailureKind::Failed, tries, format!("{error}; an earlier attempt may have been done")),
        false => Outcome::refused(error),
    }
}

/// What has come of the last attempt.
fn last(prepared: &Prepared, tries: u32, attempt: Attempt) -> Outcome {
    match attempt {
        Attempt::Answered(answer, _) => Outcome { tries, result: Ok(answer) },
        Attempt::Refused(error) => Outcome::refused(error),
        Attempt::Failed { ended, error, took_too_long } => {
            let kind = if took_too_long { FailureKind::Timeout } else { FailureKind::Failed };
            let times = if tries == 1 { "once".to_owned() } else { format!("{tries} times") };
            let mut error = format!("{} was tried {times}: {error}", prepared.shown());
            if ended == Ended::Broken && !prepared.request.may_be_repeated() {
                error += "; it may have been done, and is not repeated, for it is not said to be idempotent";
            }
            Outcome::failure(kind, tries, error)
        }
    }
}

/// What an error of the client means.
fn of_error(error: &hyper_util::client::legacy::Error) -> Attempt {
    let mut source = error.source();
    while let Some(cause) = source {
        match cause.downcast_ref::<ConnectError>() {
            Some(near @ ConnectError::Near { .. }) => return Attempt::Refused(near.to_string()),
            Some(connect) => return Attempt::failed(Ended::NotSent, connect.to_string()),
            None => source = cause.source(),
        }
    }
    let ended = if error.is_connect() { Ended::NotSent } else { Ended::Broken };
    Attempt::failed(ended, chain(error))
}

/// An error and all that brought it about.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text += &format!(": {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn retry_after(headers: &HeaderMap, now: fn() -> SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    policy::retry_after(value, now())
}

fn texts(headers: &HeaderMap, sent: &Sent) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    };
    let show = |value: &header::HeaderValue| match sent.take_out(value.as_bytes()) {
        Some(cleaned) => text(&cleaned),
        None => text(value.as_bytes()),
    };
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), show(value))).collect()
}
