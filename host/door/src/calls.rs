//! A request as an impulse of an instance, and what became of it as a response.

use std::{
    ops::Deref,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use ambrosia_client::{Answered, ClientError, Queried, decode_value, show_raw};
use ambrosia_core::{InstanceName, Lsn, ReplicaIndex, RequestId, TraceContext};
use ambrosia_methods::{Method, MethodKind, UnknownMethod};
use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::{
    access::{Bearer, Deed},
    arguments::{FromPath, encode_body, encode_named, encode_rest},
    asked::{Asked, Place},
    body::ReadBody,
    content::check_content,
    door::House,
    instances::{Ended, Instance, NoInstance},
    limits::ANSWER_WAIT,
    problem::{Problem, ProblemKind},
    query_string::query_arguments,
    request_id::{IDEMPOTENCY_KEY, REQUEST_ID, header_of, request_id},
    results::{LSN, place_of, under_way},
    trace_parent::trace_of,
    wish::Wish,
};

/// What of a client's wishes was heeded (RFC 7240).
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What a method has given.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) value: Value,
    /// The record that it is of, if that is known.
    pub(crate) lsn: Lsn,
}

/// How something is asked for.
pub(crate) struct Asking {
    pub(crate) wait: Duration,
    /// Of a query: the state is to have come so far.
    pub(crate) at_least: Lsn,
    /// Of a query: who is asked; the primary by default.
    pub(crate) replica: Option<ReplicaIndex>,
}

impl Asking {
    /// The primary, as it is.
    pub(crate) fn plainly(wait: Duration) -> Asking {
        Asking { wait, at_least: Lsn(0), replica: None }
    }
}

/// Has a method run, and waits for its result.
pub(crate) async fn call(house: &House, place: Place<'_>, request: Request) -> Response {
    let Ok(_permit) = house.known.requests.try_acquire() else { return busy().into_response() };
    let id = match request_id(request.headers()) {
        Ok(id) => id.unwrap_or_else(|| house.instances.fresh_request_id()),
        Err(problem) => return problem.into_response(),
    };
    let trace = trace_of(request.headers());
    let called = Call { house, id: Some(&id), trace }.run(place, request).await;
    let mut response = called.unwrap_or_else(IntoResponse::into_response);
    if let Some(id) = header_of(&id) {
        response.headers_mut().insert(REQUEST_ID, id.clone());
        response.headers_mut().insert(IDEMPOTENCY_KEY, id);
    }
    response
}

/// Asks a query, with its arguments in the URL.
pub(crate) async fn query(house: &House, place: Place<'_>, request: Request) -> Result<Response, Problem> {
    let _permit = house.known.requests.try_acquire().map_err(|_| busy())?;
    let Asked { name, method, from_path } = house.asked(place, &Bearer::of(&request), Deed::Query).await?;
    if method.kind != MethodKind::Query {
        return Err(Problem::not_allowed("POST"));
    }
    let mut arguments = query_arguments(request.uri().query().unwrap_or_default(), &method)?;
    let asking = Asking {
        wait: Wish::of(request.headers()).wait,
        at_least: Lsn(number_of("at_least", &mut arguments, &method)?.unwrap_or_default()),
        replica: number_of("replica", &mut arguments, &method)?.map(ReplicaIndex),
    };
    let arguments = encode_named(arguments, &from_path.unwrap_or_default(), &method)?.into();
    Ok(response_of(&Call { house, id: None, trace: None }.perform(&name, &method, arguments, asking).await?))
}

/// Takes a number out of a query that is not for the method, unless that has such an argument.
fn number_of<N: FromStr>(
    name: &str,
    arguments: &mut Map<String, Value>,
    method: &Method,
) -> Result<Option<N>, Problem> {
    if method.arguments.iter().any(|argument| argument.name == name) {
        return Ok(None);
    }
    let Some(value) = arguments.remove(name) else { return Ok(None) };
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let wrong = |_| {
        let problem = Problem::new(ProblemKind::BadArguments, format!("{name} is a number, and not {text}"));
        problem.with("argument", name)
    };
    text.parse().map(Some).map_err(wrong)
}

/// One request, or one query, on its way.
pub(crate) struct Call<'a> {
    pub(crate) house: &'a House,
    /// Of a request.
    pub(crate) id: Option<&'a RequestId>,
    /// The trace that the request belongs to.
    pub(crate) trace: Option<TraceContext>,
}

impl Call<'_> {
    async fn run(&self, place: Place<'_>, request: Request) -> Result<Response, Problem> {
        let bearer = Bearer::of(&request);
        let (parts, body) = request.into_parts();
        let Asked { name, method, from_path } = self.house.asked(place, &bearer, Deed::Send).await?;
        check_content(&parts.headers)?;
        let wish = Wish::of(&parts.headers);
        let body = self.house.known.room.read(body).await?;
        let arguments = encode(body, from_path, &method).await?;
        if wish.respond_async {
            return self.begin(&name, &method, arguments, wish.wait_if_given.unwrap_or_default()).await;
        }
        Ok(response_of(&self.perform(&name, &method, arguments, Asking::plainly(wish.wait)).await?))
    }

    /// Has the method run, and waits so long for its result, and then until the request is durable.
    async fn begin(
        &self,
        name: &InstanceName,
        method: &Method,
        arguments: Bytes,
        wait: Duration,
    ) -> Result<Response, Problem> {
        if wait > Duration::ZERO {
            let performed = self.perform(name, method, arguments.clone(), Asking::plainly(wait)).await;
            match performed {
                // It has not come to its result, or nobody has taken it: it is said again, which its id makes harmless.
                Err(problem) if matches!(problem.kind, ProblemKind::Timeout | ProblemKind::NoPrimary) => {}
                performed => return Ok(response_of(&performed?)),
            }
        }
        let sent = self.sent(name, method, arguments, false, ANSWER_WAIT).await?;
        let id = self.id.expect("what is not waited for is a request");
        let mut response = under_way(id, sent.1, Some(&place_of(name, id, method)));
        response.headers_mut().insert(PREFERENCE_APPLIED, HeaderValue::from_static("respond-async"));
        Ok(response)
    }

    /// Has the method run, or asked if it has no id, and waits for its result.
    pub(crate) async fn perform(
        &self,
        name: &InstanceName,
        method: &Method,
        arguments: Bytes,
        asking: Asking,
    ) -> Result<Given, Problem> {
        let (value, lsn) = match self.id {
            Some(_) => self.sent(name, method, arguments, true, asking.wait).await?,
            None => self.asked(name, method, arguments, asking).await?,
        };
        let value = if method.message_pack() { decode_value(&value) } else { show_raw(&value) };
        Ok(Given { value, lsn })
    }

    /// Sends the request, and waits for its result, or until it is durable if `wait` is false: then there is no value.
    async fn sent(
        &self,
        name: &InstanceName,
        method: &Method,
        arguments: Bytes,
        wait: bool,
        limit: Duration,
    ) -> Result<(Bytes, Lsn), Problem> {
        let id = self.id.expect("what is sent is a request");
        let client = self.house.instances.client(name);
        let sent = tokio::select! {
            sent = client.send(id, &method.name, arguments, self.trace, wait, limit) => sent,
            () = self.house.has_closed() => {
                let detail = "the host ends. A request may still take effect: repeat it with the same Idempotency-Key, which gives \
                              its result";
                let problem = self.with_id(Problem::new(ProblemKind::Closing, detail));
                return Err(problem.at(Some(place_of(name, id, method))));
            }
        };
        match sent {
            Ok((Answered::Value(value), lsn)) => Ok((value, lsn)),
            Ok((Answered::Accepted, lsn)) => Ok((Bytes::new(), lsn)),
            Err(error) => Err(self.problem(name, Some(method), error).await),
        }
    }

    /// Asks the query, and waits for its answer.
    async fn asked(
        &self,
        name: &InstanceName,
        method: &Method,
        arguments: Bytes,
        asking: Asking,
    ) -> Result<(Bytes, Lsn), Problem> {
        let asked = tokio::select! {
            asked = self.ask_query(name, method, arguments, asking) => asked,
            () = self.house.has_closed() => return Err(Problem::new(ProblemKind::Closing, "the host ends")),
        };
        match asked {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.problem(name, Some(method), error).await),
        }
    }

    async fn ask_query(
        &self,
        name: &InstanceName,
        method: &Method,
        arguments: Bytes,
        asking: Asking,
    ) -> Result<(Bytes, Lsn), ClientError> {
        let Asking { wait, at_least, replica } = asking;
        let began = Instant::now();
        let queried = match replica {
            None => self.house.instances.client(name).query(&method.name, arguments, at_least, wait).await,
            Some(_) => {
                let mut client = self.house.instances.client_of_replicas(name);
                client.query(&method.name, &arguments, at_least, replica, wait).await
            }
        };
        match queried {
            Ok(Queried { value, lsn }) => Ok((value, lsn)),
            // The state has not come so far: who says so first, its host or the client here, is a matter of luck.
            Err(ClientError::Failed(_)) if at_least > Lsn(0) && began.elapsed() >= wait => {
                Err(ClientError::NoAnswer(wait))
            }
            Err(error) => Err(error),
        }
    }

    fn with_id(&self, problem: Problem) -> Problem {
        match self.id {
            Some(id) => problem.with("request", String::from_utf8_lossy(id.as_bytes())),
            None => problem,
        }
    }

    /// Why there is no result, of that method if one was to be run.
    pub(crate) async fn problem(&self, name: &InstanceName, method: Option<&Method>, error: ClientError) -> Problem {
        let said = error.to_string();
        match error {
            ClientError::Failed(reason) => self.with_id(Problem::new(ProblemKind::Failed, reason)),
            // What the primary refuses of what was looked at here is a method that it has no more, or not yet.
            ClientError::Rejected(reason) => Problem::new(ProblemKind::UnknownMethod, reason),
            ClientError::KeyReused(_) => {
                let detail = "a request with this Idempotency-Key has another method or other arguments";
                self.with_id(Problem::new(ProblemKind::KeyReused, detail))
            }
            ClientError::Timeout(waited, _) => {
                let detail = format!(
                    "no answer within {waited:?}. The request may still take effect: repeat it with the same Idempotency-Key, \
                     which gives its result"
                );
                let place = self.id.zip(method).map(|(id, method)| place_of(name, id, method));
                self.with_id(Problem::new(ProblemKind::Timeout, detail)).at(place)
            }
            ClientError::NoPrimary { .. } | ClientError::Unreached { .. } | ClientError::NotFound { .. } => {
                self.with_id(Problem::new(ProblemKind::NoPrimary, said))
            }
            ClientError::Ended(_) | ClientError::Whereabouts(_) => match self.house.look_up(name).await {
                Ok(instance) => match instance.ended() {
                    Some(ended) => end(name, ended),
                    None => self.with_id(Problem::new(ProblemKind::NoPrimary, said)),
                },
                Err(problem) => problem,
            },
            ClientError::NoAnswer(_) => Problem::new(ProblemKind::Timeout, said),
            ClientError::NoReplica { .. } => Problem::new(ProblemKind::NoReplica, said),
            ClientError::NotTaken { .. }
            | ClientError::NoCheckpoint(_)
            | ClientError::NoMethods(_)
            | ClientError::Thread(_) => self.with_id(Problem::new(ProblemKind::NoPrimary, said)),
        }
    }
}

/// A method of an instance, as it was looked up.
#[derive(Clone)]
pub(crate) struct FoundMethod {
    instance: Arc<Instance>,
    place: usize,
}

impl FoundMethod {
    fn of(instance: Arc<Instance>, name: &str) -> Result<FoundMethod, UnknownMethod> {
        let place = instance.methods().place(name)?;
        Ok(FoundMethod { instance, place })
    }

    /// The one in that place.
    pub(crate) fn at(instance: Arc<Instance>, place: usize) -> FoundMethod {
        FoundMethod { instance, place }
    }
}

impl Deref for FoundMethod {
    type Target = Method;

    fn deref(&self) -> &Method {
        self.instance.methods().at(self.place)
    }
}

impl House {
    /// An instance and a method of it, by their names.
    pub(crate) async fn find(&self, instance: &str, method: &str) -> Result<(InstanceName, FoundMethod), Problem> {
        let name = InstanceName::new(instance).map_err(|_| unknown_instance(instance))?;
        if let Some(known) = self.instances.known(&name)
            && let Ok(found) = FoundMethod::of(known, method)
        {
            return Ok((name, found));
        }
        match FoundMethod::of(self.look_up(&name).await?, method) {
            Ok(found) => Ok((name, found)),
            Err(unknown) => Err(unknown_method(&name, unknown)),
        }
    }

    /// The instance as the store has it now.
    pub(crate) async fn look_up(&self, name: &InstanceName) -> Result<Arc<Instance>, Problem> {
        self.look_up_with(name, ()).await
    }

    /// The same for somebody who may be anybody, and so has it looked up while few others do.
    pub(crate) async fn look_up_for_stranger(&self, name: &InstanceName) -> Result<Arc<Instance>, Problem> {
        match timeout(ANSWER_WAIT, Arc::clone(&self.stranger_looks).acquire_owned()).await {
            Ok(permit) => self.look_up_with(name, permit).await,
            Err(_) => Err(busy()),
        }
    }

    /// `until` is held until it was looked up, whether or not anybody still waits for that.
    async fn look_up_with(&self, name: &InstanceName, until: impl Send + 'static) -> Result<Arc<Instance>, Problem> {
        let (instances, wanted) = (Arc::clone(&self.instances), name.clone());
        let looking = tokio::task::spawn_blocking(move || {
            let found = instances.look_up(&wanted);
            drop(until);
            found
        });
        match looking.await {
            Ok(Ok(instance)) => Ok(instance),
            Ok(Err(NoInstance::Unknown)) => Err(unknown_instance(name.as_str())),
            Ok(Err(NoInstance::Unreadable(reason))) => Err(Problem::new(ProblemKind::Store, reason)),
            Err(_) => Err(Problem::new(ProblemKind::Closing, "the host ends")),
        }
    }
}

/// Encodes the arguments.
async fn encode(body: ReadBody<'_>, from_path: Option<FromPath>, method: &FoundMethod) -> Result<Bytes, Problem> {
    let method = method.clone();
    let encode = move |bytes: &[u8]| match from_path {
        None => encode_body(bytes, &method),
        Some(from_path) => encode_rest(bytes, &from_path, &method),
    };
    Ok(body.made_into(encode).await??.into())
}

/// A value as a response.
pub(crate) fn response_of(given: &Given) -> Response {
    let mut response = given.value.to_string().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if given.lsn > Lsn(0) {
        headers.insert(LSN, HeaderValue::from(given.lsn.0));
    }
    response
}

pub(crate) fn busy() -> Problem {
    Problem::new(ProblemKind::Busy, "as many requests are under way as there may be; repeat it later")
}

pub(crate) fn unknown_instance(name: &str) -> Problem {
    Problem::new(ProblemKind::UnknownInstance, format!("no instance {name:?} is registered"))
}

pub(crate) fn unknown_method(name: &InstanceName, unknown: UnknownMethod) -> Problem {
    let detail = format!("instance {name}: {unknown}");
    Problem::new(ProblemKind::UnknownMethod, detail).with("methods", unknown.known)
}

/// That an instance answers no more.
pub(crate) fn end(name: &InstanceName, ended: &Ended) -> Problem {
    match ended {
        Ended::Finished { code, lsn } => {
            let detail = format!("instance {name} finished with exit code {code} at lsn {lsn}");
            Problem::new(ProblemKind::Finished, detail).with("code", *code).with("lsn", lsn.0)
        }
        Ended::Halted { lsn, reason } => {
            let detail = format!("instance {name} halted at lsn {lsn}: {reason}");
            Problem::new(ProblemKind::Halted, detail).with("lsn", lsn.0).with("reason", reason.as_str())
        }
    }
}
