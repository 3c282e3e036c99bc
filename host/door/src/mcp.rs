//! Instances for agents: the Model Context Protocol over HTTP, without sessions and without streams.
//!
//! Queries are resources, `ambrosia://INSTANCE/METHOD`, and all other methods are tools.
//!
//! **Architecture Invariant:** nothing is kept between two messages, so any host answers any of them.

mod resources;
mod rpc;
mod tools;

use ambrosia_core::{InstanceName, RequestId, TraceContext};
use ambrosia_methods::{Method, MethodKind};
use axum::{
    Json,
    extract::Request,
    http::{HeaderName, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use crate::{
    access::Bearer,
    arguments::{FromPath, encode_named},
    calls::{self, Asking, Call},
    content::check_content,
    door::House,
    limits::ANSWER_WAIT,
    mcp::rpc::{Message, RpcError},
    problem::{Problem, ProblemKind},
};

/// Versions of the protocol that are spoken here, the newest first.
const VERSIONS: [&str; 3] = ["2025-06-18", "2025-03-26", "2024-11-05"];

const VERSION_HEADER: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// What a client may give a request id as, within `_meta` of a call.
const KEY_IN_META: &str = "ambrosia/idempotency-key";

/// To which trace a client may say there that its call belongs.
const TRACE_IN_META: &str = "traceparent";

/// Answers one message.
pub(crate) async fn answer(house: &House, request: Request) -> Response {
    let bearer = Bearer::of(&request);
    let (parts, body) = request.into_parts();
    if let Err(problem) = check_content(&parts.headers) {
        return problem.into_response();
    }
    let version = parts.headers.get(VERSION_HEADER).map(|version| version.to_str().unwrap_or_default());
    if let Some(version) = version.filter(|version| !VERSIONS.contains(version)) {
        let detail = format!("version {version:?} of the protocol is not known, only {}", VERSIONS.join(", "));
        return Problem::new(ProblemKind::NotJson, detail).into_response();
    }
    let body = match house.known.room.read(body).await {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    let message = match body.made_into(Message::read).await {
        Ok(Ok(message)) => message,
        Err(problem) => return problem.into_response(),
        Ok(Err(error)) => return (StatusCode::BAD_REQUEST, Json(error.response(&Value::Null))).into_response(),
    };
    let Message { id: Some(id), method, parameters } = message else {
        return StatusCode::ACCEPTED.into_response(); // a notification, or an answer to a question that nobody asked
    };
    let response = match carry_out(house, &bearer, &method, &parameters).await {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => error.response(&id),
    };
    Json(response).into_response()
}

async fn carry_out(
    house: &House,
    bearer: &Bearer,
    method: &str,
    parameters: &Map<String, Value>,
) -> Result<Value, RpcError> {
    match method {
        "initialize" => Ok(initialize(parameters)),
        "ping" => Ok(json!({})),
        "tools/list" => Ok(tools::list(&house.catalogue(bearer).await?)),
        "tools/call" => tools::call(house, bearer, parameters).await,
        "resources/list" => Ok(resources::list(&house.catalogue(bearer).await?)),
        "resources/templates/list" => Ok(resources::templates(&house.catalogue(bearer).await?)),
        "resources/read" => resources::read(house, bearer, parameters).await,
        other => Err(RpcError::unknown_method(other)),
    }
}

fn initialize(parameters: &Map<String, Value>) -> Value {
    let asked = parameters.get("protocolVersion").and_then(Value::as_str);
    let version = asked.filter(|asked| VERSIONS.contains(asked)).unwrap_or(VERSIONS[0]);
    json!({
        "protocolVersion": version,
        "capabilities": { "tools": {}, "resources": {} },
        "serverInfo": { "name": "ambrosia", "version": env!("CARGO_PKG_VERSION") },
        "instructions": format!(
            "Tools change instances, resources read them. To repeat a call safely, give the same text as _meta[\"{KEY_IN_META}\"]."
        ),
    })
}

/// Runs a method with arguments by their names, under an id, or asks one that is a query.
async fn run(
    house: &House,
    instance: &InstanceName,
    method: &Method,
    arguments: Map<String, Value>,
    (key, trace): (Option<RequestId>, Option<TraceContext>),
) -> Result<Value, Problem> {
    let Ok(_permit) = house.known.requests.try_acquire() else {
        return Err(calls::busy());
    };
    let encoded = encode_named(arguments, &FromPath::default(), method)?.into();
    let id = match method.kind {
        MethodKind::Query => None,
        _ => Some(key.unwrap_or_else(|| house.instances.fresh_request_id())),
    };
    let call = Call { house, id: id.as_ref(), trace };
    Ok(call.perform(instance, method, encoded, Asking::plainly(ANSWER_WAIT)).await?.value)
}
