//! What can be asked for, and where.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, Request, State, rejection::PathRejection},
    middleware,
    response::{IntoResponse, Response},
    routing::post,
};

use crate::{
    calls,
    door::House,
    neighbours::for_neighbours,
    problem::{Problem, ProblemKind},
};

pub(crate) fn routes(house: Arc<House>) -> Router {
    Router::new()
        .route("/v1/{instance}/{method}", post(call).fallback(|| async { Problem::not_allowed("POST") }))
        .fallback(nothing)
        .layer(middleware::from_fn(for_neighbours))
        .with_state(house)
}

async fn call(
    State(house): State<Arc<House>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Response {
    match path {
        Ok(Path((instance, method))) => calls::call(&house, &instance, &method, request).await,
        Err(_) => nothing().await.into_response(),
    }
}

async fn nothing() -> Problem {
    Problem::new(ProblemKind::NotFound, "there is nothing here: methods are at POST /v1/INSTANCE/METHOD")
}
