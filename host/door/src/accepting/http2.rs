//! Connections of HTTP/2, in plain text and known beforehand: who wants it begins with its preface.

use std::{pin::pin, time::Duration};

use axum::Router;
use hyper::server::conn::http2::Builder;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{sync::watch, time::timeout};

use super::{Stream, activity::Activity};
use crate::limits::{HEADER_BYTES_MAX, STREAMS_MAX};

pub(super) struct Protocol {
    builder: Builder<TokioExecutor>,
    header_wait: Duration,
}

pub(super) fn protocol(header_wait: Duration) -> Protocol {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX as u32)
        // A client that is gone without a word is noticed while its answers are awaited.
        .keep_alive_interval(header_wait)
        .keep_alive_timeout(header_wait);
    Protocol { builder, header_wait }
}

pub(super) async fn serve(
    protocol: &Protocol,
    stream: impl Stream,
    routes: Router,
    mut closing: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let activity = Activity::new();
    let routes = TowerToHyperService::new(activity.counted(routes));
    let mut serving = pin!(protocol.builder.serve_connection(TokioIo::new(stream), routes));
    let door_closes = tokio::select! {
        ended = serving.as_mut() => return ended,
        _closing = closing.wait_for(|closing| *closing) => true,
        () = activity.idle(protocol.header_wait) => false,
    };
    serving.as_mut().graceful_shutdown();
    if door_closes {
        return serving.await;
    }
    // A client that does not even take leave is let go.
    timeout(protocol.header_wait, serving).await.unwrap_or(Ok(()))
}
