//! Connections of HTTP/1.1.

use std::{pin::pin, time::Duration};

use axum::Router;
use hyper::server::conn::http1::Builder;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::sync::watch;

use super::Stream;
use crate::limits::{HEADER_BYTES_MAX, HEADER_FIELDS_MAX};

pub(super) fn protocol(header_wait: Duration) -> Builder {
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(header_wait)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADER_FIELDS_MAX)
        // Who has said all may wait for the answer with one half.
        .half_close(true);
    builder
}

pub(super) async fn serve(
    protocol: &Builder,
    stream: impl Stream,
    routes: Router,
    mut closing: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let mut serving = pin!(protocol.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)));
    let mut is_closing = false;
    loop {
        tokio::select! {
            ended = serving.as_mut() => return ended,
            _closing = closing.wait_for(|closing| *closing), if !is_closing => {
                is_closing = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}
