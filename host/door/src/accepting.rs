//! Connections, each with its bounds: who says nothing, or does not come to an end, is let go.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::sleep,
};

use crate::limits::{HEADER_BYTES_MAX, HEADER_FIELDS_MAX};

/// When no connection can be accepted, it is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until the door closes, as many at once as `open` has permits.
pub(crate) async fn accept_all(
    listener: TcpListener,
    routes: Router,
    header_wait: Duration,
    open: Arc<Semaphore>,
    mut closing: watch::Receiver<bool>,
) {
    let protocol = Arc::new(protocol(header_wait));
    let mut told = None;
    loop {
        let permit = Arc::clone(&open).acquire_owned().await.expect("it is never closed");
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _closing = closing.wait_for(|closing| *closing) => return,
        };
        match accepted {
            Ok((socket, _)) => {
                told = None;
                let (protocol, routes, closing) = (Arc::clone(&protocol), routes.clone(), closing.clone());
                tokio::spawn(async move {
                    serve(&protocol, socket, routes, closing).await;
                    drop(permit);
                });
            }
            Err(error) => {
                if told.replace(error.kind()) != Some(error.kind()) {
                    tracing::warn!(
                        %error,
                        "HTTP connections can't be accepted now, trying again; if too many files are open, raise the limit of this \
                         process (`ulimit -n`)"
                    );
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn protocol(header_wait: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(header_wait)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADER_FIELDS_MAX)
        // Who has said all may wait for the answer with one half.
        .half_close(true);
    builder
}

/// Serves one connection. Its errors are those of its client, and end nothing else.
async fn serve(protocol: &http1::Builder, socket: TcpStream, routes: Router, mut closing: watch::Receiver<bool>) {
    if let Err(error) = socket.set_nodelay(true) {
        return tracing::debug!(%error, "an HTTP connection could not be set up");
    }
    let routes = TowerToHyperService::new(routes);
    let mut serving = pin!(protocol.serve_connection(TokioIo::new(socket), routes));
    let mut is_closing = false;
    let ended = loop {
        tokio::select! {
            ended = serving.as_mut() => break ended,
            _closing = closing.wait_for(|closing| *closing), if !is_closing => {
                is_closing = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended");
    }
}
