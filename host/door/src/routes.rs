//! What can be asked for, and where.

use std::sync::Arc;

use ambrosia_methods::{OWN_SEGMENTS, Verb};
use axum::{
    Json, Router,
    extract::{Path, Request, State, rejection::PathRejection},
    http::Method as HttpMethod,
    middleware,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use serde_json::json;

use crate::{
    access::{ALIVE, Bearer, READY, for_those_who_may},
    asked::{Place, nothing},
    calls,
    catalogue::{PAGE, SCRIPT, STYLE},
    door::House,
    events, mcp,
    problem::Problem,
    promises, results,
};

type Shared = State<Arc<House>>;

pub(crate) fn routes(house: Arc<House>) -> Router {
    let read = |route| only("GET, HEAD", route);
    let own = [
        ("/v1/{instance}/{method}", only("GET, HEAD, POST", post(call).get(query))),
        ("/v1/{instance}/requests/{request}", read(get(result))),
        ("/v1/{instance}/events", only("GET, HEAD, POST", get(listen).post(call_events))),
        ("/v1/{instance}/promises/{promise}", only("POST", post(promise))),
        ("/mcp", only("POST", post(agent))),
        ("/openapi.json", read(get(description))),
        ("/docs", read(get(|| async { PAGE }))),
        ("/docs/page.js", read(get(|| async { SCRIPT }))),
        ("/docs/page.css", read(get(|| async { STYLE }))),
        ("/metrics", read(get(metrics))),
        (ALIVE, read(get(|| async { Json(json!({ "status": "alive" })) }))),
        (READY, read(get(readiness))),
    ];
    let router = own.into_iter().fold(Router::new(), |router, (path, route)| {
        // What lies below these is for no route of an instance, also where the host has nothing.
        assert!(
            OWN_SEGMENTS.iter().any(|own| path[1..].split('/').next() == Some(own)),
            "{path} is not kept for the host"
        );
        router.route(path, route)
    });
    router
        .fallback(routed)
        .layer(middleware::from_fn_with_state(Arc::clone(&house), for_those_who_may))
        .with_state(house)
}

async fn description(State(house): Shared, request: Request) -> Result<Response, Problem> {
    house.openapi(&Bearer::of(&request)).await
}

async fn metrics(State(house): Shared, request: Request) -> Result<Response, Problem> {
    house.metrics(&Bearer::of(&request)).await
}

async fn readiness(State(house): Shared, request: Request) -> Result<Response, Problem> {
    house.readiness(&Bearer::of(&request)).await
}

/// Refuses all methods of HTTP but these.
fn only(allowed: &'static str, route: MethodRouter<Arc<House>>) -> MethodRouter<Arc<House>> {
    route.fallback(move || async move { Problem::not_allowed(allowed) })
}

async fn call(State(house): Shared, path: Result<Path<(String, String)>, PathRejection>, request: Request) -> Response {
    match path {
        Ok(Path((instance, method))) => {
            calls::call(&house, Place::Named { instance: &instance, method: &method }, request).await
        }
        Err(_) => nothing().into_response(),
    }
}

async fn query(
    State(house): Shared,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    match path {
        Ok(Path((instance, method))) => {
            calls::query(&house, Place::Named { instance: &instance, method: &method }, request).await
        }
        Err(_) => Err(nothing()),
    }
}

async fn listen(
    State(house): Shared,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    match path {
        Ok(Path(instance)) => events::listen(&house, &instance, request).await,
        Err(_) => Err(nothing()),
    }
}

/// A method may be called as events are.
async fn call_events(State(house): Shared, path: Result<Path<String>, PathRejection>, request: Request) -> Response {
    match path {
        Ok(Path(instance)) => {
            calls::call(&house, Place::Named { instance: &instance, method: "events" }, request).await
        }
        Err(_) => nothing().into_response(),
    }
}

async fn promise(
    State(house): Shared,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    match path {
        Ok(Path((instance, promise))) => promises::fulfil(&house, &instance, &promise, request).await,
        Err(_) => Err(nothing()),
    }
}

async fn result(State(house): Shared, request: Request) -> Response {
    results::result(&house, request).await
}

async fn agent(State(house): Shared, request: Request) -> Response {
    mcp::answer(&house, request).await
}

/// What no path of the host's own is for may be for a route of an instance.
async fn routed(State(house): Shared, request: Request) -> Response {
    // The URL stays as it is; the rest of the request goes on.
    let uri = request.uri().clone();
    let verb = match request.method() {
        &HttpMethod::HEAD => Some(Verb::Get),
        method => Verb::of_name(method.as_str()),
    };
    let place = Place::Routed { verb, path: uri.path() };
    match verb {
        Some(Verb::Get) => calls::query(&house, place, request).await.into_response(),
        Some(Verb::Post | Verb::Put | Verb::Patch | Verb::Delete) | None => calls::call(&house, place, request).await,
    }
}
