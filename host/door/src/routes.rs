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
    calls,
    catalogue::{PAGE, SCRIPT, STYLE},
    door::House,
    mcp,
    neighbours::for_neighbours,
    problem::{Problem, ProblemKind},
};

type Shared = State<Arc<House>>;

pub(crate) fn routes(house: Arc<House>) -> Router {
    let read = |route| only("GET, HEAD", route);
    Router::new()
        .route("/v1/{instance}/{method}", only("POST", post(call)))
        .route("/mcp", only("POST", post(agent)))
        .route("/openapi.json", read(get(description)))
        .route("/docs", read(get(|| async { PAGE })))
        .route("/docs/page.js", read(get(|| async { SCRIPT })))
        .route("/docs/page.css", read(get(|| async { STYLE })))
        .route("/healthz", read(get(|| async { Json(json!({ "status": "alive" })) })))
        .route("/readyz", read(get(readiness)))
        .fallback(nothing)
        .layer(middleware::from_fn(for_neighbours))
        .with_state(house)
}

async fn description(State(house): Shared) -> Result<Response, Problem> {
    house.openapi().await
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

async fn agent(State(house): Shared, request: Request) -> Response {
    mcp::answer(&house, request).await
}

async fn nothing() -> Problem {
    Problem::new(
        ProblemKind::NotFound,
        "there is nothing here: methods are at POST /v1/INSTANCE/METHOD, and described at /docs and /openapi.json",
    )
}
