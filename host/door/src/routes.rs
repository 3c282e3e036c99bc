//! What can be asked for, and where.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, Request, State, rejection::PathRejection},
    middleware,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use serde_json::json;

use crate::{
    access::{Bearer, for_those_who_may},
    calls,
    catalogue::{PAGE, SCRIPT, STYLE},
    door::House,
    events, mcp,
    problem::{Problem, ProblemKind},
    promises, results,
};

type Shared = State<Arc<House>>;

pub(crate) fn routes(house: Arc<House>) -> Router {
    let read = |route| only("GET, HEAD", route);
    Router::new()
        .route("/v1/{instance}/{method}", only("GET, HEAD, POST", post(call).get(query)))
        .route("/v1/{instance}/requests/{request}", read(get(result)))
        .route("/v1/{instance}/events", only("GET, HEAD, POST", get(listen).post(call_events)))
        .route("/v1/{instance}/promises/{promise}", only("POST", post(promise)))
        .route("/mcp", only("POST", post(agent)))
        .route("/openapi.json", read(get(description)))
        .route("/docs", read(get(|| async { PAGE })))
        .route("/docs/page.js", read(get(|| async { SCRIPT })))
        .route("/docs/page.css", read(get(|| async { STYLE })))
        .route("/metrics", read(get(metrics)))
        .route("/healthz", read(get(|| async { Json(json!({ "status": "alive" })) })))
        .route("/readyz", read(get(readiness)))
        .fallback(nothing)
        .layer(middleware::from_fn_with_state(Arc::clone(&house), for_those_who_may))
        .with_state(house)
}

async fn description(State(house): Shared, request: Request) -> Result<Response, Problem> {
    house.openapi(&Bearer::of(&request)).await
}

async fn metrics(State(house): Shared, request: Request) -> Result<Response, Problem> {
    house.metrics(&Bearer::of(&request)).await
}

async fn readiness(State(house): Shared) -> Result<Response, Problem> {
    house.readiness().await
}

/// Refuses all methods of HTTP but these.
fn only(allowed: &'static str, route: MethodRouter<Arc<House>>) -> MethodRouter<Arc<House>> {
    route.fallback(move || async move { Problem::not_allowed(allowed) })
}

async fn call(State(house): Shared, path: Result<Path<(String, String)>, PathRejection>, request: Request) -> Response {
    match path {
        Ok(Path((instance, method))) => calls::call(&house, &instance, &method, request).await,
        Err(_) => nothing().await.into_response(),
    }
}

async fn query(
    State(house): Shared,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    match path {
        Ok(Path((instance, method))) => calls::query(&house, &instance, &method, request).await,
        Err(_) => Err(nothing().await),
    }
}

async fn listen(
    State(house): Shared,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    match path {
        Ok(Path(instance)) => events::listen(&house, &instance, request).await,
        Err(_) => Err(nothing().await),
    }
}

/// A method may be called as events are.
async fn call_events(State(house): Shared, path: Result<Path<String>, PathRejection>, request: Request) -> Response {
    match path {
        Ok(Path(instance)) => calls::call(&house, &instance, "events", request).await,
        Err(_) => nothing().await.into_response(),
    }
}

async fn promise(
    State(house): Shared,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    match path {
        Ok(Path((instance, promise))) => promises::fulfil(&house, &instance, &promise, request).await,
        Err(_) => Err(nothing().await),
    }
}

async fn result(State(house): Shared, request: Request) -> Response {
    results::result(&house, request).await
}

async fn agent(State(house): Shared, request: Request) -> Response {
    mcp::answer(&house, request).await
}

async fn nothing() -> Problem {
    Problem::new(
        ProblemKind::NotFound,
        "there is nothing here: methods are at POST /v1/INSTANCE/METHOD, and described at /docs and /openapi.json",
    )
}
