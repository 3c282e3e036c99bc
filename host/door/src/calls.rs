//! A request as an impulse of an instance, and what became of it as a response.

use std::{sync::Arc, time::Duration};

use ambrosia_client::{Answered, ClientError, decode_value, show_raw};
use ambrosia_core::{InstanceName, RequestId};
use ambrosia_methods::{Method, UnknownMethod};
use axum::{
    extract::Request,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::Value;

use crate::{
    arguments::encode_body,
    body::ReadBody,
    content::check_content,
    door::House,
    instances::{Ended, Instance, NoInstance},
    limits::SMALL_BODY_BYTES,
    problem::{Problem, ProblemKind},
    request_id::{IDEMPOTENCY_KEY, header_of, request_id},
    wish::Wish,
};

/// Has a method run, and waits for its result.
pub(crate) async fn call(house: &House, instance: &str, method: &str, request: Request) -> Response {
    let Ok(_permit) = house.requests.try_acquire() else {
        let detail = "as many requests are under way as there may be; repeat it later";
        return Problem::new(ProblemKind::Busy, detail).into_response();
    };
    let id = match request_id(request.headers()) {
        Ok(id) => id.unwrap_or_else(|| house.instances.fresh_request_id()),
        Err(problem) => return problem.into_response(),
    };
    let called = Call { house, id: &id }.run(instance, method, request).await;
    let mut response = called.unwrap_or_else(IntoResponse::into_response);
    if let Some(id) = header_of(&id) {
        response.headers_mut().insert(IDEMPOTENCY_KEY, id);
    }
    response
}

/// One request, on its way.
pub(crate) struct Call<'a> {
    pub(crate) house: &'a House,
    pub(crate) id: &'a RequestId,
}

impl Call<'_> {
    async fn run(&self, instance: &str, method: &str, request: Request) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        check_content(&parts.headers)?;
        let wish = Wish::of(&parts.headers);
        let (name, method) = self.house.find(instance, method).await?;
        let body = self.house.room.read(body).await?;
        let arguments = encode(body, &method).await?;
        Ok(response_of(&self.perform(&name, &method, arguments, wish.wait).await?))
    }

    /// Has the method run, and waits for its result.
    pub(crate) async fn perform(
        &self,
        name: &InstanceName,
        method: &Method,
        arguments: Bytes,
        wait: Duration,
    ) -> Result<Value, Problem> {
        let client = self.house.instances.client(name);
        let sending = client.send(self.id, &method.name, arguments, true, wait);
        let answered = tokio::select! {
            answered = sending => answered,
            () = self.house.has_closed() => {
                let detail = "the host ends. The request may still take effect: repeat it with the same Idempotency-Key, which \
                              gives its result";
                return Err(self.with_id(Problem::new(ProblemKind::Closing, detail)));
            }
        };
        match answered {
            Ok(Answered::Value(value)) if method.message_pack() => Ok(decode_value(&value)),
            Ok(Answered::Value(value)) => Ok(show_raw(&value)),
            Ok(Answered::Accepted) => Ok(Value::Null),
            Err(error) => Err(self.problem(name, error).await),
        }
    }

    fn with_id(&self, problem: Problem) -> Problem {
        problem.with("request", String::from_utf8_lossy(self.id.as_bytes()))
    }

    /// Why there is no result.
    async fn problem(&self, name: &InstanceName, error: ClientError) -> Problem {
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
                self.with_id(Problem::new(ProblemKind::Timeout, detail))
            }
            ClientError::NoPrimary { .. } | ClientError::Unreached { .. } | ClientError::NotFound { .. } => {
                self.with_id(Problem::new(ProblemKind::NoPrimary, said))
            }
            ClientError::Ended(_) | ClientError::Whereabouts(_) => match self.house.look_up(name).await {
                Ok(instance) => match &instance.ended {
                    Some(ended) => end(name, ended),
                    None => self.with_id(Problem::new(ProblemKind::NoPrimary, said)),
                },
                Err(problem) => problem,
            },
            ClientError::NotTaken { .. }
            | ClientError::NoCheckpoint(_)
            | ClientError::NoMethods(_)
            | ClientError::NoAnswer(_)
            | ClientError::NoReplica { .. }
            | ClientError::Thread(_) => self.with_id(Problem::new(ProblemKind::NoPrimary, said)),
        }
    }
}

impl House {
    /// An instance and a method of it, by their names.
    pub(crate) async fn find(&self, instance: &str, method: &str) -> Result<(InstanceName, Method), Problem> {
        let name = InstanceName::new(instance).map_err(|_| unknown_instance(instance))?;
        if let Some(known) = self.instances.known(&name)
            && let Ok(method) = known.methods.find(method)
        {
            return Ok((name, method.clone()));
        }
        let found = self.look_up(&name).await?;
        match found.methods.find(method).cloned() {
            Ok(method) => Ok((name, method)),
            Err(unknown) => Err(unknown_method(&name, unknown)),
        }
    }

    /// The instance as the store has it now.
    async fn look_up(&self, name: &InstanceName) -> Result<Arc<Instance>, Problem> {
        let (instances, wanted) = (Arc::clone(&self.instances), name.clone());
        let looking = tokio::task::spawn_blocking(move || instances.look_up(&wanted));
        match looking.await {
            Ok(Ok(instance)) => Ok(instance),
            Ok(Err(NoInstance::Unknown)) => Err(unknown_instance(name.as_str())),
            Ok(Err(NoInstance::Unreadable(reason))) => Err(Problem::new(ProblemKind::Store, reason)),
            Err(_) => Err(Problem::new(ProblemKind::Closing, "the host ends")),
        }
    }
}

/// Encodes the arguments; large ones where nobody else waits.
async fn encode(body: ReadBody<'_>, method: &Method) -> Result<Bytes, Problem> {
    if body.bytes.len() <= SMALL_BODY_BYTES {
        return Ok(encode_body(&body.bytes, method)?.into());
    }
    let (bytes, method) = (body.bytes.clone(), method.clone());
    match tokio::task::spawn_blocking(move || encode_body(&bytes, &method)).await {
        Ok(encoded) => Ok(encoded?.into()),
        Err(_) => Err(Problem::new(ProblemKind::Closing, "the host ends")),
    }
}

/// A value as a response.
fn response_of(value: &Value) -> Response {
    let mut response = value.to_string().into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn unknown_instance(name: &str) -> Problem {
    Problem::new(ProblemKind::UnknownInstance, format!("no instance {name:?} is registered"))
}

fn unknown_method(name: &InstanceName, unknown: UnknownMethod) -> Problem {
    let detail = format!("instance {name}: {unknown}");
    Problem::new(ProblemKind::UnknownMethod, detail).with("methods", unknown.known)
}

/// That an instance answers no more.
fn end(name: &InstanceName, ended: &Ended) -> Problem {
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
